package testenv

import (
	"crypto/rand"
	"encoding/base64"
	"slices"
	"sync"
)

// Keys makes Fernet keys and remembers each one that was ever made, for the
// search for leaks. Its methods may be called concurrently.
type Keys struct {
	mu   sync.RWMutex
	made []string
	// needles are all forms of the first so many keys, by the bytes they begin with.
	needles map[begin][]needle
	indexed int
}

// New makes a key as Keystone does: 32 random bytes, url-safe base64, no newline.
func (k *Keys) New() string {
	var raw [32]byte
	// It never fails: the runtime crashes the program instead.
	_, _ = rand.Read(raw[:])
	text := base64.URLEncoding.EncodeToString(raw[:])
	k.Remember(text)
	return text
}

// Remember adds a key that a test made itself, a malformed one for example.
func (k *Keys) Remember(text string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.made = append(k.made, text)
}

// All returns every key so far, oldest first.
func (k *Keys) All() []string {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return slices.Clone(k.made)
}
