package mirror

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/fernetcast/fernetcast/internal/keyset"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Place is where a copy is, in our own flags and names.
type Place struct{ Remote, Namespace, Secret string }

// Copy is a remote's Secret as it was read once. It never changes and may be
// used concurrently. The zero Copy has not been read.
type Copy struct {
	place Place
	read  bool
	// secret is nil where the remote has none.
	secret *corev1.Secret
	claims claims
	prints keyset.Fingerprints
}

// ReadCopy takes what is at a place; nil says that there is no such Secret. It
// keeps the Secret, which must not be changed afterwards.
func ReadCopy(at Place, s *corev1.Secret) Copy {
	c := Copy{place: at, read: true, secret: s}
	if s != nil {
		c.claims, c.prints = readClaims(s), keyset.FingerprintsOf(s.Data)
	}
	return c
}

// Fingerprints are the fingerprints of what the remote's Keystone has; nil where
// nothing was read, or nothing is there.
func (c Copy) Fingerprints() keyset.Fingerprints { return c.prints }

// UID of the Secret, "" where there is none.
func (c Copy) UID() types.UID { return orEmpty(c.secret).UID }

// AsPushedBy says whether the copy is as a process of this main has left it.
func (c Copy) AsPushedBy(src Source) bool {
	return c.secret != nil && c.claims.stamp == src.owner && c.asStamped()
}

// stamped are the keys that the stamp says were pushed, where lost those that are there.
func (c Copy) stamped() keyset.Fingerprints {
	if c.claims.keys == nil {
		return c.prints
	}
	return c.claims.keys
}

// asStamped says whether the data is what the stamp says it is.
func (c Copy) asStamped() bool {
	return c.claims.keys.Equal(c.prints) && len(c.prints) == len(c.secret.Data)
}

// LastWriter is the field manager other than fernetcast that wrote last, as it
// may be shown beside src; "" where the API server names none.
func (c Copy) LastWriter(src Source) string {
	var last metav1.ManagedFieldsEntry
	for _, m := range orEmpty(c.secret).ManagedFields {
		if m.Manager != FieldManager && m.Time != nil && !m.Time.Before(last.Time) {
			last = m
		}
	}
	name := words(last.Manager)
	if strings.Contains(name, " ") { // a manager is a word, and could else be a command
		name = leftOut
	}
	return c.redact(src, name)
}

// lastPushed is when fernetcast wrote last, by the API server's own record.
func (c Copy) lastPushed() *time.Time {
	return lastWrite(c.secret, func(m managed) bool { return m.Manager == FieldManager })
}

// HeldSince is when its data was last written by anyone, or stamped by
// fernetcast, by the API server's own record; nil where that has none.
func (c Copy) HeldSince() *time.Time {
	return lastWrite(c.secret, func(m managed) bool { return m.Manager == FieldManager || m.writesData() })
}

// mostFields bounds the managedFields that are read, in bytes: a record of two
// hundred keys has some 3,000.
const mostFields = 64 << 10

type managed metav1.ManagedFieldsEntry

// writesData says whether the manager owns any of the Secret's keys. Whoever
// created it owns the map itself, ".", for ever.
func (m managed) writesData() bool {
	var fields struct {
		Data map[string]json.RawMessage `json:"f:data"`
	}
	if m.FieldsV1 == nil || len(m.FieldsV1.GetRawBytes()) > mostFields || json.Unmarshal(m.FieldsV1.GetRawBytes(), &fields) != nil {
		return false
	}
	delete(fields.Data, ".")
	return len(fields.Data) > 0
}

func lastWrite(s *corev1.Secret, counts func(managed) bool) *time.Time {
	var last *time.Time
	for _, m := range orEmpty(s).ManagedFields {
		// JSON has no time beyond year 9999, and the server can name any.
		if m.Time == nil || m.Time.Year() < 1 || m.Time.Year() > 9999 || !counts(managed(m)) {
			continue
		}
		if t := m.Time.UTC(); last == nil || t.After(*last) {
			last = &t
		}
	}
	return last
}

// secretFor is what a remote is to have: the source's keys and a stamp that
// says so. For a remote with a copy it is that copy, down to its
// resourceVersion and uid, with all else that others put on it.
func secretFor(src Source, c Copy) *corev1.Secret {
	var s *corev1.Secret
	if c.secret != nil {
		// Its data is replaced, and of managedFields the server keeps its own
		// record: both are large.
		kept := *c.secret
		kept.Data, kept.ManagedFields = nil, nil
		s = kept.DeepCopy()
	} else {
		s = &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: src.secret.Name}, Type: src.secret.Type}
	}
	s.Data = src.set.Data()
	setClaims(s, map[string]string{
		StampRegion:  src.owner.Region,
		StampTerm:    strconv.Itoa(src.owner.Term),
		StampUID:     string(src.owner.UID),
		StampVersion: src.secret.ResourceVersion,
		StampKeys:    src.Fingerprints(),
	})
	return s
}

// setClaims replaces mark and stamp, whole.
func setClaims(s *corev1.Secret, claims map[string]string) {
	for _, name := range []string{MarkRegion, MarkTerm, MarkUID, StampRegion, StampTerm, StampUID, StampVersion, StampKeys} {
		delete(s.Annotations, name)
	}
	for name, value := range claims {
		metav1.SetMetaDataAnnotation(&s.ObjectMeta, name, value)
	}
}
