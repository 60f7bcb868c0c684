package access

import (
	"strings"
	"testing"
	"time"

	"github.com/fernetcast/fernetcast/e2e/testenv"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// TestJoin joins a region that has its own keys. After that, run pushes the main region's keys
// without further help.
func TestJoin(t *testing.T) {
	s := newStage(t)
	keys := s.main("sjc")
	_, err := s.cluster("dfw").Put(s.Ctx, s.NS, shared.Keys.NewRepository(3, 3))
	s.Must(err)
	s.runs("sjc")
	before := s.snapshot("sjc", "dfw")
	dry := s.exits(0, s.joinArgs("sjc", "dfw", "--dry-run")...)
	s.says(dry.Stdout, "fernetcast-sjc", "keys: its own (primary 3)", "valid for 90d")
	var planned struct {
		Plan    []string
		Expires *time.Time
	}
	s.decode(s.exits(0, s.joinArgs("sjc", "dfw", "--dry-run", "-o", "json")...).Stdout, &planned)
	if strings.Join(planned.Plan, "\n")+"\n" != dry.Stdout || planned.Expires != nil {
		t.Errorf("the plan is %v", planned)
	}
	if after := s.snapshot("sjc", "dfw"); after != before {
		t.Errorf("--dry-run changed something: before\n%s\nafter\n%s", before, after)
	}
	yaml := s.exits(0, s.joinArgs("sjc", "dfw", "-o", "yaml")...)
	s.says(yaml.Stdout, "kind: ServiceAccount", "kind: ValidatingAdmissionPolicyBinding", "kind: Secret")
	if after := s.snapshot("sjc", "dfw"); after != before || strings.Contains(yaml.Stdout, "token: e") {
		t.Errorf("-o yaml changed something or printed a token")
	}

	r := s.join("sjc", "dfw", "-o", "json")
	var joined struct{ Name, Server, Version, Namespace, Account, State string }
	s.decode(r.Stdout, &joined)
	if joined.Name != "dfw" || joined.Account != "fernetcast-sjc" || joined.State != "Synced" || joined.Namespace != s.NS {
		t.Errorf("the result is %s", r.Stdout)
	}
	s.says(r.Stderr, "for the main region to push the keys to dfw")
	s.Must(s.cluster("dfw").Holds(s.Ctx, s.NS, keys))
	first := string(s.entry("sjc", "dfw"))
	again := s.join("sjc", "dfw")
	s.says(again.Stdout, "Joined dfw", "dfw is Synced")
	if first == string(s.entry("sjc", "dfw")) {
		t.Error("the second join created no new token")
	}
	s.join("sjc", "iad")
	s.says(s.exits(0, "--context", "sjc", "status").Stdout, "2 Synced")
}

// A remote can join before the main region is promoted, but nothing is pushed until then.
func TestJoinBeforePromotion(t *testing.T) {
	s := newStage(t)
	_, err := s.cluster("sjc").Put(s.Ctx, s.NS, shared.Keys.NewRepository(3, 3))
	s.Must(err)
	s.says(s.exits(2, s.joinArgs("sjc", "dfw")...).Stderr, "--from REGION")
	s.says(s.join("sjc", "dfw", "--from", "SJC_1").Stderr, "not promoted", "fernetcast --context sjc --namespace "+s.NS+" promote SJC_1")
	accounts, err := s.cluster("dfw").Client().CoreV1().ServiceAccounts(s.NS).List(s.Ctx, metav1.ListOptions{})
	s.Must(err)
	if len(accounts.Items) != 1 || !strings.HasPrefix(accounts.Items[0].Name, "fernetcast-sjc-1-") {
		t.Errorf("the accounts in dfw are %v", accounts.Items)
	}
}

// If the arguments are wrong, or the configuration can never work, join exits with code 2 and
// writes nothing.
func TestJoinRefuses(t *testing.T) {
	s := newStage(t)
	s.main("sjc")
	before := s.snapshot("sjc", "dfw")
	for _, try := range []struct {
		args []string
		says []string
	}{
		{[]string{"join", "dfw", "--yes", "--remote-context", "dfw"}, []string{"a loopback address", "--server https://HOST:PORT", "cluster-info"}},
		{[]string{"join", "dfw", "--yes", "--remote-context", "dfw", "--server", "https://kubernetes.default.svc"}, []string{"a Service of that cluster"}},
		{s.joinArgs("sjc", "sjc"), []string{"is the source's own cluster"}},
	} {
		r := s.exits(2, try.args...)
		s.says(r.Stderr, try.says...)
	}
	config, err := clientcmd.LoadFromFile(s.kubeconfig)
	s.Must(err)
	config.Clusters["dfw"].InsecureSkipTLSVerify, config.Clusters["dfw"].CertificateAuthorityData = true, nil
	s.Must(clientcmd.WriteToFile(*config, s.kubeconfig))
	s.says(s.exits(2, s.joinArgs("sjc", "dfw")...).Stderr, "context dfw skips TLS verification")
	if after := s.snapshot("sjc", "dfw"); after != before {
		t.Errorf("a refused join changed something: before\n%s\nafter\n%s", before, after)
	}
}

// If a region doesn't answer, join soon reports this, and writes nothing in any region.
func TestJoinUnreachable(t *testing.T) {
	s := newStage(t)
	s.main("sjc")
	proxy, err := s.cluster("dfw").Proxy()
	s.Must(err)
	before := s.snapshot("sjc", "dfw")
	for _, fault := range []testenv.Fault{testenv.Refuse, testenv.Drop} {
		s.Must(proxy.Set(fault))
		r := s.exits(1, "join", "dfw", "--remote-context", "dfw", "--server", proxy.URL(), "--yes", "--request-timeout", "2s")
		s.says(r.Stderr, "nothing was changed: "+proxy.URL()+" cannot be reached: ")
	}
	s.Must(proxy.Set(testenv.Pass))
	r := s.exits(1, "--namespace", "nowhere", "join", "dfw", "--from", "sjc", "--remote-context", "dfw", "--server", proxy.URL(), "--yes")
	s.says(r.Stderr, "dfw has no namespace nowhere", "kubectl --context dfw --namespace nowhere create namespace nowhere")
	if after := s.snapshot("sjc", "dfw"); after != before {
		t.Errorf("join changed something: before\n%s\nafter\n%s", before, after)
	}
}

// Someone with permissions in only one namespace can join a region. Only the policy can't be
// created, which join reports.
func TestJoinWithFewRights(t *testing.T) {
	s := newStage(t)
	s.main("sjc")
	config, err := clientcmd.LoadFromFile(s.kubeconfig)
	s.Must(err)
	core, rbac := s.cluster("iad").Client().CoreV1(), s.cluster("iad").Client().RbacV1()
	_, err = core.ServiceAccounts(s.NS).Create(s.Ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "person"}}, metav1.CreateOptions{})
	s.Must(err)
	_, err = rbac.Roles(s.NS).Create(s.Ctx, &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: "person"}, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"secrets", "serviceaccounts", "serviceaccounts/token"}, Verbs: []string{"*"}},
		{APIGroups: []string{rbacv1.GroupName}, Resources: []string{"roles", "rolebindings"}, Verbs: []string{"*"}},
	}}, metav1.CreateOptions{})
	s.Must(err)
	_, err = rbac.RoleBindings(s.NS).Create(s.Ctx, &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "person"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "person"},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Name: "person", Namespace: s.NS}},
	}, metav1.CreateOptions{})
	s.Must(err)
	token, err := s.cluster("iad").Token(s.Ctx, metav1.ObjectMeta{Namespace: s.NS, Name: "person"}, time.Now(), time.Now().Add(time.Hour))
	s.Must(err)
	config.AuthInfos["iad"] = &clientcmdapi.AuthInfo{Token: token}
	s.Must(clientcmd.WriteToFile(*config, s.kubeconfig))
	r := s.join("sjc", "iad", "--wait", "0")
	s.says(r.Stderr, "ValidatingAdmissionPolicy fernetcast-remote could not be created (403", "Until a cluster administrator applies manifests/remote/policy")
	s.ends(s.check(0, "iad"), "rights", "pass")
	const warning = "Warning: context iad may not read Namespace kube-system"
	s.says(r.Stderr, warning)
	s.says(s.exits(0, "renew", "iad").Stdout, "iad: renewed", warning)
	left := s.exits(0, "leave", "iad", "--yes")
	s.says(left.Stderr, warning)
	s.says(left.Stdout, "Removed iad")
}

// Two Secrets in one main region, each pushed by its own process, don't share permissions in a
// remote. Joining or leaving with one Secret doesn't affect the other.
func TestJoinForTwoSecrets(t *testing.T) {
	s := newStage(t)
	s.main("sjc")
	s.join("sjc", "dfw", "--wait", "0")
	other := []string{"--secret", "keystone-credential-keys", "--clusters", "secret/credential-clusters"}
	_, err := s.cluster("sjc").Client().CoreV1().Secrets(s.NS).Create(s.Ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "keystone-credential-keys"}, Data: shared.Keys.NewRepository(1, 2),
	}, metav1.CreateOptions{})
	s.Must(err)
	s.exits(0, append([]string{"promote", "sjc", "--yes"}, other...)...)
	s.join("sjc", "dfw", append(other, "--wait", "0")...)
	s.exits(0, append([]string{"push"}, other...)...)
	s.ends(s.check(0, "dfw"), "excess", "pass")
	s.exits(0, "push")
	s.exits(0, append([]string{"leave", "dfw", "--yes"}, other...)...)
	s.ends(s.check(0, "dfw"), "rights", "pass")
	s.says(s.exits(0, "status").Stdout, "1 Synced")
}

// If a remote's kubeconfig is stored with another file extension, join replaces that file. With two
// files for it, the remote would be Misconfigured.
func TestJoinKeepsTheFilesName(t *testing.T) {
	s := newStage(t)
	s.main("sjc")
	s.join("sjc", "dfw", "--wait", "0")
	secrets := s.cluster("sjc").Client().CoreV1().Secrets(s.NS)
	secret, err := secrets.Get(s.Ctx, clustersSecret, metav1.GetOptions{})
	s.Must(err)
	secret.Data = map[string][]byte{"dfw.yml": secret.Data["dfw.yaml"]}
	_, err = secrets.Update(s.Ctx, secret, metav1.UpdateOptions{})
	s.Must(err)
	s.join("sjc", "dfw", "--wait", "0")
	s.exits(0, "renew", "dfw")
	secret, err = secrets.Get(s.Ctx, clustersSecret, metav1.GetOptions{})
	s.Must(err)
	if len(secret.Data) != 1 || secret.Data["dfw.yml"] == nil {
		t.Errorf("%d entries are stored, want 1", len(secret.Data))
	}
	s.says(s.exits(0, "leave", "dfw", "--yes").Stdout, "Role fernetcast.")
}
