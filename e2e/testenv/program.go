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

// Program is the built fernetcast, or one to measure it beside. Its methods may be called concurrently.
type Program struct {
	// Path is the binary's.
	Path string
	// Args stand before those of each call.
	Args []string
	// Env (name=value) comes on top of this process's own environment, of which
	// KUBECONFIG and the like are left out.
	Env []string
	// Stdin is what the process reads; nil is empty.
	Stdin *os.File
}

// Repository is the directory of the program's own checkout.
func (g *Env) Repository() string { return filepath.Dir(g.module) }

// Program builds the real binary from the repository as it ships: static. The flags are
// those of make demo, so that nothing is compiled twice.
func (g *Env) Program(ctx context.Context) (*Program, error) {
	return g.build(ctx, g.Repository(), ".", "fernetcast", []string{"CGO_ENABLED=0"})
}

// RaceProgram builds it with the race detector: it exits with 66 once it has
// seen a race, and tells of it on stderr.
func (g *Env) RaceProgram(ctx context.Context) (*Program, error) {
	return g.build(ctx, g.Repository(), ".", "fernetcast-race", []string{"CGO_ENABLED=1"}, "-race")
}

// Companion builds a program of this module, from the package in folder, just
// as Program builds the real one.
func (g *Env) Companion(ctx context.Context, folder string) (*Program, error) {
	return g.build(ctx, g.module, "./"+folder, filepath.Base(folder), []string{"CGO_ENABLED=0"})
}

// build builds each program once for all of an Env's tests.
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
	if _, err := runWithProgress(cmd, "building "+name, g.say); err != nil {
		return nil, err
	}
	g.built[path] = true
	return &Program{Path: path}, nil
}

// With returns a program with more arguments before those of each call, flags
// of all commands for example.
func (p *Program) With(args ...string) *Program {
	return &Program{Path: p.Path, Args: slices.Concat(p.Args, args), Env: p.Env, Stdin: p.Stdin}
}

// WithEnv returns a program with more environment, as name=value.
func (p *Program) WithEnv(env ...string) *Program {
	return &Program{Path: p.Path, Args: p.Args, Env: slices.Concat(p.Env, env), Stdin: p.Stdin}
}

// Start starts the program and returns at once. The caller owes a Kill, or a
// Terminate and a Wait.
func (p *Program) Start(args ...string) (*Process, error) {
	return startProcess(p.command(args), nil, nil)
}

// StartOn is Start with its output going to stdout and stderr as well, as it comes.
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

// Result is what a command that has ended said.
type Result struct {
	Stdout, Stderr string
	// Code is the exit code, -1 for a signal.
	Code int
}

// Run runs one command to its end; stdin is empty. The error is only ever that
// it could not be started or did not end before ctx did, in which case it is killed.
//
// A program with the race detector would sleep for a second at the end of each command.
// Without that, a race later than a command's last line isn't reported; Start keeps it.
func (p *Program) Run(ctx context.Context, args ...string) (Result, error) {
	process, err := p.WithEnv("GORACE=atexit_sleep_ms=0").Start(args...)
	if err != nil {
		return Result{}, err
	}
	code, err := process.Wait(ctx)
	if err != nil {
		process.Kill()
		err = fmt.Errorf("running %s %q: %w; it said %q", filepath.Base(p.Path), args, err, process.Stderr.Tail(5))
	}
	return Result{Stdout: process.Stdout.String(), Stderr: process.Stderr.String(), Code: code}, err
}
