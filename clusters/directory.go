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
	"time"

	"github.com/fernetcast/fernetcast/internal/keyset"
	"github.com/fernetcast/fernetcast/internal/kubeconfig"
	"k8s.io/apimachinery/pkg/util/validation"
)

const (
	// maxFile bounds a kubeconfig, in bytes, because decoding takes several times as much memory.
	maxFile = 512 << 10
	// maxFiles bounds the kubeconfigs in a directory, and maxMisnamed bounds the files whose names
	// can't be a remote's name. Each file takes memory.
	maxFiles, maxMisnamed = 10_000, 100
	// readTime bounds the time to read a file, if the file can block.
	readTime = time.Second
)

var errLarge = errors.New("is larger than 512 KiB")

var errTooMany = fmt.Errorf("there are more than %d files, or %d whose names cannot be remotes' names; the others are ignored", maxFiles, maxMisnamed)

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
	// path is set for a file in a directory. info and tokenInfo are nil if unavailable.
	path            string
	info, tokenInfo fs.FileInfo
}

// Files returns the remotes' files for raw ones, by file name. It skips names with a leading dot,
// such as a mounted Secret's ..data. An invalid or duplicate name affects only its own File.
func Files(raw map[string][]byte) []File {
	var files fileList
	for _, name := range slices.Sorted(maps.Keys(raw)) {
		files.add(name, raw[name], "")
	}
	return distinct(files.files)
}

func hidden(name string) bool { return strings.HasPrefix(name, ".") }

// newFile returns the File for a name, with an error if the name can't be a remote's. It quotes
// such a name, because that could contain terminal escape sequences or a key.
func newFile(name string, misnamed bool) File {
	f := File{Name: kubeconfig.RemoteOf(name), shown: name}
	if misnamed {
		f.Name = keyset.QuoteName(name)
		f.shown = f.Name
		f.fail(errors.New("cannot be a remote's name: without .yaml, .yml, or .kubeconfig, it must consist of 1 to 63 lowercase letters, digits, and hyphens, with no hyphen at the start or end; rename it"))
	}
	return f
}

// fail sets the error from reading the file.
func (f *File) fail(err error) { f.Err = fmt.Errorf("%s %w", f.shown, withoutPath(err)) }

// A fileList is a bounded list of files.
type fileList struct {
	files    []File
	misnamed int
	full     bool // whether a file was left out
}

// add adds a file unless it is hidden.
func (l *fileList) add(name string, data []byte, path string) {
	misnamed := validation.IsDNS1123Label(kubeconfig.RemoteOf(name)) != nil
	switch {
	case hidden(name):
		return
	case misnamed && l.misnamed == maxMisnamed, !misnamed && len(l.files)-l.misnamed == maxFiles:
		l.full = true
		return
	case misnamed:
		l.misnamed++
	}
	f := newFile(name, misnamed)
	f.Data, f.path = data, path
	l.files = append(l.files, f)
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
		err := fmt.Errorf("two files have this name, %s and %s; remove one", kept[last].shown, f.shown)
		kept[last] = File{Name: f.Name, Err: err, shown: kept[last].shown}
	}
	return kept
}

// list returns the files in a directory that aren't hidden, without reading them. A missing
// directory counts as empty. If there are too many files, list returns some of them and errTooMany.
func list(dir string) ([]File, error) {
	folder, err := os.OpenFile(dir, os.O_RDONLY|syscall.O_DIRECTORY, 0) // opening a pipe would block
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the directory of kubeconfigs: %w", err)
	}
	defer folder.Close()
	var files fileList
	for {
		names, err := folder.Readdirnames(256)
		for _, name := range names {
			files.add(name, nil, filepath.Join(dir, name))
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("reading the directory of kubeconfigs: %w", err)
		}
	}
	if files.full {
		return distinct(files.files), errTooMany
	}
	return distinct(files.files), nil
}

// look sets the metadata of the file and of the token in a directory of tokens.
func (f *File) look(tokens string) {
	f.info, _ = os.Stat(f.path) // read reports the error
	if tokens != "" && f.Err == nil {
		f.tokenInfo, _ = os.Stat(filepath.Join(tokens, f.Name))
	}
}

// size returns the size in bytes, or 0 if it is unknown.
func (f *File) size() int64 {
	if f.info == nil {
		return 0
	}
	return f.info.Size()
}

// read reads the kubeconfig, unless the file already has an error, and the token in a directory of
// tokens. It stores the errors in f, and returns them.
func (f *File) read(tokens string) error {
	if f.Err != nil {
		return nil
	}
	data, unread := readFile(f.path)
	if f.Data = data; unread != nil {
		f.fail(unread)
	}
	if tokens == "" {
		return unread
	}
	token, err := readFile(filepath.Join(tokens, f.Name))
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if err != nil {
		err = fmt.Errorf("it %w", withoutPath(err))
	}
	f.keep(token, err)
	return cmp.Or(unread, err)
}

// readFile reads a regular file and follows links. Its own errors are phrased to follow the file's
// name.
func readFile(path string) ([]byte, error) {
	// Opening a device can have effects.
	if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
		return nil, cmp.Or(err, notFile(info))
	} else if info.Size() > maxFile {
		return nil, errLarge
	}
	// Without O_NONBLOCK, opening a pipe would block.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, cmp.Or(err, notFile(info))
	}
	_ = f.SetReadDeadline(time.Now().Add(readTime)) // some files of /proc block
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if len(data) > maxFile {
		return nil, errLarge
	}
	return data, err
}

// notFile returns the error for something other than a regular file.
func notFile(info fs.FileInfo) error {
	if info != nil && info.IsDir() {
		return errors.New("is a directory, not a file")
	}
	return errors.New("is a pipe, a socket, or a device, not a file")
}
