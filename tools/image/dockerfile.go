package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// recipe is what the Dockerfile says, which the image is built by: there is no second
// place that says it.
type recipe struct {
	toolchain       string // of Go, as GOTOOLCHAIN takes it
	build           string // a shell's command, with $TARGETOS, $TARGETARCH and $VERSION
	user            string
	entrypoint, cmd []string
}

var (
	fromLine  = regexp.MustCompile(`(?m)^FROM .*\bgolang:(\d+\.\d+(?:\.\d+)?)`)
	buildLine = regexp.MustCompile(`(?m)^RUN (CGO_ENABLED=0 .*go build .*)$`)
	userLine  = regexp.MustCompile(`(?m)^USER (\S+)$`)
	startLine = regexp.MustCompile(`(?m)^ENTRYPOINT (\[.*\])$`)
	cmdLine   = regexp.MustCompile(`(?m)^CMD (\[.*\])$`)
)

// readRecipe reads the Dockerfile of a repository.
func readRecipe(source string) (recipe, error) {
	path := filepath.Join(source, "Dockerfile")
	text, err := os.ReadFile(path)
	if err != nil {
		return recipe{}, fmt.Errorf("reading the Dockerfile: %w", err)
	}
	whole := strings.ReplaceAll(string(text), "\\\n", "")
	var missing error
	find := func(what string, line *regexp.Regexp) string {
		found := line.FindStringSubmatch(whole)
		if found == nil {
			missing = errors.Join(missing, fmt.Errorf("reading %s: there is no %s", path, what))
			return ""
		}
		return found[1]
	}
	r := recipe{
		toolchain: "go" + find("golang image", fromLine), build: find("go build without cgo", buildLine), user: find("USER", userLine),
	}
	for line, to := range map[string]*[]string{find("ENTRYPOINT", startLine): &r.entrypoint, find("CMD", cmdLine): &r.cmd} {
		if err := json.Unmarshal([]byte(line), to); err != nil {
			missing = errors.Join(missing, fmt.Errorf("reading %s: %q: %w", path, line, err))
		}
	}
	return r, missing
}
