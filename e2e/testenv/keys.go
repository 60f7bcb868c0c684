package testenv

import (
	"crypto/rand"
	"encoding/base64"
	"slices"
	"sync"
)

// Keys creates Fernet keys and remembers all of them, so that Leaks can search for them. Its
// methods are safe for concurrent use.
type Keys struct {
	mu   sync.RWMutex
	made []string
	// needles holds the texts that reveal the keys in made[:indexed], by prefix.
	needles map[prefix][]needle
	indexed int
}

// New returns a key like Keystone's: 32 random bytes in URL-safe base64, without a newline.
func (k *Keys) New() string {
	var raw [32]byte
	// rand.Read never fails. It crashes the program instead.
	_, _ = rand.Read(raw[:])
	text := base64.URLEncoding.EncodeToString(raw[:])
	k.Remember(text)
	return text
}

// Remember adds a key that a test created itself, for example a malformed key.
func (k *Keys) Remember(text string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.made = append(k.made, text)
}

// All returns all keys that were created or added so far, oldest first.
func (k *Keys) All() []string {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return slices.Clone(k.made)
}
