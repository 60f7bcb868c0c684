package repository

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/fernetcast/fernetcast/internal/keyset"
	"github.com/fernetcast/fernetcast/internal/logonce"
	"github.com/fernetcast/fernetcast/internal/mirror"
)

const (
	// fillFrom is how long the first fill waits for the API before it uses the mounted Secret.
	fillFrom = 2 * time.Second
	// silentFor is how long the API must be silent before the mounted Secret is used after the
	// first fill.
	silentFor = time.Minute
	// lookEvery is the interval between checks of the files, because other processes may change
	// them.
	lookEvery = 500 * time.Millisecond
	// logEvery is the minimum interval between log lines about changes by other processes.
	logEvery = time.Minute
)

// A Source provides the Secret in the Keeper's own cluster, as last read from the API. Its methods
// must be safe for concurrent use.
type Source interface {
	// Seen returns the last known version of the Secret, and reports whether it is fresh.
	Seen() (mirror.Source, bool)
	// Read reports whether the Secret has been read at least once.
	Read() bool
	// Err returns the error of the last attempt to read the Secret, or nil if it succeeded.
	Err() error
}

// Options configure a [Keeper].
type Options struct {
	// Directory is Keystone's key repository. Its parent directory must exist.
	Directory string
	// Mount is the directory where the same Secret is mounted as a volume, or "" if it isn't
	// mounted.
	Mount string
	// Pause is the delay between two steps of an update. It must be longer than Keystone takes to
	// load its keys.
	Pause  time.Duration
	Source Source
	Log    *slog.Logger
	// Arrived is called when a new primary is in the repository, with the time since
	// [Keeper.SourceChanged].
	Arrived func(time.Duration)
}

// Status is the state of a Keeper's repository.
type Status struct {
	// Primary is the index of the primary; 0 if there is none.
	Primary int
	// LastMatch is the last time when the repository had exactly the keys in the API, or zero if it
	// never did.
	LastMatch time.Time
}

// A Keeper keeps one key repository up to date. Its methods are safe for concurrent use, but Run
// must be called only once.
type Keeper struct {
	opts Options
	wake chan struct{}

	// Only Run uses the following fields.
	started, answered time.Time  // when Run started, and when the API last answered
	want              keyset.Set // the newest usable key set; zero until there is one
	pending           time.Time  // when the change that Run is writing was seen; zero if there is none
	said              said

	mu      sync.Mutex
	status  Status
	changed time.Time // when the oldest change that Run hasn't handled was seen; zero if there is none
}

// said stores the last logged text of each subject.
type said struct{ write, written, repaired, strays, source, mount logonce.Text }

// New returns a Keeper, which reads nothing before Run is called.
func New(opts Options) *Keeper {
	return &Keeper{opts: opts, wake: make(chan struct{}, 1)}
}

// Status returns the current state of the repository.
func (k *Keeper) Status() Status {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.status
}

// Ready reports whether the repository has a primary, so that Keystone can start.
func (k *Keeper) Ready() bool { return k.Status().Primary > 0 }

// SourceChanged notifies Run that the Secret has changed. It doesn't block.
func (k *Keeper) SourceChanged() {
	k.mu.Lock()
	if k.changed.IsZero() {
		k.changed = time.Now()
	}
	k.mu.Unlock()
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// Run keeps the repository equal to the Secret until ctx is done, and leaves the files in place. It
// logs errors and retries.
//
// If once is true, Run returns true as soon as the repository matches the Secret in the API or, as
// a fallback, the mounted Secret. If neither is available, a key set that is already in the
// repository is enough. If ctx ends first, Run returns false.
func (k *Keeper) Run(ctx context.Context, once bool) bool {
	k.started = time.Now()
	k.answered = k.started
	for ctx.Err() == nil {
		done, err := k.keep(ctx)
		switch {
		case ctx.Err() != nil || !k.said.write.ErrorChanged(err):
		case err == nil:
			k.opts.Log.Info("updating the key repository works again")
		default:
			k.opts.Log.Warn("cannot update the key repository; retrying", "error", err.Error())
		}
		if once && (done || k.silent() && k.Ready()) {
			return true
		}
		select {
		case <-ctx.Done():
		case <-k.wake:
		case <-time.After(lookEvery):
		}
	}
	return false
}

// keep checks the repository once and writes the differences. It reports whether the repository is
// equal to k.want.
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
	k.observe(before)
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
		k.logWrite(before, time.Since(began))
	}
	k.recordMatch(after, shown)
	return after.equal(k.want), nil
}

// logWrite logs a new set once. It logs a repair only if its indices differ from those of the last
// logged repair, and at most once in logEvery.
func (k *Keeper) logWrite(before contents, took time.Duration) {
	if keys := k.want.Fingerprints().String(); k.said.written.Changed(keys) {
		k.opts.Log.Info("key repository updated", "primary", k.want.Fingerprints().Primary(), "keys", keys, "took", took)
		return
	}
	p := planned(before, k.want.Data())
	var repaired names
	for _, index := range slices.Concat(p.above, p.staged, p.gone) {
		repaired.add(index)
	}
	if text := repaired.String(); k.said.repaired.ChangedAfter(logEvery, text) {
		k.opts.Log.Warn("another process changed the key repository; repaired it", "indices", text)
	}
}

// observe updates the status and logs files that aren't keys.
func (k *Keeper) observe(c contents) {
	k.mu.Lock()
	k.status.Primary = c.fingerprints().Primary()
	k.mu.Unlock()
	if text := keyset.Redact(c.strays.String(), k.want.Data(), c.keys); k.said.strays.ChangedAfter(logEvery, text) && text != "" {
		k.opts.Log.Warn("key repository contains other files, which Keystone opens; remove them", "files", text)
	}
}

// takeChange moves the time of an unhandled change from changed to pending.
func (k *Keeper) takeChange() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.pending.IsZero() {
		k.pending = k.changed
	}
	k.changed = time.Time{}
}

// primed calls Arrived if a change is pending, because its primary is now in the repository.
func (k *Keeper) primed() {
	if !k.pending.IsZero() {
		k.opts.Arrived(time.Since(k.pending))
	}
	k.pending = time.Time{}
}

// recordMatch updates the status after a check or an update.
func (k *Keeper) recordMatch(c contents, shown keyset.Set) {
	k.observe(c)
	if !c.equal(shown) {
		return
	}
	k.pending = time.Time{} // the change didn't affect the keys
	k.mu.Lock()
	defer k.mu.Unlock()
	k.status.LastMatch = time.Now()
}
