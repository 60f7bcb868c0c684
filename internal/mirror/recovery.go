package mirror

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/fernetcast/fernetcast/internal/keyset"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// unmade is the uid of a source that is still to be created.
const unmade types.UID = "not made yet"

// Recoverable says why the copy's keys cannot be a main's again; nil where they can:
// they are a good key set, and just what its stamp says was pushed.
func (c Copy) Recoverable() error {
	_, err := keyset.Parse(orEmpty(c.secret).Data)
	switch {
	case c.secret == nil:
		return errors.New("it has no such Secret")
	case len(c.claims.unreadable) > 0:
		return fmt.Errorf("its annotations %s cannot be read, so whose keys they are is not known", strings.Join(c.claims.unreadable, ", "))
	case c.claims.stamp == Owner{}:
		return errors.New("it bears no stamp: its keys were never a main's")
	case err != nil:
		return fmt.Errorf("its keys are no key set: %w", err)
	case !c.asStamped():
		return errors.New("its keys are not what its stamp says was pushed: somebody has changed them there")
	}
	return nil
}

// Owner is whose copy it is, by its stamp; nobody where it bears none.
func (c Copy) Owner() Owner { return c.claims.stamp }

// Claimed is who owns the source by what is written on it, whatever its keys are;
// nobody where that is nobody.
func (s Source) Claimed() Owner {
	if s.claims.stamp.Term >= s.claims.main.Term {
		return s.claims.stamp
	}
	return s.claims.main
}

// Usable returns the fingerprints of the source's keys that Keystone can use, also of a
// refused key set, and what is wrong with its other data keys.
func (s Source) Usable() (keyset.Fingerprints, []keyset.Flaw) {
	return keyset.Usable(orEmpty(s.secret).Data)
}

// Written is when its keys were last written, by the API server's own record; nil where
// that has none.
func (s Source) Written() *time.Time { return lastWrite(s.secret, managed.writesData) }

// Restored is the source with the copy's keys, which have to be Recoverable: what a
// recovery writes, but for the mark. Of a source that is absent it is one that is
// still to be created.
func (s Source) Restored(c Copy) Source {
	restored := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: c.secret.Name, UID: unmade}, Type: corev1.SecretTypeOpaque}
	if s.secret != nil {
		restored = s.secret.DeepCopy()
	}
	restored.Data = maps.Clone(c.secret.Data)
	return ReadSource(restored)
}

// Kept is the source's Secret as it is to be created where it is absent: empty, to be
// written once it has a uid.
func (s Source) Kept() *corev1.Secret {
	empty := orEmpty(s.secret).DeepCopy()
	empty.UID, empty.Data = "", nil
	return empty
}
