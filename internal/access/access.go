// Package access is a main's access to a remote: the ServiceAccount and the rights
// that it has there, its token, and the kubeconfig that holds both, among those of
// the other remotes in the source's cluster.
//
// It reads and writes no keys, and decides nothing about them.
package access

import (
	"context"
	"fmt"
	"hash/crc32"
	"strings"
	"time"

	"github.com/fernetcast/fernetcast/internal/kube"
	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/apimachinery/pkg/util/validation"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/utils/ptr"
)

const accountPrefix = "fernetcast-"

// Own says whether an account is one main's alone, of whichever region. What is stored
// may have been written by anybody, so a name that no account has is nobody's.
func Own(account string) bool {
	return strings.HasPrefix(account, accountPrefix) && validation.IsDNS1123Subdomain(account) == nil
}

// usualSecret is the Secret that most mirror. What is for another one bears its name, so
// that two processes, each with a Secret of its own, do not share rights.
const usualSecret = "keystone-fernet-keys"

// RoleOf is the name of the Role in a remote, which is one for all mains.
func RoleOf(secret string) string {
	if secret == usualSecret {
		return roleName
	}
	return accountPrefix + secret
}

// AccountOf is the name of the account that a region's main has in each remote, for
// a Secret. A region's name may hold what a ServiceAccount's may not: then a checksum
// keeps it apart from those that would look like it.
func AccountOf(region, secret string) string {
	if secret != usualSecret {
		region += "-" + secret
	}
	name := accountPrefix + region
	if validation.IsDNS1123Label(name) == nil {
		return name
	}
	plain := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, strings.ToLower(region))
	return fmt.Sprintf("%s%.40s-%08x", accountPrefix, plain, crc32.ChecksumIEEE([]byte(region)))
}

// Grant is a token that an API server has made.
type Grant struct {
	Token   string
	Expires time.Time // UTC
	// Note says what there is to say about it, such as a shorter life than asked for; or "".
	Note string
}

// newToken asks for a token of an account, for the API server itself. The server may
// grant a shorter life than was asked for. The token passes [kube.CheckToken]: a stored
// one that is too large would take the others with it.
func newToken(ctx context.Context, core corev1client.ServiceAccountsGetter, namespace, account string, life time.Duration) (Grant, error) {
	asked := time.Now()
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: ptr.To(int64(life / time.Second))}}
	answer, err := core.ServiceAccounts(namespace).CreateToken(ctx, account, request, metav1.CreateOptions{})
	if err == nil {
		err = kube.CheckToken(answer.Status.Token)
	}
	if err != nil {
		return Grant{}, err
	}
	expires := answer.Status.ExpirationTimestamp.UTC()
	return Grant{answer.Status.Token, expires, shortened(asked, expires, life)}, nil
}

// shortened returns a note if a token lives for a shorter time than was asked for, else
// "". A minute is the API server's own to choose.
func shortened(asked, expires time.Time, life time.Duration) string {
	granted := expires.Sub(asked).Round(time.Second)
	if granted >= life-time.Minute {
		return ""
	}
	return fmt.Sprintf("The API server limits tokens to %s (%s was requested). This token expires at %s.", duration.HumanDuration(granted), duration.HumanDuration(life), expires.Format(time.RFC3339))
}
