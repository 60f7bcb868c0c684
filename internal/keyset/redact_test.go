package keyset

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
)

func TestRedact(t *testing.T) {
	const key = "h8Wb_qzT0-yVn3JcXk5RrPdLsA2mFgEu7oYiQ4wZ1C8="
	set := map[string][]byte{"8": []byte(key + "\n")}
	raw, err := base64.URLEncoding.DecodeString(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct{ text, want string }{
		"empty":               {"", ""},
		"nothing of it":       {"exceeded quota: secrets", "exceeded quota: secrets"},
		"the key":             {"region " + key + ".", "region …."},
		"six characters":      {"a h8Wb_q b", "a … b"},
		"five characters":     {"a h8Wb_ b", "a h8Wb_ b"},
		"in upper case":       {strings.ToUpper(key[:12]), "…"},
		"from its middle":     {"x" + key[11:20] + "y", "x…y"},
		"twice":               {key[:6] + " and " + key[20:26], "… and …"},
		"hex of its text":     {hex.EncodeToString([]byte(key))[9:31], "…"},
		"hex of its bytes":    {hex.EncodeToString(raw)[9:31], "…"},
		"base64 of its bytes": {base64.StdEncoding.EncodeToString(raw)[3:9], "…"}, // contains + and /
		"not only ASCII":      {"Ⱥ", "…"},                                         // longer in lowercase
		"other non-ASCII":     {"é h8Wb_q", "é …"},
		"base64 of its text":  {base64.StdEncoding.EncodeToString([]byte(key))[4:24], "…"},
		"base64, one further": {base64.StdEncoding.EncodeToString([]byte(" " + key))[6:24], "…"},
		"base64, two further": {base64.StdEncoding.EncodeToString([]byte("  " + key))[6:24], "…"},
	} {
		if got := Redact(tc.text, nil, set); got != tc.want {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
	many := map[string][]byte{}
	for i := range 10 * maxKeys {
		many[fmt.Sprint(i)] = []byte("junk")
	}
	many["8"] = set["8"]
	if got := Redact("a region "+key[:8], many); got != "a region …" {
		t.Errorf("among many other values: %q", got)
	}
}

// Redact searches for at most 200 keys of a set.
func TestRedactManyKeys(t *testing.T) {
	for n, all := range map[int]bool{maxKeys: true, 3 * maxKeys: false} {
		set, text := map[string][]byte{}, ""
		for i := range n {
			set[fmt.Sprint(i)] = []byte(key(i))
			text += " " + key(i)
		}
		if got := Redact(text, set); (strings.Count(got, "…") == n && !strings.Contains(got, "=")) != all {
			t.Errorf("%d keys: %d are redacted", n, strings.Count(got, "…"))
		}
	}
}

// QuoteName keeps an ordinary file name recognizable, but not a key that is used as a file name.
func TestQuoteName(t *testing.T) {
	const key = "h8Wb_qzT0-yVn3JcXk5RrPdLsA2mFgEu7oYiQ4wZ1C8="
	set := map[string][]byte{"8": []byte(key)}
	raw, err := base64.URLEncoding.DecodeString(key)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"1_0", "notes", "DFW Region-2.yaml", "lost+found", "backup_20261130.tar.gz", "README"} {
		if got := QuoteName(name); got != `"`+name+`"` {
			t.Errorf("%s: %s", name, got)
		}
	}
	seen := map[string]bool{}
	for _, name := range []string{
		key, key + ".yaml", "0-" + key, key[:20], key[20:], hex.EncodeToString(raw), base64.StdEncoding.EncodeToString([]byte(key)),
		strings.Repeat("x ", 60) + key, "\x1b[2J" + key,
	} {
		got := QuoteName(name)
		if Redact(got, set) != got || len(got) > 5*maxName || strings.ContainsFunc(got, func(r rune) bool { return r < ' ' || r > '~' }) || seen[got] {
			t.Errorf("%q: %s", name, got)
		}
		seen[got] = true
	}
}
