package repository

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/fernetcast/fernetcast/internal/keyset"
)

// replace makes the repository equal to set in three steps. It writes new and changed keys above
// index 0 in ascending order, then index 0, and then removes old keys. It pauses between the steps
// for longer than Keystone takes to load its keys. Since Keystone lists the files first and then
// opens them one by one, a load that starts in one step ends before the step after the next.
// replace calls primed when the set's primary is in place.
//
// If set doesn't continue the current keys, no order can help, and replace doesn't pause. It writes
// all new files before it moves the first, so a full file system changes nothing. An interruption
// after any step leaves a set that both continues the old set and is continued by the new one, and
// the next call completes it.
func (d *directory) replace(ctx context.Context, c contents, set keyset.Set, pause time.Duration, primed func()) error {
	data := set.Data()
	for _, name := range c.dirs {
		if _, wanted := data[name]; wanted {
			return fmt.Errorf("writing key %s: the key repository has a directory with this name; remove it", name)
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

// sleep waits for d or until ctx is done.
func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return ctx.Err()
	}
}
