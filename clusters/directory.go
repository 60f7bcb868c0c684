// Package clusters keeps the remotes: from a directory of kubeconfigs to live
// clients, each with a watch of its own on the remote's copy.
//
// It does not decide what is written, nor when.
package clusters

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/fernetcast/fernetcast/internal/kubeconfig"
	"k8s.io/apimachinery/pkg/util/validation"
)

// maxFile bounds a kubeconfig: to decode it can take a hundred times its size.
const maxFile = 512 << 10

// File is a remote's kubeconfig, or why there is none to be had.
type File struct {
	Name string // the remote's: a DNS label, or the quoted name of a file that makes none
	Data []byte
	Err  error
	// Token is one that is kept apart from the kubeconfig; "" for none. TokenErr says why
	// a kept one can't be used.
	Token    string
	TokenErr error
	// shown is the file's own name, fit to be printed.
	shown string
}

// Files makes the remotes' files out of raw ones by file name. Names with a
// leading dot are skipped (a mounted Secret's ..data). A name that cannot be a
// remote's, or that two files have, is an error of that one alone.
func Files(raw map[string][]byte) []File {
	var files []File
	for name, data := range raw {
		if !hidden(name) {
			files = append(files, newFile(name, data, nil))
		}
	}
	return distinct(files)
}

func hidden(name string) bool { return strings.HasPrefix(name, ".") }

// newFile is the file of a name, with its bytes or the error of reading them.
// A name that makes no remote's name is quoted: what it holds might be commands
// to a terminal.
func newFile(name string, data []byte, err error) File {
	f := File{Name: kubeconfig.RemoteOf(name), Data: data, shown: name}
	if validation.IsDNS1123Label(f.Name) != nil {
		f.Name = kubeconfig.Quoted(name)
		f.shown = f.Name
		err = cmp.Or(err, errors.New("makes no remote's name: without .yaml, .yml or .kubeconfig that has to be 1 to 63 of a-z, 0-9 and -, with no - at its ends; rename it"))
	}
	if err != nil {
		f.Err = fmt.Errorf("%s %w", f.shown, withoutPath(err))
	}
	return f
}

func withoutPath(err error) error {
	var in *fs.PathError
	if errors.As(err, &in) {
		return fmt.Errorf("cannot be read: %w", in.Err)
	}
	return err
}

// distinct sorts files by their remotes' names. Of those with the same one there
// is an error in place of all.
func distinct(files []File) []File {
	slices.SortFunc(files, func(a, b File) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.shown, b.shown))
	})
	var kept []File
	for _, f := range files {
		last := len(kept) - 1
		if last < 0 || kept[last].Name != f.Name {
			kept = append(kept, f)
			continue
		}
		err := fmt.Errorf("two files are of this name, %s and %s: remove one", kept[last].shown, f.shown)
		kept[last] = File{Name: f.Name, Err: err, shown: kept[last].shown}
	}
	return kept
}

// ReadDir reads the kubeconfigs in a directory. An absent one counts as empty. What
// cannot be read, or is not a file, is an error for that name only.
func ReadDir(dir string) ([]File, error) {
	var files []File
	err := readEach(dir, func(name string, data []byte, err error) { files = append(files, newFile(name, data, err)) })
	if err != nil {
		return nil, fmt.Errorf("reading the directory of kubeconfigs: %w", err)
	}
	return distinct(files), nil
}

// readEach reads the files in a directory, except hidden ones, and calls take with the
// bytes of each, or with why it can't be read. An absent directory counts as empty.
func readEach(dir string, take func(name string, data []byte, err error)) error {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		if hidden(e.Name()) {
			continue
		}
		path := filepath.Join(dir, e.Name())
		data, err := readFile(path)
		if _, gone := os.Lstat(path); gone == nil {
			take(e.Name(), data, err)
		}
	}
	return nil
}

// readFile reads a regular file, or one that a link leads to. Its own errors go
// on from the file's name.
func readFile(path string) ([]byte, error) {
	// A pipe would be waited for.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case info.IsDir():
		return nil, errors.New("is a directory, not a file")
	case !info.Mode().IsRegular():
		return nil, errors.New("is a pipe or a device, not a file")
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if len(data) > maxFile {
		return nil, errors.New("is larger than 512 KiB")
	}
	return data, err
}

// directory remembers what the files in one are, at the cost of a stat for each.
// To read them all would cost five times as much.
type directory struct {
	path string
	seen map[string]fs.FileInfo // nil: the files are to be read
}

// changed says whether anything about the files is other than at the last call.
// What cannot be told has changed.
func (d *directory) changed() bool {
	last, now := d.seen, map[string]fs.FileInfo{}
	d.seen = nil
	entries, err := os.ReadDir(d.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // one that is absent is empty
		return true
	}
	for _, e := range entries {
		if now[e.Name()], err = os.Stat(filepath.Join(d.path, e.Name())); err != nil {
			return true
		}
	}
	d.seen = now
	return last == nil || !maps.EqualFunc(last, now, func(a, b fs.FileInfo) bool {
		return os.SameFile(a, b) && a.Mode() == b.Mode() && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
	})
}
