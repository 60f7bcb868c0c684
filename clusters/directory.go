package clusters

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
)

// maxFile bounds a kubeconfig. A Secret holds no more.
const maxFile = 1 << 20

// File is a remote's kubeconfig, or why there is none to be had.
type File struct {
	Name string // the remote's
	Data []byte
	Err  error
	// unread says that Err is of the reading, which may go well the next time.
	unread bool
}

// Files makes the remotes' files out of raw ones by file name. Names with a
// leading dot are skipped (a mounted Secret's ..data). A name that cannot be a
// remote's, or that two files have, is an error of that one alone.
func Files(raw map[string][]byte) []File {
	var files []File
	type first struct {
		file  string
		place int
	}
	seen := map[string]first{}
	for _, file := range slices.Sorted(maps.Keys(raw)) {
		if strings.HasPrefix(file, ".") {
			continue
		}
		f := File{Name: remoteName(file), Data: raw[file]}
		if reasons := validation.IsDNS1123Label(f.Name); reasons != nil {
			f.Err = fmt.Errorf("the file name %q does not make a remote's name: %s", file, reasons[0])
		}
		if other, twice := seen[f.Name]; twice {
			files[other.place] = File{Name: f.Name, Err: fmt.Errorf("two files are of this name, %s and %s: remove one", other.file, file)}
			continue
		}
		seen[f.Name] = first{file, len(files)}
		files = append(files, f)
	}
	slices.SortFunc(files, func(a, b File) int { return strings.Compare(a.Name, b.Name) })
	return files
}

func remoteName(file string) string {
	for _, ending := range []string{".yaml", ".yml", ".kubeconfig"} {
		if name, ok := strings.CutSuffix(file, ending); ok {
			return name
		}
	}
	return file
}

// ReadDir reads the kubeconfigs in a directory. One that is absent is an empty
// one. A file that cannot be read is an error of that one alone.
func ReadDir(dir string) ([]File, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("reading the directory of kubeconfigs: %w", err)
	}
	raw, failed := map[string][]byte{}, map[string]error{}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			continue
		}
		path := filepath.Join(dir, e.Name())
		data, err := readFile(path)
		if _, gone := os.Lstat(path); gone != nil || errors.Is(err, errDirectory) {
			continue
		}
		raw[e.Name()] = data
		if err != nil {
			failed[remoteName(e.Name())] = err
		}
	}
	files := Files(raw)
	for i := range files {
		if err := failed[files[i].Name]; err != nil && files[i].Err == nil {
			files[i].Err, files[i].unread = err, true
		}
	}
	return files, nil
}

var errDirectory = errors.New("is a directory")

func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, err
	case info.IsDir():
		return nil, errDirectory
	case !info.Mode().IsRegular(): // a pipe would be waited for
		return nil, fmt.Errorf("%s is not a file", filepath.Base(path))
	case info.Size() > maxFile:
		return nil, fmt.Errorf("%s is larger than 1 MiB", filepath.Base(path))
	}
	return os.ReadFile(path)
}

// signature changes when anything about the files in dir does, at the cost of
// a stat for each. It is looked at every second in place of an inotify watch,
// which does not see a directory that is not there yet, one that is replaced,
// nor what a link points to.
func signature(dir string, seed maphash.Seed) uint64 {
	var hash maphash.Hash
	hash.SetSeed(seed)
	// A hash never fails.
	text := func(s string) { _, _ = hash.WriteString(s) }
	entries, err := os.ReadDir(dir)
	if err != nil {
		text(err.Error())
	}
	var numbers []byte
	for _, e := range entries {
		text(e.Name())
		info, err := os.Stat(filepath.Join(dir, e.Name()))
		if err != nil {
			text(err.Error())
			continue
		}
		numbers = numbers[:0]
		for _, n := range []uint64{uint64(info.Mode()), uint64(info.Size()), uint64(info.ModTime().UnixNano()), inode(info)} {
			numbers = binary.LittleEndian.AppendUint64(numbers, n)
		}
		_, _ = hash.Write(numbers)
	}
	return hash.Sum64()
}
