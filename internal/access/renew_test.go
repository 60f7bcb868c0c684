package access

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"github.com/fernetcast/fernetcast/internal/kubeconfig"
	"github.com/fernetcast/fernetcast/internal/setup"
	"k8s.io/client-go/rest"
)

// forged returns an unsigned token with this subject.
func forged(subject string) string {
	return "e30." + base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, `{"sub":%q}`, subject)) + ".e30"
}

// at returns the cluster of the operator's context dfw, at this address and with this CA.
func at(server, ca string) Cluster {
	return Cluster{Context: "dfw", APIs: &setup.APIs{Config: &rest.Config{Host: server, TLSClientConfig: rest.TLSClientConfig{CAData: []byte(ca)}}}}
}

// Anyone who can write a stored kubeconfig chooses its token, address, and CA. The operator's
// permissions must not yield another account's token, or send a token to another server.
func TestRenewalCheck(t *testing.T) {
	const own, server, ca = "system:serviceaccount:openstack:fernetcast-sjc", "https://10.0.0.5:6443", "the CA"
	for name, c := range map[string]struct {
		token, ca, server string
		name, uid         string // tls-server-name and the cluster's stored UID
		self              bool
		says              string // "" if the token may be renewed
	}{
		"as join stored it":            {token: forged(own), ca: ca, server: server},
		"at another address":           {token: forged(own), ca: ca, server: "https://dfw.example.com"},
		"with a newline":               {token: forged(own), ca: ca + "\n", server: server},
		"another namespace":            {token: forged("system:serviceaccount:kube-system:fernetcast-sjc"), ca: ca, server: server, says: "account kube-system/fernetcast-sjc, not to this main region's openstack/fernetcast-sjc"},
		"the identity of its own":      {token: forged("system:serviceaccount:kube-system:fernetcast-identity"), ca: ca, server: server, says: "account kube-system/fernetcast-identity"},
		"another main region":          {token: forged("system:serviceaccount:openstack:fernetcast-ord"), ca: ca, server: server, says: "account openstack/fernetcast-ord"},
		"the account of the manifests": {token: forged("system:serviceaccount:openstack:fernetcast"), ca: ca, server: server, says: "account openstack/fernetcast,"},
		"a longer name":                {token: forged(own + "-renew"), ca: ca, server: server, says: "account openstack/fernetcast-sjc-renew"},
		"a path":                       {token: forged("system:serviceaccount:openstack:../../x"), ca: ca, server: server, says: "account openstack/../../x"},
		"a person":                     {token: forged("system:admin"), ca: ca, server: server, says: "not from a ServiceAccount"},
		"not a JWT":                    {token: "by-hand", ca: ca, server: server, says: "not from a ServiceAccount"},
		"a certificate":                {ca: ca, server: server, says: "client certificate"},
		"another CA":                   {token: forged(own), ca: "another CA", server: server, says: "server name, or address than your context dfw"},
		"another CA in addition":       {token: forged(own), ca: ca + "\nanother CA", server: server, says: "UID, CA, server name"},
		"another server name":          {token: forged(own), ca: ca, server: server, name: "iad", says: "server name"},
		"the same UID":                 {token: forged(own), ca: ca, server: server, uid: "dfw's"},
		"another UID":                  {token: forged(own), ca: ca, server: server, uid: "iad's", says: "another cluster UID"},
		"the system's CAs":             {token: forged(own), server: server, says: "UID, CA, server name"},
		"by itself":                    {token: forged(own), ca: "another CA", server: server, self: true},
		"by itself, as the manifests":  {token: forged("system:serviceaccount:openstack:fernetcast"), ca: ca, server: server, self: true},
		"by itself, as another":        {token: forged("system:serviceaccount:kube-system:admin"), ca: ca, server: server, self: true, says: "fernetcast did not create"},
	} {
		r := Renewal{
			Name: "dfw", Namespace: "openstack", Account: "fernetcast-sjc", Self: c.self, By: at(server, ca),
			Kubeconfig: kubeconfig.Config{Server: c.server, Token: c.token, TLS: rest.TLSClientConfig{CAData: []byte(c.ca), ServerName: c.name}, Cluster: c.uid},
		}
		r.By.uid = "dfw's"
		if err := r.Check(); (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", name, err, c.says)
		}
	}
	plain, named, shared := at(server, ""), kubeconfig.Config{Server: server, TLS: rest.TLSClientConfig{ServerName: "dfw"}}, at(server, "")
	shared.Config.ServerName = "dfw"
	for _, there := range []Cluster{plain, shared} {
		if same, err := there.is(t.Context(), named); err != nil || same != (there.Config.ServerName == "dfw") {
			t.Errorf("whether the cluster with server name %q counts as dfw: %v, %v", there.Config.ServerName, same, err)
		}
	}
	public := at(server, "")
	if !public.confirms(kubeconfig.Config{Server: server}) || public.confirms(kubeconfig.Config{Server: "https://elsewhere"}) {
		t.Error("if the system's CAs sign for a cluster, the address must be equal")
	}
}
