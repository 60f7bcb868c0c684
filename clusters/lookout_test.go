package clusters

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// Files that keep changing are read less often, cause at most one log line a minute, and delay no
// other file.
func TestFlippingFiles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const minutes = 10
		dir := t.TempDir()
		write := func(name string, data []byte) { must(t, os.WriteFile(filepath.Join(dir, name), data, 0o600)) }
		token := func(n int) []byte { return kubeconfigOf(t, fmt.Sprintf("token-%d", n)) }
		var log bytes.Buffer
		set, h := newSet()
		set.opts.Log = slog.New(slog.NewTextHandler(&log, nil))
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		write("honest", token(0))
		go func() { defer close(ended); set.Run(ctx, dir, "", h) }()
		time.Sleep(lookEvery / 2) // never write during a check
		for n := range int(minutes * time.Minute / lookEvery) {
			write("token", token(n))
			write("broken", token(0)[n%2:])
			write("same", token(0))
			if write("gone", token(0)); n%2 == 0 {
				must(t, os.Remove(filepath.Join(dir, "gone")))
			}
			time.Sleep(lookEvery)
			synctest.Wait()
		}
		before, _ := set.Remote("honest")
		write("honest", token(1))
		time.Sleep(lookEvery)
		synctest.Wait()
		if after, err := set.Remote("honest"); after == before || err != nil {
			t.Errorf("the file that rarely changes was not read: %v", err)
		}
		cancel()
		<-ended
		for name, most := range map[string]int{"token": changesAtOnce + minutes, "broken": changesAtOnce + minutes, "gone": 2 * (changesAtOnce + minutes), "same": 1, "honest": 2} {
			if n := h.count(name); n == 0 || n > most {
				t.Errorf("%s changed %d times, want at most %d", name, n, most)
			}
			lines := regexp.MustCompile(`msg="remote (added|changed|removed)" remote=`+name).FindAllString(log.String(), -1)
			if len(lines) == 0 || len(lines) > minutes+1 {
				t.Errorf("%s: %d log lines, want at most %d", name, len(lines), minutes+1)
			}
		}
	})
}

// After the first check, files are read for a limited time, and those that were read longest ago
// come first.
func TestLookTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		set, h := newSet()
		set.events = h
		l := lookout{set: set, dir: dir, seen: map[string]*sight{}}
		for n, size := range []int{3000, 1000, 2000} {
			must(t, os.WriteFile(filepath.Join(dir, fmt.Sprintf("n%d", n)), make([]byte, size), 0o600))
		}
		names := func() (all []string) {
			files, err := list(dir)
			must(t, err)
			for _, f := range l.changed(files) {
				all = append(all, f.Name)
			}
			return all
		}
		if got := names(); !slices.Equal(got, []string{"n1", "n2", "n0"}) {
			t.Errorf("in the first check: %v", got)
		}
		l.look(t.Context())
		time.Sleep(time.Second)
		must(t, os.WriteFile(filepath.Join(dir, "n1"), nil, 0o600))
		l.look(t.Context())
		time.Sleep(time.Second)
		must(t, os.WriteFile(filepath.Join(dir, "n3"), nil, 0o600))
		for n := range 3 {
			must(t, os.WriteFile(filepath.Join(dir, fmt.Sprintf("n%d", n)), []byte("x"), 0o600))
		}
		if got := names(); !slices.Equal(got, []string{"n0", "n2", "n1", "n3"}) {
			t.Errorf("in the later check: %v", got)
		}
	})
}

// Thousands of kubeconfigs that are large or expensive to decode delay no good one, and need little
// memory.
func TestManyFiles(t *testing.T) {
	const good, deadline, most = "zz-good", 10 * time.Second, 256 << 20
	dir := t.TempDir()
	write := func(name string, data []byte) { must(t, os.WriteFile(filepath.Join(dir, name), data, 0o600)) }
	for n := range 1000 {
		write(fmt.Sprintf("small-%d", n), []byte("{}"))
		write(fmt.Sprintf("Misnamed %d", n), []byte("{}"))
	}
	for n := range 20 {
		write(fmt.Sprintf("large-%d", n), bytes.Repeat([]byte("x"), maxFile))
		write(fmt.Sprintf("bomb-%d", n), bytes.Repeat([]byte("{},"), maxFile/3))
	}
	write(good, kubeconfigOf(t, "a-token"))
	set, h := newSet()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	began := time.Now()
	go func() { defer close(ended); set.Run(ctx, dir, "", h) }()
	var before, now runtime.MemStats
	runtime.ReadMemStats(&before)
	highest := before.HeapInuse
	for first := true; len(set.Names()) < 1000+40+1+maxMisnamed; time.Sleep(20 * time.Millisecond) {
		runtime.ReadMemStats(&now)
		highest = max(highest, now.HeapInuse)
		if remote, _ := set.Remote(good); remote != nil && first {
			first = false
			t.Logf("the good remote is there after %v", time.Since(began))
		} else if took := time.Since(began); remote == nil && took > deadline {
			t.Fatalf("the good remote has no client after %v", took)
		}
	}
	cancel()
	<-ended
	if used := int64(highest) - int64(before.HeapInuse); used > most {
		t.Errorf("reading the files allocated %d MiB", used>>20)
	} else {
		t.Logf("all after %v, with %d MiB", time.Since(began), used>>20)
	}
}
