package manifests

import (
	"context"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/fernetcast/fernetcast/e2e/testenv"
)

// TestPolicyLetsFernetcastWork checks that the policy allows everything that fernetcast does with
// the account from manifests/remote, whatever other clients have added to the copy.
func TestPolicyLetsFernetcastWork(t *testing.T) {
	ctx := within(t, 5*time.Minute)
	env := startRegions(ctx, t, "sjc", "dfw")
	home, remote := env.Cluster("sjc"), env.Cluster("dfw")
	apply(ctx, t, remote, withoutPolicy(t)...)
	enforcePolicy(ctx, t, remote)
	program, err := env.Program(ctx)
	testenv.Must(t, err)
	site, err := env.Site(ctx, program, home, namespace)
	testenv.Must(t, err)
	testenv.Must(t, testenv.WriteFile(site.Clusters, "dfw.yaml", shippedKubeconfig(ctx, t, remote)))
	if _, err := home.Put(ctx, namespace, shared.Keys.NewRepository(8, 7)); err != nil {
		t.Fatal(err)
	}
	promote := func() { succeed(ctx, t, site.Operator, "promote", "sjc", "--yes") }
	promote() // also creates the copy
	push := func() { succeed(ctx, t, site.Operator, "push") }

	for _, step := range []struct {
		name string
		do   func()
	}{
		{"nothing but a rotation", func() {}},
		{"other clients added metadata of each kind", func() {
			change(ctx, t, remote, func(s *corev1.Secret) { shareWith(ctx, t, remote, s) })
		}},
		{"no stamp, and the remote's own keys", func() {
			change(ctx, t, remote, func(s *corev1.Secret) {
				s.Data = shared.Keys.NewRepository(2, 2)
				maps.DeleteFunc(s.Annotations, func(name, _ string) bool { return strings.HasPrefix(name, "fernetcast/") })
			})
		}},
		{"a file that is not a key", func() {
			change(ctx, t, remote, func(s *corev1.Secret) { setData(s, "keystone.conf") })
		}},
		{"a higher term", promote},
		{"an old main region, which is taken over", func() {
			change(ctx, t, remote, func(s *corev1.Secret) {
				maps.DeleteFunc(s.Annotations, func(name, _ string) bool { return strings.HasPrefix(name, "fernetcast/") })
				shareWith(ctx, t, remote, s)
				annotation("fernetcast/main-uid", string(s.UID))(s)
			})
		}},
		{"the copy is being deleted, but a finalizer keeps it", func() {
			testenv.Must(t, remote.Delete(ctx, namespace))
		}},
		{"the copy was deleted", func() { remove(ctx, t, remote) }},
	} {
		step.do()
		rotation, err := home.Rotate(ctx, namespace, 7)
		testenv.Must(t, err)
		before := others(ctx, t, remote)
		push()
		if err := remote.Holds(ctx, namespace, rotation.Keys); err != nil {
			t.Errorf("%s: %v", step.name, err)
		}
		if diff := cmp.Diff(before, others(ctx, t, remote)); diff != "" {
			t.Errorf("%s: others' metadata has changed (-before +after):\n%s", step.name, diff)
		}
		if copied, err := remote.Secret(ctx, namespace); err != nil || copied.Annotations["fernetcast/main"] != "" {
			t.Errorf("%s: the copy still has the mark of a main region (%v)", step.name, err)
		}
	}
	runs(ctx, t, site, remote)
	saysWhoRefused(ctx, t, site, remote)
}

// shippedKubeconfig returns a kubeconfig for the account in manifests/remote, as docs/install.md
// describes it under "Without join".
func shippedKubeconfig(ctx context.Context, t *testing.T, remote *testenv.Cluster) []byte {
	t.Helper()
	kubeconfig, err := remote.AdminKubeconfig(namespace)
	testenv.Must(t, err)
	config, err := clientcmd.Load(kubeconfig)
	testenv.Must(t, err)
	user := config.Contexts[config.CurrentContext].AuthInfo
	config.AuthInfos[user] = &clientcmdapi.AuthInfo{Token: token(ctx, t, remote, "fernetcast")}
	kubeconfig, err = clientcmd.Write(*config)
	testenv.Must(t, err)
	return kubeconfig
}

// succeed runs a command, and fails the test unless its exit code is 0.
func succeed(ctx context.Context, t *testing.T, program *testenv.Program, args ...string) {
	t.Helper()
	result, err := program.Run(ctx, args...)
	if err != nil || result.Code != 0 {
		t.Fatalf("%v: exit %d, %v\n%s%s", args, result.Code, err, result.Stdout, result.Stderr)
	}
}

// change edits the Secret as a client other than fernetcast.
func change(ctx context.Context, t *testing.T, cluster *testenv.Cluster, edit func(*corev1.Secret)) {
	t.Helper()
	testenv.Must(t, cluster.Edit(ctx, namespace, "somebody", edit))
}

// others returns the Secret's metadata that doesn't belong to fernetcast. It is empty if there is
// no Secret.
func others(ctx context.Context, t *testing.T, cluster *testenv.Cluster) metav1.ObjectMeta {
	t.Helper()
	secrets, err := cluster.Client().CoreV1().Secrets(namespace).List(ctx, metav1.ListOptions{})
	testenv.Must(t, err)
	at := slices.IndexFunc(secrets.Items, func(s corev1.Secret) bool { return s.Name == testenv.SecretName })
	if at < 0 {
		return metav1.ObjectMeta{}
	}
	s := secrets.Items[at]
	kept := metav1.ObjectMeta{Labels: s.Labels, Finalizers: s.Finalizers, OwnerReferences: s.OwnerReferences}
	for name, value := range s.Annotations {
		if !strings.HasPrefix(name, "fernetcast/") {
			metav1.SetMetaDataAnnotation(&kept, name, value)
		}
	}
	return kept
}

// runs starts `run`, and checks that it repairs changes to the copy and pushes a rotation.
func runs(ctx context.Context, t *testing.T, site *testenv.Site, remote *testenv.Cluster) {
	t.Helper()
	running, err := site.Runner.Start("run", "--listen=")
	testenv.Must(t, err)
	defer running.Kill()
	held := func(what string, keys testenv.Repository) {
		t.Helper()
		err := until(ctx, func(ctx context.Context) error { return remote.Holds(ctx, namespace, keys) })
		if err != nil {
			t.Errorf("run: %s: %v\n%s", what, err, running.Stderr.Tail(20))
		}
	}
	rotation, err := site.Home.Rotate(ctx, namespace, 7)
	testenv.Must(t, err)
	held("a rotation", rotation.Keys)
	change(ctx, t, remote, func(s *corev1.Secret) { setData(s, "9") })
	held("somebody's edit", rotation.Keys)
	remove(ctx, t, remote)
	held("a deletion", rotation.Keys)
}

// saysWhoRefused makes the policy reject a copy by giving the source another type. The output must
// name the policy.
func saysWhoRefused(ctx context.Context, t *testing.T, site *testenv.Site, remote *testenv.Cluster) {
	t.Helper()
	remove(ctx, t, remote)
	remove(ctx, t, site.Home)
	typed := secret(testenv.SecretName)
	typed.Type = "example.com/keys"
	if _, err := site.Home.Client().CoreV1().Secrets(namespace).Create(ctx, typed, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	result, err := site.Operator.Run(ctx, "promote", "sjc", "--yes")
	testenv.Must(t, err)
	if result.Code != 1 || !strings.Contains(result.Stdout, "Denied") || !strings.Contains(result.Stdout, "manifests/remote/policy allows only the type Opaque") {
		t.Errorf("exit %d: the output does not report that manifests/remote/policy rejected the type:\n%s%s", result.Code, result.Stdout, result.Stderr)
	}
}
