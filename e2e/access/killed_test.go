package access

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fernetcast/fernetcast/e2e/testenv"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// gateways puts a gateway, which sees each request, between the operator and each of these regions.
// A gateway terminates TLS, so the operator's contexts use tokens instead of client certificates.
func (s *stage) gateways(regions ...string) []*testenv.Gateway {
	s.Helper()
	config, err := clientcmd.LoadFromFile(s.kubeconfig)
	s.Must(err)
	var all []*testenv.Gateway
	for _, region := range regions {
		gateway, err := s.cluster(region).Gateway()
		s.Must(err)
		all = append(all, gateway)
		config.Clusters[region].Server = gateway.URL()
		config.AuthInfos[region] = &clientcmdapi.AuthInfo{Token: s.adminToken(region)}
	}
	s.Must(clientcmd.WriteToFile(*config, s.kubeconfig))
	return all
}

// adminToken returns a token for an account with all permissions in a cluster.
func (s *stage) adminToken(region string) string {
	s.Helper()
	// The account's name must not start with fernetcast-, because joined regions have policies that
	// limit such accounts.
	account := metav1.ObjectMeta{Namespace: s.NS, Name: "administrator"}
	token, err := s.cluster(region).Request(s.Ctx, account, 24*time.Hour)
	s.Must(err)
	_, err = s.cluster(region).Client().RbacV1().ClusterRoleBindings().Create(s.Ctx, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: s.NS},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Name: account.Name, Namespace: s.NS}},
	}, metav1.CreateOptions{})
	s.Must(err)
	return token
}

// killer kills a process at one of its requests: either before the API server gets the request, or
// after the API server has executed it, but before the response arrives.
type killer struct {
	mu      sync.Mutex
	at, n   int
	after   bool
	process *testenv.Process
	started chan struct{}
}

// spoil returns the handler that kills the process, for Gateway.Spoil.
func (k *killer) spoil(honest http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		k.mu.Lock()
		k.n++
		mine := k.n == k.at
		k.mu.Unlock()
		if !mine {
			honest.ServeHTTP(w, r)
			return
		}
		if k.after {
			honest.ServeHTTP(httptest.NewRecorder(), r)
		}
		<-k.started
		k.process.Kill()
	})
}

// killedEverywhere runs a command once for each of its requests, each time starting from the same
// state. It kills the command at that request, and then runs it again, which must succeed.
func (s *stage) killedEverywhere(gateways []*testenv.Gateway, begin, ended func(), args ...string) {
	s.Helper()
	built := s.Shipped()
	person := built.With(s.fernetcast.Args...).WithEnv(s.fernetcast.Env...)
	requests := 0
	for _, after := range []bool{false, true} {
		for at := 1; ; at++ {
			begin()
			k := &killer{at: at, after: after, started: make(chan struct{})}
			for _, gateway := range gateways {
				gateway.Spoil(k.spoil)
			}
			process, err := person.Start(args...)
			s.Must(err)
			k.process = process
			close(k.started)
			code, err := process.Wait(s.Ctx)
			s.Must(err)
			for _, gateway := range gateways {
				gateway.Spoil(nil)
			}
			if k.n < at { // the command ended before this request, so every request has been tried
				if code != 0 {
					s.Fatalf("%v, not killed: exit %d\n%s", args, code, process.Stderr.Tail(5))
				}
				requests = k.n
				break
			}
			again, err := person.Run(s.Ctx, args...)
			s.Must(err)
			if again.Code != 0 {
				s.Fatalf("%v, killed at request %d (after it: %v) and run again: exit %d\n%s", args, at, after, again.Code, again.Stderr)
			}
			ended()
		}
	}
	if requests < 5 {
		s.Errorf("%v sent only %d requests", args, requests)
	}
	s.Logf("%s: killed at each of its %d requests, before and after it", strings.Join(args[:2], " "), requests)
}

// If join, renew, or leave is killed at any request and run again, the result is the same as
// without the kill.
func TestKilledAtEachRequest(t *testing.T) {
	s := newStage(t)
	s.main("sjc")
	gateways := s.gateways("sjc", "iad")
	join := []string{"join", "iad", "--remote-context", "iad", "--server", gateways[1].URL(), "--yes", "--wait", "0"}
	there := s.cluster("iad").Client()
	works := func() {
		_, err := s.client(s.entry("sjc", "iad")).CoreV1().Secrets(s.NS).Patch(s.Ctx, testenv.SecretName, "application/apply-patch+yaml",
			[]byte(`{"apiVersion":"v1","kind":"Secret","metadata":{"name":"`+testenv.SecretName+`"}}`), metav1.PatchOptions{FieldManager: "a-test", DryRun: []string{"All"}})
		s.Must(err)
	}
	leaveNow := func() { s.exits(0, "leave", "iad", "--yes") }
	s.killedEverywhere(gateways, leaveNow, works, join...)
	s.killedEverywhere(gateways, func() {}, works, "renew", "iad")

	nothing := func() {
		if s.entry("sjc", "iad") != nil {
			t.Error("the remote is still stored")
		}
		accounts, err := there.CoreV1().ServiceAccounts(s.NS).List(s.Ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=fernetcast"})
		s.Must(err)
		roles, err := there.RbacV1().Roles(s.NS).List(s.Ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=fernetcast"})
		s.Must(err)
		if len(accounts.Items)+len(roles.Items) != 0 {
			t.Errorf("left in the remote: %d accounts, %d roles", len(accounts.Items), len(roles.Items))
		}
		secret, err := s.cluster("sjc").Client().CoreV1().Secrets(s.NS).Get(s.Ctx, clustersSecret, metav1.GetOptions{})
		s.Must(err)
		if len(secret.Data) != 1 || secret.Data[".iad.left"] == nil {
			t.Errorf("left in the main region: %d entries, want a note that iad has left", len(secret.Data))
		}
	}
	s.killedEverywhere(gateways, func() { s.exits(0, join...) }, nothing, "leave", "iad", "--yes")
}

// If two operators join the same region at the same time, one gets an error. If they join different
// regions, both succeed.
func TestTwoOperators(t *testing.T) {
	s := newStage(t)
	s.main("sjc")
	gateways := s.gateways("sjc")
	// Both operators read the stored kubeconfigs before either of them writes.
	var both sync.WaitGroup
	both.Add(2)
	gateways[0].Spoil(func(honest http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/secrets") {
				both.Done()
				both.Wait()
			}
			honest.ServeHTTP(w, r)
		})
	})
	results := make([]testenv.Result, 2)
	var joins sync.WaitGroup
	for i := range results {
		joins.Go(func() {
			var err error
			if results[i], err = s.fernetcast.Run(s.Ctx, s.joinArgs("sjc", "dfw", "--wait", "0")...); err != nil {
				t.Error(err)
			}
		})
	}
	joins.Wait()
	gateways[0].Spoil(nil)
	if results[0].Code+results[1].Code != 1 {
		t.Fatalf("exit %d and %d, want 0 and 1\n%s%s", results[0].Code, results[1].Code, results[0].Stderr, results[1].Stderr)
	}
	s.says(results[0].Stderr+results[1].Stderr, "someone else stored dfw.yaml in the meantime")

	for _, remote := range []string{"iad", "ord"} {
		joins.Go(func() {
			if r, err := s.fernetcast.Run(s.Ctx, s.joinArgs("sjc", remote, "--wait", "0")...); err != nil || r.Code != 0 {
				t.Errorf("%s: %v, exit %d\n%s", remote, err, r.Code, r.Stderr)
			}
		})
	}
	joins.Wait()
	for _, remote := range []string{"dfw", "iad", "ord"} {
		if s.entry("sjc", remote) == nil {
			t.Errorf("%s is not stored", remote)
		}
	}
}
