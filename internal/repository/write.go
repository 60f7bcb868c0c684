package repository

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/fernetcast/fernetcast/internal/keyset"
)

// replace makes the repository equal to set in three steps: it writes new and changed keys above
// index 0 in ascending order, then writes index 0, and then removes old keys. Keystone loads keys
// by listing the files and then opening them one by one. The pause between the steps is longer than
// that takes, so a load that starts during one step ends before the step after the next. replace
// calls primed when the set's primary is in place.
//
// If set doesn't continue the current keys, no order of writes can help, and replace doesn't pause.
// It writes all new files to the staging directory before it moves the first, so nothing changes if
// the file system is full. After an interruption, the keys continue the old set, the new set
// continues them, and the next call to replace completes the update.
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
