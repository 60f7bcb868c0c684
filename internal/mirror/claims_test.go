package mirror

import (
	"fmt"
	"strings"
	"testing"

	"github.com/fernetcast/fernetcast/internal/keyset"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestPromotable(t *testing.T) {
	src := ReadSource(secret(homeUID, "100", newest, stamp("iad", 2, farUID, "1", newest)))
	for name, tc := range map[string]struct {
		copy *corev1.Secret
		can  bool
	}{
		"absent":                           {nil, true},
		"unowned, with other keys":         {secret(farUID, "9", anew, nil), true},
		"a copy, behind":                   {secret(farUID, "9", older0, stamp("iad", 2, "u", "1", older0)), true},
		"a copy, ahead":                    {secret(farUID, "9", "0=e 3=c 4=d", stamp("iad", 2, "u", "1", "0=e 3=c 4=d")), false},
		"a copy, not kin":                  {secret(farUID, "9", anew, stamp("iad", 2, "u", "1", anew)), false},
		"a copy, drifted":                  {secret(farUID, "9", anew, stamp("iad", 2, "u", "1", older0)), true},
		"a copy without its fingerprints":  {secret(farUID, "9", anew, without(stamp("iad", 2, "u", "1", older0), StampKeys)), false},
		"the old main, equal":              {secret(farUID, "9", newest, mark("iad", 2, farUID)), true},
		"the old main, emptied":            {secret(farUID, "9", "", mark("iad", 2, farUID)), true},
		"the old main, ahead":              {secret(farUID, "9", "0=e 3=c 4=d", mark("iad", 2, farUID)), false},
		"restored from an old main, ahead": {secret(farUID, "9", "0=e 3=c 4=d", mark("iad", 2, "gone")), false},
	} {
		if got := ReadCopy(Place{"dfw", "openstack", "keystone-fernet-keys", ""}, tc.copy).Promotable(src); got != tc.can {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestTimesComeFromTheServersRecord(t *testing.T) {
	at := func(second int64) *metav1.Time { t := metav1.Unix(second, 0); return &t }
	fields := func(raw string) *metav1.FieldsV1 { f := metav1.FieldsV1{}; f.SetRawBytes([]byte(raw)); return &f }
	s := secret(homeUID, "100", newest, mark("sjc", 3, homeUID))
	s.ManagedFields = []metav1.ManagedFieldsEntry{
		{Manager: "helm", Time: at(10), FieldsV1: fields(`{"f:data":{"f:0":{}}}`)},
		{Manager: "python-requests", Time: at(20), FieldsV1: fields(`{"f:data":{"f:8":{}},"f:type":{}}`)},
		{Manager: FieldManager, Time: at(30), FieldsV1: fields(`{"f:metadata":{"f:annotations":{}}}`)},
		{Manager: "argocd", Time: at(40), FieldsV1: fields(`{"f:data":{".":{}},"f:metadata":{"f:labels":{}}}`)}, // created the Secret
		{Manager: "of-no-time", FieldsV1: fields(`{"f:data":{"f:9":{}}}`)},
		{Manager: "kubectl-label", Time: at(25), FieldsV1: fields(`{"f:metadata":{"f:labels":{}}}`)},
	}
	if got := ReadSource(s).Status("openstack", s.Name, "").RotatedAt; got == nil || got.Unix() != 20 {
		t.Errorf("rotated at %v, want 20", got)
	}
	c := ReadCopy(Place{"dfw", "openstack", "keystone-fernet-keys", ""}, s)
	if got := c.Status(Source{}, Decision{}).LastPushed; got == nil || got.Unix() != 30 {
		t.Errorf("last pushed at %v, want 30", got)
	}
	if got := c.HeldSince(); got == nil || got.Unix() != 30 {
		t.Errorf("held since %v, want 30", got)
	}
	if got := c.LastWriter(Source{}); got != "argocd" {
		t.Errorf("the last writer is %s", got)
	}
	if got := ReadCopy(Place{"dfw", "openstack", "keystone-fernet-keys", ""}, secret(farUID, "1", newest, nil)).Status(Source{}, Decision{}); got.LastPushed != nil || got.Behind != nil {
		t.Errorf("without managedFields: %+v", got)
	}
}

func TestBehind(t *testing.T) {
	src := ReadSource(mainSecret())
	for pairs, want := range map[string]int{newest: 0, older0: 1, older1: 2, anew: -1, "": -1} {
		st := ReadCopy(Place{"dfw", "openstack", "keystone-fernet-keys", ""}, secret(farUID, "9", pairs, nil)).Status(src, Decision{})
		got := -1
		if st.Behind != nil {
			got = *st.Behind
		}
		if got != want {
			t.Errorf("%q is %d behind, want %d", pairs, got, want)
		}
	}
	if p := keyset.Fingerprints(nil).Primary(); p != 0 {
		t.Errorf("the primary of no keys is %d", p)
	}
}

// A Copy is part of a status, so no verb may print the keys that it contains.
func TestCopyShowsNoKey(t *testing.T) {
	c := ReadCopy(Place{Remote: "dfw"}, secret(farUID, "1", newest, nil))
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%d", "%x"} {
		if text := fmt.Sprintf(verb, RemoteStatus{Name: "dfw", Copy: c}); strings.Contains(text, "Data") || !strings.Contains(text, "copy in dfw: 0=") {
			t.Errorf("%s prints %s", verb, text)
		}
	}
}
