package kubeconfig

import (
	"reflect"
	"strings"
	"testing"

	"k8s.io/client-go/rest"
)

func TestKubeconfig(t *testing.T) {
	k := Config{
		Remote: "dfw", Account: "fernetcast-sjc", Server: "https://10.0.0.5:6443",
		ProxyURL: "socks5://10.0.0.1:1080", Namespace: "openstack", Token: "a-token", Cluster: "5ed6a1c4",
		TLS: rest.TLSClientConfig{ServerName: "dfw.example.com", CAData: []byte("a CA"), CertData: []byte("a certificate"), KeyData: []byte("its key")},
	}
	text, err := k.Encode()
	if err != nil {
		t.Fatal(err)
	}
	again, err := Decode(text)
	if err != nil || !reflect.DeepEqual(again, k) {
		t.Fatalf("%+v, %v; want %+v", again, err, k)
	}
	other, err := WithToken(text, "another")
	if again, _ := Decode(other); err != nil || again.Token != "another" || again.Server != k.Server || again.Cluster != k.Cluster {
		t.Errorf("%s, %v", other, err)
	}
	for _, bad := range []string{"", "x: [", "kind: Config", "current-context: x"} {
		if _, err := WithToken([]byte(bad), "secret-token"); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
