package clusters

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/fernetcast/fernetcast/internal/kube"
)

// WithTokens adds separately stored tokens to files, by remote.
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

// Bearer returns the token to use, and another for when the remote rejects it, or "". own is the
// kubeconfig's token. Expired tokens don't count, and the one that was issued last comes first.
func (f File) Bearer(own string) (token, other string) {
	kept, inside := kube.ReadToken(f.Token), kube.ReadToken(own)
	expired := func(t kube.Token) bool { return !t.Expires.IsZero() && time.Now().After(t.Expires) }
	switch {
	case f.Token == "" || expired(kept):
		return own, ""
	case own == "" || own == f.Token || expired(inside):
		return f.Token, ""
	case inside.Issued.After(kept.Issued):
		return own, f.Token
	}
	return f.Token, own
}
