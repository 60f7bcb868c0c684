package manifests

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/fernetcast/fernetcast/e2e/testenv"
)

// `kubectl events` shows the events that fernetcast creates with the permissions from
// manifests/sidecar. The test doesn't use `kubectl describe secret`, because that never shows
// events.
func TestKubectlShowsEvents(t *testing.T) {
	ctx := within(t, shortBuild)
	lab := shared.Cluster("lab")
	apply(ctx, t, lab, render(t, sidecarDir)...)
	if _, err := lab.Put(ctx, namespace, shared.Keys.NewRepository(8, 7)); err != nil {
		t.Fatal(err)
	}
	program, err := shared.Program(ctx)
	testenv.Must(t, err)
	elsewhere, err := shared.Namespace(ctx, "described")
	testenv.Must(t, err)
	kubeconfig, err := lab.Kubeconfig(ctx, testenv.Access{Namespace: elsewhere, Role: testenv.RemoteRole})
	testenv.Must(t, err)
	clusters, home := t.TempDir(), t.TempDir()
	testenv.Must(t, testenv.WriteFile(clusters, "dfw.yaml", kubeconfig))
	operator := newWorkstation(t, program.Path, map[string]*testenv.Cluster{"lab": lab})
	operator.shell(ctx, t, "fernetcast --context lab --clusters "+clusters+" promote lab --yes --force")

	sidecar, err := clientcmd.Load(kubeconfig)
	testenv.Must(t, err)
	for name := range sidecar.AuthInfos {
		sidecar.AuthInfos[name] = &clientcmdapi.AuthInfo{Token: token(ctx, t, lab, "keystone-api")}
	}
	testenv.Must(t, clientcmd.WriteToFile(*sidecar, filepath.Join(home, "kubeconfig")))
	run, err := program.Start("run", "--listen", "", "--kubeconfig", filepath.Join(home, "kubeconfig"), "--clusters", clusters)
	testenv.Must(t, err)
	defer run.Kill()
	shows := func(text string) {
		t.Helper()
		if err := until(ctx, func(ctx context.Context) error {
			said := operator.shell(ctx, t, "kubectl --context lab -n "+namespace+" events --for secret/"+testenv.SecretName)
			if !strings.Contains(strings.Join(strings.Fields(said), " "), text) {
				return fmt.Errorf("kubectl does not show %q:\n%s", text, said)
			}
			return nil
		}); err != nil {
			t.Fatalf("%v\n%s", err, run.Stderr.Tail(20))
		}
	}
	// Wait until fernetcast has loaded the remote.
	if err := until(ctx, func(context.Context) error {
		if !strings.Contains(run.Stderr.String(), "remote is Synced") {
			return errors.New("the remote is not synced")
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	testenv.Must(t, lab.Delete(ctx, elsewhere))
	shows("Warning DriftRepaired Secret/keystone-fernet-keys dfw: its Secret is missing; the source's keys were restored")
	if _, err := lab.Rotate(ctx, namespace, 7); err != nil {
		t.Fatal(err)
	}
	shows("Normal KeysPushed Secret/keystone-fernet-keys the keys with primary 9 are in 1 of 1 remotes")
	shared.Keys.NoLeaks(t, run.Stderr.String())
}
