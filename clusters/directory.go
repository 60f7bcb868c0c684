// Package clusters keeps the set of remotes. It turns a directory of kubeconfigs into live clients,
// each with a watch on the remote's copy.
//
// It does not decide when or what to write.
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

// maxFile bounds a kubeconfig, in bytes, because decoding can take a hundred times as much memory.
const maxFile = 512 << 10

// A File is a remote's kubeconfig, or the error from reading it.
type File struct {
	Name string // the remote's name, or the quoted file name if it isn't a valid remote name
	Data []byte
	Err  error
	// Token is a token stored separately from the kubeconfig, or "" if there is none. TokenErr is
	// set if the stored token is unusable.
	Token    string
	TokenErr error
	// shown is the file's name in a printable form.
	shown string
}

// Files returns the remotes' files for raw ones, by file name. It skips names with a leading dot,
// such as a mounted Secret's ..data. An invalid or duplicate name affects only its own File.
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

// newFile returns the File for a name with its content, or with the error from reading it. It
// quotes an invalid name, because that could contain terminal escape sequences.
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

// distinct sorts files by remote. It replaces files with the same remote by one error.
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

// ReadDir reads the kubeconfigs in a directory. A missing directory counts as empty. If an entry is
// unreadable or is not a file, only its own File has the error.
func ReadDir(dir string) ([]File, error) {
	var files []File
	err := readEach(dir, func(name string, data []byte, err error) { files = append(files, newFile(name, data, err)) })
	if err != nil {
		return nil, fmt.Errorf("reading the directory of kubeconfigs: %w", err)
	}
	return distinct(files), nil
}

// readEach calls take for every file in a directory that isn't hidden, with its content or the
// error from reading it. A missing directory counts as empty.
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

// readFile reads a regular file and follows links. Its own errors are phrased to follow the file's
// name.
func readFile(path string) ([]byte, error) {
	// Without O_NONBLOCK, opening a pipe would block.
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

// A directory remembers the metadata of a directory's files. Comparing it costs a fifth of reading
// the files.
type directory struct {
	path string
	seen map[string]fs.FileInfo // nil forces the next changed to return true
}

// changed reports whether any file may have changed since the last call. If it cannot read the
// metadata, it returns true.
func (d *directory) changed() bool {
	last, now := d.seen, map[string]fs.FileInfo{}
	d.seen = nil
	entries, err := os.ReadDir(d.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // a missing directory counts as empty
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
