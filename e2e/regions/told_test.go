package regions

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fernetcast/fernetcast/e2e/testenv"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// events returns the events about the main region's Secret.
func (w *world) events(ctx context.Context) ([]eventsv1.Event, error) {
	list, err := w.Home.Client().EventsV1().Events(w.NS).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	return list.Items, nil
}

// tells waits until an event with the given reason contains the text. There must be at most one
// such event in each 10-minute window.
func (w *world) tells(reason, text string) {
	w.Helper()
	w.Until(func(ctx context.Context) error {
		events, err := w.events(ctx)
		times := map[time.Time]int{}
		for _, e := range events {
			if e.Reason == reason && strings.Contains(e.Note, text) {
				times[e.EventTime.UTC().Truncate(10*time.Minute)]++
			}
		}
		if err == nil && len(times) == 0 {
			err = fmt.Errorf("no event %s contains %q", reason, text)
		}
		for at, n := range times {
			if n > 1 {
				w.Errorf("%d events %s contain %q since %v", n, reason, text, at)
			}
		}
		return err
	})
}

// noLeaksElsewhere searches the metrics of run, and the events about the main region's Secret, for
// keys. It skips either if its server no longer responds.
func (r *replica) noLeaksElsewhere() {
	ctx, cancel := context.WithTimeout(context.Background(), testenv.Soon)
	defer cancel()
	if text, err := testenv.Get(ctx, "http://"+r.address+"/metrics"); err == nil {
		r.w.noLeaks(string(text))
	}
	if !r.w.Home.Process().Running() {
		return
	}
	if events, err := r.w.events(ctx); err == nil {
		text, err := json.Marshal(events)
		r.w.Must(err)
		r.w.noLeaks(string(text))
	}
}

// TestEvents checks the events about the main region's Secret, which the sidecar creates with its
// own permissions. The replica that made a write must report it. A fact that all replicas see must
// cause only one event. A rotation must cause only one event for all remotes.
func TestEvents(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.keys()
	if _, err := shared.Cluster("iad").Put(w.Ctx, w.NS, shared.Keys.NewRepository(3, 3)); err != nil {
		t.Fatal(err)
	}
	w.join("dfw", "iad")
	w.joinAs("ord", testenv.Access{Role: testenv.NoRole})
	w.promote() // pushes to dfw and iad, but commands create no events
	first, second := w.run(), w.run()
	first.shows("ord", "Denied", "")
	w.tells("Denied", "ord: 403")

	w.rotate()
	w.tells("KeysPushed", "primary 9 are in 2 of 3 remotes; not in ord (Denied)")

	w.Must(shared.Cluster("dfw").Delete(w.Ctx, w.NS))
	w.tells("DriftRepaired", "dfw: its Secret is missing")

	w.Must(os.Remove(filepath.Join(w.Clusters, "iad.yaml")))
	first.forgets("iad")
	second.forgets("iad")
	w.Must(shared.Cluster("iad").Delete(w.Ctx, w.NS))
	w.join("iad")
	w.tells("Adopted", "iad: the Secret was missing and was created")

	w.Must(w.Home.Delete(w.Ctx, w.NS))
	w.tells("Held", "source: the Secret does not exist")

	events, err := w.events(w.Ctx)
	w.Must(err)
	for _, e := range events {
		about := e.Regarding
		if about.Kind != "Secret" || about.Name != testenv.SecretName || about.Namespace != w.NS || e.ReportingController != "fernetcast" {
			t.Errorf("event %s is about %+v, by %s", e.Reason, about, e.ReportingController)
		}
	}
}
