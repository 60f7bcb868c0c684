package access

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
)

const (
	// manager is the field manager of all writes.
	manager = "fernetcast-access"
	// storeTries limits the attempts of a write that conflicts with changes to other entries.
	storeTries = 5
)

// ErrChanged reports that an entry has changed since it was read.
var ErrChanged = errors.New("someone else changed it in the meantime; it was not overwritten")

// Entries are the entries of one Secret. Each entry holds one remote's kubeconfig or token.
type Entries struct {
	secrets         corev1client.SecretInterface
	namespace, name string
}

// NewEntries returns the entries of a Secret, which doesn't need to exist.
func NewEntries(core corev1client.SecretsGetter, namespace, name string) Entries {
	return Entries{core.Secrets(namespace), namespace, name}
}

// String returns the Secret's namespace and name.
func (e Entries) String() string { return e.namespace + "/" + e.name }

// Read returns all entries, or none if the Secret doesn't exist.
func (e Entries) Read(ctx context.Context) (map[string][]byte, error) {
	secret, err := e.secrets.Get(ctx, e.name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return secret.Data, nil
}

// A Change sets one entry from Was to Now. Nil means that the entry doesn't exist.
type Change struct {
	Entry    string
	Was, Now []byte
}

// done reports whether the entry already has its new value.
func (c Change) done(data map[string][]byte) bool { return same(data, c.Entry, c.Now) }

func same(data map[string][]byte, entry string, want []byte) bool {
	present, there := data[entry]
	return there == (want != nil) && bytes.Equal(present, want)
}

// Store applies all changes in one compare-and-swap write, and retries if another entry was changed
// at the same time. It returns [ErrChanged] if an entry has neither its old nor its new value.
func (e Entries) Store(ctx context.Context, changes ...Change) error {
	var err error
	for range storeTries {
		if err = e.try(ctx, changes); !apierrors.IsConflict(err) && !apierrors.IsAlreadyExists(err) {
			return err
		}
	}
	return fmt.Errorf("other entries keep changing: %w", err)
}

func (e Entries) try(ctx context.Context, changes []Change) error {
	secret, err := e.secrets.Get(ctx, e.name, metav1.GetOptions{})
	absent := apierrors.IsNotFound(err)
	if absent {
		secret, err = &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: e.name}}, nil
	}
	if err != nil {
		return err
	}
	left := slices.DeleteFunc(slices.Clone(changes), func(c Change) bool { return c.done(secret.Data) })
	if len(left) == 0 {
		return nil
	}
	data := maps.Clone(secret.Data)
	if data == nil {
		data = map[string][]byte{}
	}
	for _, c := range left {
		if !same(secret.Data, c.Entry, c.Was) {
			return ErrChanged
		}
		data[c.Entry] = c.Now
		if c.Now == nil {
			delete(data, c.Entry)
		}
	}
	secret.Data = data
	if absent {
		_, err = e.secrets.Create(ctx, secret, metav1.CreateOptions{FieldManager: manager})
		return err
	}
	_, err = e.secrets.Update(ctx, secret, metav1.UpdateOptions{FieldManager: manager})
	return err
}

// Remove removes an entry, whatever it contains. If the entry doesn't exist, Remove returns nil.
func (e Entries) Remove(ctx context.Context, entry string) error {
	entries, err := e.Read(ctx)
	if err != nil || entries[entry] == nil {
		return err
	}
	return e.Store(ctx, Change{entry, entries[entry], nil})
}
