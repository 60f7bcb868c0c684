package kube

import (
	"encoding/base64"
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/json"
)

// Never is 9999-12-31T23:59:59Z in Unix seconds. RFC 5280 uses it for a certificate that doesn't
// expire. A later time cannot be encoded in JSON.
const Never = 253402300799

// MintedLife is the lifetime of a token that the main region issues for a remote.
const MintedLife = time.Hour

// maxToken bounds a bearer token, in bytes. A ServiceAccount token has about 1,200. API servers
// accept a few tens of KiB of headers in total.
const maxToken = 8 << 10

// CheckToken returns a [Refusal] if a bearer token is empty, exceeds 8 KiB, or contains characters
// other than printable ASCII, which a header can't carry. The error does not reveal the token.
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

// A Token holds the claims of a bearer token. They are not verified: only the API server decides
// whether to accept the token.
type Token struct {
	// ID is the token's ID, or "" if it has none.
	ID string
	// Issuer is the URL of the issuer.
	Issuer string
	// Namespace and Account identify the ServiceAccount. Both are "" for any other user.
	Namespace, Account string
	// AccountUID is the UID of the ServiceAccount, or "" if the token doesn't contain it.
	AccountUID string
	// Issued and Expires are zero if the token doesn't contain them.
	Issued, Expires time.Time
}

// ReadToken returns the claims of a JWT, or the zero Token if the token is not a JWT.
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

// seconds converts a JWT time (Unix seconds, perhaps with a fraction). It returns the zero time if
// the value is out of range.
func seconds(since1970 float64) time.Time {
	if since1970 < 1 || since1970 >= Never {
		return time.Time{}
	}
	return time.Unix(int64(since1970), 0).UTC()
}
