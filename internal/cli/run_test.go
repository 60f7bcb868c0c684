package cli

import (
	"context"
	"runtime/debug"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fernetcast/fernetcast/internal/mirror"
)

// The garbage collector runs less often until each remote has had its first sync, at most until
// startTime is over. If GOGC is set, its value always applies.
func TestCollectLess(t *testing.T) {
	const never = time.Hour
	for name, tc := range map[string]struct {
		gogc          string
		added, synced time.Duration
		ends          time.Duration // when the interval of collections returns to normal; never if GOGC is set
	}{
		"synced":     {"", 0, 5 * time.Second, 5 * time.Second},
		"added late": {"", 3 * time.Second, 5 * time.Second, 5 * time.Second},
		"a dead one": {"", 0, never, startTime},
		"none":       {"", never, never, startTime},
		"GOGC":       {"77", 0, 5 * time.Second, never},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("GOGC", tc.gogc)
			defer debug.SetGCPercent(debug.SetGCPercent(77))
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				status := func() (st mirror.Status) {
					switch since := time.Since(began); {
					case since < tc.added:
					case since < tc.synced:
						st.Remotes = []mirror.RemoteStatus{{State: mirror.StateSynced}, {State: mirror.StatePending}}
					default:
						st.Remotes = []mirror.RemoteStatus{{State: mirror.StateSynced}}
					}
					return st
				}
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				go collectLess(ctx, status)
				for range 40 {
					synctest.Wait()
					want := 77
					if since := time.Since(began); tc.ends != never && since < tc.ends {
						want = startPercent
					} else if tc.ends != never {
						want = gcPercent
					}
					if percent := debug.SetGCPercent(-1); percent != want {
						t.Errorf("after %v: %d %%, want %d %%", time.Since(began), percent, want)
					}
					debug.SetGCPercent(want)
					time.Sleep(time.Second)
				}
			})
		})
	}
}
