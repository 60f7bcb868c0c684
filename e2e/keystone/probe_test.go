package keystone_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fernetcast/fernetcast/e2e/testenv"
)

// probed is the output of probe -o json.
type probed struct {
	Results []struct{ From, To, Verdict, Detail, State, Note string }
}

// probe runs fernetcast probe, and returns a line for each result that isn't accepted.
func (s *stage) probe(program *testenv.Program, code int, args ...string) []string {
	s.Helper()
	r := s.Exits(code, program, append([]string{"probe", "-o", "json"}, args...)...)
	var got probed
	s.Must(json.Unmarshal([]byte(r.Stdout), &got))
	var bad []string
	for _, p := range got.Results {
		if p.Verdict != "accepted" {
			bad = append(bad, fmt.Sprintf("%s to %s: %s (%s) %s", p.From, p.To, p.Verdict, p.State, p.Note))
		}
	}
	return bad
}

// probe shows whether users' tokens are accepted, even if all Secrets are equal and Keystone itself
// is at fault.
func TestProbe(t *testing.T) {
	s := newStage(t, 3)
	cloud, err := identity()
	s.Must(err)
	dfw, iad := s.regions["dfw"], s.regions["iad"]
	s.Must(cloud.Publish(s.Ctx, s.regions[mainRegion], dfw, iad))
	user := s.site.Operator.WithEnv(s.regions[mainRegion].Environment()...)
	expect := func(got []string, want ...string) {
		t.Helper()
		if len(got) != len(want) {
			t.Fatalf("%q, want %q", got, want)
		}
		for i := range want {
			if !strings.Contains(got[i], want[i]) {
				t.Errorf("%q, want %q", got[i], want[i])
			}
		}
	}

	if r := s.Exits(0, user, "probe", "--matrix", "--wait", "1m"); !strings.Contains(r.Stdout, "9 of 9 accepted") {
		t.Errorf("the matrix is %s", r.Stdout)
	}
	expect(s.probe(user, 1, "--endpoint", "iad=http://127.0.0.1:1"), "sjc to iad: unreachable (Synced) ")
	if r := s.Exits(1, user.WithEnv("OS_PASSWORD=another-one"), "probe"); !strings.Contains(r.Stderr, "Keystone rejects the credentials") || strings.Contains(r.Stderr, "another-one") {
		t.Errorf("a wrong password: %s", r.Stderr)
	}
	s.Must(testenv.WriteFile(s.site.Clusters, "lhr.yaml", []byte("{}")))
	if r := s.Exits(1, user, "probe", "--matrix"); !strings.Contains(r.Stdout, "no identity endpoint for region lhr") || !strings.Contains(r.Stdout, "9 of 10 accepted") {
		t.Errorf("a remote that the catalog lacks: %s", r.Stdout)
	}
	s.Must(os.Remove(filepath.Join(s.site.Clusters, "lhr.yaml")))

	// A region that is one rotation behind accepts the token. A region that is two rotations behind
	// rejects it.
	s.Must(s.paths["dfw"].Set(testenv.Refuse))
	s.rotate()
	s.sees(s.keys, mainRegion, "iad")
	expect(s.probe(user, 0, "dfw", "iad"))
	s.rotate()
	s.sees(s.keys, mainRegion, "iad")
	expect(s.probe(user, 1, "dfw", "iad"), "sjc to dfw: refused (Unreachable) dfw: the Secret is Unreachable; see fernetcast --kubeconfig ")
	s.Must(s.paths["dfw"].Set(testenv.Pass))
	s.Exits(0, user, "probe", "dfw", "--wait", "1m")

	// iad's Secret stays Synced, but its Keystone has other keys.
	iad.Delay(time.Hour)
	own := shared.Keys.NewRepository(s.keys.Primary(), 3)
	s.Must(iad.Misuse(own))
	expect(s.probe(user, 1, "sjc", "dfw", "iad", "--matrix"), "dfw to iad: refused (Synced)", "iad to dfw: refused (Synced) iad: ", "iad to sjc: refused", "sjc to iad: refused (Synced) iad: ")

	// Keystone responds with 500 if a key is truncated.
	truncated := maps.Clone(s.keys)
	truncated["0"] = truncated["0"][:20]
	s.Must(iad.Misuse(truncated))
	expect(s.probe(user, 1, "iad"), "sjc to iad: failed (Synced) 500: ")
	iad.Stop()
	expect(s.probe(user, 1, "iad"), "sjc to iad: unreachable (Synced) ")

	listen, err := shared.Address()
	s.Must(err)
	process, err := user.Start("probe", "--listen", listen, "--every", "1s", "--from", mainRegion)
	s.Must(err)
	s.Cleanup(process.Kill)
	s.Until(func(ctx context.Context) error {
		metrics, err := testenv.Get(ctx, "http://"+listen+"/metrics")
		for _, want := range []string{`fernetcast_probe_result{from="sjc",result="accepted",to="dfw"} 1`, `fernetcast_probe_result{from="sjc",result="unreachable",to="iad"} 1`, `fernetcast_probe_last_accepted_timestamp_seconds{from="sjc",to="iad"} 0`} {
			if err == nil && !strings.Contains(string(metrics), want) {
				err = fmt.Errorf("the metrics lack %s", want)
			}
		}
		return err
	})
	process.Kill()
	if text := process.Stderr.String(); strings.Contains(text, "gAAAA") || strings.Contains(text, "not-a-secret") {
		t.Errorf("the log contains a token or the password: %s", text)
	}
}
