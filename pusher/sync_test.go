package pusher

import (
	"context"
	"testing"

	"github.com/fernetcast/fernetcast/internal/mirror"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
)

// The UID shows that a kubeconfig points to the main region. But the source can be a new object
// that was not seen yet: restored from a remote's copy, it looks like a copy that is one rotation
// behind. So an object that was never synced is written only after a live read. A known object
// needs no live read.
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

// If the last attempt succeeds, the remote is immediately Synced.
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

// A sync decides once before its write, once after it, and once more after a live read. If
// the decision does not depend on the copy, the remote is not read.
func TestDecisions(t *testing.T) {
	src, dfw, iad := &source{}, &remote{}, &remote{}
	(Sync{Source: src}).Run(t.Context(), dfw, true)
	src.rotate()
	s := Sync{Source: src, Known: "far"}
	standby := Sync{Source: constant{mirror.ReadSource(dfw.secret)}}
	for _, tc := range []struct {
		name              string
		o                 *Outcome
		decisions, writes int
		looked            bool
	}{
		{"look", s.Look(t.Context(), dfw), 1, 0, false},
		{"plain push", s.Run(t.Context(), dfw, false), 2, 1, false},
		{"nothing to do", s.Run(t.Context(), dfw, false), 1, 0, false},
		{"resync", s.Run(t.Context(), dfw, true), 1, 0, true},
		{"create, with the live read", s.Run(t.Context(), iad, true), 3, 1, true},
		{"standby", standby.Run(t.Context(), iad, true), 0, 0, false},
		{"standby, look", standby.Look(t.Context(), iad), 0, 0, false},
	} {
		if tc.o.decisions != tc.decisions || len(tc.o.Writes) != tc.writes || tc.o.Looked != tc.looked {
			t.Errorf("%s: %d decisions, %d writes, looked: %v; want %d, %d, %v",
				tc.name, tc.o.decisions, len(tc.o.Writes), tc.o.Looked, tc.decisions, tc.writes, tc.looked)
		}
	}
}

// If the source is rotated while the remote is read, the new keys are written.
func TestRotationDuringALook(t *testing.T) {
	src, dfw := &source{}, &remote{}
	s := Sync{Source: src, Known: "far"}
	s.Run(t.Context(), dfw, true)
	src.rotate()
	if o := s.Run(t.Context(), rotating{dfw, src}, true); len(o.Writes) != 1 || !dfw.holds(2) {
		t.Errorf("%d writes, want one of the newest keys", len(o.Writes))
	}
}

// rotating rotates the source while the remote is read.
type rotating struct {
	*remote
	src *source
}

func (r rotating) Look(ctx context.Context) (mirror.Copy, error) {
	r.src.rotate()
	return r.remote.Look(ctx)
}

// If a remote does not respond, that is a failure, except in a standby region, which
// decides without the copy. Both outcomes include the error.
func TestLookWithoutAnAnswer(t *testing.T) {
	src, dfw := &source{}, &remote{}
	main := Sync{Source: src}
	main.Run(t.Context(), dfw, true)
	standby := Sync{Source: constant{mirror.ReadSource(dfw.secret)}}
	dfw.fail = apierrors.NewServiceUnavailable("down")
	for want, s := range map[mirror.State]Sync{mirror.StateUnreachable: main, mirror.StateStandby: standby} {
		if o := s.Look(t.Context(), dfw); o.Decision.State != want || o.Err == nil {
			t.Errorf("%s, error %v; want %s and an error", o.Decision.State, o.Err, want)
		}
	}
}
