package testenv

import (
	"context"
	"fmt"
	"time"
)

// Until calls check immediately and then at every interval until check returns nil. If ctx ends
// first, Until returns an error that wraps the last error of check. check must return when its ctx
// ends.
func Until(ctx context.Context, interval time.Duration, check func(context.Context) error) error {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	var why error
	for {
		err := check(ctx)
		if err == nil {
			return nil
		}
		// If ctx ended during check, the previous error is more useful.
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
