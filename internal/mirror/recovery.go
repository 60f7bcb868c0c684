package mirror

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/fernetcast/fernetcast/internal/keyset"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// unmade is the UID of a source that does not exist yet.
const unmade types.UID = "not created yet"

// Recoverable returns nil if the source can be restored from the copy's keys: they are a valid key
// set and match the copy's stamp. Otherwise, the error explains why not.
func (c Copy) Recoverable() error {
	_, err := keyset.Parse(orEmpty(c.secret).Data)
	switch {
	case c.secret == nil:
		return errors.New("its Secret is missing")
	case len(c.claims.unreadable) > 0:
		return errors.New(c.claims.unknownOwner())
	case c.claims.stamp == Owner{}:
		return errors.New("it has no stamp, so no main region pushed its keys")
	case err != nil:
		return fmt.Errorf("its keys are invalid: %w", err)
	case !c.asStamped():
		return errors.New("its keys do not match its stamp: they were changed there")
	}
	return nil
}

// advice returns what to do if the keys or the mark may be lost. REMOTE stands for the remote to recover
// from ([Status.Advised]).
func (s Source) advice() string {
	const lost, fresh = "if this cluster was the main region: fernetcast recover --from REMOTE", "; if it should become the main region: fernetcast promote REGION"
	switch {
	case s.state == SourceAbsent || s.state == SourceRefused:
		return "to restore the keys: fernetcast recover --from REMOTE"
	case s.state != SourceUnpromoted:
		return ""
	case len(s.claims.unreadable) > 0:
		return lost + fresh + " --force"
	}
	return lost + fresh
}

// Newest returns the name of the copy to recover from: among those that are Recoverable, the one with the
// highest term, and then the highest primary. It returns REMOTE if there is none.
func Newest(copies map[string]Copy) string {
	name := "REMOTE"
	for _, other := range slices.Sorted(maps.Keys(copies)) {
		a, b := copies[name], copies[other]
		if b.Recoverable() == nil && cmp.Or(b.Owner().Term-a.Owner().Term, b.prints.Primary()-a.prints.Primary()) > 0 {
			name = other
		}
	}
	return name
}

// Advised returns the status with the newest copy's remote in suggested recoveries, if there is one.
func (s Status) Advised() Status {
	if s.Source.State != SourceAbsent && s.Source.State != SourceRefused && s.Source.State != SourceUnpromoted {
		return s
	}
	copies := map[string]Copy{}
	for _, r := range s.Remotes {
		copies[r.Name] = r.Copy
	}
	from := Newest(copies)
	s.Source.Detail = strings.ReplaceAll(s.Source.Detail, "REMOTE", from)
	for i, r := range s.Remotes {
		s.Remotes[i].Detail = strings.ReplaceAll(r.Detail, "REMOTE", from)
	}
	return s
}

// Owner returns the owner in the copy's stamp, or the zero Owner if it has none.
func (c Copy) Owner() Owner { return c.claims.stamp }

// Claimed returns the owner in the source's annotations, even if the keys are invalid. It returns
// the zero Owner if there is none.
func (s Source) Claimed() Owner {
	if s.claims.stamp.Term >= s.claims.main.Term {
		return s.claims.stamp
	}
	return s.claims.main
}

// Usable returns the fingerprints of the keys that Keystone can use, and a Flaw for every other
// data key. It works even if the key set as a whole is rejected.
func (s Source) Usable() (keyset.Fingerprints, []keyset.Flaw) {
	return keyset.Usable(orEmpty(s.secret).Data)
}

// Written returns when the keys were last written, according to managedFields, or nil if that is
// unknown.
func (s Source) Written() *time.Time { return lastWrite(s.secret, managed.writesData) }

// Restored returns the source with the keys of copy c, which must be Recoverable. A recovery then
// marks the returned source and writes it. If the source is absent, the result has a placeholder
// UID.
func (s Source) Restored(c Copy) Source {
	restored := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: c.secret.Name, UID: unmade}, Type: corev1.SecretTypeOpaque}
	if s.secret != nil {
		restored = s.secret.DeepCopy()
	}
	restored.Data = maps.Clone(c.secret.Data)
	return ReadSource(restored)
}

// Kept returns the Secret to create if the source is absent. It has no keys, because they are
// written only after the Secret has a UID.
func (s Source) Kept() *corev1.Secret {
	empty := orEmpty(s.secret).DeepCopy()
	empty.UID, empty.Data = "", nil
	return empty
}
