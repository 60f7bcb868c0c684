// Package repository keeps Keystone's key repository, a directory of numbered files, equal to the
// Secret in Keystone's own cluster. It writes the files in such an order that Keystone never lacks
// a key that it needs, even if it loads the keys during an update.
//
// It writes only to that directory, and never contacts remotes.
package repository

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"syscall"

	"github.com/fernetcast/fernetcast/internal/keyset"
)

const (
	// staging is the directory for new files. Keystone skips directories, but opens every file in
	// its repository, whatever its name (keystone/common/fernet_utils.py).
	staging = ".new"

	directoryMode fs.FileMode = 0o700
	keyMode       fs.FileMode = 0o400

	// maxKey limits the size of a key file, in bytes. A key has 44 characters.
	maxKey = 64
	// maxNames is how many names of other files are stored and logged.
	maxNames = 10
)

// A directory is an open and locked key repository.
type directory struct {
	root *os.Root
	lock *os.File
}

// open creates the directory if it is missing, and locks it against other fernetcast processes. The
// caller must close it.
func open(path string) (*directory, error) {
	if err := os.Mkdir(path, directoryMode); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("creating the key repository: %w", err)
	}
	info, err := os.Lstat(path)
	switch {
	case err != nil:
		return nil, fmt.Errorf("opening the key repository: %w", err)
	case !info.IsDir():
		return nil, fmt.Errorf("the key repository %s is not a directory; specify another, or remove it", path)
	case !own(info):
		return nil, fmt.Errorf("the key repository %s belongs to another user; specify a subdirectory, which is then created", path)
	case info.Mode().Perm() != directoryMode:
		if err := os.Chmod(path, directoryMode); err != nil {
			return nil, fmt.Errorf("restricting access to the key repository: %w", err)
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
		return nil, fmt.Errorf("locking the key repository, which another process uses: %w", err)
	}
	return d, nil
}

// close releases the lock.
func (d *directory) close() {
	_ = d.lock.Close()
	_ = d.root.Close()
}

// own reports whether this process's user owns the file.
func own(info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return !ok || int(stat.Uid) == os.Geteuid()
}

// contents is the state of a key repository.
type contents struct {
	keys map[string][]byte // readable keys by index
	odd  map[string]bool   // indices whose file must be replaced even if the key is right: it is a link, or has the wrong owner or mode
	dirs []string          // indices that are directories, which Keystone skips
	// strays are the files that aren't keys. Keystone opens them, too.
	strays names
	staged bool // there are staged files, left by an interrupted run
}

// names lists at most maxNames file names, and counts the others.
type names struct {
	first []string // up to maxNames, sorted
	more  int
}

func (n *names) add(name string) {
	if len(n.first) == maxNames {
		n.more++
		return
	}
	i, _ := slices.BinarySearch(n.first, name)
	n.first = slices.Insert(n.first, i, name)
}

// String returns the listed names and the number of further ones, or "" if there are none.
func (n names) String() string {
	var quoted []string
	for _, name := range n.first {
		shown := keyset.QuoteName(name)
		if bare := strings.Trim(shown, `"`); bare == name && !strings.ContainsAny(name, ", ") {
			shown = name
		}
		quoted = append(quoted, shown)
	}
	text := strings.Join(quoted, ", ")
	if n.more > 0 {
		text += fmt.Sprintf(" and %d more", n.more)
	}
	return text
}

// equal reports whether the repository contains exactly the keys of the set, in files that needn't
// be replaced.
func (c contents) equal(set keyset.Set) bool { return len(c.odd) == 0 && set.SameData(c.keys) }

// fingerprints returns the fingerprints of the readable keys.
func (c contents) fingerprints() keyset.Fingerprints { return keyset.FingerprintsOf(c.keys) }

// look reads the repository. An unreadable key isn't an error: look adds it to odd.
func (d *directory) look() (contents, error) {
	c := contents{keys: map[string][]byte{}, odd: map[string]bool{}}
	folder, err := d.root.Open(".")
	if err != nil {
		return c, fmt.Errorf("reading the key repository: %w", err)
	}
	defer folder.Close()
	for {
		entries, err := folder.ReadDir(256)
		for _, e := range entries {
			d.lookAt(e, &c)
		}
		if errors.Is(err, io.EOF) {
			return c, nil
		}
		if err != nil {
			return c, fmt.Errorf("reading the key repository: %w", err)
		}
	}
}

func (d *directory) lookAt(e fs.DirEntry, c *contents) {
	_, index := keyset.Index(e.Name())
	switch {
	case e.IsDir() && index:
		c.dirs = append(c.dirs, e.Name())
	case e.IsDir():
		c.staged = c.staged || e.Name() == staging
	case !index:
		c.strays.add(e.Name())
	default:
		key, fine, err := d.read(e.Name())
		if errors.Is(err, fs.ErrNotExist) {
			return
		}
		if !fine || err != nil {
			c.odd[e.Name()] = true
		}
		if key != nil {
			c.keys[e.Name()] = key
		}
	}
}

// read reads a key file. fine reports whether the file has the right owner and mode: only
// Keystone's user can read it, and nobody can write to it.
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

// stage writes new files to the staging directory and syncs them.
func (d *directory) stage(data map[string][]byte, names []string) error {
	if err := d.unstage(); err != nil {
		return err
	}
	if err := d.root.Mkdir(staging, directoryMode); err != nil {
		return fmt.Errorf("creating the directory for new keys: %w", err)
	}
	for _, name := range names {
		if err := d.write(staging+"/"+name, data[name]); err != nil {
			return fmt.Errorf("writing key %s: %w", name, err)
		}
	}
	return nil
}

// unstage removes the staging directory.
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

// put moves files from the staging directory to their final names.
func (d *directory) put(names []string) error {
	for _, name := range names {
		if err := d.root.Rename(staging+"/"+name, name); err != nil {
			return fmt.Errorf("moving key %s into place: %w", name, err)
		}
	}
	return d.lock.Sync()
}

func (d *directory) remove(names []string) error {
	for _, name := range names {
		if err := d.root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("removing key %s: %w", name, err)
		}
	}
	return d.lock.Sync()
}

// A plan lists the files to change in each of the three steps that turn a repository's contents
// into a key set.
type plan struct {
	above, staged, gone []string // first write above, then write staged, then remove gone
}

// planned returns the plan that turns c into data.
func planned(c contents, data map[string][]byte) plan {
	var p plan
	for _, name := range ascending(data) {
		key, there := c.keys[name]
		if there && !c.odd[name] && string(key) == string(data[name]) {
			continue
		}
		if name == "0" {
			p.staged = []string{name}
		} else {
			p.above = append(p.above, name)
		}
	}
	there := maps.Clone(c.odd)
	for name := range c.keys {
		there[name] = true
	}
	for _, name := range ascending(there) {
		if _, wanted := data[name]; !wanted {
			p.gone = append(p.gone, name)
		}
	}
	return p
}

// ascending returns the indices in data in numeric order.
func ascending[T any](data map[string]T) []string {
	return slices.SortedFunc(maps.Keys(data), func(a, b string) int {
		i, _ := keyset.Index(a)
		j, _ := keyset.Index(b)
		return i - j
	})
}
