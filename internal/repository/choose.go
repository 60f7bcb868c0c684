package repository

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/fernetcast/fernetcast/internal/keyset"
	"github.com/fernetcast/fernetcast/internal/mirror"
)

// choose sets k.want to the newest usable key set. This is normally the set in the API. If the API
// is silent, or has no usable keys in time for the first fill, choose uses the mounted Secret. It
// returns the set that is in the API now, or the zero Set if there is none.
func (k *Keeper) choose(held keyset.Fingerprints) keyset.Set {
	now := time.Now()
	read, failed := k.opts.Source.Read(), k.opts.Source.Err()
	if read && failed == nil {
		k.answered = now
	}
	src, _ := k.opts.Source.Seen()
	switch reason := unusable(src); {
	case !k.said.source.Changed(reason):
	case reason == "":
		k.opts.Log.Info("using the Secret's keys again")
	default:
		k.opts.Log.Warn("cannot use the Secret's keys; keeping the key repository", "reason", reason)
	}
	usable, silent := len(src.Keys().Fingerprints()) > 0, k.silent()
	known := k.want.Fingerprints()
	if len(known) == 0 {
		known = held
	}
	switch {
	case usable && !silent:
		k.want = src.Keys()
		if k.said.mount.Changed("") {
			k.opts.Log.Info("using the API instead of the mounted Secret again")
		}
	case silent, known.Primary() == 0 && now.Sub(k.started) >= fillFrom:
		k.mounted(known)
	}
	if !usable || failed != nil {
		return keyset.Set{}
	}
	return src.Keys()
}

// silent reports whether the API hasn't responded for long enough to use the mounted Secret.
func (k *Keeper) silent() bool { return time.Since(k.answered) >= silentFor }

// unusable returns the reason why the Secret's keys can't be used, or "" if they can or the Secret
// hasn't been read.
func unusable(src mirror.Source) string {
	if state := src.State(); state == mirror.SourceAbsent || state == mirror.SourceRefused {
		return src.Detail()
	}
	return ""
}

// mounted sets k.want to the key set in the mounted Secret, if that set continues the known keys or
// no primary is known.
func (k *Keeper) mounted(known keyset.Fingerprints) {
	if k.opts.Mount == "" {
		return
	}
	set, err := readMount(k.opts.Mount)
	text := "using its keys"
	switch {
	case err != nil:
		text = fmt.Sprintf("reading the mounted Secret: %v", err)
	case known.Primary() > 0 && !set.Fingerprints().Continues(known):
		text = "its keys do not continue the current keys"
	default:
		k.want = set
	}
	if k.said.mount.Changed(text) {
		k.opts.Log.Warn("the API has no usable keys; tried the mounted Secret", "mount", k.opts.Mount, "outcome", text)
	}
}

// maxMounted limits the number of files in a mounted Secret, because each file takes memory.
const maxMounted = 1000

// readMount reads a key set from a Secret volume. The kubelet updates the volume by switching the
// symlink ..data to a new directory. readMount resolves the link once, so that a switch during the
// read causes an error instead of a mix of two sets.
func readMount(path string) (keyset.Set, error) {
	folder, err := filepath.EvalSymlinks(filepath.Join(path, "..data"))
	if err != nil { // not a Secret volume
		folder = path
	}
	f, err := os.OpenFile(folder, os.O_RDONLY|syscall.O_DIRECTORY, 0)
	if err != nil {
		return keyset.Set{}, err
	}
	defer f.Close()
	found, err := f.Readdirnames(maxMounted)
	if err != nil && !errors.Is(err, io.EOF) {
		return keyset.Set{}, err
	}
	if len(found) == maxMounted {
		return keyset.Set{}, fmt.Errorf("there are %d files or more", maxMounted)
	}
	data := map[string][]byte{}
	for _, name := range found {
		if strings.HasPrefix(name, ".") {
			continue
		}
		if data[name], err = readKey(filepath.Join(folder, name)); err != nil {
			return keyset.Set{}, fmt.Errorf("reading %s: %w", keyset.QuoteName(name), withoutPath(err))
		}
	}
	return keyset.Parse(data)
}

// withoutPath removes the file's name from an error, because the name could contain a key.
func withoutPath(err error) error {
	var in *fs.PathError
	if errors.As(err, &in) {
		return in.Err
	}
	return err
}

func readKey(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // opening a pipe would block
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, cmp.Or(err, errors.New("not a regular file"))
	}
	return io.ReadAll(io.LimitReader(f, maxKey+1))
}
