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

// newScratch creates a directory for the data of one test run, and removes the directories of runs
// that were killed. A run locks the returned file. The kernel releases the lock when the process
// ends.
func newScratch() (dir string, lock *os.File, err error) {
	if err := sweepScratch(); err != nil {
		return "", nil, err
	}
	dir, err = os.MkdirTemp("", scratchPrefix)
	if err != nil {
		return "", nil, fmt.Errorf("creating a temporary directory: %w", err)
	}
	// Lock the directory before the rename. After that, other runs can find it, and would remove it
	// without a lock.
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
		return fmt.Errorf("looking for leftover data: %w", err)
	}
	for _, path := range locks {
		if err := sweepOne(path); err != nil {
			return fmt.Errorf("removing leftover data: %w", err)
		}
	}
	return nil
}

func sweepOne(path string) error {
	lock, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, os.ErrPermission) {
		return nil // another run removed it, or another user owns it
	}
	if err != nil {
		return err
	}
	defer lock.Close()
	if syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil {
		return nil // the run is still active
	}
	return os.RemoveAll(filepath.Dir(path))
}
