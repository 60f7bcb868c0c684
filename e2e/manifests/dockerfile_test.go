package manifests

import (
	"context"
	"fmt"
	"go/version"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/fernetcast/fernetcast/e2e/testenv"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
)

const stamp = "v9.8.7-stamped"

// image describes the container image that the Dockerfile builds.
type image struct {
	base       string   // base image of the build stage
	command    string   // `go build` command of the build stage, for a shell
	binary     string   // path of the binary in the build context
	program    string   // path of the binary in the final image
	roots      string   // path of the CA roots
	user       string   // user of the final image
	entrypoint []string // path of the program, as the image's entrypoint
	arguments  []string // default arguments
}

// readDockerfile parses the Dockerfile. It fails the test if the final image has more than two
// files, because the tests don't cover others.
func readDockerfile(t *testing.T) image {
	t.Helper()
	file, err := os.Open(repository + "/Dockerfile")
	testenv.Must(t, err)
	defer file.Close()
	parsed, err := parser.Parse(file)
	if err != nil {
		t.Fatalf("parsing the Dockerfile: %v", err)
	}
	stages, _, err := instructions.Parse(parsed.AST, nil)
	if err != nil {
		t.Fatalf("parsing the Dockerfile: %v", err)
	}
	if len(stages) != 2 || stages[1].BaseName != "scratch" {
		t.Fatalf("the Dockerfile has %d stages, want one that builds and one from scratch", len(stages))
	}
	found := image{base: stages[0].BaseName}
	workdir := ""
	for _, command := range stages[0].Commands {
		switch command := command.(type) {
		case *instructions.WorkdirCommand:
			workdir = command.Path
		case *instructions.RunCommand:
			if line := strings.Join(command.CmdLine, " "); strings.Contains(line, "go build") {
				found.command = line
			}
		}
	}
	for _, command := range stages[1].Commands {
		switch command := command.(type) {
		case *instructions.CopyCommand:
			from, to := command.SourcePaths[0], command.DestPath
			if command.From != stages[0].Name || len(command.SourcePaths) != 1 {
				t.Fatalf("the final image has more than the binary and the CA roots: %s", command)
			}
			if binary, ok := strings.CutPrefix(from, workdir+"/"); ok {
				found.binary, found.program = binary, to
			} else {
				found.roots = to
			}
		case *instructions.UserCommand:
			found.user = command.User
		case *instructions.EntrypointCommand:
			found.entrypoint = command.CmdLine
		case *instructions.CmdCommand:
			found.arguments = command.CmdLine
		default:
			t.Fatalf("the final image has an untested instruction: %s", command.Name())
		}
	}
	return found
}

// buildContext copies the files that `docker build` would send to the builder: all except those
// that .dockerignore excludes.
func buildContext(t *testing.T, to string) {
	t.Helper()
	file, err := os.Open(repository + "/.dockerignore")
	testenv.Must(t, err)
	defer file.Close()
	patterns, err := ignorefile.ReadAll(file)
	if err != nil {
		t.Fatalf("reading .dockerignore: %v", err)
	}
	ignored, err := patternmatcher.New(patterns)
	if err != nil {
		t.Fatalf("reading .dockerignore: %v", err)
	}
	err = filepath.WalkDir(repository, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(repository, path)
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if name == ".git" || name == "e2e" {
				return fs.SkipDir // these directories are large and not part of the program
			}
			return nil
		}
		if skip, err := ignored.MatchesOrParentMatches(name); skip || err != nil {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Join(to, filepath.Dir(name)), 0o755); err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, name), data, 0o644)
	})
	if err != nil {
		t.Fatalf("copying the context: %v", err)
	}
}

// buildBinary runs the Dockerfile's build command in a copy of the build context in dir, and
// returns the path of the binary. Because TARGETARCH isn't set, the binary is for this machine's
// architecture.
func buildBinary(ctx context.Context, t *testing.T, docker image, dir string) string {
	t.Helper()
	buildContext(t, dir)
	build := exec.CommandContext(ctx, "/bin/sh", "-c", docker.command)
	build.Dir = dir
	// The build stage doesn't have this machine's GOFLAGS or GOWORK.
	build.Env = append(os.Environ(), "VERSION="+stamp, "TARGETOS=linux", "GOFLAGS=", "GOWORK=off", "GOTOOLCHAIN=local")
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", docker.command, err, output)
	}
	return filepath.Join(dir, docker.binary)
}

// shippedBinary is the path of the binary, which is built on first use. It needs no lock, because
// these tests don't run in parallel.
var shippedBinary string

func shipped(ctx context.Context, t *testing.T, docker image) string {
	t.Helper()
	if shippedBinary == "" {
		dir, err := shared.Directory("context-")
		testenv.Must(t, err)
		shippedBinary = buildBinary(ctx, t, docker, dir)
	}
	return shippedBinary
}

func TestBaseIsPinned(t *testing.T) {
	docker := readDockerfile(t)
	pinned := regexp.MustCompile(`^golang:(\d+\.\d+\.\d+)-\w+@sha256:[0-9a-f]{64}$`).FindStringSubmatch(docker.base)
	if pinned == nil {
		t.Fatalf("the base %s is not pinned by version and digest", docker.base)
	}
	list := exec.Command("go", "list", "-m", "-f", "{{.GoVersion}}")
	list.Dir = repository
	output, err := list.Output()
	if err != nil {
		t.Fatalf("reading the Go version in go.mod: %v", err)
	}
	if wanted := strings.TrimSpace(string(output)); version.Compare("go"+pinned[1], "go"+wanted) < 0 {
		t.Errorf("go.mod requires Go %s, but the base image has %s", wanted, pinned[1])
	}
}

func TestImageRunsAsNobody(t *testing.T) {
	docker := readDockerfile(t)
	pod := template(t, deploymentDir).Spec
	security := container(t, &pod).SecurityContext
	if want := fmt.Sprintf("%d:%d", *security.RunAsUser, *security.RunAsGroup); docker.user != want {
		t.Errorf("the image's user is %q, but the manifests' user is %q", docker.user, want)
	}
	if len(docker.entrypoint) != 1 || docker.entrypoint[0] != docker.program {
		t.Errorf("the entrypoint is %q, but the binary is %s", docker.entrypoint, docker.program)
	}
	if len(docker.arguments) != 1 || docker.arguments[0] != "run" {
		t.Errorf("the image runs %q by default, want run", docker.arguments)
	}
}
