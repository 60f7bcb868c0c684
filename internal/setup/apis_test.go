package setup

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/fernetcast/fernetcast/internal/kube"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
)

// A cluster's UID is stored, so it must be short and printable.
func TestClusterUID(t *testing.T) {
	for name, c := range map[string]struct {
		code int
		uid  string
		want string
		bad  bool
	}{
		"a cluster":       {http.StatusOK, "5ed6a1c4-5f0e-4c62-9d1c-6a1f2f6f0e11", "5ed6a1c4-5f0e-4c62-9d1c-6a1f2f6f0e11", false},
		"may not be read": {http.StatusForbidden, "", "", false},
		"not there":       {http.StatusNotFound, "", "", false},
		"in trouble":      {http.StatusInternalServerError, "", "", true},
		"none":            {http.StatusOK, "", "", true},
		"of 534 KiB":      {http.StatusOK, strings.Repeat("u", 546_361), "", true},
		"a key":           {http.StatusOK, "Vq3xL0_tYd8Kf2ZrW7bN-c5HsPm1JgQe9UaXi6ToRyA=", "", true},
		"for a terminal":  {http.StatusOK, "5ed6\x1b[2J", "", true},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if accepted := r.Header.Get("Accept"); accepted != "application/json" {
					t.Errorf("the request accepts %s, which is not decoded", accepted)
				}
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(c.code)
				_ = json.NewEncoder(w).Encode(corev1.Namespace{
					TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"}, ObjectMeta: metav1.ObjectMeta{Name: "kube-system", UID: types.UID(c.uid)},
				})
			}))
			t.Cleanup(server.Close)
			apis, err := NewAPIs(&rest.Config{Host: server.URL}, kube.Options{Timeout: 10 * time.Second})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(apis.Close)
			if uid, err := apis.ClusterUID(t.Context()); uid != c.want || (err != nil) != c.bad {
				t.Errorf("%.40q, %v", uid, err)
			}
		})
	}
}
