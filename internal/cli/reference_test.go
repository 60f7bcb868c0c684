package cli

import (
	"cmp"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/fernetcast/fernetcast/internal/keyset"
	"github.com/fernetcast/fernetcast/internal/mirror"
	"github.com/fernetcast/fernetcast/internal/preflight"
	"github.com/fernetcast/fernetcast/internal/telemetry"
	"github.com/spf13/cobra"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/ptr"
)

const referencePage = checkout + "/docs/reference.md"

var update = flag.Bool("update", false, "rewrite the generated parts of docs/reference.md")

// documents are the JSON documents of the commands that print JSON.
var documents = map[string]any{
	"status":  mirror.Status{},
	"check":   preflight.Report{},
	"join":    joined{},
	"leave":   left{},
	"probe":   probeDocument{},
	"promote": promoted{}, "recover": promoted{},
	"renew": struct {
		Remotes []renewed `json:"remotes"`
	}{},
}

// generated matches a generated part of the page, and captures the part's name and the text between
// its markers.
var generated = regexp.MustCompile(`(?s)(<!-- generated: ([^>]+) -->\n)(.*?)(<!-- end -->)`)

// TestReferenceIsUpToDate compares the generated parts of docs/reference.md with the code.
// Table columns that the code can't generate are written by hand in the page.
func TestReferenceIsUpToDate(t *testing.T) {
	text, err := os.ReadFile(referencePage)
	if err != nil {
		t.Fatal(err)
	}
	parts := referenceParts(t)
	fresh := generated.ReplaceAllStringFunc(string(text), func(part string) string {
		match := generated.FindStringSubmatch(part)
		generate := parts[match[2]]
		if generate == nil {
			t.Fatalf("docs/reference.md has a part %q that is unknown or there twice", match[2])
		}
		delete(parts, match[2])
		return match[1] + generate(handwritten(match[3])) + match[4]
	})
	for name := range parts {
		t.Errorf("docs/reference.md has no part %q: add <!-- generated: %s --> and <!-- end -->", name, name)
	}
	for line := range strings.Lines(fresh) {
		if strings.Contains(line, "| TODO |") {
			t.Errorf("docs/reference.md does not explain: %s", line)
		}
	}
	if *update {
		if err := os.WriteFile(referencePage, []byte(fresh), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if fresh != string(text) {
		t.Error("docs/reference.md is out of date; update it with: go test ./internal/cli -run TestReferenceIsUpToDate -update")
	}
}

// A factTable is a Markdown table. Its rows contain only the generated cells. The remaining
// columns are written by hand.
type factTable struct {
	columns []string
	rows    [][]string
}

// write returns the table's text. byHand contains the handwritten rows by their first cell.
func (w factTable) write(byHand map[string][]string) string {
	var out strings.Builder
	line := func(cells []string) { fmt.Fprintf(&out, "| %s |\n", strings.Join(cells, " | ")) }
	line(w.columns)
	line(slices.Repeat([]string{"---"}, len(w.columns)))
	for _, row := range w.rows {
		for i := len(row); i < len(w.columns); i++ {
			text := "TODO"
			if old := byHand[row[0]]; i < len(old) {
				text = old[i]
			}
			row = append(row, text)
		}
		line(row)
	}
	return out.String()
}

// handwritten parses a table, and returns its rows by their first cell.
func handwritten(text string) map[string][]string {
	rows := map[string][]string{}
	for line := range strings.Lines(text) {
		if cells, ok := cellsOf(line); ok {
			rows[cells[0]] = cells
		}
	}
	return rows
}

// cellsOf splits a table row into cells. It reports whether the line is a table row.
func cellsOf(line string) ([]string, bool) {
	line, ok := strings.CutPrefix(strings.TrimSpace(line), "| ")
	cells := strings.Split(strings.TrimSuffix(line, " |"), " | ")
	return cells, ok
}

// referenceParts returns the generators of the page's parts, by name.
func referenceParts(t *testing.T) map[string]func(byHand map[string][]string) string {
	t.Helper()
	files := productFiles(t)
	parts := map[string]func(map[string][]string) string{
		"commands":      func(map[string][]string) string { return commandUsage() },
		"metrics":       runMetrics(t, files).write,
		"metrics files": filesMetrics(t).write,
		"metrics probe": probeMetrics().write,
		"states":        stateTable(constants(files, "mirror", "State", "")).write,
		"source states": namedTable("state", constants(files, "mirror", "SourceState", "")).write,
		"reasons":       namedTable("reason", constants(files, "mirror", "Reason", "")).write,
		"verdicts":      namedTable("result", constants(files, "mirror", "Verdict", "")).write,
		"write results": namedTable("result", constants(files, "mirror", "Result", "")).write,
		"messages":      messageTable(t, files).write,
		"events":        namedTable("reason", constants(files, "telemetry", "", "Event")).write,
		"checks":        checkTable(t).write,
		"exit codes":    namedTable("code", []string{strconv.Itoa(exitOK), strconv.Itoa(exitTrouble), strconv.Itoa(exitUsage)}).write,
	}
	for command, document := range documents {
		parts["json "+command] = fieldTable(reflect.TypeOf(document)).write
	}
	root := newRoot("fernetcast")
	for _, cmd := range root.Commands() {
		output := cmd.Flags().Lookup("output")
		if _, ok := documents[cmd.Name()]; output != nil && strings.Contains(output.Usage, "json") != ok {
			t.Errorf("%s -o json has no type in documents, or documents has a command without -o json", cmd.Name())
		}
	}
	return parts
}

// namedTable returns a table of names with one handwritten column.
func namedTable(column string, names []string) factTable {
	w := factTable{columns: []string{column, "meaning"}}
	for _, name := range names {
		w.rows = append(w.rows, []string{quoted(name)})
	}
	return w
}

func quoted(name string) string { return "`" + name + "`" }

// stateTable returns the table of a remote's states and their exit codes.
func stateTable(names []string) factTable {
	w := factTable{columns: []string{"state", "exit code", "meaning"}}
	for _, name := range names {
		code := exitTrouble
		if mirror.State(name).Well() {
			code = exitOK
		}
		w.rows = append(w.rows, []string{quoted(name), strconv.Itoa(code)})
	}
	return w
}

// checkTable returns the table of checks in their order. A rejected kubeconfig makes Examine skip
// all checks that need a cluster.
func checkTable(t *testing.T) factTable {
	t.Helper()
	w := factTable{columns: []string{"ID", "passes if", "warns if", "fails if"}}
	for _, c := range preflight.Examine(t.Context(), preflight.Remote{Options: preflight.Options{Timeout: time.Second}, Name: "dfw", Refused: os.ErrInvalid}).Checks {
		w.rows = append(w.rows, []string{quoted(c.ID)})
	}
	return w
}

// commandUsage returns the usage of all commands without the global flags.
func commandUsage() string {
	root := newRoot("fernetcast")
	root.InitDefaultCompletionCmd()
	var out strings.Builder
	for _, cmd := range append([]*cobra.Command{root}, root.Commands()...) {
		usage, _, _ := strings.Cut(cmd.UsageString(), "\nGlobal Flags:")
		usage, _, _ = strings.Cut(usage, "\nUse \"")
		fmt.Fprintf(&out, "\n### %s\n\n```text\n%s\n```\n", cmd.Name(), strings.TrimSpace(usage))
	}
	return out.String() + "\n"
}

// runMetrics returns the table of run's metrics. It fails if a metric that the code describes is
// missing.
func runMetrics(t *testing.T, files []*ast.File) factTable {
	t.Helper()
	now := time.Now()
	status := mirror.Status{
		Source: mirror.SourceStatus{State: mirror.SourceMain, Term: ptr.To(1), Primary: ptr.To(1), RotatedAt: &now, Keys: keyset.Fingerprints{1: "a"}},
		Remotes: []mirror.RemoteStatus{{Name: "dfw", State: mirror.StateSynced, Behind: ptr.To(0), LastSynced: &now, CredentialsDue: &now, CredentialsExpire: &now,
			Counts: mirror.Counts{Requests: map[mirror.Request]int{{Method: "GET", Code: "200"}: 1}}}},
	}
	m := telemetry.NewMetrics("v", func() mirror.Status { return status })
	// The work queue registers its own metrics.
	queue := workqueue.NewTypedDelayingQueueWithConfig(workqueue.TypedDelayingQueueConfig[string]{Name: "remotes", MetricsProvider: m.Queue()})
	defer queue.ShutDown()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	for _, file := range files {
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			if f, ok := call.Fun.(*ast.Ident); ok && f.Name == "desc" {
				if name := literal(call.Args[0]); !strings.Contains(w.Body.String(), "# HELP fernetcast_"+name+" ") {
					t.Errorf("add a value for the metric %s to the status in runMetrics", name)
				}
			}
			return true
		})
	}
	return metricsOf(w.Body.String())
}

// filesMetrics returns the table of the metrics of files.
func filesMetrics(t *testing.T) factTable {
	t.Helper()
	m := telemetry.NewFilesMetrics("v", func() int { return 1 }, time.Now)
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	return metricsOf(w.Body.String())
}

// probeMetrics returns the table of the metrics of probe.
func probeMetrics() factTable {
	m := telemetry.NewProbeMetrics("v")
	m.Probed([]mirror.Probe{{From: "sjc", To: "dfw", Verdict: mirror.Accepted}})
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	return metricsOf(w.Body.String())
}

var (
	metricLine = regexp.MustCompile(`(?m)^# (HELP|TYPE) (\S+) (.*)$`)
	labelName  = regexp.MustCompile(`[{,](\w+)="`)
)

// metricsOf returns the table of the metrics in a response, except Go and process metrics.
func metricsOf(page string) factTable {
	w := factTable{columns: []string{"metric", "type", "labels", "meaning"}}
	help := map[string]string{}
	for _, match := range metricLine.FindAllStringSubmatch(page, -1) {
		name := match[2]
		if match[1] == "HELP" {
			help[name] = match[3]
			continue
		}
		if strings.HasPrefix(name, "go_") || strings.HasPrefix(name, "process_") {
			continue
		}
		var labels []string
		sample := regexp.MustCompile(`(?m)^` + name + `(_count)?(\{.*\})? `).FindString(page)
		for _, label := range labelName.FindAllStringSubmatch(sample, -1) {
			labels = append(labels, quoted(label[1]))
		}
		w.rows = append(w.rows, []string{quoted(name), match[3], cmp.Or(strings.Join(labels, ", "), "none"), help[name]})
	}
	return w
}

// fieldTable returns the table of a JSON document's fields.
func fieldTable(document reflect.Type) factTable {
	w := factTable{columns: []string{"field", "type", "meaning"}}
	var add func(prefix string, of reflect.Type)
	add = func(prefix string, of reflect.Type) {
		for i := range of.NumField() {
			f := of.Field(i)
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			switch {
			case f.Anonymous && name == "":
				add(prefix, f.Type)
			case name == "-" || !f.IsExported():
			case f.Type.Kind() == reflect.Struct:
				add(prefix+name+".", f.Type)
			case f.Type.Kind() == reflect.Slice && f.Type.Elem().Kind() == reflect.Struct:
				add(prefix+name+"[].", f.Type.Elem())
			default:
				w.rows = append(w.rows, []string{quoted(prefix + name), jsonType(f.Type)})
			}
		}
	}
	add("", document)
	return w
}

func jsonType(of reflect.Type) string {
	switch of.Kind() {
	case reflect.Pointer:
		return jsonType(of.Elem()) + " or null"
	case reflect.Map:
		return "object or null"
	case reflect.Slice:
		return "array of " + jsonType(of.Elem())
	case reflect.Int, reflect.Float64:
		return "number"
	case reflect.Bool:
		return "boolean"
	}
	switch {
	case of == reflect.TypeFor[time.Time]():
		return "time"
	case of.Kind() == reflect.Struct:
		return "object"
	}
	return of.Kind().String()
}

// productFiles parses the program's source files.
func productFiles(t *testing.T) (files []*ast.File) {
	t.Helper()
	err := filepath.WalkDir(checkout, func(path string, d fs.DirEntry, err error) error {
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
		files = append(files, file)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// constants returns the values of a package's constants in the order of the code. It selects
// them by type or by the prefix of their names.
func constants(files []*ast.File, in, typed, prefix string) (values []string) {
	for _, file := range files {
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok || file.Name.Name != in || len(spec.Values) != 1 || !strings.HasPrefix(spec.Names[0].Name, prefix) {
				return true
			}
			if of, _ := spec.Type.(*ast.Ident); of != nil && of.Name == typed || typed == "" {
				values = append(values, literal(spec.Values[0]))
			}
			return true
		})
	}
	return values
}

// ofCommands lists the messages that only other commands than run and files log.
var ofCommands = []string{"waiting", "reading failed; using the previous remotes"}

// messageTable returns the table of the log messages of run and files, sorted by message.
func messageTable(t *testing.T, files []*ast.File) factTable {
	t.Helper()
	all := map[string][]string{}
	for _, file := range files {
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			row := logCall(call)
			if other := all[row[0]]; other != nil && !slices.Equal(other, row) {
				t.Errorf("%s is logged with %q and with %q", row[0], other, row)
			}
			all[row[0]] = row
			return true
		})
	}
	delete(all, "")
	for _, name := range ofCommands {
		if all[quoted(name)] == nil {
			t.Errorf("the code does not log %q", name)
		}
		delete(all, quoted(name))
	}
	w := factTable{columns: []string{"`msg`", "level", "attributes", "meaning"}}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		w.rows = append(w.rows, all[name])
	}
	return w
}

// logCall returns the message, the levels, and the attributes of a call to a logger. For any
// other call, the message is "".
func logCall(call *ast.CallExpr) []string {
	nothing := []string{""}
	method, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return nothing
	}
	args, level := call.Args, ""
	switch method.Sel.Name {
	case "Debug", "Info", "Warn", "Error":
		level = strings.ToUpper(method.Sel.Name)
	case "Log": // its level is a variable
		if len(args) < 3 {
			return nothing
		}
		level, args = "INFO, WARN", args[2:]
	default:
		return nothing
	}
	if len(args) == 0 || literal(args[0]) == "" {
		return nothing
	}
	var keys []string // all except remote and source, which the loggers add to every line
	for i := 1; i < len(args); i += 2 {
		if key := literal(args[i]); key != "remote" && key != "source" || literal(args[0]) == "starting" {
			keys = append(keys, quoted(key))
		}
	}
	return []string{quoted(literal(args[0])), level, cmp.Or(strings.Join(keys, ", "), "none")}
}

// literal returns the text of a string literal. If the code appends to it, STATE stands for
// the rest. For other expressions, it returns "".
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
