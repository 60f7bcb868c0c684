package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

const (
	repository = "../../.."
	toolsDir   = "../.."
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	must(t, err)
	return data
}

// copied returns a directory with the license and those source files that .dockerignore admits. Its
// CHANGELOG.md has an entry for v1.2.3.
func copied(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"go.mod", "go.sum", "main.go", "Dockerfile", "LICENSE"} {
		must(t, os.WriteFile(filepath.Join(dir, name), read(t, filepath.Join(repository, name)), 0o644))
	}
	for _, name := range []string{"clusters", "internal", "manifests", "pusher", "watcher"} {
		must(t, os.CopyFS(filepath.Join(dir, name), os.DirFS(filepath.Join(repository, name))))
	}
	must(t, os.WriteFile(filepath.Join(dir, "CHANGELOG.md"), []byte("# Changelog\n\n## [Unreleased]\n\nlater\n\n## [1.2.3] - 2026-11-27\n\n### Added\n\n- All.\n\n## [1.2.2]\n\nbefore\n\n## [1.2.1]\n"), 0o644))
	return dir
}

// minisign runs the tool minisign. The error includes the tool's output.
func minisign(t *testing.T, args ...string) error {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"tool", "minisign"}, args...)...)
	cmd.Dir = toolsDir
	if said, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, said)
	}
	return nil
}

// Builds in two directories produce the same bytes. Each archive has the right contents, an SBOM,
// and an entry in the krew manifest. The signature with a temporary key is valid until a byte
// changes.
func TestLongRelease(t *testing.T) {
	long(t)
	keys := t.TempDir()
	secret, public := filepath.Join(keys, "minisign.key"), filepath.Join(keys, "minisign.pub")
	must(t, minisign(t, "-G", "-W", "-s", secret, "-p", public))
	image := filepath.Join(t.TempDir(), "fernetcast-v1.2.3.oci.tar")
	must(t, os.WriteFile(image, []byte("of make image"), 0o644))
	var dirs []string
	for range 2 {
		dir := filepath.Join(t.TempDir(), "release")
		must(t, os.Mkdir(dir, 0o755))
		must(t, os.WriteFile(filepath.Join(dir, "earlier"), nil, 0o644))
		must(t, run(t.Context(), []string{"-source", copied(t), "-version", "v1.2.3", "-out", dir, "-image", image, "-key", secret, "-tools", toolsDir, "-vulndb", database(t, `[]`)}))
		dirs = append(dirs, dir)
	}
	dir := dirs[0]
	entries, err := os.ReadDir(dir)
	must(t, err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	want := []string{"fernetcast-v1.2.3.oci.tar", "fernetcast.yaml", "notes.md", "sha256sums", "sha256sums.minisig"}
	for _, p := range []string{"darwin_amd64", "darwin_arm64", "linux_amd64", "linux_arm64"} {
		want = append(want, "fernetcast_v1.2.3_"+p+".cdx.json", "fernetcast_v1.2.3_"+p+".tar.gz")
	}
	if slices.Sort(want); !slices.Equal(names, want) {
		t.Fatalf("the release has the files %v, want %v", names, want)
	}
	sums := string(read(t, filepath.Join(dir, checksums)))
	for _, name := range names {
		data := read(t, filepath.Join(dir, name))
		if name != checksums+".minisig" && !bytes.Equal(data, read(t, filepath.Join(dirs[1], name))) {
			t.Errorf("%s: a build in another directory produced different bytes", name)
		}
		if line := fmt.Sprintf("%x  %s\n", sha256.Sum256(data), name); !strings.HasPrefix(name, checksums) && !strings.Contains(sums, line) {
			t.Errorf("%s is not in %s", line, sums)
		}
	}
	if notes := string(read(t, filepath.Join(dir, "notes.md"))); notes != "### Added\n\n- All.\n" {
		t.Errorf("the notes are %q", notes)
	}
	signed := filepath.Join(dir, checksums)
	must(t, minisign(t, "-V", "-p", public, "-m", signed))
	must(t, os.WriteFile(signed, []byte(sums+"\n"), 0o644))
	if err := minisign(t, "-V", "-p", public, "-m", signed); err == nil {
		t.Error("the signature is still valid after a change")
	}
	inKrew(t, dir)
	for _, p := range platforms {
		inBOM(t, read(t, filepath.Join(dir, release{version: "v1.2.3"}.name(p)+".cdx.json")))
		inArchive(t, p, read(t, filepath.Join(dir, release{version: "v1.2.3"}.name(p)+".tar.gz")))
	}
}

// inKrew checks that the krew manifest matches the archives.
func inKrew(t *testing.T, dir string) {
	t.Helper()
	var manifest struct {
		Metadata struct{ Name string }
		Spec     struct {
			Version, ShortDescription string
			Platforms                 []struct {
				URI, SHA256, Bin string
				Selector         struct{ MatchLabels map[string]string }
			}
		}
	}
	must(t, yaml.Unmarshal(read(t, filepath.Join(dir, "fernetcast.yaml")), &manifest))
	if manifest.Metadata.Name != "fernetcast" || manifest.Spec.Version != "v1.2.3" || len(manifest.Spec.Platforms) != len(platforms) || len(manifest.Spec.ShortDescription) > 60 {
		t.Errorf("the manifest is %+v", manifest)
	}
	for _, p := range manifest.Spec.Platforms {
		at, err := url.Parse(p.URI)
		must(t, err)
		name := filepath.Base(at.Path)
		if sum := fmt.Sprintf("%x", sha256.Sum256(read(t, filepath.Join(dir, name)))); sum != p.SHA256 || !strings.Contains(name, p.Selector.MatchLabels["os"]+"_"+p.Selector.MatchLabels["arch"]) || p.Bin != "fernetcast" {
			t.Errorf("for %s, the manifest has %+v", name, p)
		}
	}
}

func inBOM(t *testing.T, text []byte) {
	t.Helper()
	var bom struct {
		BOMFormat string `json:"bomFormat"`
		Serial    string `json:"serialNumber"`
		Metadata  struct {
			Timestamp string
			Component struct{ Name, Version string }
		}
		Components []struct{ Name, Version string }
	}
	must(t, json.Unmarshal(text, &bom))
	var names []string
	for _, c := range bom.Components {
		names = append(names, c.Name)
	}
	if bom.BOMFormat != "CycloneDX" || bom.Serial != "" || bom.Metadata.Timestamp != "" || bom.Metadata.Component.Version != "v1.2.3" ||
		!slices.Contains(names, "k8s.io/client-go") || !slices.Contains(names, "github.com/cenkalti/backoff/v4") {
		t.Errorf("the SBOM describes %+v, with %v", bom.Metadata, names)
	}
}

func inArchive(t *testing.T, p platform, archive []byte) {
	t.Helper()
	uncompressed, err := gzip.NewReader(bytes.NewReader(archive))
	must(t, err)
	files := map[string][]byte{}
	for r := tar.NewReader(uncompressed); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		must(t, err)
		if header.Typeflag != tar.TypeReg || header.Uid != 0 || header.ModTime.Unix() != 0 {
			t.Errorf("%s: %s is %+v", p, header.Name, header)
		}
		files[header.Name], err = io.ReadAll(r)
		must(t, err)
	}
	if !bytes.Equal(files["LICENSE"], read(t, filepath.Join(repository, "LICENSE"))) || !bytes.Contains(files["completions/fernetcast.bash"], []byte("fernetcast")) ||
		len(files["completions/fernetcast.zsh"]) == 0 || len(files["completions/fernetcast.fish"]) == 0 || !bytes.HasPrefix(files["kubectl_complete-fernetcast"], []byte("#!/bin/sh\n")) || len(files) != 6 {
		t.Errorf("%s: the archive lacks files or has extra ones", p)
	}
	if p.system != runtime.GOOS || p.architecture != runtime.GOARCH {
		return
	}
	path, remove, err := temporary(files["fernetcast"])
	must(t, err)
	defer remove()
	said, err := exec.CommandContext(t.Context(), path, "version").Output()
	if err != nil || !strings.HasPrefix(string(said), "fernetcast v1.2.3 (") {
		t.Errorf("version printed %s, %v", said, err)
	}
}

// database returns the URL of a vulnerability database with the given index of modules
// (https://go.dev/doc/security/vuln/database#api). Its only vulnerability is in a function that the
// program calls.
func database(t *testing.T, modules string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"index/db.json":      `{"modified":"2026-11-27T00:00:00Z"}`,
		"index/modules.json": modules,
		"index/vulns.json":   `[{"id":"GO-2026-9999","modified":"2026-11-27T00:00:00Z"}]`,
		"ID/GO-2026-9999.json": `{"schema_version":"1.3.1","id":"GO-2026-9999","modified":"2026-11-27T00:00:00Z","published":"2026-11-27T00:00:00Z","summary":"made up","details":"made up",
			"database_specific":{"url":"https://pkg.go.dev/vuln/GO-2026-9999"},
			"affected":[{"package":{"name":"golang.org/x/time","ecosystem":"Go"},"ranges":[{"type":"SEMVER","events":[{"introduced":"0"}]}],
			"ecosystem_specific":{"imports":[{"path":"golang.org/x/time/rate","symbols":["NewLimiter"]}]}}]}`,
	} {
		must(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
		must(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	return "file://" + dir
}

// long skips a test that runs only in make test-all.
func long(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("skipped in short mode; make test-all runs this test")
	}
}

// An invalid release is rejected before any file is replaced.
func TestLongReleaseRefuses(t *testing.T) {
	long(t)
	source, none := copied(t), database(t, `[]`)
	const vulnerable = `[{"path":"golang.org/x/time","vulns":[{"id":"GO-2026-9999","modified":"2026-11-27T00:00:00Z"}]}]`
	for name, try := range map[string]struct {
		db   string
		args []string
		says string
	}{
		"no version":            {none, nil, `VERSION=""`},
		"dev":                   {none, []string{"-version", "dev"}, "look like v1.2.3"},
		"a path":                {none, []string{"-version", "v1.2.3-../x"}, "look like v1.2.3"},
		"not in the changelog":  {none, []string{"-version", "v1.2.4"}, "rename [Unreleased] to ## [1.2.4]"},
		"no changelog entry":    {none, []string{"-version", "v1.2.1"}, "the entry for v1.2.1 in CHANGELOG.md is empty"},
		"no such key":           {none, []string{"-version", "v1.2.3", "-key", "absent"}, "reading the signing key"},
		"a known vulnerability": {database(t, vulnerable), []string{"-version", "v1.2.3"}, "calls code with a known vulnerability:"},
		"an argument":           {none, []string{"v1.2.3"}, "only flags are allowed"},
	} {
		out := filepath.Join(t.TempDir(), "release")
		must(t, os.Mkdir(out, 0o755))
		must(t, os.WriteFile(filepath.Join(out, "earlier"), nil, 0o644))
		err := run(t.Context(), append([]string{"-source", source, "-out", out, "-tools", toolsDir, "-vulndb", try.db}, try.args...))
		if err == nil || !strings.Contains(err.Error(), try.says) {
			t.Errorf("%s: %v, want %q", name, err, try.says)
		}
		if _, err := os.Stat(filepath.Join(out, "earlier")); err != nil {
			t.Errorf("%s: it deleted the previous release", name)
		}
	}
}

var makeStep = regexp.MustCompile(`(?m)(?:^|&& )\s*make ([a-z-]+)`)

// The steps in the workflows run make targets, which are tested.
func TestWorkflowsRunMakeTargets(t *testing.T) {
	ran := map[string]bool{}
	attests := false
	makefile := "\n" + string(read(t, filepath.Join(repository, "Makefile")))
	for _, file := range []string{"test.yml", "release.yml"} {
		var workflow struct {
			Jobs map[string]struct {
				Permissions map[string]string
				Steps       []struct{ Uses, Run string }
			}
		}
		must(t, yaml.Unmarshal(read(t, filepath.Join(repository, ".github/workflows", file)), &workflow))
		for name, job := range workflow.Jobs {
			for _, step := range job.Steps {
				for _, m := range makeStep.FindAllStringSubmatch(step.Run, -1) {
					ran[m[1]] = true
					if !strings.Contains(makefile, "\n"+m[1]+":") {
						t.Errorf("%s: job %s runs make %s, which does not exist", file, name, m[1])
					}
				}
				if strings.HasPrefix(step.Uses, "actions/attest-build-provenance@") {
					attests = job.Permissions["id-token"] == "write" && job.Permissions["attestations"] == "write"
				}
			}
		}
	}
	if !ran["test"] || !ran["test-all"] || !ran["release"] || !ran["image"] || !attests {
		t.Errorf("the workflows run make %v; provenance attested: %v", ran, attests)
	}
}
