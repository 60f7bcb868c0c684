//go:build linux

package node_test

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fernetcast/fernetcast/e2e/keystone"
	"github.com/fernetcast/fernetcast/e2e/testenv"
)

const (
	arrivals = 20
	// between is the interval between two rotations. It is long enough for the steps of `fernetcast
	// files`. The kubelet takes longer and delivers several rotations at once, so that twenty
	// rotations take less than 15 minutes.
	between = 4500 * time.Millisecond
	// manyKeys is the number of keys in a set. It is so high that the kubelet can skip twenty
	// rotations and still deliver each key.
	manyKeys = 32
)

// pods returns the Keystone pods with fernetcast in the main region.
func (s *stage) pods() []corev1.Pod {
	s.Helper()
	list, err := s.main.CoreV1().Pods(namespace).List(s.Ctx, metav1.ListOptions{LabelSelector: "application=keystone"})
	s.Must(err)
	return list.Items
}

// arrived holds the delays of all rotations in one Keystone, measured from the end of
// keystone-manage: until Keystone signs with the new primary, and until it accepts a token that is
// signed with the new staged key, which will be the next primary.
type arrived struct{ signs, takes []time.Duration }

// rotations measures the time from the end of keystone-manage until each region accepts a token
// that is signed with the new key. It compares Keystones that get their keys from the kubelet with
// those that get them from `fernetcast files`. Then it validates tokens during more rotations,
// while the kubelet is still delivering the keys of the measured rotations.
func (s *stage) rotations() {
	open := s.doors()
	told := s.arrival(open)
	s.traffic(open)
	told()
}

// arrival rotates twenty times and returns a function. This function waits until the kubelet has
// delivered the keys, and then logs and checks all results.
func (s *stage) arrival(open []door) (told func()) {
	base, err := s.issue(s.Ctx, one(open, mainRegion, "files"))
	s.Must(err)
	signed := primary(s.secret(s.main, namespace).Data)

	var mu sync.Mutex
	figures := map[string]*arrived{}
	note := func(d door, signs bool, took time.Duration) {
		mu.Lock()
		defer mu.Unlock()
		f := figures[d.String()]
		if f == nil {
			f = &arrived{}
			figures[d.String()] = f
		}
		if signs {
			f.signs = append(f.signs, took)
		} else {
			f.takes = append(f.takes, took)
		}
	}
	slow := map[string]chan waiting{}
	var ending, rotating sync.WaitGroup
	for _, d := range open {
		if d.way != "kubelet" {
			continue
		}
		queue := make(chan waiting, arrivals)
		slow[d.Pod] = queue
		ending.Go(func() {
			for w := range queue {
				s.await(d, w, 200*time.Millisecond)
				note(d, false, time.Since(w.sent))
			}
		})
	}
	for range arrivals {
		keys, sent := s.rotate(manyKeys)
		token, err := keystone.Reseal(base, signed, string(keys["0"]))
		s.Must(err)
		w := waiting{token, sent}
		for _, queue := range slow {
			queue <- w
		}
		for _, d := range []door{one(open, mainRegion, "files"), one(open, phx, "files")} {
			rotating.Go(func() {
				s.signs(d, primary(keys))
				note(d, true, time.Since(sent))
				s.await(d, w, 10*time.Millisecond)
				note(d, false, time.Since(sent))
			})
		}
		rotating.Wait()
		time.Sleep(time.Until(sent.Add(between)))
	}
	for _, queue := range slow {
		close(queue)
	}
	return func() {
		ending.Wait()
		s.judge(figures)
	}
}

func (s *stage) judge(figures map[string]*arrived) {
	var table strings.Builder
	for _, name := range slices.Sorted(maps.Keys(figures)) {
		f := figures[name]
		for _, row := range []struct {
			what string
			took []time.Duration
		}{{"signs with the new primary", f.signs}, {"takes a token of the new staged key", f.takes}} {
			if len(row.took) > 0 {
				fmt.Fprintf(&table, "\n| %s | %s | %v | %v |", name, row.what,
					testenv.Percentile(row.took, 50).Round(time.Millisecond), testenv.Percentile(row.took, 100).Round(time.Millisecond))
			}
		}
	}
	s.Logf("%d rotations: region and source of keys, event, p50, maximum%s", arrivals, table.String())
	for _, region := range []string{mainRegion, phx} {
		if p50 := testenv.Percentile(figures[region+" files"].signs, 50); p50 > time.Second {
			s.Errorf("%s signs with the new primary after %v (p50)", region, p50)
		}
	}
}

// waiting is a token that is not valid yet, and the time when its key was written.
type waiting struct {
	token string
	sent  time.Time
}

// await waits until a Keystone accepts a token.
func (s *stage) await(d door, w waiting, interval time.Duration) {
	ctx, cancel := context.WithTimeout(s.Ctx, soon)
	defer cancel()
	err := testenv.Until(ctx, interval, func(ctx context.Context) error {
		status, err := s.validate(ctx, d, w.token)
		if err == nil && status != http.StatusOK {
			err = fmt.Errorf("%s returned %d for a token that is signed with the new key", d, status)
		}
		return err
	})
	if err != nil {
		s.Error(err)
	}
}

// signs waits until a Keystone signs tokens with a key.
func (s *stage) signs(d door, key string) {
	ctx, cancel := context.WithTimeout(s.Ctx, soon)
	defer cancel()
	err := testenv.Until(ctx, 10*time.Millisecond, func(ctx context.Context) error {
		token, err := s.issue(ctx, d)
		if err == nil {
			_, err = keystone.Reseal(token, key, key)
		}
		return err
	})
	if err != nil {
		s.Errorf("%s: %v", d, err)
	}
}

// one returns the first Keystone in a region that gets its keys in the given way, such as "files".
func one(open []door, region, way string) door {
	i := slices.IndexFunc(open, func(d door) bool { return d.Region == region && d.way == way })
	return open[i]
}
