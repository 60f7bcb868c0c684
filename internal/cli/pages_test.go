package cli

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fernetcast/fernetcast/internal/preflight"
	"github.com/spf13/cobra"
)

// pages returns the Markdown pages by their path in the repository.
func pages(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, pattern := range []string{"*.md", "docs/*.md"} {
		paths, err := filepath.Glob(filepath.Join(checkout, pattern))
		if err != nil || len(paths) == 0 {
			t.Fatalf("%s matches no page: %v", pattern, err)
		}
		for _, path := range paths {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			name, err := filepath.Rel(checkout, path)
			if err != nil {
				t.Fatal(err)
			}
			all[name] = string(text)
		}
	}
	return all
}

// fenced splits a page into the lines outside and inside code blocks. An empty line outside
// replaces each line inside, so that line numbers stay correct.
func fenced(text string) (outside, inside []string) {
	open := false
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		fence := strings.HasPrefix(line, "```")
		switch {
		case open && !fence:
			inside = append(inside, line)
			line = ""
		case fence:
			open, line = !open, ""
		}
		outside = append(outside, line)
	}
	return outside, inside
}

var notInAnchor = regexp.MustCompile(`[^\p{L}\p{N} _-]`)

// anchors returns the anchors that GitHub generates for a page's headings.
func anchors(text string) (all []string) {
	outside, _ := fenced(text)
	same := map[string]int{}
	for _, line := range outside {
		hashes, heading, ok := strings.Cut(line, " ")
		if !ok || hashes == "" || strings.Trim(hashes, "#") != "" {
			continue
		}
		anchor := strings.ReplaceAll(notInAnchor.ReplaceAllString(strings.ToLower(heading), ""), " ", "-")
		if same[anchor]++; same[anchor] > 1 {
			anchor += fmt.Sprintf("-%d", same[anchor]-1)
		}
		all = append(all, anchor)
	}
	return all
}

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	mention = regexp.MustCompile(`\b(docs/[\w-]+\.md)(?:#([\w-]+))?`)
)

// TestLinksResolve checks the links in all pages, including their anchors.
func TestLinksResolve(t *testing.T) {
	all := pages(t)
	for page, text := range all {
		outside, _ := fenced(text)
		for _, match := range link.FindAllStringSubmatch(strings.Join(outside, "\n"), -1) {
			path, anchor, _ := strings.Cut(match[1], "#")
			if strings.Contains(path, "://") {
				continue
			}
			target := page
			if path != "" {
				target = filepath.Join(filepath.Dir(page), path)
			}
			if _, err := os.Stat(filepath.Join(checkout, target)); err != nil {
				t.Errorf("%s links to %s: %v", page, match[1], err)
			} else if anchor != "" && !slices.Contains(anchors(all[target]), anchor) {
				t.Errorf("%s links to %s, but that heading doesn't exist", page, match[1])
			}
		}
	}
}

// TestMentionedPagesExist checks that code, manifests, and other files mention only pages and
// anchors that exist.
func TestMentionedPagesExist(t *testing.T) {
	all, found := pages(t), 0
	err := filepath.WalkDir(checkout, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && strings.HasPrefix(d.Name(), ".") && path != checkout {
			return fs.SkipDir
		}
		if err != nil || !slices.Contains([]string{".go", ".yaml", ".json", ".md"}, filepath.Ext(path)) {
			return err
		}
		text, err := os.ReadFile(path)
		for _, match := range mention.FindAllStringSubmatch(string(text), -1) {
			found++
			if page, ok := all[match[1]]; !ok || match[2] != "" && !slices.Contains(anchors(page), match[2]) {
				t.Errorf("%s mentions %s, which doesn't exist", path, match[0])
			}
		}
		return err
	})
	if err != nil || found == 0 {
		t.Errorf("%d pages are mentioned: %v", found, err)
	}
}

var delimiter = regexp.MustCompile(`^\|( *:?-+:? *\|)+$`)

// TestTablesHaveAHeader finds empty lines inside tables, because GitHub shows the rows after them
// as text.
func TestTablesHaveAHeader(t *testing.T) {
	for page, text := range pages(t) {
		outside, _ := fenced(text)
		for i, line := range outside {
			starts := strings.HasPrefix(line, "|") && (i == 0 || !strings.HasPrefix(outside[i-1], "|"))
			if starts && (i+1 == len(outside) || !delimiter.MatchString(outside[i+1])) {
				t.Errorf("%s:%d: this table has no header: %s", page, i+1, line)
			}
		}
	}
}

var (
	codeSpan  = regexp.MustCompile("`([^`\n]+)`")
	invoked   = regexp.MustCompile(`(?:^|^\$ |(?:--|&&|\|\||;|\||do|=) |\$\()(?:kubectl[ -])?fernetcast ([^|;&#)]*)`)
	shorthand = regexp.MustCompile(`^-\w$`)
)

// TestChecksHaveSections checks that each check's link leads to a section of docs/checks.md.
func TestChecksHaveSections(t *testing.T) {
	for _, c := range preflight.Examine(t.Context(), preflight.Remote{Options: preflight.Options{Timeout: time.Second}, Refused: os.ErrInvalid}).Checks {
		_, path, _ := strings.Cut(c.Docs, "/blob/main/")
		page, anchor, _ := strings.Cut(path, "#")
		if anchor != c.ID || !slices.Contains(anchors(pages(t)[page]), anchor) {
			t.Errorf("%s links to %s, which doesn't exist", c.ID, c.Docs)
		}
	}
}

// TestPagesShowCommandsThatExist checks the commands and flags in all pages. The commands in
// docs/operations.md must also parse.
func TestPagesShowCommandsThatExist(t *testing.T) {
	root := newRoot("fernetcast")
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	found := 0
	for page, text := range pages(t) {
		outside, code := fenced(text)
		for _, match := range codeSpan.FindAllStringSubmatch(strings.Join(outside, "\n"), -1) {
			code = append(code, match[1])
		}
		for _, line := range code {
			for _, match := range invoked.FindAllStringSubmatch(line, -1) {
				found++
				if unknown := unknownIn(root, strings.Fields(match[1])); unknown != "" {
					t.Errorf("%s: fernetcast has no %s: %s", page, unknown, line)
				}
				if page == "docs/operations.md" {
					running(t, strings.Fields(placeholder.Replace(match[1]))...)
				}
			}
		}
	}
	if found < 40 {
		t.Errorf("only %d commands were found", found)
	}
}

// unknownIn returns the first command or flag in the words that doesn't exist. It accepts
// placeholders in capitals for commands, and ignores the brackets of optional words.
func unknownIn(root *cobra.Command, args []string) string {
	for i, arg := range args {
		if arg == "[command]" {
			arg = "COMMAND"
		}
		args[i] = strings.Trim(arg, `[]"',.…`)
	}
	cmd, rest, err := root.Find(args)
	words := slices.DeleteFunc(slices.Clone(rest), func(s string) bool { return s == "" || strings.HasPrefix(s, "-") })
	if placeholder := len(args) > 0 && strings.ToUpper(args[0]) == args[0]; !placeholder && (err != nil || cmd == root && len(words) > 0) {
		return "command " + strings.Join(args, " ")
	}
	cmd.InitDefaultHelpFlag()
	for _, arg := range rest {
		name, _, _ := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		switch {
		case shorthand.MatchString(arg) && cmd.Flags().ShorthandLookup(name) == nil,
			strings.HasPrefix(arg, "--") && name != "" && cmd.Flag(name) == nil:
			return "flag " + arg
		}
	}
	return ""
}
