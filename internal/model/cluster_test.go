package model_test

import (
	"errors"
	"fmt"
	"maps"
	"strconv"

	"github.com/fernetcast/fernetcast/internal/mirror"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

const secretName = "keystone-fernet-keys"

var resource = schema.GroupResource{Resource: "secrets"}

// cluster simulates an API server with etcd that holds one Secret. A stored Secret is never
// modified: each change stores a new Secret with the next version.
type cluster struct {
	name    string
	version int
	uids    int
	now     *corev1.Secret // nil if the Secret is absent
	past    []moment       // all changes, in ascending order
}

// moment is the state of a cluster from one version until the next.
type moment struct {
	version int
	secret  *corev1.Secret // for a deletion, the last Secret, with the version of the deletion
	deleted bool
}

func (c *cluster) get() (*corev1.Secret, error) {
	if c.now == nil {
		return nil, apierrors.NewNotFound(resource, secretName)
	}
	return c.now, nil
}

func (c *cluster) conflict(why string) error {
	return apierrors.NewConflict(resource, secretName, errors.New(why))
}

// update simulates a PUT. If s has a UID and a resourceVersion, they are preconditions.
func (c *cluster) update(s *corev1.Secret) (*corev1.Secret, error) {
	switch {
	case c.now == nil:
		return nil, apierrors.NewNotFound(resource, secretName)
	case s.UID != "" && s.UID != c.now.UID:
		return nil, c.conflict("another uid")
	case s.ResourceVersion != "" && s.ResourceVersion != c.now.ResourceVersion:
		return nil, c.conflict("another resourceVersion")
	}
	return c.store(s, c.now.UID), nil
}

// overwrite simulates a PUT to a server that ignores the resourceVersion.
func (c *cluster) overwrite(s *corev1.Secret) (*corev1.Secret, error) {
	s = s.DeepCopy()
	s.ResourceVersion = ""
	return c.update(s)
}

// apply simulates a server-side apply with resourceVersion "1", which fails if the Secret exists.
func (c *cluster) apply(s *corev1.Secret) (*corev1.Secret, error) {
	if c.now != nil {
		return nil, c.conflict("the Secret exists")
	}
	return c.create(s), nil
}

// applyOver simulates a server-side apply without a precondition. It replaces all data, because
// fernetcast applied the existing data, too, but it keeps other writers' metadata.
func (c *cluster) applyOver(s *corev1.Secret) (*corev1.Secret, error) {
	if c.now == nil {
		return c.create(s), nil
	}
	m := merged(c.now, s)
	m.Data = s.Data
	return c.store(m, c.now.UID), nil
}

func merged(old, s *corev1.Secret) *corev1.Secret {
	m := old.DeepCopy()
	m.Annotations, m.Data = both(old.Annotations, s.Annotations), both(old.Data, s.Data)
	return m
}

func both[V any](a, b map[string]V) map[string]V {
	m := map[string]V{}
	maps.Copy(m, a)
	maps.Copy(m, b)
	return m
}

func (c *cluster) create(s *corev1.Secret) *corev1.Secret {
	c.uids++
	return c.store(s, types.UID(fmt.Sprintf("%s-%d", c.name, c.uids)))
}

func (c *cluster) store(s *corev1.Secret, uid types.UID) *corev1.Secret {
	c.version++
	s = s.DeepCopy()
	s.Name, s.Namespace, s.UID, s.ResourceVersion = secretName, "openstack", uid, strconv.Itoa(c.version)
	c.now = s
	c.past = append(c.past, moment{c.version, s, false})
	return s
}

func (c *cluster) remove() {
	if c.now == nil {
		return
	}
	c.version++
	s := c.now.DeepCopy()
	s.ResourceVersion = strconv.Itoa(c.version)
	c.now = nil
	c.past = append(c.past, moment{c.version, s, true})
}

// at returns the Secret at a version, or nil if it was absent then.
func (c *cluster) at(version int) *corev1.Secret {
	var s *corev1.Secret
	for _, m := range c.past {
		if m.version > version {
			break
		}
		s = m.secret
		if m.deleted {
			s = nil
		}
	}
	return s
}

// after returns the first change after a version.
func (c *cluster) after(version int) (moment, bool) {
	for _, m := range c.past {
		if m.version > version {
			return m, true
		}
	}
	return moment{}, false
}

// manifest returns a Secret as it would be in a manifest, without metadata from a server.
func manifest(d data, annotations map[string]string) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Annotations: annotations, Labels: map[string]string{"kept": "yes"}},
		Type:       corev1.SecretTypeOpaque, Data: d,
	}
}

// edited applies another writer's change to the existing Secret.
func (c *cluster) edited(edit func(*corev1.Secret)) {
	s := c.now.DeepCopy()
	edit(s)
	c.store(s, s.UID)
}

var (
	markParts  = []string{mirror.MarkRegion, mirror.MarkTerm, mirror.MarkUID}
	stampParts = []string{mirror.StampRegion, mirror.StampTerm, mirror.StampUID}
)

// owner is the owner that a mark or a stamp names.
type owner struct {
	region string
	term   int
	uid    string
}

// claim parses an owner. readable is false if only some parts exist or the term is malformed. It is
// true if no part exists.
func claim(s *corev1.Secret, parts []string) (o owner, readable bool) {
	a := s.Annotations
	term, err := strconv.Atoi(a[parts[1]])
	there := 0
	for _, name := range parts {
		if _, ok := a[name]; ok {
			there++
		}
	}
	if there == 0 {
		return owner{}, true
	}
	if there < len(parts) || err != nil {
		return owner{}, false
	}
	return owner{a[parts[0]], term, a[parts[2]]}, true
}

// claims parses a Secret's stamp, and its mark if it was set on this very object.
func claims(s *corev1.Secret) (mark, stamp owner, readable bool) {
	mark, one := claim(s, markParts)
	stamp, two := claim(s, stampParts)
	if mark.uid != string(s.UID) {
		mark = owner{}
	}
	return mark, stamp, one && two
}
