package kubeconfig

import (
	"reflect"
	"testing"

	"k8s.io/client-go/rest"
)

func TestKubeconfig(t *testing.T) {
	cert, key := pair(t)
	k := Config{
		Remote: "dfw", Account: "fernetcast-sjc", Server: "https://10.0.0.5:6443",
		ProxyURL: "socks5://10.0.0.1:1080", Namespace: "openstack", Token: "a-token", Cluster: "5ed6a1c4",
		TLS: rest.TLSClientConfig{ServerName: "dfw.example.com", CAData: cert, CertData: cert, KeyData: key},
	}
	text, err := k.Encode()
	if err != nil {
		t.Fatal(err)
	}
	again, err := Parse(text, false)
	if err != nil || !reflect.DeepEqual(again, k) {
		t.Fatalf("%+v, %v; want %+v", again, err, k)
	}
}
