package kubeconfig

import (
	"time"

	"github.com/fernetcast/fernetcast/internal/kube"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/cert"
)

// Expiry returns the earliest expiry among a kubeconfig's credentials, or nil if none of them
// contains an expiry. It does not verify them: only the API server decides whether to accept them.
func Expiry(cfg *rest.Config) *time.Time {
	var first *time.Time
	if at := kube.ReadToken(cfg.BearerToken).Expires; !at.IsZero() {
		first = &at
	}
	// The first certificate is the client's own. The others belong to issuers.
	if chain, err := cert.ParseCertsPEM(cfg.CertData); err == nil {
		at := chain[0].NotAfter.UTC()
		if at.Unix() < kube.Never && (first == nil || at.Before(*first)) {
			first = &at
		}
	}
	return first
}
