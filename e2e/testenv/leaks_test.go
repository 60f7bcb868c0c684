package testenv_test

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"github.com/fernetcast/fernetcast/e2e/testenv"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
)

// Leaks finds each form of a key, and its report doesn't contain the key.
func TestLeaksFindsEachForm(t *testing.T) {
	keys := &testenv.Keys{}
	keys.Remember("short")
	key := keys.New()
	raw, err := base64.URLEncoding.DecodeString(key)
	testenv.Must(t, err)
	for name, output := range map[string]string{
		"as it is":        "level=info key=" + key,
		"its beginning":   key[:12] + "…",
		"its end":         "…" + key[31:],
		"text in base64":  base64.StdEncoding.EncodeToString([]byte(key)),
		"inside base64":   base64.StdEncoding.EncodeToString([]byte(`{"data":"` + key + `"}`)),
		"inside base64+1": base64.StdEncoding.EncodeToString([]byte(` {"data":"` + key + `"}`)),
		"inside base64+2": base64.StdEncoding.EncodeToString([]byte(`  {"data":"` + key + `"}`)),
		"text in hex":     fmt.Sprintf("%x", key),
		"text by %v":      fmt.Sprint(map[string][]byte{"0": []byte(key)}),
		"bytes in base64": base64.RawStdEncoding.EncodeToString(raw),
		"bytes in hex":    strings.ToUpper(hex.EncodeToString(raw)),
		"bytes by %v":     fmt.Sprint(raw),
		"bytes":           string(raw),
		"inside %v":       fmt.Sprint([]byte(`{"data":"` + key + `"}`)),
		"inside %#v":      fmt.Sprintf("%#v", []byte(`{"data":"`+key+`"}`)),
		"spaced hex":      fmt.Sprintf("% x", "data"+key),
		"bytes by %#v":    fmt.Sprintf("%#v", raw),
	} {
		leaks := keys.Leaks("nothing here", "a line\n"+output)
		if len(leaks) == 0 {
			t.Errorf("%s: not found", name)
		}
		for _, leak := range leaks {
			if len(keys.Leaks(leak.String())) > 0 {
				t.Errorf("%s: the report contains the key", name)
			}
		}
	}
	if leaks := keys.Leaks(testenv.SecretName, "short", (&testenv.Keys{}).New()); len(leaks) > 0 {
		t.Errorf("found in output without keys: %v", leaks)
	}
}

// Leaks finds a key in the protobuf encoding of its Secret, which is used on the wire and in etcd.
// It also finds the key in a hex dump of protobuf, as in client-go's logs, wherever in a line the
// key starts.
func TestLeaksFindsKeysInProtobuf(t *testing.T) {
	codec := protobuf.NewSerializer(clientgoscheme.Scheme, clientgoscheme.Scheme)
	for shift := range 17 {
		keys := &testenv.Keys{}
		key := keys.New()
		secret := &corev1.Secret{
			TypeMeta:   metav1.TypeMeta{Kind: "Secret", APIVersion: "v1"},
			ObjectMeta: metav1.ObjectMeta{Name: strings.Repeat("n", shift+1)},
			Data:       map[string][]byte{"0": []byte(key)},
		}
		body, err := runtime.Encode(codec, secret)
		testenv.Must(t, err)
		for name, output := range map[string]string{
			"protobuf": string(body), "a hex dump": hex.Dump(body), "hex": hex.EncodeToString(body),
			"base64": base64.StdEncoding.EncodeToString(body), "%v": fmt.Sprint(body), "%q": fmt.Sprintf("%q", body),
		} {
			if len(keys.Leaks(output)) == 0 {
				t.Errorf("shifted by %d bytes, the key is not found in %s:\n%s", shift, name, output)
			}
		}
	}
}
