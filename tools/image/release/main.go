// Command release builds the files of a release: an archive and an SBOM for each platform, a krew
// manifest, release notes, and signed checksums. It includes the image from `make image`. Except
// for the signature, the same source, version, and Go release always produce the same bytes.
package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"

	"github.com/fernetcast/fernetcast/tools/image/recipe"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "release:", err)
		}
		os.Exit(1)
	}
}

// checksums is the name of the file with the checksums of all other files. Only this file is
// signed.
const checksums = "sha256sums"

// A release holds the settings for one run of the command.
type release struct {
	source, version, out, image, key string
	// database is the URL of a vulnerability database, or "" for Go's own.
	database string
	// tools is the directory of the Go module that declares the tools.
	tools string
}

func run(ctx context.Context, args []string) error {
	var r release
	flags := flag.NewFlagSet("release", flag.ContinueOnError)
	flags.StringVar(&r.source, "source", ".", "the repository")
	flags.StringVar(&r.version, "version", "", "version of the release, such as v1.2.3; CHANGELOG.md must have an entry for it")
	flags.StringVar(&r.out, "out", "dist/release", "directory for the release's files; replaced if it exists")
	flags.StringVar(&r.image, "image", "", "archive of the image to include, from make image")
	flags.StringVar(&r.key, "key", "", "file with the minisign secret key to sign with; prompts for its password")
	flags.StringVar(&r.database, "vulndb", "", "URL of a vulnerability database (default: Go's own)")
	flags.StringVar(&r.tools, "tools", "tools", "directory of the Go module that declares the tools")
	if err := flags.Parse(args); err != nil {
		return flag.ErrHelp // the flag package has printed the error
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("%q: only flags are allowed", flags.Arg(0))
	}
	return r.run(ctx)
}

var versionForm = regexp.MustCompile(`^v\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?$`)

func (r release) run(ctx context.Context) error {
	if !versionForm.MatchString(r.version) {
		return fmt.Errorf("invalid VERSION=%q: it must look like v1.2.3 or v1.2.3-rc.1", r.version)
	}
	notes, err := notesOf(r.source, r.version)
	if err != nil {
		return err
	}
	if r.key != "" { // fail before a build that takes minutes
		if _, err := os.Stat(r.key); err != nil {
			return fmt.Errorf("reading the signing key: %w", err)
		}
	}
	if err := r.vulnerabilities(ctx); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(r.out), 0o755); err != nil {
		return err
	}
	half, err := os.MkdirTemp(filepath.Dir(r.out), ".half-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(half)
	if err := r.write(ctx, half, notes); err != nil {
		return err
	}
	if err := errors.Join(os.Chmod(half, 0o755), os.RemoveAll(r.out), os.Rename(half, r.out)); err != nil {
		return err
	}
	fmt.Println(r.out)
	return nil
}

// write writes all files of the release to dir.
func (r release) write(ctx context.Context, dir string, notes []byte) error {
	how, err := recipe.Read(r.source)
	if err != nil {
		return err
	}
	license, err := os.ReadFile(filepath.Join(r.source, "LICENSE"))
	if err != nil {
		return err
	}
	completions, err := r.completions(ctx, how)
	if err != nil {
		return err
	}
	archives := map[platform][sha256.Size]byte{}
	for _, p := range platforms {
		fmt.Fprintf(os.Stderr, "Building for %s with %s.\n", p, how.Toolchain)
		binary, err := how.Compile(ctx, r.source, r.version, p.system, p.architecture)
		if err != nil {
			return err
		}
		if err := r.bom(ctx, binary, filepath.Join(dir, r.name(p)+".cdx.json")); err != nil {
			return err
		}
		archive, err := pack(append([]file{{"fernetcast", 0o755, binary}, {"LICENSE", 0o644, license}}, completions...))
		if err != nil {
			return err
		}
		archives[p] = sha256.Sum256(archive)
		if err := os.WriteFile(filepath.Join(dir, r.name(p)+".tar.gz"), archive, 0o644); err != nil {
			return err
		}
	}
	manifest, err := r.krew(archives)
	if err != nil {
		return err
	}
	for name, data := range map[string][]byte{"fernetcast.yaml": manifest, "notes.md": notes} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			return err
		}
	}
	if r.image != "" {
		data, err := os.ReadFile(r.image)
		if err != nil {
			return fmt.Errorf("reading the image: %w; run make image first", err)
		}
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(r.image)), data, 0o644); err != nil {
			return err
		}
	}
	if err := sum(dir); err != nil {
		return err
	}
	return r.sign(ctx, dir)
}

// name returns the common prefix of a platform's file names.
func (r release) name(p platform) string {
	return fmt.Sprintf("fernetcast_%s_%s_%s", r.version, p.system, p.architecture)
}

// completions returns completion scripts for shells, and for kubectl, which runs
// kubectl_complete-fernetcast to complete the plugin's arguments.
func (r release) completions(ctx context.Context, how recipe.Recipe) ([]file, error) {
	binary, err := how.Compile(ctx, r.source, r.version, runtime.GOOS, runtime.GOARCH)
	if err != nil {
		return nil, err
	}
	path, remove, err := temporary(binary)
	if err != nil {
		return nil, err
	}
	defer remove()
	files := []file{{"kubectl_complete-fernetcast", 0o755, []byte("#!/bin/sh\nexec kubectl fernetcast __complete \"$@\"\n")}}
	for _, shell := range []string{"bash", "zsh", "fish"} {
		text, err := exec.CommandContext(ctx, path, "completion", shell).Output()
		if err != nil {
			return nil, fmt.Errorf("generating the completion for %s: %w", shell, err)
		}
		files = append(files, file{"completions/fernetcast." + shell, 0o644, text})
	}
	return files, nil
}

// temporary writes a program to a temporary file. Call remove to delete it.
func temporary(binary []byte) (path string, remove func(), err error) {
	dir, err := os.MkdirTemp("", "fernetcast-release-")
	if err != nil {
		return "", nil, err
	}
	path = filepath.Join(dir, "fernetcast")
	return path, func() { os.RemoveAll(dir) }, os.WriteFile(path, binary, 0o755)
}

// bom writes the SBOM of a program in CycloneDX format. It is based on the build information that
// the Go linker embeds in the program.
func (r release) bom(ctx context.Context, binary []byte, to string) error {
	path, remove, err := temporary(binary)
	if err != nil {
		return err
	}
	defer remove()
	if to, err = filepath.Abs(to); err != nil {
		return err
	}
	// Omit the serial number and the time, because they differ in each run.
	return r.tool(ctx, "cyclonedx-gomod", "bin", "-json", "-noserial", "-notimestamp", "-version", r.version, "-output", to, path)
}

// tool runs a tool that the tools module declares. The tool's output goes to stderr.
func (r release) tool(ctx context.Context, args ...string) error {
	cmd := r.command(ctx, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("running %s: %w", args[0], err)
	}
	return nil
}

func (r release) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "go", append([]string{"tool"}, args...)...)
	cmd.Dir, cmd.Env = r.tools, append(os.Environ(), "GOWORK=off", "GOFLAGS=")
	return cmd
}

// sum writes the checksums of all files in a directory, in the format that sha256sum -c reads.
func sum(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var lines []string
	for _, e := range entries {
		f, err := os.Open(filepath.Join(dir, e.Name()))
		if err != nil {
			return err
		}
		hash := sha256.New()
		_, err = io.Copy(hash, f)
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
		lines = append(lines, fmt.Sprintf("%x  %s\n", hash.Sum(nil), e.Name()))
	}
	return os.WriteFile(filepath.Join(dir, checksums), []byte(strings.Join(slices.Sorted(slices.Values(lines)), "")), 0o644)
}

// sign signs the checksums, which cover all other files.
func (r release) sign(ctx context.Context, dir string) error {
	if r.key == "" {
		fmt.Fprintln(os.Stderr, "Not signed: no key was given (SIGN=FILE with a minisign secret key).")
		return nil
	}
	key, err := filepath.Abs(r.key)
	if err != nil {
		return err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	return r.tool(ctx, "minisign", "-S", "-s", key, "-t", "fernetcast "+r.version, "-m", filepath.Join(dir, checksums))
}

// vulnerable is govulncheck's exit code if the program calls code with a known vulnerability. The
// exit code 0 doesn't prove the opposite, because govulncheck sometimes exits with it after a panic.
// So the output must also contain noneFound.
const (
	vulnerable = 3
	noneFound  = "No vulnerabilities found."
)

// vulnerabilities returns an error if the program calls code with a known vulnerability. If the
// database is unreachable, it only prints a warning.
func (r release) vulnerabilities(ctx context.Context) error {
	source, err := filepath.Abs(r.source)
	if err != nil {
		return err
	}
	args := []string{"govulncheck", "-C", source}
	if r.database != "" {
		args = append(args, "-db", r.database)
	}
	cmd := r.command(ctx, append(args, "./...")...)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	err = cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil && strings.Contains(said.String(), noneFound):
		fmt.Fprintln(os.Stderr, "The program calls no code with a known vulnerability.")
		return nil
	case errors.As(err, &exit) && exit.ExitCode() == vulnerable:
		return fmt.Errorf("the program calls code with a known vulnerability:\n%s", &said)
	case strings.Contains(said.String(), "fetching vulnerabilities"):
		fmt.Fprintf(os.Stderr, "NOT CHECKED for known vulnerabilities: the database is unreachable: %s", &said)
		return nil
	}
	if err == nil {
		err = errors.New("govulncheck reported no result")
	}
	return fmt.Errorf("checking for known vulnerabilities: %w:\n%s", err, &said)
}
