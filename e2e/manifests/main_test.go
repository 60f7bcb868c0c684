// Package manifests tests what we ship: the manifests build, apply, and grant no more permissions
// than documented, the Dockerfile's binary runs in an otherwise empty image, and docs/install.md
// works exactly as written. Other packages test how keys are pushed.
package manifests

import (
	"os"
	"path/filepath"
	"testing"

	"k8s.io/component-base/cli"
	"k8s.io/kubectl/pkg/cmd"

	"github.com/fernetcast/fernetcast/e2e/testenv"
)

// Paths relative to this directory.
const (
	repository    = "../.."
	manifestsDir  = repository + "/manifests"
	sidecarDir    = "testdata/overlay" // the component needs a Keystone to patch
	remoteDir     = manifestsDir + "/remote"
	filesDir      = "testdata/files"
	deploymentDir = manifestsDir + "/deployment"
	renewDir      = manifestsDir + "/renew"
	identityDir   = manifestsDir + "/identity"
	installPage   = repository + "/docs/install.md"
)

// namespace is the namespace in the manifests.
const namespace = "openstack"

var shared *testenv.Env

func TestMain(m *testing.M) {
	// The install page calls kubectl. If this binary is run through a link named kubectl, it acts
	// as kubectl, in the version from go.mod.
	if filepath.Base(os.Args[0]) == "kubectl" {
		os.Exit(cli.Run(cmd.NewDefaultKubectlCommand()))
	}
	// Only the install page uses sjc, dfw, and iad, so objects from earlier tests can't replace a
	// missing step.
	os.Exit(testenv.Main(m, &shared, "lab", "sjc", "dfw", "iad"))
}
