package access

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/fernetcast/fernetcast/internal/kube"
	"github.com/fernetcast/fernetcast/internal/mirror"
	"github.com/fernetcast/fernetcast/internal/setup"
	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
)

// If a remote answers a TokenRequest with anything except a token, no part of the response is
// stored or shown.
func TestNewTokenRefuses(t *testing.T) {
	for name, c := range map[string]struct{ token, says string }{
		"a token":         {strings.Repeat("t", 1200), ""},
		"of 534 KiB":      {strings.Repeat("t", 546_361), "546361 bytes"},
		"empty":           {"", "empty"},
		"a header's line": {"tttttt\r\nX-Other: y", "no HTTP header can carry"},
		"not ASCII":       {"tttttté", "no HTTP header can carry"},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				_ = json.NewEncoder(w).Encode(authenticationv1.TokenRequest{
					TypeMeta: metav1.TypeMeta{APIVersion: "authentication.k8s.io/v1", Kind: "TokenRequest"},
					Status:   authenticationv1.TokenRequestStatus{Token: c.token, ExpirationTimestamp: metav1.Now()},
				})
			}))
			t.Cleanup(server.Close)
			apis, err := setup.NewAPIs(&rest.Config{Host: server.URL}, kube.Options{Timeout: 10 * time.Second})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(apis.Close)
			given, err := newToken(t.Context(), apis.Core, "openstack", "fernetcast-sjc", time.Hour)
			if c.says == "" {
				if err != nil || given.Token != c.token {
					t.Errorf("%v", err)
				}
				return
			}
			if err == nil || given.Token != "" {
				t.Fatalf("the token was accepted: %.10s", given.Token)
			}
			if text := mirror.Explain(err); !strings.Contains(text, c.says) || strings.Contains(text, "tttttt") {
				t.Errorf("the error contains %s", text)
			}
		})
	}
}
