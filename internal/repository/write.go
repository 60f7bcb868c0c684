package repository

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/fernetcast/fernetcast/internal/keyset"
)

// replace makes the repository hold just the set: new and changed indices above 0,
// ascending; then 0; then what is gone is removed. Between the steps it pauses for
// longer than one load of the keys by Keystone takes, which lists the files first and
// then opens one after the other: a load that begins in one step ends before the step
// after the next. It calls primed once the set's primary is in its place.
//
// Where the set does not continue what is there, no order helps, and it does not
// pause. All files are written before the first is moved, so a full file system
// changes nothing. What is interrupted after any step is a set that both the old and
// the new one continue in, and the next call goes on from there.
func (d *directory) replace(ctx context.Context, c contents, set keyset.Set, pause time.Duration, primed func()) error {
	data := set.Data()
	for _, name := range c.dirs {
		if _, wanted := data[name]; wanted {
			return fmt.Errorf("writing key %s: a directory of that name is in the key repository; remove it", name)
		}
	}
	if !set.Fingerprints().Continues(c.fingerprints()) {
		pause = 0
	}
	p := planned(c, data)
	if err := d.stage(data, slices.Concat(p.above, p.staged)); err != nil {
		return err
	}
	if err := d.put(p.above); err != nil {
		return err
	}
	primed()
	for _, step := range []struct {
		names []string
		do    func([]string) error
	}{{p.staged, d.put}, {p.gone, d.remove}} {
		if len(step.names) == 0 {
			continue
		}
		if err := sleep(ctx, pause); err != nil {
			return err
		}
		if err := step.do(step.names); err != nil {
			return err
		}
	}
	return d.unstage()
}

// sleep waits for d, or until ctx is done.
func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return ctx.Err()
	}
}
