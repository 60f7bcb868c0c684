package clusters

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// A token that is kept counts before the kubeconfig's own, unless it could not work.
func TestKeptToken(t *testing.T) {
	at := func(d time.Duration) string { return jwt(fmt.Sprintf(`{"exp":%d}`, time.Now().Add(d).Unix())) }
	own := at(time.Hour)
	for kept, want := range map[string]string{
		"": own, at(time.Minute): at(time.Minute), at(-time.Minute): own, "opaque": "opaque", "of two\nlines": own,
	} {
		if got := (File{Token: kept}).Bearer(own); got != want {
			t.Errorf("kept %q: %q", kept, got)
		}
	}
}

func TestReadTokens(t *testing.T) {
	dir := t.TempDir()
	if got, err := Read(filepath.Join(dir, "none"), filepath.Join(dir, "none")); err != nil || len(got) != 0 {
		t.Errorf("absent directories: %v, %v", got, err)
	}
	for name, text := range map[string]string{"dfw": "a-token\n", "..data": "hidden", "nobody": "x"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	kept, err := readTokens(dir)
	if err != nil || len(kept) != 2 {
		t.Fatalf("%v, %v", kept, err)
	}
	files := WithTokens(Files(map[string][]byte{"dfw.yaml": nil, "iad.yaml": nil}), kept)
	if files[0].Token != "a-token" || files[1].Token != "" {
		t.Errorf("the tokens are %q and %q", files[0].Token, files[1].Token)
	}
	if err := os.Mkdir(filepath.Join(dir, "iad"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := readTokens(dir); err == nil {
		t.Error("a directory was taken for a token")
	}
}
