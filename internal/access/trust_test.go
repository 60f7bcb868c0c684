package access

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fernetcast/fernetcast/internal/setup"
)

func TestTrustCheck(t *testing.T) {
	for issuer, says := range map[string]string{
		"https://sjc.example.com":                    "",
		"https://10.0.0.1:6443":                      "",
		"https://kubernetes.default.svc":             "every cluster uses by default",
		"https://kubernetes.default.svc.sjc.example": "every cluster uses by default",
		"https://Kubernetes.default":                 "every cluster uses by default",
		"kubernetes/serviceaccount":                  "start with https://",
		"http://sjc.example.com":                     "start with https://",
		"https://dfw.example.com":                    "dfw's own issuer",
	} {
		err := Trust{Remote: "dfw", Issuer: issuer}.check("https://dfw.example.com")
		if (err == nil) != (says == "") || err != nil && !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %q", issuer, err, says)
		}
	}
	if err := (Trust{Issuer: "https://sjc.example.com"}).check(""); err != nil {
		t.Errorf("if the remote's own issuer is not known: %v", err)
	}
}

func TestTrustNames(t *testing.T) {
	trust := Trust{Region: "SJC_1", HomeNamespace: "openstack", Account: "fernetcast-identity", Namespace: "keystone", Secret: "other-keys", Audience: "https://10.0.0.5:6443", Issuer: "https://sjc.example.com", At: "https://sjc.example.com/"}
	if user := trust.User(); !strings.HasPrefix(user, "fernetcast-sjc-1-") || !strings.HasSuffix(user, ":system:serviceaccount:openstack:fernetcast-identity") {
		t.Errorf("the user is %s", user)
	}
	objects, err := trust.rights()
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range objects {
		switch o.GetKind() {
		case "ServiceAccount":
			t.Error("an account was created")
		case "RoleBinding":
			text, _ := o.MarshalJSON()
			if !strings.Contains(string(text), trust.User()) || o.GetName() != keylessBinding(AccountOf("SJC_1", "other-keys")) || o.GetNamespace() != "keystone" {
				t.Errorf("the binding is %s", text)
			}
		}
	}
	text, err := trust.Configuration(false)
	if err != nil || strings.Contains(string(text), "discoveryURL") { // no discoveryURL is needed, because At equals the issuer's URL
		t.Errorf("%s, %v", text, err)
	}
}

func TestWriteStatic(t *testing.T) {
	is := setup.Issuer{URL: "https://sjc.example.com", Document: []byte(`{"issuer":"https://sjc.example.com","jwks_uri":"https://10.0.0.1:6443/openid/v1/jwks","id_token_signing_alg_values_supported":["RS256"]}`), Keys: []byte(`{"keys":[{"kid":"a"}]}`)}
	dir := t.TempDir()
	for range 2 { // the second pass replaces the files
		if err := writeStatic(dir, "https://keys.example.com/sjc/", is); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(filepath.Join(dir, ".well-known/openid-configuration"))
	var document map[string]any
	if err != nil || json.Unmarshal(text, &document) != nil || document["issuer"] != is.URL || document["jwks_uri"] != "https://keys.example.com/sjc/openid/v1/jwks" {
		t.Errorf("%s, %v", text, err)
	}
	keys, err := os.ReadFile(filepath.Join(dir, "openid/v1/jwks"))
	if err != nil || string(keys) != string(is.Keys) {
		t.Errorf("%s, %v", keys, err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*", ".half-*"))
	if err != nil || len(files) > 0 {
		t.Errorf("the files %v remain, %v", files, err)
	}
	for at, is := range map[string]setup.Issuer{
		"http://keys.example.com": is, "keys": is, "https://keys.example.com?x": is,
		"https://keys.example.com": {URL: is.URL, Document: is.Document, Keys: []byte(`{"keys":[]}`)},
	} {
		if err := writeStatic(t.TempDir(), at, is); err == nil {
			t.Errorf("%s: written", at)
		}
	}
}
