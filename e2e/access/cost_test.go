package access

import (
	"encoding/json"
	"regexp"
	"testing"

	"github.com/fernetcast/fernetcast/e2e/testenv"
)

// After a rotation, a remote without stored credentials gets no more requests than a remote with
// stored credentials, and the main region creates no tokens.
func TestKeylessCostsNoRequest(t *testing.T) {
	s := newAlone(t)
	s.main("sjc")
	s.identifies("sjc")
	gateways := map[string]*testenv.Gateway{}
	for _, remote := range []string{"dfw", "iad"} {
		gateway, err := s.cluster(remote).Gateway()
		s.Must(err)
		gateways[remote] = gateway
	}
	s.Must(s.cluster("dfw").Trust(s.config("sjc", "dfw", "--server", gateways["dfw"].URL())))
	s.Must(s.cluster("dfw").Restart(s.Ctx))
	s.apply("dfw", s.rights("sjc", "dfw", "--server", gateways["dfw"].URL()))
	built := s.Raced()
	site := s.At(built, "sjc")
	keyless, err := s.cluster("dfw").KeylessKubeconfig(s.NS, gateways["dfw"].URL())
	s.Must(err)
	s.Must(testenv.WriteFile(site.Clusters, "dfw.yaml", keyless))
	s.Must(site.Join(s.Ctx, s.cluster("iad"), testenv.Access{Server: gateways["iad"].URL()}))
	_, address := site.StartRun(t, append(byIdentity, "--resync", "1h")...)
	s.synced(address, "dfw")
	s.synced(address, "iad")
	minted := s.tokensMade("sjc")
	before := map[string]map[string]int{"dfw": count(gateways["dfw"]), "iad": count(gateways["iad"])}
	const rotations = 20
	for range rotations {
		s.rotates("sjc", "dfw", "iad")
	}
	for remote, gateway := range gateways {
		after := count(gateway)
		if puts := after["PUT"] - before[remote]["PUT"]; puts != rotations {
			t.Errorf("%s got %d PUTs for %d rotations", remote, puts, rotations)
		}
		if total, puts := after["all"]-before[remote]["all"], after["PUT"]-before[remote]["PUT"]; total != puts {
			t.Errorf("%s got %d requests for %d rotations", remote, total, rotations)
		}
	}
	if more := s.tokensMade("sjc") - minted; more != 0 {
		t.Errorf("%d tokens were created for %d rotations", more, rotations)
	}
}

// count counts a gateway's requests by method.
func count(g *testenv.Gateway) map[string]int {
	counts := map[string]int{}
	for _, r := range g.Requests() {
		counts[r.Method]++
		counts["all"]++
	}
	return counts
}

var tokenRequests = regexp.MustCompile(`(?m)^apiserver_request_total\{.*resource="serviceaccounts".*subresource="token".*\} (\d+)$`)

// tokensMade returns the number of TokenRequests that a cluster's API server has answered.
func (s *stage) tokensMade(region string) (n int) {
	s.Helper()
	text, err := s.cluster(region).Client().CoreV1().RESTClient().Get().AbsPath("/metrics").Do(s.Ctx).Raw()
	s.Must(err)
	for _, m := range tokenRequests.FindAllSubmatch(text, -1) {
		var one int
		s.Must(json.Unmarshal(m[1], &one))
		n += one
	}
	if n == 0 {
		s.Fatal("the API server's metrics contain no TokenRequests")
	}
	return n
}
