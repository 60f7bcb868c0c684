package clusters

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/fernetcast/fernetcast/internal/kube"
)

// WithTokens adds separately stored tokens to files, by remote. They take precedence over the
// kubeconfigs' own tokens.
func WithTokens(files []File, tokens map[string][]byte) []File {
	for i, f := range files {
		files[i].keep(tokens[f.Name], nil)
	}
	return files
}

// Read reads the kubeconfigs in a directory, and the separately stored tokens in another, whose
// files are named after the remotes. A missing directory counts as empty. If a file is unreadable,
// only its own File has the error.
func Read(dir, tokens string) ([]File, error) {
	files, err := list(dir)
	if err != nil && !errors.Is(err, errTooMany) {
		return nil, err
	}
	for i := range files {
		files[i].read(tokens)
	}
	return files, nil
}

// keep sets a file's separate token, or the error from reading it.
func (f *File) keep(token []byte, err error) {
	f.Token = strings.TrimSpace(string(token))
	if err == nil && f.Token != "" {
		err = kube.CheckToken(f.Token)
	}
	f.TokenErr = nil
	if err != nil {
		f.Token, f.TokenErr = "", fmt.Errorf("its separately stored token is rejected: %w; to replace it: fernetcast renew %s", err, f.Name)
	}
}

// Bearer returns the token to use: the separate one, or own if the separate one is missing or
// expired.
func (f File) Bearer(own string) string {
	expires := kube.ReadToken(f.Token).Expires
	if f.Token == "" || !expires.IsZero() && time.Now().After(expires) {
		return own
	}
	return f.Token
}
