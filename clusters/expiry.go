package clusters

import (
	"encoding/base64"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/json"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/cert"
)

// never is 9999-12-31T23:59:59Z, which a certificate that does not expire has by
// RFC 5280. A later time cannot be written as JSON.
const never = 253402300799

// expiry is when the first of a kubeconfig's credentials expires, by what they say
// themselves; nil where none of them does. Nothing is verified: who takes them is
// the API server's decision.
func expiry(cfg *rest.Config) *time.Time {
	var first *time.Time
	if at, ok := tokenExpiry(cfg.BearerToken); ok {
		first = &at
	}
	// The first certificate is our own, the others are of who signed it.
	if chain, err := cert.ParseCertsPEM(cfg.CertData); err == nil {
		at := chain[0].NotAfter.UTC()
		if at.Unix() < never && (first == nil || at.Before(*first)) {
			first = &at
		}
	}
	return first
}

// tokenExpiry reads a JWT's exp: seconds since 1970, perhaps with a fraction. It is
// false where the token is no JWT, has no exp, or one that is no such time.
func tokenExpiry(token string) (time.Time, bool) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return time.Time{}, false
	}
	payload, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(parts[1], "="))
	if err != nil {
		return time.Time{}, false
	}
	var claims struct {
		Exp float64 `json:"exp"`
	}
	if json.Unmarshal(payload, &claims) != nil || claims.Exp < 1 || claims.Exp >= never {
		return time.Time{}, false
	}
	return time.Unix(int64(claims.Exp), 0).UTC(), true
}
