package access

import (
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// A region's name that another cluster uses is refused, and the plan identifies the cluster to
// promote.
func TestPromoteWithTheNameOfAnotherCluster(t *testing.T) {
	s := newStage(t)
	keys := s.main("sjc")
	s.join("sjc", "iad", "--wait", "0")
	s.exits(0, "push")
	for _, remote := range []string{"sjc", "dfw"} {
		s.join("iad", remote, "--from", "iad", "--wait", "0")
	}
	before := s.snapshot("sjc", "dfw", "iad")
	for name, says := range map[string][]string{
		"sjc": {"this cluster's keys are a copy from sjc, which is another cluster", "remote sjc is the main region sjc"},
		"dfw": {"dfw is a remote of this cluster"},
	} {
		r := s.exits(1, "--context", "iad", "promote", name, "--yes")
		s.says(r.Stderr, append(says, "nothing was changed", "use this cluster's own name, or add --force")...)
	}
	system, err := s.cluster("iad").Client().CoreV1().Namespaces().Get(s.Ctx, metav1.NamespaceSystem, metav1.GetOptions{})
	s.Must(err)
	plan := "This cluster: context iad, " + s.cluster("iad").URL + ", cluster UID " + string(system.UID)
	s.says(s.exits(0, "--context", "iad", "promote", "iad", "--dry-run").Stdout, plan)
	if after := s.snapshot("sjc", "dfw", "iad"); after != before {
		t.Errorf("something was changed:\n%s\nbefore:\n%s", after, before)
	}
	s.exits(0, "--context", "iad", "promote", "iad", "--yes")
	s.all(keys, "sjc", "dfw", "iad")
	secret, err := s.cluster("iad").Secret(s.Ctx, s.NS)
	s.Must(err)
	if got := secret.Annotations["fernetcast/main-cluster"]; got != string(system.UID) {
		t.Errorf("the mark's cluster is %q, want %q", got, system.UID)
	}
	if secret, err = s.cluster("sjc").Secret(s.Ctx, s.NS); err != nil || secret.Annotations["fernetcast/main-cluster"] != "" {
		t.Errorf("a copy has the annotations %v, %v", secret.Annotations, err)
	}
}

// A remote that answers with the source's own Secret is not the source if its kubeconfig is for another
// cluster. Without the cluster's UID in the kubeconfig, it counts as the source.
func TestRemoteThatClaimsToBeTheSource(t *testing.T) {
	s := newStage(t)
	s.main("sjc")
	gateway, err := s.cluster("dfw").Gateway()
	s.Must(err)
	s.exits(0, "join", "dfw", "--remote-context", "dfw", "--server", s.cluster("dfw").URL, "--yes", "--wait", "0")
	s.store("dfw", s.altered("dfw", func(c *clientcmdapi.Cluster, _ *clientcmdapi.AuthInfo) { c.Server = gateway.URL() }))
	transport, err := rest.TransportFor(s.cluster("sjc").Config())
	s.Must(err)
	home, err := url.Parse(s.cluster("sjc").URL)
	s.Must(err)
	source := &httputil.ReverseProxy{Transport: transport, Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(home)
		r.Out.Header.Del("Authorization")
	}}
	gateway.Spoil(func(honest http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.Contains(r.URL.Path, "/secrets") {
				source.ServeHTTP(w, r)
				return
			}
			honest.ServeHTTP(w, r)
		})
	})
	before := s.snapshot("sjc", "dfw")
	const says = "its Secret has the source's UID, but its kubeconfig is for another cluster"
	for _, command := range []string{"status", "push", "check"} {
		s.says(s.exits(1, command).Stdout, says)
	}
	s.says(s.exits(0, "promote", "sjc", "--dry-run").Stdout, "dfw: not changed: "+says)
	if after := s.snapshot("sjc", "dfw"); after != before {
		t.Errorf("something was changed:\n%s\nbefore:\n%s", after, before)
	}

	s.store("dfw", s.altered("dfw", func(c *clientcmdapi.Cluster, _ *clientcmdapi.AuthInfo) { c.Extensions = nil }))
	s.says(s.exits(0, "status").Stdout, "1 Self")
}
