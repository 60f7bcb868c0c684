package prometheus

import (
	"context"
	"maps"
	"net/http"
	"os"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/fernetcast/fernetcast/e2e/testenv"
)

// place creates a namespace for a remote's copy.
func (s *stage) place() string {
	s.Helper()
	ns, err := shared.Namespace(s.Ctx, "r")
	s.Must(err)
	return ns
}

// join adds a namespace of the named cluster as a remote.
func (s *stage) join(name, cluster string, access testenv.Access) {
	s.Helper()
	if access.Role == "" {
		access.Role = testenv.RemoteRole
	}
	kubeconfig, err := shared.Cluster(cluster).Kubeconfig(s.Ctx, access)
	s.Must(err)
	s.Must(testenv.WriteFile(s.Clusters, name+".yaml", kubeconfig))
}

// fleet is a main region with a remote in each state that a remote can stay in.
type fleet struct {
	*stage
	replicas [2]replica
	// states holds the state of each remote by name, as all replicas together report it.
	states map[string]string
}

// replica is a process of run, with the remotes' states as this process sees them.
type replica struct {
	*testenv.Site
	address string
	states  map[string]string
}

// addresses returns the replicas' listen addresses.
func (f *fleet) addresses() (all []string) {
	for _, r := range f.replicas {
		all = append(all, r.address)
	}
	return all
}

// halfSeen is a remote that only the first replica can reach.
const halfSeen = "half-seen"

// newFleet creates all remotes and starts two replicas.
func newFleet(s *stage) *fleet {
	s.Helper()
	f := &fleet{stage: s, states: map[string]string{
		"misconfigured": "Misconfigured", "self": "Self", "denied": "Denied", "unreachable": "Unreachable",
		"held": "Held", "contested": "Contested", "failed": "Failed", "behind": "Behind", halfSeen: "Synced", "gone": "Synced", elsewhere: "Synced",
	}}
	remote := shared.Cluster(elsewhere)
	s.Must(testenv.WriteFile(s.Clusters, "misconfigured.yaml", []byte("kind: Config\nusers: 7\n")))
	s.join("self", mainRegion, testenv.Access{Namespace: s.NS})
	s.join("denied", elsewhere, testenv.Access{Namespace: s.place(), Role: testenv.NoRole})
	nobody, err := shared.Address()
	s.Must(err)
	s.join("unreachable", elsewhere, testenv.Access{Namespace: s.place(), Server: "https://" + nobody})
	s.join(halfSeen, elsewhere, testenv.Access{Namespace: s.place()})
	s.join("gone", elsewhere, testenv.Access{Namespace: s.place()})
	s.join(elsewhere, elsewhere, testenv.Access{Namespace: s.NS})

	// In this remote, the copy has another owner with a higher term.
	held := s.place()
	s.join("held", elsewhere, testenv.Access{Namespace: held})
	_, err = remote.Put(s.Ctx, held, shared.Keys.NewRepository(3, 3))
	s.Must(err)
	s.Must(remote.Edit(s.Ctx, held, rival, func(secret *corev1.Secret) {
		secret.Annotations = map[string]string{"fernetcast/region": "hkg", "fernetcast/term": "5", "fernetcast/source-uid": "theirs"}
	}))

	gates := map[string]*testenv.Gateway{}
	for _, name := range []string{"failed", "behind"} {
		gates[name], err = remote.Gateway()
		s.Must(err)
		s.Cleanup(gates[name].Close)
		s.join(name, elsewhere, testenv.Access{Namespace: s.place(), Server: gates[name].URL()})
	}
	contested := s.place()
	s.join("contested", elsewhere, testenv.Access{Namespace: contested})

	blind := s.at(mainRegion)
	s.Must(os.CopyFS(blind.Clusters, os.DirFS(s.Clusters)))
	(&stage{Stage: s.Stage, Site: blind}).join(halfSeen, elsewhere, testenv.Access{Namespace: s.place(), Server: "https://" + nobody})
	for i, site := range []*testenv.Site{s.Site, blind} {
		// A remote stays Behind only as long as a request lasts, so requests must last as long as
		// the test.
		_, address := site.StartRun(s, "--request-timeout", "5m", "--backoff-max", "5m")
		f.replicas[i] = replica{site, address, maps.Clone(f.states)}
	}
	f.replicas[1].states[halfSeen] = "Unreachable"
	for _, r := range f.replicas {
		states := maps.Clone(r.states)
		states["contested"], states["failed"], states["behind"] = "Synced", "Synced", "Synced"
		s.show(r.address, states)
	}
	gates["failed"].Spoil(func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no tea here", http.StatusTeapot) })
	})
	gates["failed"].Cut()
	gates["behind"].Spoil(func(honest http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPut {
				<-r.Context().Done()
				return
			}
			honest.ServeHTTP(w, r)
		})
	})
	s.rotate()
	s.contests(remote, contested)
	return f
}

const rival = "argocd-controller"

// contests changes a copy's keys every second until the test ends.
func (s *stage) contests(c *testenv.Cluster, ns string) {
	s.Helper()
	ctx, cancel := context.WithCancel(s.Ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for ctx.Err() == nil {
			// If this edit conflicts with a repair, it fails, and the next one tries again.
			_ = c.Edit(ctx, ns, rival, func(secret *corev1.Secret) { secret.Data["99"] = []byte(shared.Keys.New()) })
			select {
			case <-ctx.Done():
			case <-time.After(time.Second):
			}
		}
	}()
	s.Cleanup(func() { cancel(); <-ended })
}
