package clusters

import (
	"fmt"
	"strings"
	"time"

	"github.com/fernetcast/fernetcast/internal/kube"
)

// WithTokens gives files the tokens that are kept for them by their remotes' names,
// which count before those in the kubeconfigs.
func WithTokens(files []File, tokens map[string][]byte) []File {
	for i, f := range files {
		files[i].keep(tokens[f.Name], nil)
	}
	return files
}

// Read is [ReadDir], with the tokens that are kept for the kubeconfigs in another
// directory, by the remotes' names. An absent directory counts as empty. An
// unreadable token affects its own remote only; an unreadable directory affects all.
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

// keep gives a file the token that is kept for it, or why that can't be read.
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

// Bearer returns the token to sign in with: the kept one, or the kubeconfig's own if there
// is none or it has expired.
func (f File) Bearer(own string) string {
	expires := kube.ReadToken(f.Token).Expires
	if f.Token == "" || !expires.IsZero() && time.Now().After(expires) {
		return own
	}
	return f.Token
}
