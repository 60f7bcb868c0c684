// Package repository keeps Keystone's key repository, a directory of numbered
// files, equal to the Secret of its own cluster, in an order in which no load of the
// keys by Keystone lacks one that is needed.
//
// It writes nothing but that directory, and knows nothing of remotes.
package repository

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"syscall"

	"github.com/fernetcast/fernetcast/internal/keyset"
)

const (
	// staging is where files are written. Keystone passes over directories, but opens
	// every file in its repository, whatever its name (keystone/common/fernet_utils.py).
	staging = ".new"

	directoryMode fs.FileMode = 0o700
	keyMode       fs.FileMode = 0o400

	// maxKey bounds what is read of a file: a key is 44 characters.
	maxKey = 4 << 10
)

// directory is a key repository, open and locked.
type directory struct {
	root *os.Root
	lock *os.File
}

// open makes the directory where it is absent, and locks it against another process
// of ours. The caller closes it.
func open(path string) (*directory, error) {
	if err := os.Mkdir(path, directoryMode); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("making the key repository: %w", err)
	}
	info, err := os.Lstat(path)
	switch {
	case err != nil:
		return nil, fmt.Errorf("opening the key repository: %w", err)
	case !info.IsDir():
		return nil, fmt.Errorf("the key repository %s is no directory: name another, or remove it", path)
	case !own(info):
		return nil, fmt.Errorf("the key repository %s belongs to another user: name a directory in it, which is then made", path)
	case info.Mode().Perm() != directoryMode:
		if err := os.Chmod(path, directoryMode); err != nil {
			return nil, fmt.Errorf("closing the key repository to others: %w", err)
		}
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, fmt.Errorf("opening the key repository: %w", err)
	}
	lock, err := root.Open(".")
	if err != nil {
		return nil, errors.Join(fmt.Errorf("opening the key repository: %w", err), root.Close())
	}
	d := &directory{root, lock}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		d.close()
		return nil, fmt.Errorf("locking the key repository, which another process has: %w", err)
	}
	return d, nil
}

// close gives the lock back.
func (d *directory) close() {
	_ = d.lock.Close()
	_ = d.root.Close()
}

// own says whether a file is this process's user's.
func own(info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return !ok || int(stat.Uid) == os.Geteuid()
}

// contents are what a key repository holds.
type contents struct {
	keys map[string][]byte // by index, what could be read
	odd  []string          // indices whose file is to be replaced whatever it holds: a link, of another user, of another mode
	dirs []string          // indices that are directories, which Keystone passes over
	// strays are the other files' names. Keystone opens them, too.
	strays []string
	staged bool // an earlier run has left files that it has not moved
}

// equal says whether the repository holds just this set.
func (c contents) equal(set keyset.Set) bool { return len(c.odd) == 0 && set.SameData(c.keys) }

// fingerprints of the keys.
func (c contents) fingerprints() keyset.Fingerprints { return keyset.FingerprintsOf(c.keys) }

// look reads the repository.
func (d *directory) look() (contents, error) {
	c := contents{keys: map[string][]byte{}}
	entries, err := fs.ReadDir(d.root.FS(), ".")
	if err != nil {
		return c, fmt.Errorf("reading the key repository: %w", err)
	}
	for _, e := range entries {
		_, index := keyset.Index(e.Name())
		switch {
		case e.IsDir() && index:
			c.dirs = append(c.dirs, e.Name())
		case e.IsDir():
			c.staged = c.staged || e.Name() == staging
		case !index:
			c.strays = append(c.strays, e.Name())
		default:
			key, fine, err := d.read(e.Name())
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if !fine || err != nil {
				c.odd = append(c.odd, e.Name())
			}
			if key != nil {
				c.keys[e.Name()] = key
			}
		}
	}
	return c, nil
}

// read reads a key's file. It is fine if Keystone, of the same user, can read it and
// nobody else, and nothing but a rename can change it.
func (d *directory) read(name string) (key []byte, fine bool, err error) {
	info, err := d.root.Lstat(name)
	if err != nil || !info.Mode().IsRegular() || info.Size() > maxKey {
		return nil, false, err
	}
	f, err := d.root.Open(name)
	if err != nil {
		return nil, false, err
	}
	defer f.Close()
	key, err = io.ReadAll(io.LimitReader(f, maxKey))
	return key, own(info) && info.Mode().Perm() == keyMode, err
}

// stage writes files into the directory for new ones, and syncs them.
func (d *directory) stage(data map[string][]byte, names []string) error {
	if err := d.unstage(); err != nil {
		return err
	}
	if err := d.root.Mkdir(staging, directoryMode); err != nil {
		return fmt.Errorf("making a directory for new keys: %w", err)
	}
	for _, name := range names {
		if err := d.write(staging+"/"+name, data[name]); err != nil {
			return fmt.Errorf("writing key %s: %w", name, err)
		}
	}
	return nil
}

// unstage removes what was staged.
func (d *directory) unstage() error {
	if err := d.root.RemoveAll(staging); err != nil {
		return fmt.Errorf("removing the directory for new keys: %w", err)
	}
	return nil
}

func (d *directory) write(path string, key []byte) error {
	f, err := d.root.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, keyMode)
	if err != nil {
		return err
	}
	_, err = f.Write(key)
	return errors.Join(err, f.Sync(), f.Close())
}

// put moves staged files into their places.
func (d *directory) put(names []string) error {
	for _, name := range names {
		if err := d.root.Rename(staging+"/"+name, name); err != nil {
			return fmt.Errorf("putting key %s in its place: %w", name, err)
		}
	}
	return d.lock.Sync()
}

// remove removes files.
func (d *directory) remove(names []string) error {
	for _, name := range names {
		if err := d.root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("removing key %s: %w", name, err)
		}
	}
	return d.lock.Sync()
}

// plan is what makes a repository hold a set, in three steps.
type plan struct {
	above, staged, gone []string // indices to write, to write last, to remove
}

// planned compares what is there with what is wanted.
func planned(c contents, data map[string][]byte) plan {
	var p plan
	for _, name := range ascending(data) {
		key, there := c.keys[name]
		if there && !slices.Contains(c.odd, name) && string(key) == string(data[name]) {
			continue
		}
		if name == "0" {
			p.staged = []string{name}
		} else {
			p.above = append(p.above, name)
		}
	}
	for _, name := range slices.Concat(ascending(c.keys), c.odd) {
		if _, wanted := data[name]; !wanted && !slices.Contains(p.gone, name) {
			p.gone = append(p.gone, name)
		}
	}
	return p
}

// ascending are the indices in data, in numeric order.
func ascending(data map[string][]byte) []string {
	return slices.SortedFunc(maps.Keys(data), func(a, b string) int {
		i, _ := keyset.Index(a)
		j, _ := keyset.Index(b)
		return i - j
	})
}
