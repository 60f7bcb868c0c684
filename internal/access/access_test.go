package access

import (
	"errors"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/validation"
)

func TestAccountOf(t *testing.T) {
	seen := map[string]string{}
	for _, region := range []string{"sjc", "SJC", "sjc_1", "sjc.1", "sjc-1", "S", strings.Repeat("r", 63)} {
		for _, secret := range []string{usualSecret, "keystone-credential-keys"} {
			name := AccountOf(region, secret)
			if reasons := validation.IsDNS1123Label(name); reasons != nil || !Own(name) {
				t.Errorf("%s, %s: %q: %v", region, secret, name, reasons)
			}
			if other := seen[name]; other != "" {
				t.Errorf("%s and %s have the same account, %s", region, other, name)
			}
			seen[name] = region + " " + secret
		}
	}
	for _, region := range []string{"deployment", "files", "identity", "keyless", "renew", "rotation-gate", "sidecar", "sjc-renew", "sjc-keyless", "source"} {
		if name := AccountOf(region, usualSecret); name == accountPrefix+region || validation.IsDNS1123Label(name) != nil {
			t.Errorf("%s's account has the name of another object, %s", region, name)
		}
	}
	if name := AccountOf("sjc", usualSecret); name != "fernetcast-sjc" {
		t.Errorf("sjc's account is %s", name)
	}
	if RoleOf(usualSecret) != "fernetcast" || RoleOf("other") != "fernetcast-other" || Own("fernetcast") || Own("fernetcast-x; rm -r /") || Own("default") {
		t.Error("RoleOf or Own returned a wrong result")
	}
}

func TestCheckAddress(t *testing.T) {
	for address, says := range map[string]string{
		"https://10.0.0.5:6443": "", "https://192.0.2.7": "", "https://[2001:db8::1]:6443": "",
		"http://10.0.0.5":                          "not https",
		"https://127.0.0.1:6443":                   "loopback",
		"https://127.1.2.3":                        "loopback",
		"https://[::1]:6443":                       "loopback",
		"https://[::ffff:127.0.0.1]":               "loopback",
		"https://localhost:6443":                   "loopback",
		"https://0.0.0.0:6443":                     "placeholder",
		"https://[::]":                             "placeholder",
		"https://169.254.169.254":                  "link-local",
		"https://[fe80::1]":                        "link-local",
		"https://kubernetes.default.svc":           "Service",
		"https://kubernetes.default.svc:443":       "Service",
		"https://KUBERNETES.default.SVC.":          "Service",
		"https://x.openstack.svc.cluster.local":    "Service",
		"10.0.0.5:6443":                            "not an address",
		"":                                         "not an address",
		"https://\x1b]0;x\x07:6443":                "not an address",
		"https://x.svc.cluster.local.example.test": "",
	} {
		err := checkAddress(t.Context(), address)
		if (err == nil) != (says == "") || err != nil && !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v, want %q", address, err, says)
		}
		var local localAddress
		if errors.As(err, &local) != (says == "loopback") {
			t.Errorf("%q: a loopback address: %v", address, err)
		}
	}
}

func TestRights(t *testing.T) {
	objects, err := rights("fernetcast-sjc", "keystone", "other-keys")
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, o := range objects {
		all = append(all, o.GetKind()+" "+o.GetNamespace()+"/"+o.GetName())
	}
	want := "ServiceAccount keystone/fernetcast-sjc, Role keystone/fernetcast-other-keys, RoleBinding keystone/fernetcast-sjc, " +
		"ValidatingAdmissionPolicy /fernetcast-remote, ValidatingAdmissionPolicyBinding /fernetcast-remote"
	if got := strings.Join(all, ", "); got != want {
		t.Errorf("the objects are %s", got)
	}
	self, err := selfRights("fernetcast-sjc", "keystone")
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range self {
		text, err := o.MarshalJSON()
		if err != nil || strings.Contains(string(text), placeholder) || strings.Contains(string(text), "openstack\"") {
			t.Errorf("%s does not belong to the account and its namespace: %s, %v", o.GetName(), text, err)
		}
	}
}

func TestShortened(t *testing.T) {
	now := time.Unix(10_000, 0)
	if shortened(now, now.Add(90*time.Hour-30*time.Second), 90*time.Hour) != "" {
		t.Error("a lifetime shorter by half a minute was reported")
	}
	if said := shortened(now, now.Add(time.Hour), 90*time.Hour); !strings.Contains(said, "60m (3d18h was requested)") {
		t.Errorf("the note is %q", said)
	}
}
