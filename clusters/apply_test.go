package clusters

import (
	"fmt"
	"sync"
	"testing"
	"time"
)

// While Apply creates a thousand clients, other calls hardly wait, because it creates them outside
// the lock. A busy machine can delay either side, so one good attempt is enough.
func TestApplyHoldsNobodyUp(t *testing.T) {
	const tries, remotes = 5, 1000
	set, _ := newSet()
	for try := range tries {
		var files []File
		for n := range remotes { // every attempt replaces all clients
			files = append(files, File{Name: fmt.Sprintf("remote-%d", n), Data: kubeconfigOf(t, fmt.Sprintf("token-%d-%d", n, try))})
		}
		done := make(chan struct{})
		var longest time.Duration
		var asking sync.WaitGroup
		asking.Go(func() {
			for {
				asked := time.Now()
				set.Names()
				_, err := set.Remote("remote-999")
				longest = max(longest, time.Since(asked))
				select {
				case <-done:
					if err != nil {
						t.Error(err)
					}
					return
				case <-time.After(time.Millisecond):
				}
			}
		})
		began := time.Now()
		set.Apply(files)
		took := time.Since(began)
		close(done)
		asking.Wait()
		t.Logf("Apply took %v, the longest wait %v", took, longest)
		if len(set.Names()) != remotes {
			t.Fatalf("%d remotes, not %d", len(set.Names()), remotes)
		}
		if longest < took/10 {
			return
		}
	}
	t.Errorf("in each of %d runs Names and Remote waited for a tenth of Apply and more", tries)
}
