package access

import (
	"strings"
	"testing"

	"github.com/fernetcast/fernetcast/e2e/testenv"
)

// If the main region's API server is down, each command reports that, with the context and the
// address that it tried, and the page about failovers. With -o json, it prints the error as JSON.
func TestMainRegionAway(t *testing.T) {
	s := newStage(t)
	s.main("sjc")
	s.join("sjc", "dfw", "--wait", "0")
	proxy, err := s.cluster("sjc").Proxy()
	s.Must(err)
	s.reach("sjc", proxy.URL())
	s.Must(proxy.Set(testenv.Refuse))
	for command, json := range map[string]bool{
		"status": true, "push": false, "wait --timeout 2s": false, "check": true, "promote sjc --yes": true, "recover --from dfw --yes": true,
		"join iad --remote-context iad --yes --server " + s.cluster("iad").URL: true, "leave dfw --yes": true, "renew": true,
		"promote sjc --yes --clusters " + t.TempDir(): true, "status --clusters " + t.TempDir(): false,
	} {
		r := s.exits(1, strings.Fields(command)...)
		s.says(r.Stdout+r.Stderr, "the main region's API server (context sjc, "+proxy.URL()+") cannot be reached: ", "connection refused", "docs/operations.md#failover")
		if !json {
			continue
		}
		r = s.exits(1, append(strings.Fields(command), "-o", "json")...)
		var document struct{ Error string }
		if s.decode(r.Stdout, &document); !strings.Contains(r.Stderr, document.Error) || !strings.Contains(document.Error, "docs/operations.md#failover") {
			t.Errorf("%s -o json prints %s", command, r.Stdout)
		}
	}
}
