//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// address is the address of the node and of the Service kubernetes. Because they are the same, the
// node needs no kube-proxy.
const address = "10.0.0.1"

// restartDelay is the delay before a program that has ended is restarted.
const restartDelay = 500 * time.Millisecond

// program describes a program that runs on the node.
type program struct {
	Name string   `json:"name"` // also the name of its log
	Args []string `json:"args"` // the first argument is the program's path
	Env  []string `json:"env"`
}

// initialize runs as the first process of the node. It starts the programs in programs.json,
// restarts those that end, and reaps orphans. It is killed when the guard ends.
func initialize(dir string) error {
	text, err := os.ReadFile(filepath.Join(dir, "programs.json"))
	if err != nil {
		return fmt.Errorf("reading programs.json: %w", err)
	}
	var programs []program
	if err := json.Unmarshal(text, &programs); err != nil {
		return fmt.Errorf("reading programs.json: %w", err)
	}
	if err := furnish(dir); err != nil {
		return err
	}
	running := map[int]program{}
	for _, p := range programs {
		if err := p.start(dir, running); err != nil {
			return err
		}
	}
	for {
		pid, err := syscall.Wait4(-1, nil, 0, nil)
		if err == syscall.EINTR {
			continue
		}
		if err != nil {
			return fmt.Errorf("waiting for the programs: %w", err)
		}
		p, ours := running[pid]
		if !ours {
			continue
		}
		delete(running, pid)
		time.Sleep(restartDelay)
		if err := p.start(dir, running); err != nil {
			return err
		}
	}
}

func (p program) start(dir string, running map[int]program) error {
	log, err := os.OpenFile(filepath.Join(dir, p.Name+".log"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return fmt.Errorf("starting %s: %w", p.Name, err)
	}
	defer log.Close()
	cmd := exec.Command(p.Args[0], p.Args[1:]...)
	cmd.Env = append(os.Environ(), p.Env...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Dir = dir
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting %s: %w", p.Name, err)
	}
	running[cmd.Process.Pid] = p
	return nil
}
