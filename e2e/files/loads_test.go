package files_test

import (
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/fernetcast/fernetcast/e2e/testenv"
)

//go:embed loader.py
var loader string

// epoch is a key set, with the times when it was sent and when the repository contained it.
type epoch struct {
	prints     map[string]bool
	sent, done float64
}

// loads holds the results of Keystone's loader, and the key sets that it could find.
type loads struct {
	p       *place
	process *testenv.Process
	end     func() error
	epochs  []epoch
}

// load starts a process that loads the repository in dir repeatedly. The function as selects its
// user.
func (p *place) load(dir string, as func(path string, args ...string) *testenv.Program) *loads {
	p.Helper()
	script := filepath.Join(filepath.Dir(filepath.Dir(p.dir)), "loader.py")
	p.Must(os.WriteFile(script, []byte(loader), 0o644))
	// Nothing is written to this pipe. The loader ends when the pipe is closed.
	read, write, err := os.Pipe()
	p.Must(err)
	program := as("/usr/bin/python3", script, dir)
	program.Stdin = read
	process, err := program.Start()
	p.Must(err)
	p.Must(read.Close())
	p.Cleanup(process.Kill)
	return &loads{p: p, process: process, end: write.Close}
}

func now() float64 { return float64(time.Now().UnixMicro()) / 1e6 }

// sent records a key set that is about to be written.
func (l *loads) sent(at time.Time, keys testenv.Repository) {
	prints := map[string]bool{}
	for _, key := range keys {
		sum := sha256.Sum256(key)
		prints[hex.EncodeToString(sum[:])[:8]] = true
	}
	l.epochs = append(l.epochs, epoch{prints, float64(at.UnixMicro()) / 1e6, math.Inf(1)})
}

// done records that the repository contains the last key set.
func (l *loads) done() { l.epochs[len(l.epochs)-1].done = now() }

// figures holds the measured results.
type figures struct {
	loads, lacking int
	errors         map[string]int
}

// judge stops the loader and checks each load. A load must find every key that was in all key sets
// that the repository could contain during the load.
func (l *loads) judge() figures {
	p := l.p
	p.Helper()
	p.Must(l.end())
	code, err := l.process.Wait(p.Ctx)
	p.Must(err)
	if code != 0 {
		p.Fatalf("the loader exited with %d:\n%s", code, l.process.Stderr.Tail(20))
	}
	f := figures{errors: map[string]int{}}
	for line := range strings.Lines(l.process.Stdout.String()) {
		var began, ended float64
		var outcome string
		if n, _ := fmt.Sscan(line, &began, &ended, &outcome); n < 3 {
			continue // skip the loader's first line
		}
		f.loads++
		if strings.HasSuffix(outcome, "Error") {
			f.errors[outcome]++
			continue
		}
		found := strings.Split(outcome, ",")
		for _, print := range l.required(began, ended) {
			if !slices.Contains(found, print) {
				f.lacking++
				p.Logf("a load from %.6f to %.6f lacked %s: %s", began, ended, print, outcome)
				break
			}
		}
	}
	return f
}

func (l *loads) required(began, ended float64) []string {
	first, last := 0, 0
	for i, e := range l.epochs {
		if e.done <= began {
			first = i
		}
		if e.sent <= ended {
			last = i
		}
	}
	var required []string
	for print := range l.epochs[first].prints {
		if !slices.ContainsFunc(l.epochs[first:last+1], func(e epoch) bool { return !e.prints[print] }) {
			required = append(required, print)
		}
	}
	return required
}
