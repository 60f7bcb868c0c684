package prometheus

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fernetcast/fernetcast/e2e/testenv"
)

// TestFleet runs two replicas, remotes in every state, a standby, and a Prometheus. All outputs
// must agree, and every query in the dashboard and the alerts must return data.
func TestFleet(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	f := newFleet(s)
	standby := &stage{Stage: s.Stage, Site: s.at(elsewhere)}
	standby.join(mainRegion, mainRegion, testenv.Access{Namespace: s.NS})
	_, standing := standby.StartRun(t)
	_, keeping := s.StartFiles(t)
	probing := s.probe(mainRegion, elsewhere)
	// Remove the shipped intervals, which are too long for a test.
	rules := s.rules(change{`(?m)^ *interval: .*\n`, ""})
	p := f.prometheus(rules,
		job{name: "fernetcast", targets: f.addresses(), cluster: mainRegion},
		job{name: "standby", targets: []string{standing}, cluster: elsewhere},
		job{name: "files", targets: []string{keeping}, cluster: mainRegion},
		job{name: "probe", targets: []string{probing}, cluster: mainRegion},
		job{name: "bare", targets: append(f.addresses(), probing)})
	for _, r := range f.replicas {
		f.show(r.address, r.states)
	}
	// A range query detects a change only if Prometheus has scraped the old value first.
	p.returns("fernetcast_source_primary_index")
	f.rotate()
	p.returns(`changes(fernetcast_source_primary_index{cluster="` + mainRegion + `"}[1m]) > 0`)
	p.returns(`fernetcast_remote_state{state="Standby"}`)

	for _, r := range f.replicas {
		f.agrees(r)
		f.promtoolIsSilent(r.address)
	}
	f.promtoolIsSilent(keeping)
	f.promtoolIsSilent(probing)
	f.agrees(replica{standby.Site, standing, map[string]string{mainRegion: "Standby"}})
	p.dashboardReturnsData()
	p.eachRegionOnce(f.states)
	p.rulesKnowTheMetrics(rules)
	p.noKeyInSeries(append(f.addresses(), keeping))
	f.goesAway(p, "gone")
}

// probe starts a probe of these regions, and returns the address of its metrics.
func (s *stage) probe(regions ...string) string {
	s.Helper()
	address, err := shared.Address()
	s.Must(err)
	program := s.Shipped().WithEnv(testenv.Identity(s.T, "", regions...)...)
	process, err := program.Start("probe", "--listen", address, "--every", "1s")
	s.Must(err)
	s.Cleanup(process.Kill)
	return address
}

func (f *fleet) promtoolIsSilent(address string) {
	f.Helper()
	_, text, err := metrics(f.Ctx, address)
	f.Must(err)
	check := exec.CommandContext(f.Ctx, "promtool", "check", "metrics")
	check.Stdin = strings.NewReader(text)
	if said, err := check.CombinedOutput(); err != nil || len(bytes.TrimSpace(said)) > 0 {
		f.Errorf("promtool check metrics: %v\n%s", err, said)
	}
}

// noKeyInSeries checks that neither Prometheus nor /metrics contains a key.
func (p *server) noKeyInSeries(addresses []string) {
	p.s.Helper()
	series, _, _, err := p.Series(p.s.Ctx, []string{`{__name__=~".+"}`}, p.started, time.Now())
	if err != nil || len(series) < 100 {
		p.s.Fatalf("%d series, %v", len(series), err)
	}
	shared.Keys.NoLeaks(p.s, fmt.Sprint(series))
	for _, address := range addresses {
		_, text, err := metrics(p.s.Ctx, address)
		p.s.Must(err)
		shared.Keys.NoLeaks(p.s, text)
	}
}

// goesAway removes a remote's kubeconfig, and checks that the remote's series end.
func (f *fleet) goesAway(p *server, name string) {
	f.Helper()
	for _, r := range f.replicas {
		f.Must(os.Remove(filepath.Join(r.Clusters, name+".yaml")))
	}
	f.Until(func(ctx context.Context) error {
		for _, address := range f.addresses() {
			st, err := testenv.Statusz(ctx, address)
			if err != nil {
				return err
			}
			if st.Remote(name) != nil {
				return errors.New("/statusz still has the remote")
			}
		}
		return nil
	})
	// For up to a second, /metrics is served from a cache.
	time.Sleep(time.Second)
	for _, address := range f.addresses() {
		_, text, err := metrics(f.Ctx, address)
		if err != nil || strings.Contains(text, fmt.Sprintf("remote=%q", name)) {
			f.Errorf("/metrics still shows %s, or %v", name, err)
		}
	}
	f.Until(func(ctx context.Context) error {
		left, err := p.instant(ctx, fmt.Sprintf("{remote=%q, __name__=~%q}", name, "fernetcast_.+"))
		if err == nil && len(left) > 0 {
			err = fmt.Errorf("Prometheus has %v", left)
		}
		return err
	})
}
