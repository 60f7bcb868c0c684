// Package recipe reads the build instructions in the Dockerfile and follows them, so that no other
// program has to repeat them.
package recipe

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// A Recipe holds the build instructions in the Dockerfile.
type Recipe struct {
	// Toolchain is the Go version, as a value for GOTOOLCHAIN.
	Toolchain string
	// User, Entrypoint, and Cmd are the image's settings.
	User            string
	Entrypoint, Cmd []string

	build string // shell command that uses $TARGETOS, $TARGETARCH, and $VERSION
}

var (
	fromLine  = regexp.MustCompile(`(?m)^FROM .*\bgolang:(\d+\.\d+(?:\.\d+)?)`)
	buildLine = regexp.MustCompile(`(?m)^RUN (CGO_ENABLED=0 .*go build .*)$`)
	userLine  = regexp.MustCompile(`(?m)^USER (\S+)$`)
	startLine = regexp.MustCompile(`(?m)^ENTRYPOINT (\[.*\])$`)
	cmdLine   = regexp.MustCompile(`(?m)^CMD (\[.*\])$`)
)

// Read returns the Recipe in a repository's Dockerfile.
func Read(source string) (Recipe, error) {
	path := filepath.Join(source, "Dockerfile")
	text, err := os.ReadFile(path)
	if err != nil {
		return Recipe{}, fmt.Errorf("reading the Dockerfile: %w", err)
	}
	whole := strings.ReplaceAll(string(text), "\\\n", "")
	var missing error
	find := func(what string, line *regexp.Regexp) string {
		found := line.FindStringSubmatch(whole)
		if found == nil {
			missing = errors.Join(missing, fmt.Errorf("reading %s: %s not found", path, what))
			return ""
		}
		return found[1]
	}
	r := Recipe{
		Toolchain: "go" + find("golang image", fromLine), build: find("go build without cgo", buildLine), User: find("USER", userLine),
	}
	for line, to := range map[string]*[]string{find("ENTRYPOINT", startLine): &r.Entrypoint, find("CMD", cmdLine): &r.Cmd} {
		if err := json.Unmarshal([]byte(line), to); err != nil {
			missing = errors.Join(missing, fmt.Errorf("reading %s: %q: %w", path, line, err))
		}
	}
	return r, missing
}

// Compile runs the Dockerfile's build command in the repository and returns the program. system and
// architecture are values for GOOS and GOARCH. The build's output goes to stderr.
func (r Recipe) Compile(ctx context.Context, source, version, system, architecture string) ([]byte, error) {
	dir, err := os.MkdirTemp("", "fernetcast-build-")
	if err != nil {
		return nil, fmt.Errorf("creating a directory for the program: %w", err)
	}
	defer os.RemoveAll(dir)
	binary := filepath.Join(dir, "fernetcast")
	line := strings.Replace(r.build, "-o fernetcast ", `-o "$OUT" `, 1)
	if line == r.build {
		return nil, fmt.Errorf("reading the Dockerfile: its build line does not write fernetcast: %s", r.build)
	}
	cmd := exec.CommandContext(ctx, "sh", "-c", line)
	cmd.Dir = source
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=", "GOTOOLCHAIN="+r.Toolchain, "OUT="+binary,
		"TARGETOS="+system, "TARGETARCH="+architecture, "VERSION="+version)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("building for %s/%s: %w", system, architecture, err)
	}
	return os.ReadFile(binary)
}
