package clusters

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/fernetcast/fernetcast/internal/kube"
)

// WithTokens gives files the tokens that are kept for them by their remotes' names,
// which count before those in the kubeconfigs.
func WithTokens(files []File, tokens map[string][]byte) []File {
	for i, f := range files {
		files[i].Token = strings.TrimSpace(string(tokens[f.Name]))
	}
	return files
}

// Read is [ReadDir], with the tokens that are kept for the kubeconfigs in another
// directory.
func Read(dir, tokens string) ([]File, error) {
	files, err := ReadDir(dir)
	if err != nil {
		return nil, err
	}
	kept, err := readTokens(tokens)
	return WithTokens(files, kept), err
}

// readTokens reads the tokens in a directory, by file name. One that is absent is an
// empty one.
func readTokens(dir string) (map[string][]byte, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("reading the directory of tokens: %w", err)
	}
	tokens := map[string][]byte{}
	for _, e := range entries {
		if hidden(e.Name()) {
			continue
		}
		token, err := readFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, fmt.Errorf("reading the token of %s: %w", quoted(e.Name()), err)
		}
		tokens[e.Name()] = token
	}
	return tokens, nil
}

// Bearer is which token to sign in with: the one that is kept, unless it could not
// work, and the kubeconfig's own may.
func (f File) Bearer(own string) string {
	expires := kube.ReadToken(f.Token).Expires
	switch {
	case f.Token == "", !carried(f.Token), !expires.IsZero() && time.Now().After(expires):
		return own
	}
	return f.Token
}

// carried says whether a header can carry a token.
func carried(token string) bool {
	return !strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r == 0x7f })
}
