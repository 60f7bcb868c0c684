package clusters

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A separate token takes precedence over the kubeconfig's own token, unless the separate token can
// never work.
func TestKeptToken(t *testing.T) {
	at := func(d time.Duration) string { return jwt(fmt.Sprintf(`{"exp":%d}`, time.Now().Add(d).Unix())) }
	own, large := at(time.Hour), strings.Repeat("x", 546_361)
	for _, c := range []struct{ kept, want, trouble string }{
		{kept: "", want: own},
		{kept: at(time.Minute), want: at(time.Minute)},
		{kept: at(-time.Minute), want: own},
		{kept: "opaque\n", want: "opaque"},
		{kept: "of two\nlines", want: own, trouble: "no HTTP header can carry"},
		{kept: "of\x00bytes", want: own, trouble: "no HTTP header can carry"},
		{kept: "caf\u00e9", want: own, trouble: "no HTTP header can carry"},
		{kept: large, want: own, trouble: "546361 bytes"},
		{kept: large[:8<<10], want: large[:8<<10]},
		{kept: large[:8<<10+1], want: own, trouble: "8193 bytes"},
	} {
		f := WithTokens([]File{{Name: "dfw"}}, map[string][]byte{"dfw": []byte(c.kept), "iad": []byte(large)})[0]
		if got, _ := f.Bearer(own); got != c.want {
			t.Errorf("kept %.20q: it signs in with %.20q", c.kept, got)
		}
		if text := fmt.Sprint(f.TokenErr); (f.TokenErr != nil) != (c.trouble != "") || !strings.Contains(text, c.trouble) {
			t.Errorf("kept %.20q: error %v, want %q", c.kept, f.TokenErr, c.trouble)
		}
	}
}

// The newer token comes first. The older one is used only if the remote rejects the newer one.
func TestTwoTokens(t *testing.T) {
	token := func(issued, expires time.Duration) string {
		return jwt(fmt.Sprintf(`{"iat":%d,"exp":%d}`, time.Now().Add(issued).Unix(), time.Now().Add(expires).Unix()))
	}
	older, newer, expired := token(-2*time.Hour, time.Hour), token(-time.Hour, time.Hour), token(-time.Minute, -time.Second)
	for name, c := range map[string]struct{ kept, own, want, other string }{
		"kept is newer":     {newer, older, newer, older},
		"kept is older":     {older, newer, newer, older},
		"kept is expired":   {expired, older, older, ""},
		"own is expired":    {older, expired, older, ""},
		"both are the same": {newer, newer, newer, ""},
		"both are expired":  {expired, token(-2*time.Hour, -time.Hour), token(-2*time.Hour, -time.Hour), ""},
		"own is unknown":    {older, "opaque", older, "opaque"},
		"kept is unknown":   {"opaque", older, older, "opaque"},
		"no own":            {older, "", older, ""},
		"none":              {"", older, older, ""},
	} {
		if got, other := (File{Token: c.kept}).Bearer(c.own); got != c.want || other != c.other {
			t.Errorf("%s: %.40s, then %.40s", name, got, other)
		}
	}
}

// A bad token in the directory affects only its own remote.
func TestReadTokens(t *testing.T) {
	kubeconfigs, tokens := t.TempDir(), t.TempDir()
	none := filepath.Join(tokens, "none")
	if got, err := Read(none, none); err != nil || len(got) != 0 {
		t.Errorf("absent directories: %v, %v", got, err)
	}
	for _, name := range []string{"bad.yaml", "dfw.yaml", "iad.yaml", "large.yaml"} {
		must(t, os.WriteFile(filepath.Join(kubeconfigs, name), kubeconfigOf(t, "a-token"), 0o600))
	}
	for name, text := range map[string]string{"dfw": "a-token\n", "..data": "hidden", "nobody": "x", "large": strings.Repeat("x", maxFile+1)} {
		must(t, os.WriteFile(filepath.Join(tokens, name), []byte(text), 0o600))
	}
	must(t, os.Mkdir(filepath.Join(tokens, "bad"), 0o700))
	must(t, os.Mkdir(filepath.Join(tokens, "lost+found"), 0o700))
	files, err := Read(kubeconfigs, tokens)
	if err != nil || len(files) != 4 {
		t.Fatalf("%v, %v", files, err)
	}
	for i, want := range []struct{ token, trouble string }{{"", "is a directory"}, {"a-token", ""}, {"", ""}, {"", "larger than 512 KiB"}} {
		f := files[i]
		if f.Err != nil || f.Token != want.token || (f.TokenErr != nil) != (want.trouble != "") || !strings.Contains(fmt.Sprint(f.TokenErr), want.trouble) {
			t.Errorf("%s: token %q, errors %v and %v", f.Name, f.Token, f.Err, f.TokenErr)
		}
	}
	// If the directory of tokens is unreadable, each remote uses its kubeconfig's own token.
	files, err = Read(kubeconfigs, filepath.Join(tokens, "dfw"))
	if err != nil || len(files) != 4 || files[1].TokenErr == nil || files[1].Err != nil {
		t.Errorf("%v, %v", files, err)
	}
}

// If a separate token is bad, a new remote uses its kubeconfig's own token, and an existing remote
// stays unchanged. Both report the error, and other remotes are not affected.
func TestBadKeptToken(t *testing.T) {
	set, h := newSet()
	set.events = h
	apply := func(kept string) (dfw, iad *Remote) {
		t.Helper()
		data := kubeconfigOf(t, "own")
		set.Apply(WithTokens([]File{{Name: "dfw", Data: data}, {Name: "iad", Data: data}}, map[string][]byte{"dfw": []byte(kept), "iad": []byte("good")}))
		dfw, err := set.Remote("dfw")
		if (err != nil) != (kept == "a b") || err != nil && !strings.Contains(err.Error(), "fernetcast renew dfw") {
			t.Errorf("kept %q: error %v", kept, err)
		}
		iad, err = set.Remote("iad")
		if err != nil {
			t.Error(err)
		}
		return dfw, iad
	}
	first, iad := apply("a b")
	if first == nil || iad == nil {
		t.Fatal("a remote was not added")
	}
	good, _ := apply("new")
	if good == first {
		t.Error("the token that is valid again did not lead to a new client")
	}
	if again, still := apply("a b"); again != good || still != iad {
		t.Error("the last good client was closed")
	}
	if again, _ := apply("new"); again != good {
		t.Error("the last good client was closed when its token was valid again")
	}
	moved := bytes.ReplaceAll(kubeconfigOf(t, "own"), []byte("127.0.0.1:1"), []byte("127.0.0.1:2"))
	set.Apply(WithTokens([]File{{Name: "dfw", Data: moved}}, map[string][]byte{"dfw": []byte("a b")}))
	if remote, err := set.Remote("dfw"); err == nil || remote.Server != "https://127.0.0.1:2" {
		t.Errorf("a new address was ignored while the token is bad: %s, %v", remote.Server, err)
	}
}
