package testenv

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

const (
	scratchPrefix = "fernetcast-testenv-"
	scratchLock   = "in-use"
)

// newScratch makes a directory for the data of one run, and removes those of
// runs that were killed before they could. The returned file holds the lock
// that tells the two apart; the kernel drops it with the process.
func newScratch() (dir string, lock *os.File, err error) {
	if err := sweepScratch(); err != nil {
		return "", nil, err
	}
	dir, err = os.MkdirTemp("", scratchPrefix)
	if err != nil {
		return "", nil, fmt.Errorf("making a temporary directory: %w", err)
	}
	// Locked before it gets the name that a sweep looks at.
	path := filepath.Join(dir, "lock")
	lock, err = os.Create(path)
	if err == nil {
		err = syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	}
	if err == nil {
		err = os.Rename(path, filepath.Join(dir, scratchLock))
	}
	if err != nil {
		return "", nil, errors.Join(fmt.Errorf("locking %s: %w", dir, err), os.RemoveAll(dir))
	}
	return dir, lock, nil
}

func sweepScratch() error {
	locks, err := filepath.Glob(filepath.Join(os.TempDir(), scratchPrefix+"*", scratchLock))
	if err != nil {
		return fmt.Errorf("looking for left-over data: %w", err)
	}
	for _, path := range locks {
		if err := sweepOne(path); err != nil {
			return fmt.Errorf("removing left-over data: %w", err)
		}
	}
	return nil
}

func sweepOne(path string) error {
	lock, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, os.ErrPermission) {
		return nil // swept by another run, or another user's
	}
	if err != nil {
		return err
	}
	defer lock.Close()
	if syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil {
		return nil // its run is alive
	}
	return os.RemoveAll(filepath.Dir(path))
}
