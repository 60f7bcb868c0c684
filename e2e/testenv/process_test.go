package testenv_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/fernetcast/fernetcast/e2e/testenv"
)

func TestFrozenProcessSaysNothingAndCanBeKilled(t *testing.T) {
	began := time.Now()
	process, err := (&testenv.Program{Path: "/bin/sh"}).Start("-c", "while echo x; do :; done")
	testenv.Must(t, err)
	defer process.Kill()
	grows := func(than int) error {
		return testenv.Until(deadline(t), time.Millisecond, func(context.Context) error {
			if len(process.Stdout.String()) <= than {
				return errors.New("no more output")
			}
			return nil
		})
	}
	testenv.Must(t, grows(0))
	if now, peak, err := process.Memory(); err != nil || now < 100<<10 || peak < now {
		t.Errorf("memory: %d now, %d at most, %v", now, peak, err)
	}
	testenv.Must(t, testenv.Until(deadline(t), time.Millisecond, func(context.Context) error {
		used, err := process.CPU()
		if most := time.Since(began); used > most {
			t.Errorf("used %v of CPU time in %v", used, most)
		}
		if err == nil && used < 50*time.Millisecond {
			err = fmt.Errorf("used only %v", used)
		}
		return err
	}))

	if files, err := process.Files(); err != nil || files < 3 || files > 20 {
		t.Errorf("%d open files, %v; wanted stdin, stdout, stderr, and a few more", files, err)
	}
	testenv.Must(t, process.Freeze())
	before := -1
	testenv.Must(t, testenv.Until(deadline(t), 100*time.Millisecond, func(context.Context) error {
		last := before
		before = len(process.Stdout.String())
		if before != last {
			return errors.New("still writing")
		}
		return nil
	}))
	testenv.Must(t, process.Thaw())
	testenv.Must(t, grows(before))
	testenv.Must(t, process.Freeze())
	process.Kill()
	if code, err := process.Wait(deadline(t)); code != -1 || err != nil {
		t.Errorf("killed: code %d, %v", code, err)
	}
}

// parentEnv is the environment variable that makes the test binary act as the parent that the next
// test kills.
const parentEnv = "GROUND_TEST_PARENT"

func TestChildDiesWithItsParent(t *testing.T) {
	if os.Getenv(parentEnv) != "" {
		child, err := (&testenv.Program{Path: "/bin/sleep"}).Start("1000")
		testenv.Must(t, err)
		fmt.Println("child", child.Pid())
		<-child.Done()
		return
	}
	parent := exec.Command(os.Args[0], "-test.run=^TestChildDiesWithItsParent$")
	parent.Env = append(os.Environ(), parentEnv+"=1")
	out, err := parent.StdoutPipe()
	testenv.Must(t, err)
	testenv.Must(t, parent.Start())
	pid := 0
	for lines := bufio.NewScanner(out); pid == 0 && lines.Scan(); {
		if text, ok := strings.CutPrefix(lines.Text(), "child "); ok {
			pid, err = strconv.Atoi(text)
			testenv.Must(t, err)
		}
	}
	if pid == 0 {
		t.Fatal("the parent printed no PID")
	}
	testenv.Must(t, syscall.Kill(pid, 0))
	testenv.Must(t, parent.Process.Kill())
	// Wait returns an error because the parent was killed.
	_ = parent.Wait()
	testenv.Must(t, testenv.Until(deadline(t), 10*time.Millisecond, func(context.Context) error {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err == nil && !strings.Contains(string(stat), ") Z ") {
			return fmt.Errorf("child %d is still running", pid)
		}
		return nil
	}))
}
