package files_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/fernetcast/fernetcast/e2e/testenv"
)

// pause is much longer than Keystone takes to load its keys, but short enough for many rotations.
const pause = 100 * time.Millisecond

func TestRotationsBesideKeystone(t *testing.T) { besideKeystone(t, 40) }

func TestLongRotationsBesideKeystone(t *testing.T) {
	testenv.Long(t)
	besideKeystone(t, 120)
}

// besideKeystone runs Keystone's own loader during rotations. Every tenth time, it rotates twice in
// a row. Every fourth time, it kills the program after one of its steps. No load may miss a key
// that is in both the old and the new key set, or lack permission to read a file. A load may fail
// if a file is removed after Keystone has listed it and before it opens it, but not more often than
// while a kubelet swaps a volume.
func besideKeystone(t *testing.T, rotations int) {
	p := newPlace(t)
	first, err := p.home().Secret(p.Ctx, p.NS)
	p.Must(err)
	begun := time.Now()
	p.start()
	p.holds(first.Data)
	l := p.load(p.dir, p.asKeystone)
	l.sent(begun, first.Data)
	l.done()
	var took, primed []time.Duration
	for i := range rotations {
		rotated := p.rotate(l)
		if i%10 == 0 {
			rotated = p.rotate(l)
		}
		if i%4 == 0 {
			p.reaches(rotated.Keys, i/4%4)
			p.restart()
		} else if i%10 != 0 {
			p.reaches(rotated.Keys, 1)
			primed = append(primed, time.Since(rotated.Sent))
		}
		p.holds(rotated.Keys)
		l.done()
		if i%4 != 0 && i%10 != 0 {
			took = append(took, time.Since(rotated.Sent))
		}
	}
	mine := l.judge()
	theirs := p.swapped(rotations)
	t.Logf("from the rotation's PUT to its primary in the repository: p50 %v, p99 %v",
		testenv.Percentile(primed, 50).Round(100*time.Microsecond), testenv.Percentile(primed, 99).Round(100*time.Microsecond))
	t.Logf("files: %d loads, %d of them without a key, %v; all steps, including two pauses of %v: p50 %v, p99 %v", mine.loads, mine.lacking, mine.errors, pause,
		testenv.Percentile(took, 50).Round(time.Millisecond), testenv.Percentile(took, 99).Round(time.Millisecond))
	t.Logf("kubelet's swaps: %d loads, %d of them without a key, %v", theirs.loads, theirs.lacking, theirs.errors)
	if mine.loads < 10*rotations {
		t.Errorf("only %d loads for %d rotations", mine.loads, rotations)
	}
	if mine.lacking > 0 || mine.errors["PermissionError"] > 0 {
		t.Errorf("%d loads lacked a key, errors %v", mine.lacking, mine.errors)
	}
	// Few loads coincide with a removal, so both counts are small.
	if n := mine.errors["FileNotFoundError"]; n > theirs.errors["FileNotFoundError"]+5 {
		t.Errorf("%d loads missed a file, compared to %d during the kubelet's swaps", n, theirs.errors["FileNotFoundError"])
	}
	delete(mine.errors, "FileNotFoundError")
	if len(mine.errors) > 0 {
		t.Errorf("errors %v", mine.errors)
	}
}

// rotate rotates the keys in the Secret and records the new ones in l.
func (p *place) rotate(l *loads) testenv.Rotation {
	p.Helper()
	rotated, err := p.home().Rotate(p.Ctx, p.NS, maxActive)
	p.Must(err)
	l.sent(rotated.Sent, rotated.Keys)
	return rotated
}

// reaches waits until the program has reached a step: at 0, it is writing files; at 1, the new
// primary is in place; at 2, the new staged key is in place; and at 3, the update is complete.
func (p *place) reaches(keys testenv.Repository, step int) {
	p.Helper()
	ctx, cancel := context.WithTimeout(p.Ctx, testenv.Soon)
	defer cancel()
	p.Must(testenv.Until(ctx, time.Millisecond, func(context.Context) error {
		there, staging, err := p.look()
		primed := there.Primary() >= keys.Primary()
		switch {
		case err != nil:
			return err
		case step == 0 && (staging || primed), step == 1 && primed, step == 2 && primed && string(there["0"]) == string(keys["0"]), keys.Equal(there):
			return nil
		}
		return os.ErrNotExist
	}))
}

// asOurselves returns a program that runs as the current user, who owns the volumes that the test
// writes. Compare asKeystone.
func asOurselves(path string, args ...string) *testenv.Program {
	return &testenv.Program{Path: path, Args: args}
}

// swapped runs the same loader while a simulated kubelet swaps a volume as many times.
func (p *place) swapped(rotations int) figures {
	p.Helper()
	volume := filepath.Join(p.TempDir(), "volume")
	p.Must(os.Mkdir(volume, 0o755))
	keys := shared.Keys.NewRepository(8, maxActive)
	p.Must(testenv.WriteVolume(volume, keys, 0o600))
	l := p.load(volume, asOurselves)
	l.sent(time.Now(), keys)
	l.done()
	for range rotations {
		keys = shared.Keys.Rotated(keys, maxActive)
		l.sent(time.Now(), keys)
		p.Must(testenv.WriteVolume(volume, keys, 0o600))
		l.done()
		time.Sleep(2 * pause) // the same interval as in besideKeystone
	}
	return l.judge()
}
