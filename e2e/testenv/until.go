package testenv

import (
	"context"
	"fmt"
	"time"
)

// Until calls check at once and then at every interval, until it returns nil.
// When ctx ends first, the error holds check's last one: why it was not so.
// A check that does not return when its ctx ends blocks Until.
func Until(ctx context.Context, interval time.Duration, check func(context.Context) error) error {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	var why error
	for {
		err := check(ctx)
		if err == nil {
			return nil
		}
		// A check cut short by ctx says less than the one before it.
		if why == nil || ctx.Err() == nil {
			why = err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w (%w)", why, context.Cause(ctx))
		case <-tick.C:
		}
	}
}
