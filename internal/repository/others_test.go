package repository

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// If another process changes the repository, the Keeper repairs the keys and leaves other files
// alone.
func TestSomebodyElse(t *testing.T) {
	keep(t, func(k *keeping) {
		k.shows("0d 1a 2b 3c")
		k.start()
		write := func(name string, mode os.FileMode, text []byte) {
			t.Helper()
			path := filepath.Join(k.dir, name)
			if err := errors.Join(os.RemoveAll(path), os.WriteFile(path, text, mode), os.Chmod(path, mode)); err != nil {
				t.Fatal(err)
			}
		}
		mended := func(what string) {
			t.Helper()
			time.Sleep(lookEvery + 2*pause)
			synctest.Wait()
			if got := holds(t, k.dir); got != "0d 1a 2b 3c" {
				t.Errorf("%s: the repository holds %q", what, got)
			}
		}
		write("3", keyMode, key('z'))
		mended("another primary")
		write("9", keyMode, key('z'))
		mended("a higher index")
		write("2", 0o444, key('b'))
		mended("a world-readable mode")
		write("1", keyMode, bytesOf(1<<20))
		mended("a large file")
		if err := os.Remove(filepath.Join(k.dir, "0")); err != nil {
			t.Fatal(err)
		}
		mended("a deleted key")
		link := filepath.Join(k.dir, "2")
		if err := errors.Join(os.Remove(link), os.Symlink("3", link)); err != nil {
			t.Fatal(err)
		}
		mended("a link")
		if err := errors.Join(os.Remove(link), syscall.Mkfifo(link, 0o600)); err != nil {
			t.Fatal(err)
		}
		mended("a pipe")
		if err := os.Chmod(k.dir, 0o777); err != nil {
			t.Fatal(err)
		}
		mended("an open directory")
		if info, _ := os.Stat(k.dir); info.Mode().Perm() != directoryMode {
			t.Errorf("the directory has mode %v", info.Mode())
		}
		if err := os.RemoveAll(k.dir); err != nil {
			t.Fatal(err)
		}
		mended("no directory")

		if err := os.Mkdir(filepath.Join(k.dir, staging), 0o700); err != nil {
			t.Fatal(err)
		}
		mended("files that an earlier run staged")
		if _, err := os.Stat(filepath.Join(k.dir, staging)); err == nil {
			t.Error("files that an earlier run staged are still there")
		}
		write("1_0", keyMode, key('z'))
		write("notes", 0o644, []byte("x"))
		time.Sleep(time.Minute)
		if text := k.log.String(); strings.Count(text, "1_0, notes") != 1 {
			t.Errorf("the other files are not logged exactly once:\n%s", text)
		}
		if _, err := os.Stat(filepath.Join(k.dir, "notes")); err != nil {
			t.Errorf("a file that is not a key is gone: %v", err)
		}
		if text := k.log.String(); strings.Contains(text, string(key('d'))) {
			t.Error("a key was logged")
		}
	})
}

// If a directory has the name of a new key, an error is logged and nothing changes. After the
// directory is removed, updates continue.
func TestDirectoryInTheWay(t *testing.T) {
	keep(t, func(k *keeping) {
		k.shows("0d 1a 2b 3c")
		k.start()
		if err := os.Mkdir(filepath.Join(k.dir, "4"), 0o700); err != nil {
			t.Fatal(err)
		}
		k.shows("0e 2b 3c 4d")
		k.after(time.Minute, "0d 1a 2b 3c")
		if text := k.log.String(); strings.Count(text, "writing key 4: the key repository has a directory") != 1 {
			t.Errorf("not logged exactly once:\n%s", text)
		}
		if err := os.Remove(filepath.Join(k.dir, "4")); err != nil {
			t.Fatal(err)
		}
		k.after(lookEvery+2*pause, "0e 2b 3c 4d")
		if !strings.Contains(k.log.String(), "updating the key repository works again") {
			t.Error("the recovery is not logged")
		}
	})
}

// Two processes can't use the same repository.
func TestLocked(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys")
	first, err := open(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := open(path); err == nil || !strings.Contains(err.Error(), "another process uses") {
		t.Errorf("the second open returned %v", err)
	}
	first.close()
	second, err := open(path)
	if err != nil {
		t.Fatal(err)
	}
	second.close()
}

func bytesOf(n int) []byte { return make([]byte, n) }

// Many files that aren't keys use little memory. If a file's name contains a key, it isn't logged.
func TestManyOtherFiles(t *testing.T) {
	keep(t, func(k *keeping) {
		k.shows("0d 1a 2b 3c")
		k.start()
		secret := string(key('c'))
		for n := range 1000 {
			must := os.WriteFile(filepath.Join(k.dir, fmt.Sprintf("%d-%s", n, secret)), nil, keyMode)
			if must = errors.Join(must, os.WriteFile(filepath.Join(k.dir, fmt.Sprint(100+n)), bytesOf(4<<10), keyMode)); must != nil {
				t.Fatal(must)
			}
		}
		time.Sleep(time.Minute)
		k.stop()
		synctest.Wait()
		d, err := open(k.dir)
		if err != nil {
			t.Fatal(err)
		}
		defer d.close()
		c, err := d.look()
		if err != nil || len(c.strays.first) != maxNames || c.strays.more != 1000-maxNames || len(c.keys) != 4 {
			t.Errorf("%v: %d and %d other files, %d keys", err, len(c.strays.first), c.strays.more, len(c.keys))
		}
		if text := k.log.String(); strings.Contains(text, secret[:6]) || len(text) > 4<<10 || !strings.Contains(text, "and 990 more") {
			t.Errorf("logged:\n%.5000s", text)
		}
	})
}
