package repository

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fernetcast/fernetcast/internal/keyset"
	"github.com/fernetcast/fernetcast/internal/logonce"
	"github.com/fernetcast/fernetcast/internal/mirror"
)

const (
	// fillFrom is how long the first fill waits for the API before the mounted Secret
	// counts.
	fillFrom = 2 * time.Second
	// silentFor is how long the API has not answered when the mounted Secret counts
	// again.
	silentFor = time.Minute
	// lookEvery is how often the files are looked at: somebody else may write there.
	lookEvery = 500 * time.Millisecond
)

// Source is the Secret of the Keeper's own cluster, as the API shows it. It may be
// asked concurrently.
type Source interface {
	// Seen is the Secret as last seen.
	Seen() (mirror.Source, bool)
	// Read says whether it was ever seen.
	Read() bool
	// Err is why it could not be read at the last try; nil if it could.
	Err() error
}

// Options are a [Keeper]'s.
type Options struct {
	// Directory is Keystone's key repository. Its parent directory has to exist.
	Directory string
	// Mount is a volume of the same Secret; "" for none.
	Mount string
	// Pause is how long to wait between two steps, longer than Keystone takes to load
	// its keys once.
	Pause  time.Duration
	Source Source
	Log    *slog.Logger
	// Arrived is told how long it took from [Keeper.SourceChanged] until the new
	// primary was in the repository.
	Arrived func(time.Duration)
}

// Status is what a Keeper knows of its repository.
type Status struct {
	// Primary is the index of the primary key; 0 where there is none.
	Primary int
	// LastMatch is when the repository was last seen to have the keys that the API
	// shows; zero for never.
	LastMatch time.Time
}

// Keeper keeps one key repository. Its methods may be called concurrently; Run only
// once.
type Keeper struct {
	opts Options
	poke chan struct{}

	// Used by Run alone.
	started, answered time.Time  // when Run began, and when the API last answered
	want              keyset.Set // the newest usable set; zero before the first
	pending           time.Time  // when the change that is to arrive was seen; zero for none
	said              said

	mu      sync.Mutex
	status  Status
	changed time.Time // when the first change was seen that Run has not; zero for none
}

// said is what was logged last, by subject.
type said struct{ write, written, repaired, strays, source, mount logonce.Text }

// New makes a Keeper that has looked at nothing.
func New(opts Options) *Keeper {
	return &Keeper{opts: opts, poke: make(chan struct{}, 1)}
}

// Status is what was seen last.
func (k *Keeper) Status() Status {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.status
}

// Ready says whether the repository holds a set with a primary, so that Keystone can
// start.
func (k *Keeper) Ready() bool { return k.Status().Primary > 0 }

// SourceChanged says that the Secret is another. It does not block.
func (k *Keeper) SourceChanged() {
	k.mu.Lock()
	if k.changed.IsZero() {
		k.changed = time.Now()
	}
	k.mu.Unlock()
	select {
	case k.poke <- struct{}{}:
	default:
	}
}

// Run keeps the repository until ctx is done; with once, until it holds the set that
// the API or, in its place, the mounted Secret shows, or any while both are silent. It
// leaves the files as they are. What goes wrong is logged, and tried again.
//
// It says whether, with once, that came to be.
func (k *Keeper) Run(ctx context.Context, once bool) bool {
	k.started = time.Now()
	k.answered = k.started
	for ctx.Err() == nil {
		done, err := k.keep(ctx)
		switch {
		case ctx.Err() != nil || !k.said.write.ErrorChanged(err):
		case err == nil:
			k.opts.Log.Info("the key repository can be written again")
		default:
			k.opts.Log.Warn("the key repository cannot be kept; trying again", "error", err)
		}
		if once && (done || k.silent() && k.Ready()) {
			return true
		}
		select {
		case <-ctx.Done():
		case <-k.poke:
		case <-time.After(lookEvery):
		}
	}
	return false
}

// keep looks once, and writes what differs. It says whether the repository holds what
// it is to hold.
func (k *Keeper) keep(ctx context.Context) (done bool, err error) {
	d, err := open(k.opts.Directory)
	if err != nil {
		return false, err
	}
	defer d.close()
	before, err := d.look()
	if err != nil {
		return false, err
	}
	k.show(before)
	k.takeChange()
	shown := k.choose(before.fingerprints())
	if len(k.want.Fingerprints()) == 0 {
		return false, nil
	}
	after := before
	switch {
	case before.equal(k.want) && before.staged:
		if err := d.unstage(); err != nil {
			return false, err
		}
	case !before.equal(k.want):
		began := time.Now()
		if err := d.replace(ctx, before, k.want, k.opts.Pause, k.primed); err != nil {
			return false, err
		}
		if after, err = d.look(); err != nil {
			return false, err
		}
		k.tell(before, time.Since(began))
	}
	k.arrived(after, shown)
	return after.equal(k.want), nil
}

// tell logs a set once, however often somebody else undoes it.
func (k *Keeper) tell(before contents, took time.Duration) {
	if keys := k.want.Fingerprints().String(); k.said.written.Changed(keys) {
		k.opts.Log.Info("the key repository was written", "primary", k.want.Fingerprints().Primary(), "keys", keys, "took", took)
		return
	}
	p := planned(before, k.want.Data())
	if names := strings.Join(slices.Concat(p.above, p.staged, p.gone), ", "); k.said.repaired.Changed(names) {
		k.opts.Log.Warn("somebody else has changed the key repository, and it was repaired", "indices", names)
	}
}

// show keeps what the repository holds, and tells of files that are not ours.
func (k *Keeper) show(c contents) {
	k.mu.Lock()
	k.status.Primary = c.fingerprints().Primary()
	k.mu.Unlock()
	if names := strings.Join(c.strays, ", "); k.said.strays.Changed(names) && names != "" {
		k.opts.Log.Warn("other files are in the key repository, and Keystone opens them at each load: remove them", "files", names)
	}
}

// takeChange makes a change that was seen the one that is to arrive.
func (k *Keeper) takeChange() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.pending.IsZero() {
		k.pending = k.changed
	}
	k.changed = time.Time{}
}

// primed notes that the primary of a change is in its place.
func (k *Keeper) primed() {
	if !k.pending.IsZero() {
		k.opts.Arrived(time.Since(k.pending))
	}
	k.pending = time.Time{}
}

// arrived notes what the repository holds now.
func (k *Keeper) arrived(c contents, shown keyset.Set) {
	k.show(c)
	if !c.equal(shown) {
		return
	}
	k.pending = time.Time{} // that of a change which left the keys as they are
	k.mu.Lock()
	defer k.mu.Unlock()
	k.status.LastMatch = time.Now()
}
