// Command mutate changes one operator at a time in the pure code, and prints each change that no
// unit test of the package detects. It exits with 1 if such a change isn't in equivalent.
//
// Unlike mutation testing tools based on coverage, it also changes the conditions of switch cases,
// which Go's coverage doesn't count. It never writes to the source tree: it passes the changed file
// to the go command with -overlay.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"go/scanner"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// pure lists the code that unit tests must cover completely. If files is nil, it is the whole
// package.
var pure = []struct {
	dir   string
	files []string
}{
	{"internal/keyset", nil},
	{"internal/view", nil},
	{"internal/mirror", nil},
	{"internal/promotion", []string{"plan.go"}},
	{"pusher", []string{"backoff.go", "contest.go", "reachability.go"}},
}

// slow matches the tests that are skipped, because they run other programs and take long.
const slow = "^(TestTakesOnlyWhatKeystoneLoads|TestKeystoneHasReasonsToRefuse)$"

// replacements maps each operator to those that replace it, which shift a boundary, negate a
// condition, or change the arithmetic.
var replacements = map[token.Token][]token.Token{
	token.LSS: {token.LEQ, token.GEQ}, token.LEQ: {token.LSS, token.GTR},
	token.GTR: {token.GEQ, token.LEQ}, token.GEQ: {token.GTR, token.LSS},
	token.EQL: {token.NEQ}, token.NEQ: {token.EQL},
	token.LAND: {token.LOR}, token.LOR: {token.LAND},
	token.ADD: {token.SUB}, token.SUB: {token.ADD}, token.MUL: {token.QUO}, token.QUO: {token.MUL}, token.REM: {token.MUL},
	token.INC: {token.DEC}, token.DEC: {token.INC},
	token.ADD_ASSIGN: {token.SUB_ASSIGN}, token.SUB_ASSIGN: {token.ADD_ASSIGN},
}

// A mutant is one change to one file.
type mutant struct {
	dir, file string
	line      int
	before    string // the original line without its indentation
	after     string
	source    []byte // the whole changed file
}

func (m mutant) String() string {
	return fmt.Sprintf("%s/%s:%d: %s", m.dir, m.file, m.line, m.after)
}

// key returns the mutant's key in equivalent.
func (m mutant) key() string { return m.dir + "/" + m.file + ": " + m.after }

func main() {
	only := flag.String("only", "", "test only packages and files whose path contains `TEXT`")
	workers := flag.Int("workers", 2, "number of mutants to test at a time")
	flag.Parse()
	failed, err := run(context.Background(), *only, *workers)
	if err != nil {
		fmt.Fprintln(os.Stderr, "mutate:", err)
		os.Exit(2)
	}
	if failed {
		os.Exit(1)
	}
}

// run tests the mutants. It must run in the root directory of the module.
func run(ctx context.Context, only string, workers int) (failed bool, err error) {
	dir, err := os.MkdirTemp("", "mutate-")
	if err != nil {
		return false, err
	}
	defer os.RemoveAll(dir)
	known := map[string]bool{}
	for _, p := range pure {
		mutants, err := mutantsOf(p.dir, p.files, only)
		if err != nil {
			return false, err
		}
		if len(mutants) == 0 {
			continue
		}
		began := time.Now()
		var mu sync.Mutex
		var killed, invalid, same int
		var survivors []mutant
		tests, ctx := errgroup.WithContext(ctx)
		tests.SetLimit(workers)
		for i, m := range mutants {
			tests.Go(func() error {
				verdict, err := m.test(ctx, filepath.Join(dir, fmt.Sprintf("%s-%d", filepath.Base(p.dir), i)))
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err != nil:
					return err
				case verdict == doesNotCompile:
					invalid++
				case verdict == detected:
					killed++
				case equivalent[m.key()] != "":
					same++
					known[m.key()] = true
				default:
					survivors = append(survivors, m)
				}
				return nil
			})
		}
		if err := tests.Wait(); err != nil {
			return false, err
		}
		fmt.Printf("%s: %d of %d changes detected (%.1f %%), %d equivalent; %.0f s\n", p.dir, killed, killed+len(survivors),
			100*float64(killed)/float64(max(1, killed+len(survivors))), same, time.Since(began).Seconds())
		for _, m := range survivors {
			fmt.Printf("  %v\n      was: %s\n", m, m.before)
			failed = true
		}
	}
	for key := range equivalent {
		if !known[key] && strings.Contains(key, only) {
			fmt.Printf("listed as equivalent, but detected or gone: %s\n", key)
			failed = true
		}
	}
	return failed, nil
}

// mutantsOf returns all mutants of a package's files, or only of the given files.
func mutantsOf(dir string, files []string, only string) (all []mutant, err error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return nil, err
	}
	if files != nil {
		paths = nil
		for _, file := range files {
			paths = append(paths, filepath.Join(dir, file))
		}
	}
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") || !strings.Contains(path, only) {
			continue
		}
		source, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		var s scanner.Scanner
		file := token.NewFileSet().AddFile(path, -1, len(source))
		s.Init(file, source, nil, 0)
		for pos, is, _ := s.Scan(); is != token.EOF; pos, is, _ = s.Scan() {
			for _, replacement := range replacements[is] {
				at := file.Offset(pos)
				changed := bytes.Join([][]byte{source[:at], []byte(replacement.String()), source[at+len(is.String()):]}, nil)
				all = append(all, mutant{
					dir: dir, file: filepath.Base(path), line: file.Line(pos), source: changed,
					before: lineAt(source, at), after: lineAt(changed, at),
				})
			}
		}
	}
	return all, nil
}

// lineAt returns the line at an offset, without its indentation.
func lineAt(source []byte, at int) string {
	start := bytes.LastIndexByte(source[:at], '\n') + 1
	line, _, _ := bytes.Cut(source[start:], []byte("\n"))
	return strings.TrimSpace(string(line))
}

type verdict int

const (
	doesNotCompile verdict = iota
	detected
	undetected
)

// test runs the package's unit tests on the mutant.
func (m mutant) test(ctx context.Context, base string) (verdict, error) {
	if err := os.WriteFile(base+".go", m.source, 0o600); err != nil {
		return 0, err
	}
	path, err := filepath.Abs(filepath.Join(m.dir, m.file))
	if err != nil {
		return 0, err
	}
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{path: base + ".go"}})
	if err != nil {
		return 0, err
	}
	if err := os.WriteFile(base+".json", overlay, 0o600); err != nil {
		return 0, err
	}
	// A mutant can loop forever or use up memory, so limit both.
	cmd := exec.CommandContext(ctx, "go", "test", "-short", "-vet=off", "-failfast", "-timeout", "30s", "-skip", slow, "-overlay", base+".json", "./"+m.dir)
	cmd.Env = append(os.Environ(), "GOMEMLIMIT=1GiB")
	output, err := cmd.CombinedOutput()
	switch {
	case ctx.Err() != nil:
		return 0, ctx.Err()
	case err == nil:
		return undetected, nil
	case bytes.Contains(output, []byte("[build failed]")), bytes.Contains(output, []byte("[setup failed]")):
		return doesNotCompile, nil
	}
	return detected, nil
}
