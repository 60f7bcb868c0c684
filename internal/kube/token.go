package kube

import (
	"encoding/base64"
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/json"
)

// Never is 9999-12-31T23:59:59Z in seconds since 1970, which a certificate that does
// not expire has by RFC 5280. A later time cannot be written as JSON.
const Never = 253402300799

// MintedLife is how long a token lives that the main makes for one other cluster.
const MintedLife = time.Hour

// maxToken bounds a bearer token, in bytes. A ServiceAccount's has about 1,200, and an
// API server takes headers of a few tens of KiB in all.
const maxToken = 8 << 10

// CheckToken rejects a bearer token that can't be one: an empty one, one above 8 KiB, and
// one with characters other than printable ASCII, which a header can't carry. The error
// is a [Refusal], and holds nothing of it.
func CheckToken(token string) error {
	switch {
	case token == "":
		return &Refusal{"the token is empty", true}
	case len(token) > maxToken:
		return &Refusal{fmt.Sprintf("the token has %d bytes, more than %d", len(token), maxToken), true}
	case strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r >= 0x7f }):
		return &Refusal{"the token contains characters that no HTTP header can carry", true}
	}
	return nil
}

// Token is what a bearer token says of itself. Nothing of it is verified: who takes
// the token is the API server's decision.
type Token struct {
	// ID is its own; "" where it has none.
	ID string
	// Issuer is the address of who has signed it.
	Issuer string
	// Namespace and Account are the ServiceAccount's; both are "" for anyone else's.
	Namespace, Account string
	// AccountUID is the UID of the ServiceAccount; "" if the token does not have it.
	AccountUID string
	// Issued and Expires are zero where the token does not tell.
	Issued, Expires time.Time
}

// ReadToken reads the claims of a JWT; the zero Token where it is none.
func ReadToken(token string) Token {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return Token{}
	}
	payload, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(parts[1], "="))
	var claims struct {
		ID      string  `json:"jti"`
		Issuer  string  `json:"iss"`
		Subject string  `json:"sub"`
		Issued  float64 `json:"iat"`
		Expires float64 `json:"exp"`
		Of      struct {
			Account struct {
				UID string `json:"uid"`
			} `json:"serviceaccount"`
		} `json:"kubernetes.io"`
	}
	if err != nil || json.Unmarshal(payload, &claims) != nil {
		return Token{}
	}
	t := Token{ID: claims.ID, Issuer: claims.Issuer, AccountUID: claims.Of.Account.UID, Issued: seconds(claims.Issued), Expires: seconds(claims.Expires)}
	if account, ok := strings.CutPrefix(claims.Subject, "system:serviceaccount:"); ok {
		t.Namespace, t.Account, _ = strings.Cut(account, ":")
	}
	return t
}

// Left is how much of the token's life is left at that time, from 1 to 0; false
// where it does not tell when it was issued and when it expires.
func (t Token) Left(at time.Time) (float64, bool) {
	life := t.Expires.Sub(t.Issued)
	if t.Issued.IsZero() || t.Expires.IsZero() || life <= 0 {
		return 0, false
	}
	return min(1, max(0, float64(t.Expires.Sub(at))/float64(life))), true
}

// seconds reads a JWT's time: seconds since 1970, perhaps with a fraction; zero
// where it is no such time.
func seconds(since1970 float64) time.Time {
	if since1970 < 1 || since1970 >= Never {
		return time.Time{}
	}
	return time.Unix(int64(since1970), 0).UTC()
}
