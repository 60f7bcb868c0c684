package access

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// If a remote rejects the separately stored token, fernetcast uses the kubeconfig's token, whether
// that is older or newer.
func TestRejectedKeptToken(t *testing.T) {
	s := newStage(t)
	s.main("sjc")
	s.join("sjc", "dfw", "--wait", "0")
	secrets := s.cluster("sjc").Client().CoreV1().Secrets(s.NS)
	_, err := secrets.Create(s.Ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "fernetcast-tokens"}}, metav1.CreateOptions{})
	s.Must(err)
	address := s.runs("sjc")
	for _, try := range []struct {
		name   string
		issued time.Duration
	}{{"older", -time.Hour}, {"newer", time.Hour}} {
		claims := fmt.Sprintf(`{"iat":%d,"exp":%d}`, time.Now().Add(try.issued).Unix(), time.Now().Add(240*time.Hour).Unix())
		kept := "e30." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".e30"
		patch, err := json.Marshal(map[string]any{"data": map[string][]byte{"dfw": []byte(kept)}})
		s.Must(err)
		_, err = secrets.Patch(s.Ctx, "fernetcast-tokens", "application/merge-patch+json", patch, metav1.PatchOptions{})
		s.Must(err)
		s.says(s.exits(0, "push").Stdout, "1 Synced")
		s.ends(s.check(0, "dfw"), "identity", "pass")
		if try.name == "newer" { // wait until run has loaded the token
			s.Until(func(context.Context) error {
				if at := s.expires(address); time.Until(at) > 300*time.Hour {
					return fmt.Errorf("run's token expires at %s", at)
				}
				return nil
			})
		}
		rotation, err := s.cluster("sjc").Rotate(s.Ctx, s.NS, 7)
		s.Must(err)
		s.Until(func(ctx context.Context) error { return s.cluster("dfw").Holds(ctx, s.NS, rotation.Keys) })
	}
}
