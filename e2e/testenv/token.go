package testenv

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/golang-jwt/jwt/v5"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Token creates a ServiceAccount token as the API server does, but with any time of issue and
// without the minimum lifetime of 10 minutes.
func (c *Cluster) Token(ctx context.Context, account metav1.ObjectMeta, issued, expires time.Time) (string, error) {
	return c.TokenFor(ctx, account, c.issuer, issued, expires)
}

// TokenFor is like Token, for any audience.
func (c *Cluster) TokenFor(ctx context.Context, account metav1.ObjectMeta, audience string, issued, expires time.Time) (string, error) {
	present, err := c.client.CoreV1().ServiceAccounts(account.Namespace).Get(ctx, account.Name, metav1.GetOptions{})
	if err != nil {
		return "", err
	}
	text, err := os.ReadFile(filepath.Join(c.dir, signingKey))
	if err != nil {
		return "", err
	}
	key, err := jwt.ParseECPrivateKeyFromPEM(text)
	if err != nil {
		return "", fmt.Errorf("reading the key of the ServiceAccounts: %w", err)
	}
	return jwt.NewWithClaims(jwt.SigningMethodES256, jwt.MapClaims{
		"iss": c.issuer, "aud": []string{audience},
		"sub": "system:serviceaccount:" + account.Namespace + ":" + account.Name,
		"iat": issued.Unix(), "nbf": issued.Unix(), "exp": expires.Unix(),
		"kubernetes.io": map[string]any{
			"namespace":      account.Namespace,
			"serviceaccount": map[string]any{"name": account.Name, "uid": present.UID},
		},
	}).SignedString(key)
}
