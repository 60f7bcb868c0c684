// Package manifests proves what ships: that the manifests build, apply and keep
// to the rights that they claim, that the Dockerfile's binary runs in an image
// that holds nothing else, and that docs/install.md works as it is written. It
// does not judge how the keys travel: the package above does.
package manifests

import (
	"os"
	"path/filepath"
	"testing"

	"k8s.io/component-base/cli"
	"k8s.io/kubectl/pkg/cmd"

	"github.com/fernetcast/fernetcast/e2e/testenv"
)

// The repository's root, and what stands in it, seen from this directory.
const (
	repository    = "../.."
	manifestsDir  = repository + "/manifests"
	sidecarDir    = "testdata/overlay" // the component needs a Keystone to go into
	remoteDir     = manifestsDir + "/remote"
	filesDir      = "testdata/files"
	deploymentDir = manifestsDir + "/deployment"
	renewDir      = manifestsDir + "/renew"
	identityDir   = manifestsDir + "/identity"
	installPage   = repository + "/docs/install.md"
)

// namespace is the one that the manifests name.
const namespace = "openstack"

var shared *testenv.Env

func TestMain(m *testing.M) {
	// The install page calls kubectl. A link of that name to this binary is one,
	// of the version that go.mod says.
	if filepath.Base(os.Args[0]) == "kubectl" {
		os.Exit(cli.Run(cmd.NewDefaultKubectlCommand()))
	}
	// The install page has three regions to itself, so that nothing an earlier
	// test has applied can stand in for a step that it lacks.
	os.Exit(testenv.Main(m, &shared, "lab", "sjc", "dfw", "iad"))
}
