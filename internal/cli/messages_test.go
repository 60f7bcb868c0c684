package cli

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// message is a line of the log: its levels and its attributes, each in order.
type message struct{ levels, attributes string }

// ofCommands are the messages of commands that end: whoever typed them reads them.
var ofCommands = []string{"waiting", "the remotes are taken as they were"}

// TestMessagesAreDocumented holds docs/operations.md and the code together: each
// message of run is listed there, with its levels and attributes, and no other.
func TestMessagesAreDocumented(t *testing.T) {
	logged, listed := messagesLogged(t), messagesListed(t)
	for _, name := range ofCommands {
		if _, ok := logged[name]; !ok {
			t.Errorf("no command logs %q", name)
		}
		delete(logged, name)
	}
	for _, name := range slices.Sorted(maps.Keys(logged)) {
		if logged[name] != listed[name] {
			t.Errorf("%q is logged with %+v; docs/operations.md has %+v", name, logged[name], listed[name])
		}
	}
	for name := range listed {
		if _, ok := logged[name]; !ok {
			t.Errorf("docs/operations.md lists %q, which is not logged", name)
		}
	}
}

// messagesListed reads the table of the section Logs.
func messagesListed(t *testing.T) map[string]message {
	t.Helper()
	text, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "\n## Logs\n")
	section, _, _ = strings.Cut(section, "\n## ")
	all := map[string]message{}
	quoted := regexp.MustCompile("`([^`]+)`")
	for row := range strings.Lines(section) {
		cells := strings.Split(row, "|")
		if !strings.HasPrefix(row, "| `") || strings.Contains(row, "`msg`") {
			continue
		}
		var attributes []string
		for _, a := range quoted.FindAllStringSubmatch(cells[3], -1) {
			attributes = append(attributes, a[1])
		}
		all[quoted.FindStringSubmatch(cells[1])[1]] = message{strings.TrimSpace(cells[2]), strings.Join(attributes, ", ")}
	}
	return all
}

// messagesLogged finds the calls of slog's methods in the program.
func messagesLogged(t *testing.T) map[string]message {
	t.Helper()
	all := map[string]message{}
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "e2e" || d.Name() == "tools" || d.Name() == "testdata" || d.Name() == ".git") {
			return fs.SkipDir
		}
		if filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok {
				name, m := logCall(call)
				if other, twice := all[name]; twice && other != m {
					t.Errorf("%q is logged with %+v and with %+v", name, other, m)
				}
				if name != "" {
					all[name] = m
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// logCall returns the message that a call logs; "" where it logs none.
func logCall(call *ast.CallExpr) (name string, m message) {
	method, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return "", m
	}
	args := call.Args
	switch method.Sel.Name {
	case "Debug":
		m.levels = "DEBUG"
	case "Info":
		m.levels = "INFO"
	case "Warn":
		m.levels = "WARN"
	case "Error":
		m.levels = "ERROR"
	case "Log": // its level is a variable
		if len(args) < 3 {
			return "", m
		}
		m.levels, args = "INFO, WARN", args[2:]
	default:
		return "", m
	}
	if len(args) == 0 {
		return "", m
	}
	var keys []string // without those that the loggers of a remote and of the source have themselves
	for i := 1; i < len(args); i += 2 {
		if key := literal(args[i]); key != "remote" && key != "source" || literal(args[0]) == "starting" {
			keys = append(keys, key)
		}
	}
	m.attributes = strings.Join(keys, ", ")
	return literal(args[0]), m
}

// literal is a text; one with something after it stands for all of them.
func literal(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.BasicLit:
		text, err := strconv.Unquote(e.Value)
		if err == nil {
			return text
		}
	case *ast.BinaryExpr:
		return literal(e.X) + "STATE"
	}
	return ""
}
