package repository

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

const pause = 2 * time.Second

// keeping runs a Keeper in a synctest bubble.
type keeping struct {
	*testing.T
	*Keeper
	api         *api
	dir, mount  string
	log         *buffer
	arrivals    []time.Duration
	stop        func()
	once, ended bool
}

func keep(t *testing.T, test func(*keeping)) {
	t.Helper()
	parent := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		logger, text := log()
		k := &keeping{T: t, api: &api{}, dir: filepath.Join(parent, "keys"), mount: filepath.Join(parent, "mount"), log: text}
		k.Keeper = New(Options{Directory: k.dir, Mount: k.mount, Pause: pause, Source: k.api, Log: logger, Arrived: func(d time.Duration) { k.arrivals = append(k.arrivals, d) }})
		k.stop = func() {}
		test(k)
		k.stop()
		synctest.Wait()
	})
}

func (k *keeping) start() {
	ctx, stop := context.WithCancel(k.Context())
	k.stop = stop
	go func() { k.ended = k.Keeper.Run(ctx, k.once) }()
	synctest.Wait()
}

// shows changes the keys in the API and notifies the Keeper.
func (k *keeping) shows(text string) {
	k.api.shows(text)
	k.SourceChanged()
	synctest.Wait()
}

// after advances the clock by d, and then checks the files.
func (k *keeping) after(d time.Duration, want string) {
	k.Helper()
	time.Sleep(d)
	synctest.Wait()
	if got := holds(k.T, k.dir); got != want {
		k.Errorf("the repository holds %q, want %q", got, want)
	}
}

// mounts updates the mounted Secret as the kubelet does.
func (k *keeping) mounts(text string) {
	k.Helper()
	folder := filepath.Join(k.mount, "..2026_"+strings.ReplaceAll(text, " ", "_"))
	link := filepath.Join(k.mount, "..data")
	if err := errors.Join(os.MkdirAll(folder, 0o755), os.RemoveAll(link), os.Symlink(folder, link)); err != nil {
		k.Fatal(err)
	}
	for name, value := range data(text) {
		if err := os.WriteFile(filepath.Join(folder, name), value, 0o444); err != nil {
			k.Fatal(err)
		}
	}
}

// A rotation is written in three steps with pauses.
func TestSteps(t *testing.T) {
	keep(t, func(k *keeping) {
		k.shows("0d 1a 2b 3c")
		k.start()
		k.after(0, "0d 1a 2b 3c") // the first fill does not pause
		k.shows("0e 2b 3c 4d")
		k.after(0, "0d 1a 2b 3c 4d")
		k.after(pause-1, "0d 1a 2b 3c 4d")
		k.after(1, "0e 1a 2b 3c 4d")
		k.after(pause-1, "0e 1a 2b 3c 4d")
		k.after(1, "0e 2b 3c 4d")
		if k.Status().Primary != 4 || len(k.arrivals) != 2 || k.arrivals[1] != 0 {
			t.Errorf("status %+v, arrivals %v", k.Status(), k.arrivals)
		}
	})
}

// A change that arrives during an update is written after it, even if it combines two rotations.
func TestChangeMeanwhile(t *testing.T) {
	keep(t, func(k *keeping) {
		k.shows("0d 1a 2b 3c")
		k.start()
		k.shows("0e 2b 3c 4d")
		k.after(pause/2, "0d 1a 2b 3c 4d")
		k.shows("0g 4d 5e 6f")
		k.after(pause/2, "0e 1a 2b 3c 4d")
		k.after(pause, "0e 2b 3c 4d 5e 6f")
		k.after(pause, "0g 2b 3c 4d 5e 6f")
		k.after(pause, "0g 4d 5e 6f")
		// The time from SourceChanged until the primary was written.
		if got := k.arrivals[2]; got != pause+pause/2 {
			t.Errorf("the primary arrived after %v", got)
		}
	})
}

// A key set that is unrelated to the current one is written without pauses.
func TestNotKin(t *testing.T) {
	keep(t, func(k *keeping) {
		k.shows("0d 1a 2b 3c")
		k.start()
		k.shows("0x 1y")
		k.after(0, "0x 1y")
	})
}

// If Keystone couldn't use the keys in the Secret, no file changes.
func TestUnusable(t *testing.T) {
	for name, source := range map[string]func(*api){
		"empty":  func(a *api) { a.shows("") },
		"staged": func(a *api) { a.shows("0a") },
		"absent": func(a *api) { a.src = absent },
	} {
		t.Run(name, func(t *testing.T) {
			keep(t, func(k *keeping) {
				k.mounts("0x 1y")
				k.shows("0d 1a 2b 3c")
				k.start()
				source(k.api)
				k.SourceChanged()
				before := k.Status().LastMatch
				k.after(10*time.Minute, "0d 1a 2b 3c")
				if k.Status().LastMatch.Sub(before) > time.Second || !k.Ready() {
					t.Errorf("status %+v, but the last match was at %v", k.Status(), before)
				}
				if n := strings.Count(k.log.String(), "cannot use the Secret's keys"); n != 1 {
					t.Errorf("the unusable Secret was logged %d times:\n%s", n, k.log)
				}
				k.shows("0d 1a 2b 3c")
				k.after(0, "0d 1a 2b 3c")
				if time.Since(k.Status().LastMatch) > 0 {
					t.Errorf("no match: %+v", k.Status())
				}
			})
		})
	}
}

// The first fill uses the mounted Secret if the API doesn't answer for two seconds.
func TestFirstFill(t *testing.T) {
	keep(t, func(k *keeping) {
		k.mounts("0d 1a 2b 3c")
		k.api.fails(errors.New("down"))
		k.start()
		k.after(fillFrom-1, "")
		if k.Ready() {
			t.Error("the Keeper is ready without keys")
		}
		k.after(lookEvery, "0d 1a 2b 3c")
		if !k.Ready() || !k.Status().LastMatch.IsZero() {
			t.Errorf("status %+v", k.Status())
		}
		k.shows("0e 2b 3c 4d")
		k.after(2*pause, "0e 2b 3c 4d")
	})
}

// After the first fill, the mounted Secret is used only if the API is silent for a minute and the
// mounted keys continue the current ones.
func TestSilence(t *testing.T) {
	keep(t, func(k *keeping) {
		k.shows("0d 1a 2b 3c")
		k.start()
		k.api.fails(errors.New("down"))
		k.mounts("0e 2b 3c 4d")
		k.after(silentFor-time.Second, "0d 1a 2b 3c")
		k.after(time.Second+lookEvery+2*pause, "0e 2b 3c 4d")
		k.mounts("0x 1y 9z") // unrelated
		k.after(5*time.Minute, "0e 2b 3c 4d")
		k.mounts("0d 1a 2b 3c") // an earlier set
		k.after(5*time.Minute, "0e 2b 3c 4d")
		k.shows("0e 2b 3c 4d")
		k.after(time.Second, "0e 2b 3c 4d")
		k.shows("0f 3c 4d 5e")
		k.after(2*pause, "0f 3c 4d 5e")
	})
}

// If the repository already has keys, a restarted Keeper doesn't replace them with those of the
// mounted Secret as it would in a first fill.
func TestRestart(t *testing.T) {
	keep(t, func(k *keeping) {
		k.shows("0d 1a 2b 3c")
		k.start()
		k.stop()
		synctest.Wait()
		again := *k
		again.Keeper = New(k.opts)
		k.api.src = unread
		k.api.fails(errors.New("down"))
		k.mounts("0x 1y")
		again.start()
		again.after(5*time.Minute, "0d 1a 2b 3c")
		if !again.Ready() {
			t.Error("the Keeper is not ready, although there are keys")
		}
		again.stop()
	})
}

func TestOnce(t *testing.T) {
	keep(t, func(k *keeping) {
		k.once = true
		k.start()
		time.Sleep(5 * time.Minute)
		if k.ended {
			t.Error("Run returned without keys")
		}
		k.shows("0d 1a 2b 3c")
		k.after(0, "0d 1a 2b 3c")
		if !k.ended {
			t.Error("Run did not return")
		}
	})
}
