package repository

import (
	"bytes"
	"encoding/base64"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/fernetcast/fernetcast/internal/keyset"
	"github.com/fernetcast/fernetcast/internal/mirror"
	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// key returns a key whose bytes are all letter.
func key(letter byte) []byte {
	return []byte(base64.URLEncoding.EncodeToString(bytes.Repeat([]byte{letter}, 32)))
}

// data returns a Secret's data. In a text such as "0d 1b 2c", each word has the index and the
// letter of a key.
func data(text string) map[string][]byte {
	keys := map[string][]byte{}
	for _, word := range strings.Fields(text) {
		keys[word[:len(word)-1]] = key(word[len(word)-1])
	}
	return keys
}

// api is a fake [Source].
type api struct {
	mu  sync.Mutex
	src mirror.Source
	err error
}

// shows sets the keys in the API; "" means a Secret without data.
func (a *api) shows(text string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.src, a.err = mirror.ReadSource(&corev1.Secret{Data: data(text)}), nil
}

func (a *api) fails(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.err = err
}

func (a *api) Seen() (mirror.Source, bool) { a.mu.Lock(); defer a.mu.Unlock(); return a.src, true }
func (a *api) Read() bool                  { s, _ := a.Seen(); return s.State() != mirror.SourceUnread }
func (a *api) Err() error                  { a.mu.Lock(); defer a.mu.Unlock(); return a.err }

// log returns a logger and a buffer with its output.
func log() (*slog.Logger, *buffer) {
	b := &buffer{}
	return slog.New(slog.NewTextHandler(b, nil)), b
}

type buffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}
func (b *buffer) String() string { b.mu.Lock(); defer b.mu.Unlock(); return b.text.String() }

// holds returns the keys in a directory in the format of data. It fails the test if another user
// can read a key.
func holds(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		return ""
	}
	keys := map[string][]byte{}
	for _, e := range entries {
		if e.IsDir() {
			continue
		}
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		if _, index := keyset.Index(e.Name()); index && info.Mode() != keyMode {
			t.Errorf("%s has mode %v", e.Name(), info.Mode())
		}
		if keys[e.Name()], err = os.ReadFile(filepath.Join(dir, e.Name())); err != nil {
			t.Fatal(err)
		}
	}
	return spelled(keys)
}

// spelled is the inverse of data.
func spelled(keys map[string][]byte) string {
	var words []string
	for _, name := range ascending(keys) {
		word := name + "?"
		for letter := byte('a'); letter <= 'z'; letter++ {
			if bytes.Equal(keys[name], key(letter)) {
				word = name + string(letter)
			}
		}
		words = append(words, word)
	}
	return strings.Join(words, " ")
}

var (
	unread = mirror.Source{}
	absent = mirror.ReadSource(nil)
)
