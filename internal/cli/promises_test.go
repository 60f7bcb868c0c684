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

// TestPromisesNameTheirTarget checks that each row of docs/promises.md names the make target of its
// tests, and that make test covers each guarantee. Only make test-all runs tests called TestLong.
func TestPromisesNameTheirTarget(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(checkout, "docs/promises.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(text), "| guarantee | attacks | tests | make |\n| --- | --- | --- | --- |\n")
	guarantee, inTest := "", map[string]bool{}
	for row := range strings.Lines(table) {
		cells := strings.Split(row, "|")
		if len(cells) != 6 {
			t.Fatalf("this row does not have 4 cells: %s", row)
		}
		if name := strings.TrimSpace(cells[1]); name != "" {
			guarantee, inTest[name] = name, false
		}
		tests, target := testsNamed.FindAllStringSubmatch(cells[3], -1), strings.Trim(cells[4], " `")
		long := func(match []string) bool { return strings.HasPrefix(match[1], "TestLong") }
		switch {
		case target == "test" && len(tests) > 0 && !slices.ContainsFunc(tests, long):
			inTest[guarantee] = true
		case target == "test-all" && slices.ContainsFunc(tests, long), target == "bench" && len(tests) > 0:
		default:
			t.Errorf("make %s does not run the tests of: %s", target, row)
		}
	}
	for name, ok := range inTest {
		if !ok {
			t.Errorf("make test runs no test of %s", name)
		}
	}
	if len(inTest) != 9 {
		t.Errorf("found %d guarantees, want 8 and Keyless", len(inTest))
	}
}

// TestPagesNameTestsThatAreThere checks that each test that a page names exists.
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
				t.Errorf("%s names %s, which doesn't exist", page, match[1])
			}
		}
	}
}
