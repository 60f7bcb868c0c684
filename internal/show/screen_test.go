package show

import (
	"bytes"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/fernetcast/fernetcast/internal/mirror"
)

// Each frame replaces everything on the screen, however long its lines are. Between frames, the
// screen is never empty. The first frame scrolls the previous content away without losing it.
func TestFrames(t *testing.T) {
	for _, last := range []int{9, 10, 11, 20, 21} { // lengths of lines that end before, at, and after the right edge
		term := &terminal{T: t, width: 10, height: 8}
		s := Screen{width: 10, height: 8}
		term.Write("$ before\n")
		for i, lines := range [][]string{
			{strings.Repeat("x", last), "second", "third", "fourth"},
			{strings.Repeat("y", last), "2"},
			{"y", "", strings.Repeat("z", last)},
		} {
			term.emptied = false
			term.Write(s.frame(lines, i == 0))
			var want []string
			for _, line := range lines {
				for len(line) > 10 {
					want, line = append(want, line[:10]), line[10:]
				}
				want = append(want, line)
			}
			if got := term.String(); got != strings.Join(want, "\n") {
				t.Errorf("frame %d of width %d: the screen is\n%s\nwant\n%s", i, last, got, strings.Join(want, "\n"))
			}
			if term.row != len(want) || term.column != 0 {
				t.Errorf("frame %d: the cursor is not on the line below the frame", i)
			}
			if term.emptied && i > 0 {
				t.Errorf("frame %d: the screen was empty for a moment", i)
			}
		}
		if len(term.scrolled) == 0 || term.scrolled[0] != "$ before" {
			t.Errorf("the previous content is lost: %q", term.scrolled)
		}
	}
}

func TestCut(t *testing.T) {
	for _, c := range []struct {
		text  string
		width int
		want  string
	}{
		{"", 0, ""}, {"abc", 3, "abc"}, {"abc", 2, "a…"}, {"abc", 1, "…"}, {"abc", 0, "abc"}, {"a…c", 3, "a…c"},
		{"寸寸寸", 6, "寸寸寸"}, {"寸寸寸", 5, "寸寸…"}, {"寸寸寸", 4, "寸…"}, {"寸寸寸", 2, "…"}, {"é", 1, "…"},
	} {
		if got := (Screen{width: c.width}).cut(c.text); got != c.want {
			t.Errorf("%q in %d columns: %q, want %q", c.text, c.width, got, c.want)
		}
	}
}

func TestFold(t *testing.T) {
	parts := []string{"1 Synced", red + "2 Held" + plain, "3 Denied"}
	for width, want := range map[int][]string{
		0:  {"1 Synced, " + parts[1] + ", 3 Denied"},
		27: {"1 Synced, " + parts[1] + ", 3 Denied"}, // a comma would still fit
		26: {"1 Synced, " + parts[1] + ",", indent + "3 Denied"},
		17: {"1 Synced, " + parts[1] + ",", indent + "3 Denied"},
		16: {"1 Synced,", indent + parts[1] + ",", indent + "3 Denied"}, // a comma would not
	} {
		if got := (Screen{width: width}).fold(parts, ", "); !slices.Equal(got, want) {
			t.Errorf("%d columns: %q, want %q", width, got, want)
		}
	}
}

// At any width, a table's rows fit and show each state in full.
func TestTableFitsTheWidth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := few()
		st.Remotes[2].Detail = strings.Repeat("寸é", 40) // server-made text
		for width := 40; width < 240; width += 3 {
			lines := table{Screen: Screen{width: width, height: 24}}.lines(st)
			for _, line := range lines {
				if n := columns(line); n > width {
					t.Errorf("width %d: %d columns: %q", width, n, line)
				}
			}
			for _, r := range st.Remotes {
				if !regexp.MustCompile(`(?m)^[a-z…() ]+ ` + string(r.State) + `\b`).MatchString(strings.Join(lines, "\n")) {
					t.Errorf("width %d: the table does not contain %s:\n%s", width, r.State, strings.Join(lines, "\n"))
				}
			}
		}
	})
}

// At the right edge, a row is truncated, but the line about the source is folded.
func TestTableOfAScreen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const head = `MAIN    sjc (term 1)  openstack/keystone-fernet-keys  primary 8 (1f2e3d4c)  staged 0 (99aa00bb)  3 keys  rotated 4h12m ago
`
		const folded = `MAIN    sjc (term 1)  openstack/keystone-fernet-keys  primary 8 (1f2e3d4c)
        staged 0 (99aa00bb)  3 keys  rotated 4h12m ago
`
		const sum = `credentials: 1 expired, 1 due for renewal
3 Synced, 1 Behind, 1 Denied, 1 Held, 1 Unreachable
`
		prints(t, table{Screen: Screen{width: 80, height: 24}}, few(), folded+`REMOTE                    STATE        PRIMARY     BEHIND  LAST PUSHED  DETAIL
iad (namespace identity)  Unreachable  -           -       -            dial tc…
nrt                       Denied       8 1f2e3d4c  0       4h12m        credent…
ord                       Held         5 0c0c0c0c  ?       2d           discont…
syd                       Behind       7 77777777  1       -            1 gener…
lon                       Synced       8 1f2e3d4c  0       4h12m        credent…
dfw                       Synced       8 1f2e3d4c  0       4h12m
iah                       Synced       8 1f2e3d4c  0       4h12m
`+sum)
		named := few()
		named.Remotes = named.Remotes[:1]
		named.Remotes[0].Name = "a-name-that-is-too-long-for-any-screen-and-of-the-1st-cell"
		if rows := (table{Screen: Screen{width: 80}}).rows(named); rows[1] != "a-name-that-is-too-…-and-of-the-1st-cell  Synced  8 1f2e3d4c  0       4h12m" {
			t.Errorf("a long name is shown as %q", rows[1])
		}
		prints(t, table{Screen: Screen{width: 120, height: 24}}, few(), strings.Replace(head, "  rotated", "\n        rotated", 1)+`REMOTE                    STATE        PRIMARY     BEHIND  LAST PUSHED  DETAIL
iad (namespace identity)  Unreachable  -           -       -            dial tcp 10.0.0.9:6443: i/o timeout?[2J
nrt                       Denied       8 1f2e3d4c  0       4h12m        credentials expired 3h ago; 401 Unauthorized: r…
ord                       Held         5 0c0c0c0c  ?       2d           discontinuous: the source's keys (primary 8) do…
syd                       Behind       7 77777777  1       -            1 generation behind
lon                       Synced       8 1f2e3d4c  0       4h12m        credentials expire in 12d
dfw                       Synced       8 1f2e3d4c  0       4h12m
iah                       Synced       8 1f2e3d4c  0       4h12m
`+sum)
		prints(t, table{Screen: Screen{width: 200, height: 24}}, few(), head+`REMOTE                    STATE        PRIMARY     BEHIND  LAST PUSHED  DETAIL
iad (namespace identity)  Unreachable  -           -       -            dial tcp 10.0.0.9:6443: i/o timeout?[2J
nrt                       Denied       8 1f2e3d4c  0       4h12m        credentials expired 3h ago; 401 Unauthorized: renew the token or the certificate
ord                       Held         5 0c0c0c0c  ?       2d           discontinuous: the source's keys (primary 8) do not continue those pushed to ord (primary 5); nothing was changed; to push anyw…
syd                       Behind       7 77777777  1       -            1 generation behind
lon                       Synced       8 1f2e3d4c  0       4h12m        credentials expire in 12d
dfw                       Synced       8 1f2e3d4c  0       4h12m
iah                       Synced       8 1f2e3d4c  0       4h12m
`+sum)
	})
}

// Only states, and a source that isn't well, have colors. Colors don't change the layout.
func TestColours(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := few()
		bare := Screen{width: 80, height: 24}
		bright := bare
		bright.Colored = true
		for _, wide := range []bool{false, true} {
			got := table{Screen: bright, wide: wide}.text(st)
			if uncolored.Replace(got) != (table{Screen: bare, wide: wide}).text(st) {
				t.Errorf("colors change the layout:\n%q", got)
			}
			for _, part := range []string{
				"  \x1b[31mUnreachable\x1b[0m  ", "  \x1b[31mDenied\x1b[0m       ", "  \x1b[31mHeld\x1b[0m         ",
				"  \x1b[33mBehind\x1b[0m       ", "  \x1b[32mSynced\x1b[0m       ", "\n\x1b[32m3 Synced\x1b[0m, \x1b[33m1 Behind\x1b[0m, \x1b[31m1 Denied\x1b[0m, ",
			} {
				if !strings.Contains(got, part) {
					t.Errorf("the table does not contain %q:\n%q", part, got)
				}
			}
			if !strings.HasPrefix(got, "MAIN ") {
				t.Errorf("a source that is well has a color: %q", got)
			}
		}
		st.Source = mirror.SourceStatus{Namespace: "openstack", Secret: "keystone-fernet-keys", State: mirror.SourceAbsent, Detail: "it does not exist"}
		if got, want := (table{Screen: bright}).text(st), "\x1b[31mABSENT  openstack/keystone-fernet-keys\x1b[0m\n        it does not exist\n"; !strings.HasPrefix(got, want) {
			t.Errorf("%q does not begin with %q", got, want)
		}
	})
}

var andMore = regexp.MustCompile(`^… and (\d+) more$`)

// At any height, the table leaves one line for the cursor, starts with the most urgent remotes,
// shows or counts every remote, and ends with the summary.
func TestTableFitsTheHeight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := fleet(1000)
		for _, wide := range []bool{false, true} {
			for _, height := range []int{6, 7, 8, 15, 16, 17, 18, 24, 50} {
				fitted := table{Screen: Screen{width: 80, height: height}, fits: true, wide: wide}
				lines := fitted.lines(st)
				if n := fitted.rowsOf(lines...); n > height-1 || n < height-2 && !wide {
					t.Errorf("height %d: the table takes %d rows", height, n)
				}
				if last := lines[len(lines)-1]; !strings.HasPrefix(last, "989 Synced, 1 Behind, 10 Unreachable") {
					t.Errorf("height %d: the table ends with %q", height, last)
				}
				var unreachable, rows, more int
				for _, line := range lines[:len(lines)-1] {
					switch {
					case strings.Contains(line, "Unreachable  "):
						unreachable++
						fallthrough
					case strings.HasPrefix(line, "region-"):
						rows++
					case strings.HasPrefix(line, "… "):
						if _, err := fmt.Sscanf(line, "… and %d more", &more); err != nil || !andMore.MatchString(line) {
							t.Errorf("height %d: %q", height, line)
						}
					}
				}
				if rows+more != 1000 || unreachable != min(rows, 10) {
					t.Errorf("height %d: %d rows, %d of Unreachable ones, and %d more", height, rows, unreachable, more)
				}
			}
		}
	})
}

// If the output isn't a terminal, environment variables can't give it colors or a width.
func TestScreenOfAPipe(t *testing.T) {
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	for _, out := range []any{&bytes.Buffer{}, null, nil} {
		if got := ScreenOf(out); got != (Screen{}) {
			t.Errorf("%T is treated as a terminal: %+v", out, got)
		}
	}
}
