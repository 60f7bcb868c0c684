// Command demo shows fernetcast at work on this machine, with a main region, three remotes, and a
// rotation every few seconds. It also checks the result: its exit code is 1 if a remote was late or
// rejected a token.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

func main() { os.Exit(run()) }

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	length, err := lengthFrom(os.Getenv("DEMO_SECONDS"))
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		return 2
	}
	view := newScreen(os.Stdout)
	record, err := show(ctx, view, length)
	view.end()
	if err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		return 1
	}
	fmt.Println(record.summary())
	for _, failure := range record.failures {
		fmt.Println("FAILED:", failure)
	}
	if len(record.failures) > 0 {
		return 1
	}
	return 0
}

// lengthFrom parses DEMO_SECONDS, which is how long the demo rotates keys. 0 means until it is
// interrupted.
func lengthFrom(seconds string) (time.Duration, error) {
	if seconds == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(seconds)
	if err != nil || n <= 0 {
		return 0, fmt.Errorf("DEMO_SECONDS=%q must be a positive integer", seconds)
	}
	return time.Duration(n) * time.Second, nil
}

// show starts everything, rotates the keys until ctx ends, and stops everything again.
func show(ctx context.Context, view *screen, length time.Duration) (*record, error) {
	record := &record{}
	s, err := setStage(ctx, view)
	if s != nil {
		defer func() {
			view.say("Stopping everything and deleting its data.")
			s.tokens.stop()
			if err := errors.Join(s.pods.close(), s.env.Close()); err != nil {
				view.say("Cleanup failed: %v", err)
			}
		}()
	}
	if err != nil {
		return record, err
	}
	if s.watch, err = s.program.StartOn(view.tables(), os.Stderr, s.operating("status", "--watch")...); err != nil {
		return record, err
	}
	defer s.watch.Kill()
	if length > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, length)
		defer cancel()
	}
	if err := s.rotateUntil(ctx, view, record); err != nil {
		return record, fmt.Errorf("%w\nlast lines of %s:\n%s", err, s.log, s.syncer.Stderr.Tail(10))
	}
	return record, nil
}
