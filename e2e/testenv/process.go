package testenv

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Output is what a process has written so far. It may be read while the
// process runs, and after it has ended.
type Output struct {
	mu   sync.Mutex
	text bytes.Buffer
	tee  io.Writer
}

// Write is for the process alone.
func (o *Output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.tee != nil {
		if _, err := o.tee.Write(p); err != nil {
			return 0, fmt.Errorf("passing output on: %w", err)
		}
	}
	return o.text.Write(p)
}

// String is everything written so far.
func (o *Output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// Tail is the last n lines.
func (o *Output) Tail(n int) string {
	lines := strings.Split(strings.TrimRight(o.String(), "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// Process is one running program. Its methods may be called concurrently. It
// dies with the process that started it, however that one ends (on Linux).
type Process struct {
	// Stdout and Stderr hold all that was written, apart from each other.
	Stdout, Stderr *Output

	cmd  *exec.Cmd
	done chan struct{} // closed when the process is gone and its output complete
}

// startProcess starts cmd. Where stdout or stderr is not nil, output goes
// there too as it comes.
func startProcess(cmd *exec.Cmd, stdout, stderr io.Writer) (*Process, error) {
	p := &Process{
		Stdout: &Output{tee: stdout},
		Stderr: &Output{tee: stderr},
		cmd:    cmd,
		done:   make(chan struct{}),
	}
	cmd.Stdout, cmd.Stderr = p.Stdout, p.Stderr
	cmd.SysProcAttr = dieWithParent()
	started := make(chan error, 1)
	go func() {
		// The kernel sends the parent-death signal when the thread that forked
		// ends, so that thread is kept until the child is gone.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		// What Wait reports is read from ProcessState.
		_ = cmd.Wait()
		close(p.done)
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("starting %s: %w", cmd.Path, err)
	}
	return p, nil
}

// Pid is the process id, also after the end.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Done is closed when the process has ended and all its output is there.
func (p *Process) Done() <-chan struct{} { return p.done }

// Running tells whether the process has not ended. A frozen one is running.
func (p *Process) Running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// Wait blocks until the process ends, and returns its exit code: -1 when a
// signal ended it. The error is ctx's.
func (p *Process) Wait(ctx context.Context) (int, error) {
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode(), nil
	case <-ctx.Done():
		return 0, fmt.Errorf("waiting for %s (pid %d) to end: %w", p.cmd.Path, p.Pid(), context.Cause(ctx))
	}
}

// Freeze stops the process as a hung machine would: its sockets stay open and
// nothing answers. It returns when the kernel has stopped it.
func (p *Process) Freeze() error {
	if err := p.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return Until(ctx, time.Millisecond, func(context.Context) error { return isStopped(p.Pid()) })
}

// Thaw lets a frozen process go on.
func (p *Process) Thaw() error { return p.Signal(syscall.SIGCONT) }

// Terminate asks the process to end (SIGTERM) and returns at once.
func (p *Process) Terminate() error { return p.Signal(syscall.SIGTERM) }

// Kill ends the process with SIGKILL, frozen or not, and returns when it is
// gone. Killing one that has ended does nothing.
func (p *Process) Kill() {
	// The only error is that it has ended already.
	_ = p.cmd.Process.Kill()
	<-p.done
}

// goroutine heads the trace of each one, as the Go runtime prints them on
// SIGQUIT. Number 0 is the scheduler's own.
var goroutine = regexp.MustCompile(`(?m)^goroutine [1-9]`)

// Goroutines ends a Go program with SIGQUIT and counts those that it had, in the
// traces that it leaves on stderr: so the program needs no debug port.
func (p *Process) Goroutines(ctx context.Context) (int, error) {
	if err := p.Signal(syscall.SIGQUIT); err != nil {
		return 0, err
	}
	if _, err := p.Wait(ctx); err != nil {
		return 0, err
	}
	n := len(goroutine.FindAllString(p.Stderr.String(), -1))
	if n == 0 {
		return 0, fmt.Errorf("counting goroutines: %s (pid %d) has left no traces", p.cmd.Path, p.Pid())
	}
	return n, nil
}

// Signal sends any signal.
func (p *Process) Signal(sig os.Signal) error {
	if err := p.cmd.Process.Signal(sig); err != nil {
		return fmt.Errorf("sending %v to %s (pid %d): %w", sig, p.cmd.Path, p.Pid(), err)
	}
	return nil
}
