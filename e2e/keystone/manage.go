package keystone

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"sync"
)

// python is what Debian's keystone is installed for.
const python = "/usr/bin/python3"

// manager runs the commands of keystone-manage. Importing Keystone takes some seconds of a
// core and a command itself a tenth of one, so a process imports it once, and forks for
// each command.
type manager struct {
	mu      sync.Mutex // one command at a time
	process *exec.Cmd
	in      io.Writer
	out     *bufio.Reader
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

// newManager starts the process in a directory. It ends with ours, because then its
// stdin does.
func newManager(dir string) (*manager, error) {
	m := &manager{process: exec.Command(python, "-c", managerScript)}
	m.process.Dir = dir
	in, errIn := m.process.StdinPipe()
	out, errOut := m.process.StdoutPipe()
	m.in = in
	if err := errors.Join(errIn, errOut, m.process.Start()); err != nil {
		return nil, fmt.Errorf("starting %s: %w", manage, err)
	}
	m.out = bufio.NewReader(out)
	return m, nil
}

// run runs one command. It can't be interrupted: at the end of ctx all commands end.
func (m *manager) run(ctx context.Context, args ...string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	defer context.AfterFunc(ctx, func() { _ = m.process.Process.Kill() })()
	request, err := json.Marshal(append([]string{manage}, args...))
	if err != nil {
		return err
	}
	var answer struct {
		Code   int
		Output string
	}
	_, err = m.in.Write(append(request, '\n'))
	if err == nil {
		var line []byte
		if line, err = m.out.ReadBytes('\n'); err == nil {
			err = json.Unmarshal(line, &answer)
		}
	}
	if err == nil && answer.Code != 0 {
		err = fmt.Errorf("exit %d", answer.Code)
	}
	if err != nil {
		return fmt.Errorf("running %s %q: %w\n%s", manage, args, errors.Join(ctx.Err(), err), answer.Output)
	}
	return nil
}
