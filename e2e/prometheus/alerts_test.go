package prometheus

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	promv1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"
	corev1 "k8s.io/api/core/v1"

	"github.com/fernetcast/fernetcast/e2e/testenv"
)

var picture = flag.String("picture", "", "draw the results that Prometheus recorded in TestLagUntilResolved into this file")

// TestLagUntilResolved follows alerts from the first lag to their end. One of two remotes is cut
// off for two rotations. Both of its alerts must become pending, fire, and end when the remote
// returns. Those of the other remote must never fire.
func TestLagUntilResolved(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	way, err := shared.Cluster(elsewhere).Proxy()
	s.Must(err)
	t.Cleanup(way.Close)
	well, lagging := s.place(), s.place()
	s.join("well", elsewhere, testenv.Access{Namespace: well, Issued: time.Now().Add(-20 * time.Hour), Expires: time.Now().Add(3 * time.Hour)})
	s.join("lagging", elsewhere, testenv.Access{Namespace: lagging, Server: way.URL()})
	var replicas []string
	for range 2 {
		_, address := s.StartRun(s, "--resync", "1s", "--backoff-max", "2s")
		replicas = append(replicas, address)
	}
	// Replace each minute in the rules by a second or two.
	p := s.prometheus(s.rules(
		change{`(?m)^ *interval: .*\n`, ""}, change{`time\(\) - 600\b`, "time() - 20"}, change{`\[10m\]`, "[20s]"},
		change{`for: 5m`, "for: 5s"}, change{`for: 1m`, "for: 2s"},
	), job{name: "fernetcast", targets: replicas, cluster: mainRegion})
	for _, address := range replicas {
		s.show(address, map[string]string{"well": "Synced", "lagging": "Synced"})
	}

	s.pause()
	s.Must(way.Set(testenv.Refuse))
	s.arrives(well, s.rotate())
	s.pause()
	p.returns(`fernetcast_remote_generations_behind{remote="lagging"} == 1`)
	s.arrives(well, s.rotate())
	alerts := []string{"FernetcastRegionRefusesTokens", "FernetcastRegionNotSynced"}
	for _, alert := range alerts {
		p.fires(alert, "lagging", "Unreachable 2")
	}
	s.Must(way.Set(testenv.Pass))
	last := s.rotate()
	s.arrives(lagging, last)
	s.Until(func(ctx context.Context) error {
		left, err := p.instant(ctx, fmt.Sprintf(`ALERTS{alertname=~%q}`, strings.Join(alerts, "|")))
		if err == nil && len(left) > 0 {
			err = fmt.Errorf("%v still exist", left)
		}
		return err
	})
	for _, alert := range alerts {
		p.wasPendingFirst(alert, "lagging")
	}
	// The token of the remote called well expires in 3 hours, and was issued 20 hours ago.
	p.fires("FernetcastCredentialsExpire", "well", "expire in 2")
	ever, err := p.since(s.Ctx, `ALERTS{alertstate="firing"}`)
	s.Must(err)
	fired := map[string]bool{}
	for _, stream := range ever {
		fired[fmt.Sprint(stream.Metric["alertname"], " ", stream.Metric["remote"])] = true
	}
	want := []string{
		"FernetcastCredentialsExpire well",
		"FernetcastRegionNotSynced lagging", "FernetcastRegionRefusesTokens lagging",
	}
	if got := slices.Sorted(maps.Keys(fired)); !slices.Equal(got, want) {
		t.Errorf("these alerts fired: %q", got)
	}
	if *picture != "" {
		s.pause()
		s.Must(shared.Cluster(elsewhere).Edit(s.Ctx, well, rival, func(secret *corev1.Secret) { secret.Data["99"] = []byte(shared.Keys.New()) }))
		s.arrives(well, last)
		s.pause()
		s.Must(p.draw(*picture))
	}
}

// pause waits, so that two events are separate in the picture.
func (s *stage) pause() {
	if *picture != "" {
		time.Sleep(12 * time.Second)
	}
}

// arrives waits until a copy has exactly these keys.
func (s *stage) arrives(ns string, keys testenv.Repository) {
	s.Helper()
	s.Until(func(ctx context.Context) error { return shared.Cluster(elsewhere).Holds(ctx, ns, keys) })
}

// fires waits until an alert fires for a remote. The alert's summary must name the remote, and its
// description, which queries Prometheus, must contain the text says.
func (p *server) fires(name, remote, says string) {
	p.s.Helper()
	p.s.Until(func(ctx context.Context) error {
		result, err := p.Alerts(ctx)
		if err != nil {
			return err
		}
		for _, alert := range result.Alerts {
			if alert.State != promv1.AlertStateFiring || alert.Labels["alertname"] != model.LabelValue(name) || alert.Labels["remote"] != model.LabelValue(remote) {
				continue
			}
			if told := alert.Annotations; !strings.Contains(string(told["summary"]), remote) || !strings.Contains(string(told["description"]), says) {
				return fmt.Errorf("the alert's text %q does not contain %s or %q", told, remote, says)
			}
			return nil
		}
		return errors.New(name + " does not fire")
	})
}

// wasPendingFirst checks that an alert was pending before it fired. Otherwise, a brief fault could
// page someone.
func (p *server) wasPendingFirst(name, remote string) {
	p.s.Helper()
	first := map[model.LabelValue]model.Time{}
	ever, err := p.since(p.s.Ctx, fmt.Sprintf("ALERTS{alertname=%q, remote=%q}", name, remote))
	p.s.Must(err)
	for _, stream := range ever {
		first[stream.Metric["alertstate"]] = stream.Values[0].Timestamp
	}
	pending, ok := first["pending"]
	if firing := first["firing"]; !ok || !pending.Before(firing) {
		p.s.Errorf("%s was pending since %v, and firing since %v", name, pending, firing)
	}
}
