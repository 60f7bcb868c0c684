package access

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"k8s.io/client-go/tools/clientcmd"
)

// tunnels starts a forward proxy on this machine. It returns the proxy's URL and a counter of its
// connections.
func (s *stage) tunnels() (string, *atomic.Int32) {
	s.Helper()
	var used atomic.Int32
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		used.Add(1)
		there, err := net.Dial("tcp", r.Host)
		if err != nil || r.Method != http.MethodConnect {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		w.WriteHeader(http.StatusOK)
		here, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		go func() { _, _ = io.Copy(there, here); _ = there.Close() }()
		go func() { _, _ = io.Copy(here, there); _ = here.Close() }()
	}))
	s.Cleanup(proxy.CloseClientConnections)
	return proxy.URL, &used
}

// A proxy on the operator's own machine isn't stored unless --proxy-url names it. The plan shows a
// remote's proxy, and --proxy-url sets or removes it.
func TestJoinThroughAProxy(t *testing.T) {
	s := newStage(t)
	s.main("sjc")
	proxy, used := s.tunnels()
	config, err := clientcmd.LoadFromFile(s.kubeconfig)
	s.Must(err)
	config.Clusters["dfw"].ProxyURL = proxy
	s.Must(clientcmd.WriteToFile(*config, s.kubeconfig))
	host := strings.TrimPrefix(proxy, "http://")
	s.says(s.exits(2, s.joinArgs("sjc", "dfw")...).Stderr, "context dfw: the proxy "+host+" is a loopback address", "--proxy-url ''")
	s.says(s.exits(2, s.joinArgs("sjc", "dfw", "--proxy-url", "ftp://10.0.0.1")...).Stderr, "proxy-url does not start with http://")
	s.says(s.exits(2, s.joinArgs("sjc", "dfw", "--proxy-url", "http://169.254.0.1:3128")...).Stderr, "--proxy-url: the proxy 169.254.0.1:3128 is a placeholder or a link-local address")

	r := s.join("sjc", "dfw", "--wait", "0", "--proxy-url", proxy)
	s.says(r.Stderr, "Warning: --proxy-url: the proxy "+host+" is a loopback address", s.cluster("dfw").URL+", through the proxy "+host)
	s.says(string(s.entry("sjc", "dfw")), "proxy-url: "+proxy)
	if used.Load() == 0 {
		t.Error("the proxy was not used")
	}
	r = s.join("sjc", "dfw", "--wait", "0", "--proxy-url", "")
	if strings.Contains(r.Stderr, "proxy") || strings.Contains(string(s.entry("sjc", "dfw")), "proxy-url") {
		t.Errorf("a proxy is stored, although the flag drops it: %s", r.Stderr)
	}
	s.exits(0, "push")
}
