package files_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/fernetcast/fernetcast/e2e/testenv"
)

const (
	// keystoneUser is the UID of Keystone in openstack-helm's images.
	keystoneUser = "42424"
	maxActive    = 4
)

// place is a Secret in a cluster, and a key repository that `fernetcast files` keeps up to date.
type place struct {
	*testenv.Stage
	dir     string // key repository
	program *testenv.Program
	process *testenv.Process
	address string
	log     bytes.Buffer // logs of previous processes
}

// newPlace creates a Secret with keys. If the test runs as root, the program runs as Keystone's
// user, so everything is in a directory that this user can access.
func newPlace(t *testing.T) *place {
	t.Helper()
	p := &place{Stage: shared.Stage(t, "f", 15*time.Minute)}
	p.Keys(p.home().Name, maxActive)
	program := p.Shipped()
	site := p.At(program, p.home().Name)
	open := t.TempDir()
	p.Must(os.Chmod(filepath.Dir(open), 0o755))
	own := filepath.Join(open, "own")
	p.Must(os.Mkdir(own, 0o755))
	kubeconfig := site.Runner.Args[1] // the value of --kubeconfig
	p.copyTo(filepath.Join(open, "fernetcast"), program.Path, 0o755)
	p.copyTo(filepath.Join(open, "kubeconfig"), kubeconfig, 0o644)
	p.dir = filepath.Join(own, "keys")
	var err error
	p.address, err = shared.Address()
	p.Must(err)
	p.program = p.asKeystone(filepath.Join(open, "fernetcast"), "files", p.dir, "--pause", pause.String(), "--listen", p.address,
		"--kubeconfig", filepath.Join(open, "kubeconfig"), "--namespace", p.NS)
	if os.Geteuid() == 0 {
		uid, _ := strconv.Atoi(keystoneUser)
		p.Must(os.Chown(own, uid, uid))
	}
	t.Cleanup(func() {
		p.kill()
		shared.Keys.NoLeaks(t, p.log.String())
		if t.Failed() {
			lines := bytes.Split(p.log.Bytes(), []byte("\n"))
			t.Logf("the last log lines:\n%s", bytes.Join(lines[max(0, len(lines)-30):], []byte("\n")))
		}
	})
	return p
}

func (p *place) home() *testenv.Cluster { return shared.Cluster("sjc") }

func (p *place) copyTo(path, from string, mode fs.FileMode) {
	p.Helper()
	data, err := os.ReadFile(from)
	p.Must(err)
	p.Must(os.WriteFile(path, data, mode))
}

// asKeystone returns a program that runs as Keystone's user if the test runs as root.
func (p *place) asKeystone(path string, args ...string) *testenv.Program {
	if os.Geteuid() != 0 {
		return &testenv.Program{Path: path, Args: args}
	}
	setpriv, err := exec.LookPath("setpriv")
	p.Must(err)
	return &testenv.Program{Path: setpriv, Args: append([]string{"--reuid", keystoneUser, "--regid", keystoneUser, "--clear-groups", "--", path}, args...)}
}

func (p *place) start(args ...string) {
	p.Helper()
	var err error
	p.process, err = p.program.Start(args...)
	p.Must(err)
}

// kill kills the program if it is running.
func (p *place) kill() {
	if p.process != nil {
		p.process.Kill()
		p.log.WriteString(p.process.Stderr.String())
	}
}

// restart kills and restarts the program.
func (p *place) restart() {
	p.Helper()
	p.kill()
	p.start()
}

// holds waits until the repository contains exactly these keys and no temporary files.
func (p *place) holds(keys testenv.Repository) {
	p.Helper()
	ctx, cancel := context.WithTimeout(p.Ctx, testenv.Soon)
	defer cancel()
	p.Must(testenv.Until(ctx, time.Millisecond, func(context.Context) error {
		there, staging, err := p.look()
		if err == nil && (staging || !keys.Equal(there)) {
			err = fmt.Errorf("the repository has primary %d of %d keys, want %d of %d", there.Primary(), len(there), keys.Primary(), len(keys))
		}
		return err
	}))
}

// look reads the repository and reports whether files are being written.
func (p *place) look() (there testenv.Repository, staging bool, err error) {
	entries, err := os.ReadDir(p.dir)
	if err != nil {
		return nil, false, err
	}
	there = testenv.Repository{}
	for _, e := range entries {
		if e.Name() == ".new" {
			staging = true
			continue
		}
		there[e.Name()], err = os.ReadFile(filepath.Join(p.dir, e.Name()))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, false, err
		}
	}
	return there, staging, nil
}

// metric returns the value of a metric.
func (p *place) metric(name string) float64 {
	p.Helper()
	text, err := testenv.Get(p.Ctx, "http://"+p.address+"/metrics")
	p.Must(err)
	found := regexp.MustCompile(`(?m)^` + name + ` (\S+)$`).FindStringSubmatch(string(text))
	if found == nil {
		p.Fatalf("metric %s is missing:\n%s", name, text)
	}
	value, err := strconv.ParseFloat(found[1], 64)
	p.Must(err)
	return value
}
