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

// Output collects the output of a process. It can be read while the process runs and after it has
// ended.
type Output struct {
	mu   sync.Mutex
	text bytes.Buffer
	tee  io.Writer
}

// Write implements [io.Writer] for the process.
func (o *Output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.tee != nil {
		if _, err := o.tee.Write(p); err != nil {
			return 0, fmt.Errorf("forwarding output: %w", err)
		}
	}
	return o.text.Write(p)
}

// String returns the output so far.
func (o *Output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// Tail returns the last n lines.
func (o *Output) Tail(n int) string {
	lines := strings.Split(strings.TrimRight(o.String(), "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// Process is a running program. Its methods are safe for concurrent use. On Linux, it is killed
// when the process that started it ends.
type Process struct {
	// Stdout and Stderr contain the complete output.
	Stdout, Stderr *Output

	cmd  *exec.Cmd
	done chan struct{} // closed when the process has ended and its output is complete
}

// startProcess starts cmd. If stdout or stderr is not nil, the output is also copied there.
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
		// The kernel sends the parent-death signal when the thread that forked the child ends, so
		// keep that thread until the child has exited.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		// Ignore the error, because ProcessState has the result.
		_ = cmd.Wait()
		close(p.done)
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("starting %s: %w", cmd.Path, err)
	}
	return p, nil
}

// Pid returns the process ID, even after the process has ended.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Done returns a channel that is closed when the process has ended and its output is complete.
func (p *Process) Done() <-chan struct{} { return p.done }

// Running reports whether the process has not ended. A frozen process is running.
func (p *Process) Running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// Wait blocks until the process ends, and returns its exit code, or -1 after a signal. It returns
// an error only if ctx ends first.
func (p *Process) Wait(ctx context.Context) (int, error) {
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode(), nil
	case <-ctx.Done():
		return 0, fmt.Errorf("waiting for %s (pid %d) to end: %w", p.cmd.Path, p.Pid(), context.Cause(ctx))
	}
}

// Freeze makes the process behave like a hung machine: its sockets stay open, but nothing answers. It
// returns when the kernel has stopped the process.
func (p *Process) Freeze() error {
	if err := p.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return Until(ctx, time.Millisecond, func(context.Context) error { return isStopped(p.Pid()) })
}

// Thaw resumes a frozen process.
func (p *Process) Thaw() error { return p.Signal(syscall.SIGCONT) }

// Terminate sends SIGTERM and returns immediately.
func (p *Process) Terminate() error { return p.Signal(syscall.SIGTERM) }

// Kill sends SIGKILL and waits until the process has exited. It works on frozen processes and does
// nothing if the process has already ended.
func (p *Process) Kill() {
	// Kill fails only if the process has already ended.
	_ = p.cmd.Process.Kill()
	<-p.done
}

// goroutine matches the first line of each stack trace that the Go runtime prints on SIGQUIT.
// Goroutine 0 is the scheduler.
var goroutine = regexp.MustCompile(`(?m)^goroutine [1-9]`)

// Goroutines ends a Go program with SIGQUIT, counts the stack traces on stderr, and returns the
// number. So the program needs no debug port.
func (p *Process) Goroutines(ctx context.Context) (int, error) {
	if err := p.Signal(syscall.SIGQUIT); err != nil {
		return 0, err
	}
	if _, err := p.Wait(ctx); err != nil {
		return 0, err
	}
	n := len(goroutine.FindAllString(p.Stderr.String(), -1))
	if n == 0 {
		return 0, fmt.Errorf("counting goroutines: %s (pid %d) has printed no stack traces", p.cmd.Path, p.Pid())
	}
	return n, nil
}

// Signal sends sig to the process.
func (p *Process) Signal(sig os.Signal) error {
	if err := p.cmd.Process.Signal(sig); err != nil {
		return fmt.Errorf("sending %v to %s (pid %d): %w", sig, p.cmd.Path, p.Pid(), err)
	}
	return nil
}
