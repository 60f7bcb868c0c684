package regions

import (
	"fmt"
	"testing"

	"github.com/fernetcast/fernetcast/e2e/testenv"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/resourceversion"
)

// TestRewoundSameKeys restores the main region's etcd to an older state without --bump-revision, so
// resourceVersions repeat. The remotes already have the same keys, so fernetcast must not write.
// The next rotation must reach the remotes without a resync, although its resourceVersion is lower
// than those in the stamps and in the watch.
func TestRewoundSameKeys(t *testing.T) {
	r := newRewound(t)
	then := r.snapshot()
	for i := range 20 {
		r.edit(r.Home, "somebody", func(s *corev1.Secret) { s.Labels = map[string]string{"note": fmt.Sprint(i)} })
	}
	// Recreate the copies, so that their stamps have a version that the restore removes.
	for _, name := range r.names {
		r.Must(shared.Cluster(name).Delete(r.Ctx, r.NS))
	}
	r.everywhere(r.first)
	seen := r.follow(r.names...)
	lost, err := r.Home.Secret(r.Ctx, r.NS)
	r.Must(err)

	r.restore(then)
	r.run.allShow("Synced", "", r.names...)
	r.untouched(seen)
	next := r.rotate()
	if order, err := resourceversion.CompareResourceVersion(next.ResourceVersion, lost.ResourceVersion); err != nil || order >= 0 {
		t.Fatalf("the rotation has version %s, want one before %s", next.ResourceVersion, lost.ResourceVersion)
	}
	r.everywhere(next.Keys)
	for _, h := range seen {
		h.only(next.Keys)
	}
}

// TestRewoundByOneRotation restores an etcd snapshot from before the last rotation. The remotes
// must be Held until the main region rotates again. After that, its primary is the same as theirs,
// and the lost staged key has not signed any tokens.
func TestRewoundByOneRotation(t *testing.T) {
	r := newRewound(t)
	seen := r.follow(r.names...)
	then := r.snapshot()
	lost := r.rotate().Keys
	r.everywhere(lost)
	r.restore(then)
	r.run.allShow("Held", "keys (primary 8) do not continue", r.names...)
	r.says(1, []string{"discontinuous", "nothing was changed"}, "push")
	for _, h := range seen {
		h.only(lost)
	}
	again, next := r.rotate().Keys, r.rotate().Keys
	r.everywhere(next)
	r.run.stays()
	for _, h := range seen {
		h.neverBack(r.first, lost, again, next)
		h.fenced()
	}
}

// TestRewoundByTwoRotations restores an etcd snapshot from before the last two rotations. The main
// region's next keys then differ from keys with which the remotes sign. However often the main
// region rotates, the remotes must keep their keys until an operator decides.
func TestRewoundByTwoRotations(t *testing.T) {
	r := newRewound(t)
	then := r.snapshot()
	r.rotate()
	r.everywhere(r.rotate().Keys)
	seen := r.follow(r.names...)
	r.restore(then)
	r.run.allShow("Held", "keys (primary 8) do not continue", r.names...)
	var last testenv.Rotation
	for primary := 9; primary <= 18; primary++ { // rotate until the key sets have no index in common
		last = r.rotate()
		r.run.sees(last.ResourceVersion)
		r.run.allShow("Held", fmt.Sprintf("keys (primary %d) do not continue", primary), r.names...)
	}
	r.run.allShow("Held", "Discontinuous", r.names...)
	r.says(1, []string{"MAIN", "discontinuous", "nothing was changed", " push dfw --force"}, "status")
	r.says(1, []string{"discontinuous"}, "push")
	r.untouched(seen)
	r.run.stays()

	r.exits(0, "push", "--force")
	r.everywhere(last.Keys)
	next := r.rotate()
	r.everywhere(next.Keys)
	for _, h := range seen {
		h.only(last.Keys, next.Keys)
		h.fenced()
	}
}

// rewound is a world in which the remotes have the keys, and the main region's etcd will be
// restored.
type rewound struct {
	*world
	names []string
	run   *replica
	first testenv.Repository
	// wall is the proxy between fernetcast and the main region.
	wall *testenv.Proxy
}

func newRewound(t *testing.T) *rewound {
	t.Helper()
	w, names := newApart(t)
	r := &rewound{world: w, names: names, first: w.keys()}
	r.promote()
	r.join(names...)
	var err error
	r.wall, err = w.Home.Proxy()
	r.Must(err)
	t.Cleanup(r.wall.Close)
	r.run = r.runProgram(r.Raced().With(r.flagsVia(r.wall.URL())...), "--resync", "1h")
	r.everywhere(r.first)
	return r
}

// everywhere waits until all remotes have the keys and are Synced.
func (r *rewound) everywhere(keys testenv.Repository) {
	r.Helper()
	r.equal(testenv.Soon, keys, r.names...)
	r.run.allShow("Synced", "", r.names...)
}

func (r *rewound) snapshot() testenv.Snapshot {
	r.Helper()
	s, err := r.Home.Etcd.Snapshot(r.Ctx)
	r.Must(err)
	r.back(r.Home)
	return s
}

// restore restores the main region's etcd while the API server is down, as Kubernetes requires.
// fernetcast can't connect until both are running again. Then its watch resumes from a
// resourceVersion that no longer exists.
func (r *rewound) restore(s testenv.Snapshot) {
	r.Helper()
	r.Must(r.wall.Set(testenv.Refuse))
	r.Home.Kill()
	r.Must(r.Home.Etcd.Restore(r.Ctx, s))
	r.Must(r.Home.Restart(r.Ctx))
	r.Must(r.wall.Set(testenv.Pass))
	secret, err := r.Home.Secret(r.Ctx, r.NS)
	r.Must(err)
	r.run.sees(secret.ResourceVersion)
}
