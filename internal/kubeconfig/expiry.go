package kubeconfig

import (
	"time"

	"github.com/fernetcast/fernetcast/internal/kube"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/cert"
)

// Expiry is when the first of a kubeconfig's credentials expires, by what they say
// themselves; nil where none of them does. Nothing is verified: who takes them is
// the API server's decision.
func Expiry(cfg *rest.Config) *time.Time {
	var first *time.Time
	if at := kube.ReadToken(cfg.BearerToken).Expires; !at.IsZero() {
		first = &at
	}
	// The first certificate is our own, the others are of who signed it.
	if chain, err := cert.ParseCertsPEM(cfg.CertData); err == nil {
		at := chain[0].NotAfter.UTC()
		if at.Unix() < kube.Never && (first == nil || at.Before(*first)) {
			first = &at
		}
	}
	return first
}
