package manifests

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"github.com/fernetcast/fernetcast/e2e/testenv"
)

// root is a directory that serves as the file system of a container. It has the binary, CA roots,
// and mounted files. The container's processes can't write to it.
type root struct {
	dir     string
	program string
}

// newRoot creates a root with the files of the final image.
func newRoot(t *testing.T, docker image, binary string, roots []byte) root {
	t.Helper()
	r := root{dir: t.TempDir(), program: docker.program}
	program, err := os.ReadFile(binary)
	testenv.Must(t, err)
	r.mount(t, docker.program, 0o755, program)
	r.mount(t, docker.roots, 0o644, roots)
	return r
}

// mount creates a file, as if a volume were mounted.
func (r root) mount(t *testing.T, path string, mode os.FileMode, data []byte) {
	t.Helper()
	path = filepath.Join(r.dir, path)
	testenv.Must(t, os.MkdirAll(filepath.Dir(path), 0o755))
	testenv.Must(t, errors.Join(os.WriteFile(path, data, mode), os.Chmod(path, mode)))
}

// contained is a process that runs in a root, with UID and GID 65532.
type contained struct {
	stdout, stderr testenv.Output
	cmd            *exec.Cmd
	done           chan struct{}
}

// start starts the program in the root, with only env as its environment. When the test ends, the
// process is killed.
func (r root) start(t *testing.T, env []string, args ...string) *contained {
	t.Helper()
	p := &contained{cmd: exec.Command(r.program, args...), done: make(chan struct{})}
	p.cmd.Dir, p.cmd.Env = "/", env
	p.cmd.Stdout, p.cmd.Stderr = &p.stdout, &p.stderr
	p.cmd.SysProcAttr = &syscall.SysProcAttr{
		Chroot:     r.dir,
		Credential: &syscall.Credential{Uid: 65532, Gid: 65532},
		Pdeathsig:  syscall.SIGKILL,
	}
	if os.Geteuid() != 0 {
		// Only root can use chroot and change the UID, so create a user namespace, in which this
		// process is root.
		p.cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWUSER
		p.cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 65532, HostID: os.Getuid(), Size: 1}}
		p.cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 65532, HostID: os.Getgid(), Size: 1}}
		p.cmd.SysProcAttr.Credential.NoSetGroups = true
	}
	started := make(chan error, 1)
	go func() {
		// The child is killed when the thread that forked it ends, so keep that thread.
		runtime.LockOSThread()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			_ = p.cmd.Wait() // ProcessState has the result
			close(p.done)
		}
	}()
	if err := <-started; err != nil {
		t.Fatalf("starting a process in another root directory, which requires root or user namespaces: %v", err)
	}
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill() // the process may have already ended
		<-p.done
		if t.Failed() {
			t.Logf("stderr of %v:\n%s", args, p.stderr.Tail(20))
		}
	})
	return p
}

// wait waits until the process ends, and returns the exit code.
func (p *contained) wait(ctx context.Context, t *testing.T) int {
	t.Helper()
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode()
	case <-ctx.Done():
		t.Fatalf("%v did not exit: %v", p.cmd.Args, context.Cause(ctx))
		return 0
	}
}

// alive returns an error if the process has ended.
func (p *contained) alive() error {
	select {
	case <-p.done:
		return fmt.Errorf("%v exited with %d", p.cmd.Args, p.cmd.ProcessState.ExitCode())
	default:
		return nil
	}
}

// terminate ends the process with SIGTERM, as the kubelet does, and checks that its exit code is 0.
func (p *contained) terminate(ctx context.Context, t *testing.T) {
	t.Helper()
	testenv.Must(t, p.cmd.Process.Signal(syscall.SIGTERM))
	if code := p.wait(ctx, t); code != 0 {
		t.Errorf("%v exited with %d after SIGTERM, want 0", p.cmd.Args, code)
	}
}

func TestBinaryRunsInAnEmptyRoot(t *testing.T) {
	ctx := within(t, shortBuild)
	lab := shared.Cluster("lab")
	docker := readDockerfile(t)
	binary := shipped(ctx, t, docker)
	own, err := shared.Namespace(ctx, "root")
	testenv.Must(t, err)
	if _, err := lab.Put(ctx, own, shared.Keys.NewRepository(4, 3)); err != nil {
		t.Fatal(err)
	}
	authority := lab.Config().CAData
	admin, err := lab.AdminKubeconfig(own)
	testenv.Must(t, err)

	// This kubeconfig has no CA, so only the image's CA roots can verify the API server.
	other := shared.Cluster("sjc").Config().CAData
	for want, roots := range map[string][]byte{"Unpromoted": authority, "Unread": other} {
		r := newRoot(t, docker, binary, roots)
		r.mount(t, "/kubeconfig", 0o444, withoutAuthority(t, admin))

		version := r.start(t, nil, "version")
		if code := version.wait(ctx, t); code != 0 || !bytes.Contains([]byte(version.stdout.String()), []byte(stamp)) {
			t.Errorf("version: exit %d, output %q, want %s in it", code, version.stdout.String(), stamp)
		}

		status := r.start(t, nil, "status", "-o", "json", "--kubeconfig=/kubeconfig", "--namespace="+own, "--clusters=/clusters")
		status.wait(ctx, t)
		if state := sourceState(t, status.stdout.String()); state != want {
			t.Errorf("the source is %s, want %s; stderr: %s", state, want, status.stderr.Tail(5))
		}
	}
}
