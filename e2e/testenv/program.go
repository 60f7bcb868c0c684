package testenv

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// Program is the fernetcast binary, or another program to compare it with. Its methods are safe for
// concurrent use.
type Program struct {
	// Path is the path of the binary.
	Path string
	// Args precede the arguments of each call.
	Args []string
	// Env lists variables (name=value) to set for the program. The program also gets the test's own
	// environment, except variables that start with KUBE.
	Env []string
	// Stdin is the input of the process. Nil means empty.
	Stdin *os.File
}

// Repository returns the root directory of the checkout.
func (g *Env) Repository() string { return filepath.Dir(g.module) }

// Program builds fernetcast as it is released: statically linked. It uses the same flags as make
// demo, so that nothing is compiled twice.
func (g *Env) Program(ctx context.Context) (*Program, error) {
	return g.build(ctx, g.Repository(), ".", "fernetcast", []string{"CGO_ENABLED=0"})
}

// RaceProgram builds fernetcast with the race detector. If it detects a race, it prints a report on
// stderr and exits with code 66.
func (g *Env) RaceProgram(ctx context.Context) (*Program, error) {
	return g.build(ctx, g.Repository(), ".", "fernetcast-race", []string{"CGO_ENABLED=1"}, "-race")
}

// Companion builds the package in a folder of this module, with the same flags as Program.
func (g *Env) Companion(ctx context.Context, folder string) (*Program, error) {
	return g.build(ctx, g.module, "./"+folder, filepath.Base(folder), []string{"CGO_ENABLED=0"})
}

// build builds each program only once per Env.
func (g *Env) build(ctx context.Context, module, pkg, name string, env []string, flags ...string) (*Program, error) {
	g.building.Lock()
	defer g.building.Unlock()
	path := g.path(name)
	if g.built[path] {
		return &Program{Path: path}, nil
	}
	args := slices.Concat([]string{"build", "-o", path}, flags, []string{pkg})
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = module
	cmd.Env = append(append(os.Environ(), "GOWORK=off"), env...)
	if _, err := runWithProgress(cmd, "building "+name, g.progress); err != nil {
		return nil, err
	}
	g.built[path] = true
	return &Program{Path: path}, nil
}

// With returns a copy of the program with additional arguments, such as global flags. They precede
// the arguments of each call.
func (p *Program) With(args ...string) *Program {
	return &Program{Path: p.Path, Args: slices.Concat(p.Args, args), Env: p.Env, Stdin: p.Stdin}
}

// WithEnv returns a copy of the program with additional environment variables (name=value).
func (p *Program) WithEnv(env ...string) *Program {
	return &Program{Path: p.Path, Args: p.Args, Env: slices.Concat(p.Env, env), Stdin: p.Stdin}
}

// Start starts the program and returns immediately. The caller must call Kill, or Terminate and
// Wait.
func (p *Program) Start(args ...string) (*Process, error) {
	return startProcess(p.command(args), nil, nil)
}

// StartOn is like Start, and also copies the output to stdout and stderr.
func (p *Program) StartOn(stdout, stderr io.Writer, args ...string) (*Process, error) {
	return startProcess(p.command(args), stdout, stderr)
}

func (p *Program) command(args []string) *exec.Cmd {
	cmd := exec.Command(p.Path, slices.Concat(p.Args, args)...)
	for _, variable := range os.Environ() {
		if !strings.HasPrefix(variable, "KUBE") {
			cmd.Env = append(cmd.Env, variable)
		}
	}
	cmd.Env = append(cmd.Env, p.Env...)
	if p.Stdin != nil {
		cmd.Stdin = p.Stdin
	}
	return cmd
}

// Result is the result of a command that has ended.
type Result struct {
	Stdout, Stderr string
	// Code is the exit code, or -1 after a signal.
	Code int
}

// Run runs a command until it ends. It returns an error only if the command can't be started or
// doesn't end before ctx, in which case Run kills it. The exit code doesn't affect the error.
//
// A program with the race detector normally sleeps for a second when it exits. Run disables this,
// so it can miss races in other goroutines at the end. Start doesn't disable it.
func (p *Program) Run(ctx context.Context, args ...string) (Result, error) {
	process, err := p.WithEnv("GORACE=atexit_sleep_ms=0").Start(args...)
	if err != nil {
		return Result{}, err
	}
	code, err := process.Wait(ctx)
	if err != nil {
		process.Kill()
		err = fmt.Errorf("running %s %q: %w; stderr: %q", filepath.Base(p.Path), args, err, process.Stderr.Tail(5))
	}
	return Result{Stdout: process.Stdout.String(), Stderr: process.Stderr.String(), Code: code}, err
}
