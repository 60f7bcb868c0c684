package cli

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const checkout = "../.."

// testsNamed finds the names of tests in a page.
var testsNamed = regexp.MustCompile("`((?:Test|Fuzz)\\w+)`")

// TestPromisesHaveAShortTest checks that make test covers each promise. Only make test-all runs
// tests called TestLong.
func TestPromisesHaveAShortTest(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(checkout, "docs/promises.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(text), "| guarantee | attack | tests |\n| --- | --- | --- |\n")
	table, rest, _ := strings.Cut(table, "\n\n")
	if strings.Contains("\n"+rest, "\n|") {
		t.Error("a blank line cuts the table of docs/promises.md")
	}
	rows := 0
	for row := range strings.Lines(table) {
		rows++
		if !slices.ContainsFunc(testsNamed.FindAllStringSubmatch(row, -1), func(match []string) bool { return !strings.HasPrefix(match[1], "TestLong") }) {
			t.Errorf("make test runs no test of: %s", row)
		}
	}
	if rows < 40 {
		t.Errorf("only %d rows were found", rows)
	}
}

// TestPagesNameTestsThatAreThere checks that the tests in the pages exist.
func TestPagesNameTestsThatAreThere(t *testing.T) {
	there := map[string]bool{}
	declared := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	err := filepath.WalkDir(checkout, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && strings.HasPrefix(d.Name(), ".") && path != checkout {
			return fs.SkipDir
		}
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, match := range declared.FindAllStringSubmatch(string(text), -1) {
			there[match[1]] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range []string{"docs/promises.md", "docs/tokens.md", "SECURITY.md", "CONTRIBUTING.md"} {
		text, err := os.ReadFile(filepath.Join(checkout, page))
		if err != nil {
			t.Fatal(err)
		}
		named := testsNamed.FindAllStringSubmatch(string(text), -1)
		if len(named) == 0 {
			t.Errorf("%s names no test", page)
		}
		for _, match := range named {
			if !there[match[1]] {
				t.Errorf("%s names %s, which is not there", page, match[1])
			}
		}
	}
}
