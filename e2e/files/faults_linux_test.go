package files_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/fernetcast/fernetcast/e2e/testenv"
)

// ready reports whether /readyz returns 200.
func (p *place) ready() bool {
	_, err := testenv.Get(p.Ctx, "http://"+p.address+"/readyz")
	return err == nil
}

// said waits until the program's log contains text.
func (p *place) said(text string) {
	p.Helper()
	p.Until(func(context.Context) error {
		if !strings.Contains(p.process.Stderr.String(), text) {
			return fmt.Errorf("the log does not contain %q", text)
		}
		return nil
	})
}

// If the file system is full, `files` leaves the key files unchanged. When there is space again, it
// continues.
func TestFullFileSystem(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting a file system requires root")
	}
	p := newPlace(t)
	own := filepath.Dir(p.dir)
	p.Must(syscall.Mount("tmpfs", own, "tmpfs", 0, "size=64k,mode=755,uid="+keystoneUser))
	t.Cleanup(func() {
		p.kill()
		if err := syscall.Unmount(own, 0); err != nil {
			t.Error(err)
		}
	})
	first, err := p.home().Secret(p.Ctx, p.NS)
	p.Must(err)
	p.start()
	p.holds(first.Data)
	filler := filepath.Join(own, "filler")
	if err := os.WriteFile(filler, make([]byte, 1<<20), 0o600); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("the file system is not full: %v", err)
	}
	rotated, err := p.home().Rotate(p.Ctx, p.NS, maxActive)
	p.Must(err)
	p.said("no space left on device")
	if there, _, err := p.look(); err != nil || !testenv.Repository(first.Data).Equal(there) || !p.ready() {
		t.Errorf("the repository has primary %d, ready %v: %v", there.Primary(), p.ready(), err)
	}
	p.Must(os.Remove(filler))
	p.holds(rotated.Keys)
	p.said("updating the key repository works again")
}

// If the Secret is missing or invalid, no key file changes. SIGTERM leaves the key files in place.
func TestUnusableSecret(t *testing.T) {
	p := newPlace(t)
	first, err := p.home().Secret(p.Ctx, p.NS)
	p.Must(err)
	p.start()
	p.holds(first.Data)
	for _, change := range []func() error{
		func() error { _, err := p.home().Put(p.Ctx, p.NS, testenv.Repository{}); return err },
		func() error { return p.home().Delete(p.Ctx, p.NS) },
		func() error {
			_, err := p.home().Put(p.Ctx, p.NS, testenv.Repository{"1": []byte("short")})
			return err
		},
	} {
		before := strings.Count(p.process.Stderr.String(), "keeping the key repository")
		p.Must(change())
		p.Until(func(context.Context) error {
			if strings.Count(p.process.Stderr.String(), "keeping the key repository") == before {
				return errors.New("the log does not contain another line about the unusable Secret")
			}
			return nil
		})
		p.holds(first.Data)
	}
	if age := now() - p.metric("fernetcast_files_last_match_timestamp_seconds"); age < 0 || age > testenv.Soon.Seconds() {
		t.Errorf("the last match was %v s ago", age)
	}
	if primary := p.metric("fernetcast_files_primary_index"); primary != 8 {
		t.Errorf("primary %v", primary)
	}
	p.Must(p.process.Terminate())
	code, err := p.process.Wait(p.Ctx)
	if err != nil || code != 0 {
		t.Errorf("`files` exited with %d, %v", code, err)
	}
	p.holds(first.Data)
	info, err := os.Stat(p.dir)
	p.Must(err)
	if owner := strconv.Itoa(int(info.Sys().(*syscall.Stat_t).Uid)); info.Mode().Perm() != 0o700 || os.Geteuid() == 0 && owner != keystoneUser {
		t.Errorf("the repository has mode %v and user %s", info.Mode(), owner)
	}
}

// roomForFiles is the memory limit in manifests/files.
const roomForFiles = 64 << 20

// Many files in the repository that aren't keys use little memory. newPlace checks that a file's
// name isn't logged if it contains a key.
func TestManyOtherFiles(t *testing.T) {
	p := newPlace(t)
	first, err := p.home().Secret(p.Ctx, p.NS)
	p.Must(err)
	p.start()
	p.holds(first.Data)
	p.kill() // so that the first check after the restart finds all these files
	for n := range 20_000 {
		name := fmt.Sprintf("%d %s", n, first.Data["0"])
		p.Must(os.WriteFile(filepath.Join(p.dir, name), nil, 0o644))
	}
	p.start()
	p.said("and 19990 more")
	rotated, err := p.home().Rotate(p.Ctx, p.NS, maxActive)
	p.Must(err)
	p.Until(func(context.Context) error {
		for index, key := range rotated.Keys {
			if there, err := os.ReadFile(filepath.Join(p.dir, index)); err != nil || string(there) != string(key) {
				return fmt.Errorf("key %s is missing: %w", index, err)
			}
		}
		return nil
	})
	_, peak, err := p.process.Memory()
	p.Must(err)
	if t.Logf("peak memory: %d MiB", peak>>20); peak > roomForFiles {
		t.Errorf("peak memory %d MiB, want at most %d", peak>>20, roomForFiles>>20)
	}
}

// With --once, as in an init container, `files` fills the repository and exits. If the API server
// is unreachable, it uses the mounted Secret.
func TestOnce(t *testing.T) {
	p := newPlace(t)
	first, err := p.home().Secret(p.Ctx, p.NS)
	p.Must(err)
	p.start("--once")
	code, err := p.process.Wait(p.Ctx)
	if err != nil || code != 0 {
		t.Fatalf("`files` exited with %d, %v:\n%s", code, err, p.process.Stderr)
	}
	p.holds(first.Data)

	p.Must(os.RemoveAll(p.dir))
	mounted := filepath.Join(filepath.Dir(filepath.Dir(p.dir)), "mounted")
	p.Must(os.Mkdir(mounted, 0o755))
	for name, key := range first.Data {
		p.Must(os.WriteFile(filepath.Join(mounted, name), key, 0o444))
	}
	p.start("--once", "--from", mounted, "--kubeconfig", filepath.Join(mounted, "none"))
	code, err = p.process.Wait(p.Ctx)
	if err != nil || code != 0 {
		t.Fatalf("`files` exited with %d, %v:\n%s", code, err, p.process.Stderr)
	}
	p.holds(first.Data)
}
