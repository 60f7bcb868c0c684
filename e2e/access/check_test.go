package access

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/fernetcast/fernetcast/e2e/testenv"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// ids lists the IDs of the individual checks that check runs, in order. An ID never changes.
var ids = []string{"kubeconfig", "self", "dns", "tcp", "tls", "clock", "version", "identity", "expiry", "rights", "excess", "secret", "keys", "rotation", "stamp"}

// checked holds the results of check for one remote, by the ID of the individual check.
type checked map[string]struct{ ID, Result, What, Next string }

// check runs the command check, checks its exit code, and returns the results. The arguments must
// select a single remote, or a cluster by its context.
func (s *stage) check(code int, args ...string) checked {
	s.Helper()
	r := s.exits(code, append([]string{"check", "-o", "json"}, args...)...)
	var document struct {
		From    string
		Remotes []struct {
			Name   string
			Checks []struct{ ID, Result, What, Next string }
		}
	}
	s.decode(r.Stdout, &document)
	if len(document.Remotes) != 1 || document.From != "this workstation" {
		s.Fatalf("the output is not for exactly one remote:\n%s", r.Stdout)
	}
	found := checked{}
	var order []string
	for _, c := range document.Remotes[0].Checks {
		found[c.ID] = c
		order = append(order, c.ID)
	}
	if fmt.Sprint(order) != fmt.Sprint(ids) {
		s.Errorf("the checks are %v", order)
	}
	return found
}

// ends verifies the result of the check with the given ID, and that its text contains all parts.
func (s *stage) ends(c checked, id, result string, parts ...string) {
	s.Helper()
	if c[id].Result != result {
		s.Errorf("%s is %q, want %q: %+v", id, c[id].Result, result, c[id])
	}
	s.says(c[id].What+" → "+c[id].Next, parts...)
}

// After join, a remote passes all checks, even before run has started.
func TestCheckWell(t *testing.T) {
	s := newStage(t)
	s.main("sjc")
	s.join("sjc", "dfw", "--wait", "0")
	c := s.check(0, "dfw")
	for _, id := range ids {
		want := "pass"
		if id == "rotation" {
			want = "skip" // the remote's account has no permission to read CronJobs
		}
		s.ends(c, id, want)
	}
	s.ends(c, "identity", "pass", "system:serviceaccount:"+s.NS+":fernetcast-sjc")
	text := s.exits(0, "check").Stdout
	s.says(text, "Checking from this workstation. To check from the main region's pods: kubectl --namespace "+s.NS+" exec", "dfw  no problems found", "  pass  tls ")
	s.says(s.exits(0, "check", "-o", "short").Stdout, "dfw  no problems found; 1 skipped: rotation\n")
	own := s.check(0, "--remote-context", "dfw")
	s.ends(own, "rights", "skip")
	s.ends(own, "rotation", "pass")
	s.ends(s.check(0, "--remote-context", "sjc"), "self", "warn", "the source itself")
	s.says(s.exits(2, "check", "nobody").Stderr, `no remote "nobody"; existing remotes: dfw`)
}

// store stores a remote's kubeconfig by hand, without join.
func (s *stage) store(name string, kubeconfig []byte) {
	s.Helper()
	data, err := json.Marshal(map[string]any{"data": map[string][]byte{name + ".yaml": kubeconfig}})
	s.Must(err)
	_, err = s.cluster("sjc").Client().CoreV1().Secrets(s.NS).Patch(s.Ctx, clustersSecret, "application/merge-patch+json", data, metav1.PatchOptions{})
	s.Must(err)
}

// altered returns a copy of a remote's stored kubeconfig, after applying change.
func (s *stage) altered(remote string, change func(*clientcmdapi.Cluster, *clientcmdapi.AuthInfo)) []byte {
	s.Helper()
	config, err := clientcmd.Load(s.entry("sjc", remote))
	s.Must(err)
	current := config.Contexts[config.CurrentContext]
	change(config.Clusters[current.Cluster], config.AuthInfos[current.AuthInfo])
	data, err := clientcmd.Write(*config)
	s.Must(err)
	return data
}

// TestCheckFinds makes one individual check after another fail, on a real API server.
func TestCheckFinds(t *testing.T) {
	s := newStage(t)
	s.main("sjc")
	s.join("sjc", "dfw", "--wait", "0")
	dfw := s.cluster("dfw")
	core, rbac := dfw.Client().CoreV1(), dfw.Client().RbacV1()
	well := s.entry("sjc", "dfw")
	server := func(url string) []byte {
		return s.altered("dfw", func(c *clientcmdapi.Cluster, _ *clientcmdapi.AuthInfo) { c.Server = url })
	}
	closed, err := dfw.Proxy()
	s.Must(err)
	s.Must(closed.Set(testenv.Refuse))
	put := func(change func(*corev1.Secret)) func() {
		return func() {
			secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: testenv.SecretName}, Data: shared.Keys.NewRepository(3, 3)}
			change(secret)
			_, err := core.Secrets(s.NS).Create(s.Ctx, secret, metav1.CreateOptions{})
			s.Must(err)
		}
	}
	remove := func() { s.Must(core.Secrets(s.NS).Delete(s.Ctx, testenv.SecretName, metav1.DeleteOptions{})) }
	with := func(kubeconfig []byte) func() { return func() { s.store("dfw", kubeconfig) } }
	role := func(change func(*rbacv1.Role)) func() {
		return func() {
			r, err := rbac.Roles(s.NS).Get(s.Ctx, "fernetcast", metav1.GetOptions{})
			s.Must(err)
			change(r)
			_, err = rbac.Roles(s.NS).Update(s.Ctx, r, metav1.UpdateOptions{})
			s.Must(err)
		}
	}
	soonExpired, err := dfw.Kubeconfig(s.Ctx, testenv.Access{Namespace: s.NS, Role: testenv.RemoteRole, Expires: time.Now().Add(-time.Hour)})
	s.Must(err)
	for _, try := range []struct {
		id, result string
		says       string
		spoil      func()
		mend       func()
	}{
		{"kubeconfig", "fail", "exec", with([]byte(strings.Replace(string(well), "token:", "exec: {command: x}\n    token:", 1))), nil},
		{"kubeconfig", "fail", "one-hour tokens → fernetcast --namespace " + s.NS + " check dfw --identity fernetcast-identity", with(s.altered("dfw", func(_ *clientcmdapi.Cluster, a *clientcmdapi.AuthInfo) { a.Token = "" })), nil},
		{"dns", "fail", "does not exist", with(server("https://nowhere.invalid:6443")), nil},
		{"tcp", "fail", "refused", with(server(closed.URL())), nil},
		{"tls", "fail", "chain", with(s.altered("dfw", func(c *clientcmdapi.Cluster, _ *clientcmdapi.AuthInfo) {
			c.CertificateAuthorityData = s.cluster("iad").Config().CAData
		})), nil},
		{"tls", "fail", "name", with(s.altered("dfw", func(c *clientcmdapi.Cluster, _ *clientcmdapi.AuthInfo) { c.TLSServerName = "elsewhere.example.com" })), nil},
		{"tcp", "fail", "proxy", with(s.altered("dfw", func(c *clientcmdapi.Cluster, _ *clientcmdapi.AuthInfo) {
			c.ProxyURL = "http" + closed.URL()[len("https"):]
		})), nil},
		{"identity", "fail", "401", with(s.altered("dfw", func(_ *clientcmdapi.Cluster, a *clientcmdapi.AuthInfo) { a.Token = "nobodys" })), nil},
		{"expiry", "fail", "credentials expired", with(soonExpired), nil},
		{"rights", "fail", "it may not update", role(func(r *rbacv1.Role) { r.Rules[0].Verbs = []string{"get", "list", "watch", "create", "patch"} }), func() { s.join("sjc", "dfw", "--wait", "0") }},
		{"rights", "warn", "may not watch", role(func(r *rbacv1.Role) { r.Rules[0].Verbs = []string{"get", "list", "update", "create", "patch"} }), func() { s.join("sjc", "dfw", "--wait", "0") }},
		{"excess", "warn", "delete of secrets", role(func(r *rbacv1.Role) {
			r.Rules = append(r.Rules, rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"secrets"}, Verbs: []string{"delete"}})
		}), func() { s.join("sjc", "dfw", "--wait", "0") }},
		{"secret", "fail", "immutable", put(func(secret *corev1.Secret) { yes := true; secret.Immutable = &yes }), remove},
		{"secret", "fail", "type is example.com/other", put(func(secret *corev1.Secret) { secret.Type = "example.com/other" }), remove},
		{"keys", "warn", "its own keys (primary 3)", put(func(*corev1.Secret) {}), remove},
		{"stamp", "fail", "cannot be read", put(func(secret *corev1.Secret) { secret.Annotations = map[string]string{"fernetcast/term": "x"} }), remove},
		{"stamp", "fail", "owned by lon, term 99", put(func(secret *corev1.Secret) {
			secret.Annotations = map[string]string{"fernetcast/region": "lon", "fernetcast/term": "99", "fernetcast/source-uid": "7"}
		}), remove},
	} {
		try.spoil()
		code := 0
		if try.result == "fail" {
			code = 1
		}
		s.ends(s.check(code), try.id, try.result, try.says)
		if try.mend != nil {
			try.mend()
		}
		s.store("dfw", well)
	}

	s.cronJob("dfw", "keystone-fernet-rotate")
	s.ends(s.check(1, "--remote-context", "dfw"), "rotation", "fail", "is active", "kubectl --context dfw --namespace "+s.NS+" patch cronjob keystone-fernet-rotate")
}

// With --wait, check repeats until nothing fails. The text links to the section of each check that fails.
func TestCheckWaits(t *testing.T) {
	s := newStage(t)
	s.main("sjc")
	s.join("sjc", "dfw", "--wait", "0")
	well := s.entry("sjc", "dfw")
	s.store("dfw", s.altered("dfw", func(c *clientcmdapi.Cluster, _ *clientcmdapi.AuthInfo) { c.Server = "https://nowhere.invalid:6443" }))
	begun := time.Now()
	s.says(s.exits(1, "check", "--wait", "4s").Stdout, "see https://github.com/fernetcast/fernetcast/blob/main/docs/checks.md#dns")
	if took := time.Since(begun); took < 2*time.Second {
		t.Errorf("it took %s", took)
	}
	waiting, err := s.fernetcast.Start("check", "--wait", "1m")
	s.Must(err)
	s.store("dfw", well)
	if code, err := waiting.Wait(s.Ctx); err != nil || code != 0 {
		t.Errorf("exit %d, %v:\n%s", code, err, waiting.Stdout.String())
	}
	s.says(s.exits(1, "status", "dfw", "--as", "system:serviceaccount:"+s.NS+":nobody").Stderr, "403, the server says", "forbidden")
	s.says(s.exits(2, "status", "dwf").Stderr, "did you mean dfw?")
	s.says(s.exits(1, "-n", s.NS, "status", "dfw").Stdout, "1 Behind")
}

// cronJob creates a CronJob for rotations in a region.
func (s *stage) cronJob(region, name string) {
	s.Helper()
	job := &batchv1.CronJob{ObjectMeta: metav1.ObjectMeta{Name: name}}
	job.Spec.Schedule = "0 */12 * * *"
	job.Spec.JobTemplate.Spec.Template.Spec = corev1.PodSpec{RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{{Name: "rotate", Image: "rotate"}}}
	_, err := s.cluster(region).Client().BatchV1().CronJobs(s.NS).Create(s.Ctx, job, metav1.CreateOptions{})
	s.Must(err)
}

// In a standby, check accepts a CronJob that rotates the keys in the main region. In the main
// region, check fails if a standby has such a CronJob. The CronJobs' names don't matter.
func TestCheckKnowsWhoRotates(t *testing.T) {
	s := newStage(t)
	s.main("sjc")
	s.join("sjc", "ord", "--wait", "0")
	s.exits(0, "push")
	for _, region := range []string{"sjc", "ord"} {
		s.cronJob(region, "rotate-"+region+"-fernet")
	}
	s.ends(s.check(0, "--context", "ord", "--remote-context", "sjc"), "rotation", "pass", "rotate-sjc-fernet is active, as it should be")
	if plan := s.exits(0, s.joinArgs("ord", "sjc", "--from", "ord", "--dry-run")...).Stdout; strings.Contains(plan, "rotate-sjc-fernet") {
		t.Errorf("the plan mentions the main region's rotation:\n%s", plan)
	}
	s.ends(s.check(1, "--context", "sjc", "--remote-context", "ord"), "rotation", "fail", "rotate-ord-fernet is active", "patch cronjob rotate-ord-fernet")
}

// If many remotes time out at once, check takes at most as long as three timeouts.
func TestCheckBlack(t *testing.T) {
	s := newStage(t)
	s.main("sjc")
	s.join("sjc", "dfw", "--wait", "0")
	proxy, err := s.cluster("dfw").Proxy()
	s.Must(err)
	black := s.altered("dfw", func(c *clientcmdapi.Cluster, _ *clientcmdapi.AuthInfo) { c.Server = proxy.URL() })
	for i := range 8 {
		s.store(fmt.Sprintf("black-%d", i), black)
	}
	s.Must(proxy.Set(testenv.Drop))
	const timeout, slack = 2 * time.Second, 10 * time.Second // slack allows for a slow machine
	begun := time.Now()
	r := s.exits(1, "check", "-o", "short", "--request-timeout", timeout.String())
	if took := time.Since(begun); took > 3*timeout+slack {
		t.Errorf("check took %s", took)
	}
	s.says(r.Stdout, "dfw  no problems found", "black-0  1 fail: tls", "black-7  1 fail: tls")
}
