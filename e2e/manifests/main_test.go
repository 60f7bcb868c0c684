// Package manifests tests the shipped files: kustomize builds the manifests, API servers accept
// them, and they grant no more permissions than documented. The Dockerfile's binary runs in an
// otherwise empty image, and docs/install.md works exactly as written. Other packages test how keys
// are pushed.
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
	sidecarDir    = "testdata/overlay" // an overlay, because a component can only patch existing manifests
	remoteDir     = manifestsDir + "/remote"
	filesDir      = "testdata/files"
	deploymentDir = manifestsDir + "/deployment"
	probeDir      = manifestsDir + "/probe"
	renewDir      = manifestsDir + "/renew"
	identityDir   = manifestsDir + "/identity"
	installPage   = repository + "/docs/install.md"
)

// namespace is the namespace that the manifests use.
const namespace = "openstack"

var shared *testenv.Env

func TestMain(m *testing.M) {
	// docs/install.md calls kubectl. If this binary is run through a link named kubectl, it acts as
	// the kubectl of the version in go.mod.
	if filepath.Base(os.Args[0]) == "kubectl" {
		os.Exit(cli.Run(cmd.NewDefaultKubectlCommand()))
	}
	// Most tests use lab. They leave no objects in sjc, dfw, and iad, which could hide a missing
	// step in a page.
	os.Exit(testenv.Main(m, &shared, "lab", "sjc", "dfw", "iad"))
}
