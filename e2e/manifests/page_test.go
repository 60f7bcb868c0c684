package manifests

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/fernetcast/fernetcast/e2e/testenv"
)

// step is a fenced code block in a page, with the heading above it.
type step struct {
	heading, language, text string
}

func steps(t *testing.T, path string) []step {
	t.Helper()
	page, err := os.ReadFile(path)
	testenv.Must(t, err)
	var steps []step
	heading, open := "", false
	for line := range strings.Lines(string(page)) {
		fence, isFence := strings.CutPrefix(strings.TrimRight(line, "\n"), "```")
		switch {
		case isFence && !open:
			steps = append(steps, step{heading: heading, language: fence})
			open = true
		case isFence:
			open = false
		case open:
			steps[len(steps)-1].text += line
		case strings.HasPrefix(line, "#"):
			heading = strings.TrimSpace(strings.TrimLeft(line, "#"))
		}
	}
	return steps
}

// yamlBlock returns the only yaml block of the install page that contains text.
func yamlBlock(t *testing.T, text string) string {
	t.Helper()
	var found []string
	for _, step := range steps(t, installPage) {
		if step.language == "yaml" && strings.Contains(step.text, text) {
			found = append(found, step.text)
		}
	}
	if len(found) != 1 {
		t.Fatalf("docs/install.md has %d yaml blocks with %q, want 1", len(found), text)
	}
	return found[0]
}

func TestPageAndManifestsAreOfOneVersion(t *testing.T) {
	pod := template(t, sidecarDir).Spec
	_, tag, _ := strings.Cut(container(t, &pod).Image, ":")
	page, err := os.ReadFile(installPage)
	testenv.Must(t, err)
	versions := regexp.MustCompile(`v\d+\.\d+\.\d+`).FindAllString(string(page), -1)
	if len(versions) == 0 {
		t.Error("docs/install.md names no version")
	}
	for _, version := range versions {
		if version != tag {
			t.Errorf("docs/install.md has %s, the manifests have %s", version, tag)
		}
	}
}
