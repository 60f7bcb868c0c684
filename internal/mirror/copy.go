package mirror

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/fernetcast/fernetcast/internal/keyset"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Place identifies a copy by its remote, namespace, and Secret, as our own configuration names
// them.
type Place struct {
	Remote, Namespace, Secret string
	// Cluster is the cluster's UID that the kubeconfig stores, or "".
	Cluster string
}

// Copy is a parsed Secret of a remote. It is immutable and safe for concurrent use. The zero Copy
// stands for a Secret that has not been read.
type Copy struct {
	place Place
	read  bool
	// secret is nil if the remote does not have the Secret.
	secret *corev1.Secret
	claims claims
	prints keyset.Fingerprints
}

// ReadCopy parses the Secret at the given place. A nil s means that the Secret does not exist. The
// Copy keeps s, so the caller must not modify it.
func ReadCopy(at Place, s *corev1.Secret) Copy {
	c := Copy{place: at, read: true, secret: s}
	if s != nil {
		c.claims, c.prints = readClaims(s), keyset.FingerprintsOf(s.Data)
	}
	return c
}

// Format implements [fmt.Formatter]. It shows fingerprints instead of the keys that a Copy contains.
func (c Copy) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "copy in %s: %s", c.place.Remote, c.prints) }

// Fingerprints returns the fingerprints of the keys in the remote, or nil if the Secret was
// not read or does not exist.
func (c Copy) Fingerprints() keyset.Fingerprints { return c.prints }

// UID returns the UID of the Secret, or "" if it does not exist.
func (c Copy) UID() types.UID { return orEmpty(c.secret).UID }

// AsPushedBy reports whether the copy is exactly as fernetcast pushed it from src's main
// region.
func (c Copy) AsPushedBy(src Source) bool {
	return c.secret != nil && c.claims.stamp == src.owner && c.asStamped()
}

// stamped returns the pushed keys according to the stamp, or the current keys if the stamp
// lacks them.
func (c Copy) stamped() keyset.Fingerprints {
	if c.claims.keys == nil {
		return c.prints
	}
	return c.claims.keys
}

// asStamped reports whether the data matches the fingerprints in the stamp.
func (c Copy) asStamped() bool {
	return c.claims.keys.Equal(c.prints) && len(c.prints) == len(c.secret.Data)
}

// LastWriter returns the last field manager, other than fernetcast, that wrote the Secret, or "" if
// managedFields lists none. The name contains no part of a key of src or of the copy.
func (c Copy) LastWriter(src Source) string {
	var last metav1.ManagedFieldsEntry
	for _, m := range orEmpty(c.secret).ManagedFields {
		if m.Manager != FieldManager && m.Time != nil && !m.Time.Before(last.Time) {
			last = m
		}
	}
	name := words(last.Manager)
	if strings.Contains(name, " ") { // several words could be mistaken for a command
		name = leftOut
	}
	return c.redact(src, name)
}

// lastPushed returns when fernetcast last wrote the Secret, according to managedFields.
func (c Copy) lastPushed() *time.Time {
	return lastWrite(c.secret, func(m managed) bool { return m.Manager == FieldManager })
}

// HeldSince returns when the remote got its current keys, according to managedFields: the time of
// the last write to the data by anyone or to the Secret by fernetcast. It returns nil if the time
// is unknown.
func (c Copy) HeldSince() *time.Time {
	return lastWrite(c.secret, func(m managed) bool { return m.Manager == FieldManager || m.writesData() })
}

// maxManagedFields limits the size of managedFields entries that are parsed, in bytes. An entry for
// 200 keys takes about 3,000 bytes.
const maxManagedFields = 64 << 10

type managed metav1.ManagedFieldsEntry

// writesData reports whether the manager owns any of the Secret's keys. The entry "." does
// not count: the creator of the Secret owns it permanently.
func (m managed) writesData() bool {
	var fields struct {
		Data map[string]json.RawMessage `json:"f:data"`
	}
	if m.FieldsV1 == nil || len(m.FieldsV1.GetRawBytes()) > maxManagedFields || json.Unmarshal(m.FieldsV1.GetRawBytes(), &fields) != nil {
		return false
	}
	delete(fields.Data, ".")
	return len(fields.Data) > 0
}

func lastWrite(s *corev1.Secret, counts func(managed) bool) *time.Time {
	var last *time.Time
	for _, m := range orEmpty(s).ManagedFields {
		// JSON does not support years after 9999, and the server can send any year.
		if m.Time == nil || m.Time.Year() < 1 || m.Time.Year() > 9999 || !counts(managed(m)) {
			continue
		}
		if t := m.Time.UTC(); last == nil || t.After(*last) {
			last = &t
		}
	}
	return last
}

// secretFor returns the Secret to write to a remote, with the source's keys and stamp. If
// the remote has a copy, the result keeps everything else that others stored there, and its
// resourceVersion and UID.
func secretFor(src Source, c Copy) *corev1.Secret {
	var s *corev1.Secret
	if c.secret != nil {
		// Don't clone the large fields. The data is replaced below, and the API server keeps its
		// own managedFields.
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

// setClaims replaces all annotations of the mark and the stamp.
func setClaims(s *corev1.Secret, claims map[string]string) {
	for _, name := range []string{MarkRegion, MarkTerm, MarkUID, MarkCluster, MarkUnserved, StampRegion, StampTerm, StampUID, StampVersion, StampKeys} {
		delete(s.Annotations, name)
	}
	for name, value := range claims {
		metav1.SetMetaDataAnnotation(&s.ObjectMeta, name, value)
	}
}
