package clusters

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"runtime"
	"slices"
	"time"

	"github.com/fernetcast/fernetcast/internal/logonce"
	"golang.org/x/time/rate"
)

const (
	// lookEvery is how often the directory is checked. An inotify watch would miss changes if a
	// directory is created or replaced later, or if a link gets another target.
	lookEvery = 4 * time.Second
	// lookTime limits the time for reading changed files in a check, except in the first one. The
	// other files are read in the next check.
	lookTime = lookEvery / 20
	// A file that keeps changing is read changesAtOnce times, and then once in changeEvery.
	changesAtOnce, changeEvery = 3, time.Minute
	// largeFile is the size in bytes above which the memory for decoding a file is freed before the
	// next file is read.
	largeFile = 64 << 10
	// logEvery is the minimum interval between log lines about one file.
	logEvery = time.Minute
)

// A lookout keeps a Set in sync with its directories. It reads files one at a time, and only those
// that have changed.
type lookout struct {
	set         *Set
	dir, tokens string
	seen        map[string]*sight // by remote
	trouble     logonce.Text
	late        bool // whether the first check is done
}

// A sight is what a lookout knows about one remote's files.
type sight struct {
	file, token fs.FileInfo // the files' metadata when they were read; nil if unavailable
	trouble     error       // the file's error before it was read
	due         bool        // whether the files must be read even if they are unchanged
	since       time.Time   // when they were last read or, if never, first seen
	changes     *rate.Limiter
	logged      *Remote // the client in the last log line
	loggedAt    time.Time
}

// look checks the directories once.
func (l *lookout) look(ctx context.Context) {
	files, err := list(l.dir)
	if l.trouble.ErrorChanged(err) && err != nil {
		l.set.opts.Log.Warn("cannot read all kubeconfigs", "error", err.Error())
	}
	if err != nil && !errors.Is(err, errTooMany) {
		return
	}
	l.set.applying.Lock()
	defer l.set.applying.Unlock()
	began := time.Now()
	var bad []func()
	for _, f := range l.changed(files) {
		if ctx.Err() != nil || l.late && time.Since(began) > lookTime {
			break
		}
		if put := l.read(f); put != nil {
			bad = append(bad, put)
		}
	}
	for _, put := range bad { // after the good ones, because the set's users spend time on each bad one
		put()
	}
	l.late = true
	for name, s := range l.seen {
		l.log(name, s)
		if s.file == nil && s.trouble == nil && s.logged == nil && time.Since(s.since) > changeEvery {
			delete(l.seen, name) // if the file still exists, it is read again
		}
	}
}

// changed removes the remotes whose files are gone, and returns the files to read: first those that
// were read longest ago, and small ones before large ones. So files that keep changing, or take long
// to decode, delay no other.
func (l *lookout) changed(files []File) []File {
	var changed []File
	gone, now := maps.Clone(l.seen), time.Now()
	for i := range files {
		f := &files[i]
		delete(gone, f.Name)
		s := l.seen[f.Name]
		if s == nil {
			s = &sight{due: true, since: now, changes: rate.NewLimiter(rate.Every(changeEvery), changesAtOnce)}
			l.seen[f.Name] = s
		}
		f.look(l.tokens)
		if s.due || !s.same(*f) && s.changes.Tokens() >= 1 {
			changed = append(changed, *f)
		}
	}
	for name, s := range gone {
		s.file, s.token, s.trouble = nil, nil, nil
		l.set.remove(name)
	}
	slices.SortStableFunc(changed, func(a, b File) int {
		return cmp.Or(l.seen[a.Name].since.Compare(l.seen[b.Name].since), cmp.Compare(a.size(), b.size()))
	})
	return changed
}

// same reports whether the files have not changed since they were read.
func (s *sight) same(f File) bool {
	return fmt.Sprint(s.trouble) == fmt.Sprint(f.Err) && sameInfo(s.file, f.info) && sameInfo(s.token, f.tokenInfo)
}

func sameInfo(a, b fs.FileInfo) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return os.SameFile(a, b) && a.Mode() == b.Mode() && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}

// read reads a remote's files and applies them. If the remote has no client, read returns a function
// that the caller must call to apply the error.
func (l *lookout) read(f File) (put func()) {
	s := l.seen[f.Name]
	s.file, s.token, s.trouble, s.since = f.info, f.tokenInfo, f.Err, time.Now()
	err := f.read(l.tokens)
	s.due = err != nil
	if _, gone := os.Lstat(f.path); gone != nil && s.due {
		return nil
	}
	m, changed := l.set.prepare(f)
	if f.size() > largeFile {
		runtime.GC()
	}
	if !changed {
		return nil
	}
	s.changes.Allow()
	if m.remote == nil {
		return func() { l.set.exchange(f.Name, m) }
	}
	l.set.exchange(f.Name, m)
	l.log(f.Name, s)
	return nil
}

// log logs a new, changed, or removed client, at most once in logEvery.
func (l *lookout) log(name string, s *sight) {
	remote, _ := l.set.Remote(name)
	if remote == s.logged || !s.loggedAt.IsZero() && time.Since(s.loggedAt) < logEvery {
		return
	}
	log := l.set.opts.Log.With("remote", name)
	switch {
	case remote == nil:
		log.Info("remote removed")
	case s.logged == nil:
		log.Info("remote added", "server", remote.Server)
	default:
		log.Info("remote changed", "server", remote.Server)
	}
	s.logged, s.loggedAt = remote, time.Now()
}
