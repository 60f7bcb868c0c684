package access

import (
	"context"
	"errors"
	"reflect"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/util/retry"
)

// manager is the field manager for all writes in this package.
const manager = "fernetcast-access"

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

// Store applies a change by compare-and-swap, and retries if another entry was changed at the same
// time. It returns [ErrChanged] if the entry has neither its old nor its new value.
func (e Entries) Store(ctx context.Context, c Change) error {
	overtaken := func(err error) bool { return apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) }
	return retry.OnError(retry.DefaultRetry, overtaken, func() error {
		secret, err := e.secrets.Get(ctx, e.name, metav1.GetOptions{})
		absent := apierrors.IsNotFound(err)
		if absent {
			secret, err = &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: e.name}}, nil
		}
		if err != nil {
			return err
		}
		// An empty entry differs from a missing one.
		switch present := secret.Data[c.Entry]; {
		case reflect.DeepEqual(present, c.Now):
			return nil
		case !reflect.DeepEqual(present, c.Was):
			return ErrChanged
		case c.Now == nil:
			delete(secret.Data, c.Entry)
		case secret.Data == nil:
			secret.Data = map[string][]byte{c.Entry: c.Now}
		default:
			secret.Data[c.Entry] = c.Now
		}
		if absent {
			_, err = e.secrets.Create(ctx, secret, metav1.CreateOptions{FieldManager: manager})
			return err
		}
		_, err = e.secrets.Update(ctx, secret, metav1.UpdateOptions{FieldManager: manager})
		return err
	})
}

// Remove removes an entry, whatever it contains. If the entry doesn't exist, Remove returns nil.
func (e Entries) Remove(ctx context.Context, entry string) error {
	entries, err := e.Read(ctx)
	if err != nil || entries[entry] == nil {
		return err
	}
	return e.Store(ctx, Change{entry, entries[entry], nil})
}
