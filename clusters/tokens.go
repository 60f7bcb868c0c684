package clusters

import (
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

// Read reads a directory of kubeconfigs like [ReadDir], and a directory of separately stored
// tokens, which are named after the remotes. A missing directory counts as empty. An unreadable
// token affects only its own remote. An unreadable directory of tokens affects all remotes.
func Read(dir, tokens string) ([]File, error) {
	files, err := ReadDir(dir)
	if err != nil {
		return nil, err
	}
	kept := map[string]File{}
	unread := readEach(tokens, func(name string, data []byte, err error) { kept[name] = File{Data: data, Err: err} })
	if unread != nil {
		unread = fmt.Errorf("reading the directory of tokens: %w", unread)
	}
	for i, f := range files {
		token, err := kept[f.Name], unread
		if err == nil && token.Err != nil {
			err = fmt.Errorf("it %w", withoutPath(token.Err))
		}
		files[i].keep(token.Data, err)
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
		f.Token, f.TokenErr = "", fmt.Errorf("the token that is kept for it is not used: %w; to replace it: fernetcast renew %s", err, f.Name)
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
