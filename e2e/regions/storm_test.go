package regions

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/fernetcast/fernetcast/e2e/testenv"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

const (
	// stormTime is how long a rival keeps rewriting a remote's Secret. It writes once every
	// stormBeat.
	stormTime = 5 * time.Second
	stormBeat = 20 * time.Millisecond
	// afterStorm limits how long it takes afterward until the remote has the right keys, with
	// default flags.
	afterStorm = 10 * time.Second
	// handful limits fernetcast's writes during a storm: the first sync, an immediate repair, and
	// one write for each turn of the backoff. Backoff from 200 ms has at most nine turns in 5 s.
	handful = 12
)

// TestStorm checks a rival that rewrites a remote's Secret fifty times a second. Many of
// fernetcast's writes get conflicts, and over a slow connection, all of them do. fernetcast must
// write only a few times, and name the rival. Soon after the rival stops, the remote must have the
// right keys.
func TestStorm(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	keys := w.keys()
	w.promote()
	w.join("iad")
	outposts := []*outpost{w.outpost("near", "dfw"), w.outpost("far", "dfw")}
	run := w.run()
	for _, o := range outposts {
		w.arrived(o.history, keys)
		run.shows(o.region, "Synced", "")
	}
	outposts[1].Spoil(slow(3 * stormBeat))
	seen := w.follow("iad")["iad"]
	theirs := shared.Keys.NewRepository(5, 3)
	var storms sync.WaitGroup
	for _, o := range outposts {
		storms.Go(func() { o.storm(theirs) })
	}
	for _, o := range outposts {
		run.shows(o.region, "Contested", rival)
	}
	storms.Wait()
	ended := time.Now()
	for _, o := range outposts {
		w.Within(afterStorm-time.Since(ended), func(ctx context.Context) error {
			secret, err := o.cluster.Secret(ctx, o.ns)
			if err == nil && !keys.Equal(secret.Data) {
				err = fmt.Errorf("%s has different keys", o.region)
			}
			return err
		})
		ours := 0
		for _, v := range o.since() {
			if keys.Equal(v.Keys()) {
				ours++
			}
		}
		if ours > handful {
			t.Errorf("%s was written %d times, want %d at most", o.region, ours, handful)
		}
		t.Logf("%s was written %d times", o.region, ours)
	}
	seen.untouched()
	rotation := w.rotate()
	for _, h := range []*history{seen, outposts[0].history, outposts[1].history} {
		w.within(testenv.Soon, h, rotation)
		h.fenced()
	}
}

// storm rewrites the outpost's Secret for stormTime, whatever other writers do.
func (o *outpost) storm(keys testenv.Repository) {
	ctx, cancel := context.WithTimeout(o.w.Ctx, stormTime)
	defer cancel()
	data, err := json.Marshal(keys)
	if err != nil {
		o.w.Error(err)
		return
	}
	beat := time.NewTicker(stormBeat)
	defer beat.Stop()
	for n := 0; ctx.Err() == nil; n++ {
		patch := fmt.Appendf(nil, `{"metadata":{"labels":{"beat":"%d"}},"data":%s}`, n, data)
		_, err := o.cluster.Client().CoreV1().Secrets(o.ns).
			Patch(ctx, testenv.SecretName, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: rival})
		if err != nil && ctx.Err() == nil {
			o.w.Errorf("writing as the rival: %v", err)
		}
		select {
		case <-beat.C:
		case <-ctx.Done():
		}
	}
}

// slow returns a function that delays every request to the API server by d.
func slow(d time.Duration) func(http.Handler) http.Handler {
	return func(honest http.Handler) http.Handler {
		return http.HandlerFunc(func(answer http.ResponseWriter, r *http.Request) {
			select {
			case <-time.After(d):
			case <-r.Context().Done():
			}
			honest.ServeHTTP(answer, r)
		})
	}
}
