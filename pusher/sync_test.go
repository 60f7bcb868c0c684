package pusher

import (
	"testing"

	"github.com/fernetcast/fernetcast/internal/mirror"
	"k8s.io/apimachinery/pkg/types"
)

// A kubeconfig that points home is told by the uid, and the source may be another
// object than was seen: restored from a remote's copy it looks like one that is
// just one rotation behind. What was never synced is not written over without
// the live read; what was needs none.
func TestUnknownObjectTakesTheLiveRead(t *testing.T) {
	src, dfw := &source{}, &remote{}
	s := Sync{Source: src}
	s.Run(t.Context(), dfw, true)
	for what, reads := range map[string]int{"far": 0, "": 1, "another": 1} {
		t.Run(what, func(t *testing.T) {
			s.Known = "far"
			s.Run(t.Context(), dfw, true)
			src.rotate()
			before := src.reads
			s.Known = types.UID(what)
			if o := s.Run(t.Context(), dfw, false); len(o.Writes) != 1 || src.reads != before+reads {
				t.Errorf("%d writes after %d live reads, want 1 after %d", len(o.Writes), src.reads-before, reads)
			}
		})
	}
}

// The last of the tries may succeed: then the remote is Synced, at once.
func TestLastTrySucceeds(t *testing.T) {
	src, dfw := &source{}, &remote{}
	s := Sync{Source: src}
	s.Run(t.Context(), dfw, true)
	tries := 0
	dfw.rival = func(r *remote) {
		r.mu.Lock()
		defer r.mu.Unlock()
		if tries++; tries < conflicts {
			r.put(r.secret)
		}
	}
	src.rotate()
	if o := s.Run(t.Context(), dfw, true); o.Decision.State != mirror.StateSynced || o.Overtaken || tries != conflicts {
		t.Errorf("%s %s after %d tries, overtaken: %v", o.Decision.State, o.Decision.Detail, tries, o.Overtaken)
	}
}
