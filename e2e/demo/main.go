// Command demo shows fernetcast at work on this machine: a main region, three
// others, and a rotation every few seconds. It also judges what it shows: its
// exit code is 1 when a region was late.
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

// lengthFrom is how long rotations go on; 0: until somebody ends it.
func lengthFrom(seconds string) (time.Duration, error) {
	if seconds == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(seconds)
	if err != nil || n <= 0 {
		return 0, fmt.Errorf("DEMO_SECONDS=%q: it has to be a number of seconds above 0", seconds)
	}
	return time.Duration(n) * time.Second, nil
}

// show sets the stage, has the keys rotate, and takes everything down again.
func show(ctx context.Context, view *screen, length time.Duration) (*record, error) {
	record := &record{}
	s, err := setStage(ctx, view)
	if s != nil {
		defer func() {
			view.say("Stopping everything and removing its data.")
			s.tokens.stop()
			if err := errors.Join(s.pods.close(), s.env.Close()); err != nil {
				view.say("Not everything could be removed: %v", err)
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
		return record, fmt.Errorf("%w\nthe last lines of %s:\n%s", err, s.log, s.syncer.Stderr.Tail(10))
	}
	return record, nil
}
