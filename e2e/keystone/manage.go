package keystone

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"sync"
)

// python is the interpreter that Debian's keystone package uses.
const python = "/usr/bin/python3"

// manager runs keystone-manage commands. Importing Keystone takes a few seconds of CPU time, but a
// command only a tenth of a second. So a single process imports Keystone once, and forks for each
// command. The process ends when the test does, because its stdin is then closed.
type manager struct {
	dir string

	mu      sync.Mutex // held during a command
	process *exec.Cmd  // nil if not started
	in      io.Writer
	out     *bufio.Reader
	stderr  bytes.Buffer
}

const managerScript = `
import json, os, sys, traceback
from keystone.cmd.manage import main

for line in sys.stdin:
    receive, send = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.dup2(send, 1)
        os.dup2(send, 2)
        sys.argv, code = json.loads(line), 1
        try:
            code = main()
        except SystemExit as end:
            code = end.code
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else code is not None)
    os.close(send)
    with os.fdopen(receive, errors="replace") as output:
        text = output.read()
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    print(json.dumps({"code": code, "output": text}), flush=True)
`

func (m *manager) start() error {
	m.stderr.Reset()
	process := exec.Command(python, "-c", managerScript)
	process.Dir, process.Stderr = m.dir, &m.stderr
	in, errIn := process.StdinPipe()
	out, errOut := process.StdoutPipe()
	if err := errors.Join(errIn, errOut, process.Start()); err != nil {
		return fmt.Errorf("starting %s: %w", manage, err)
	}
	m.process, m.in, m.out = process, in, bufio.NewReader(out)
	return nil
}

// run runs one command. If ctx ends, it kills the process.
func (m *manager) run(ctx context.Context, args ...string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	if m.process == nil {
		if err := m.start(); err != nil {
			return err
		}
	}
	code, output, err := m.ask(ctx, args)
	if err != nil { // the process can't be used for another command
		_ = m.process.Process.Kill()
		_ = m.process.Wait()
		m.process, output = nil, m.stderr.String()
	} else if code != 0 {
		err = fmt.Errorf("exit %d", code)
	}
	if err != nil {
		return fmt.Errorf("running %s %q: %w\n%s", manage, args, errors.Join(ctx.Err(), err), output)
	}
	return nil
}

func (m *manager) ask(ctx context.Context, args []string) (code int, output string, err error) {
	process := m.process.Process
	defer context.AfterFunc(ctx, func() { _ = process.Kill() })()
	request, err := json.Marshal(append([]string{manage}, args...))
	if err != nil {
		return 0, "", err
	}
	if _, err := m.in.Write(append(request, '\n')); err != nil {
		return 0, "", err
	}
	line, err := m.out.ReadBytes('\n')
	if err != nil {
		return 0, "", err
	}
	var answer struct {
		Code   int
		Output string
	}
	err = json.Unmarshal(line, &answer)
	return answer.Code, answer.Output, err
}
