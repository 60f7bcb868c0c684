// Package access sets up, renews, and removes a main region's access to a remote: a ServiceAccount
// with its RBAC objects in the remote, a token, and the kubeconfig stored in the source's cluster.
//
// It doesn't read or write keys, or decide anything about them.
package access

import (
	"context"
	"fmt"
	"hash/crc32"
	"regexp"
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

// Own reports whether an account's name belongs to one main region alone, no matter which region.
// It returns false for a name that Kubernetes rejects, because anyone who can write a stored
// kubeconfig can choose its account.
func Own(account string) bool {
	return strings.HasPrefix(account, accountPrefix) && validation.IsDNS1123Subdomain(account) == nil
}

// usualSecret is the default Secret. For any other Secret, the names of the Role and the account
// include the Secret's name, so that two fernetcast processes for different Secrets don't share
// permissions.
const usualSecret = "keystone-fernet-keys"

// RoleOf returns the name of the Role in a remote. All main regions share it.
func RoleOf(secret string) string {
	if secret == usualSecret {
		return roleName
	}
	return accountPrefix + secret
}

// reserved matches the regions whose account or RoleBinding would get the name of another object in
// manifests/. That object can exist in a remote that is also a main region.
var reserved = regexp.MustCompile(`^(deployment|files|identity|rotation-gate|sidecar|source)$|(^|-)(renew|keyless)$`)

// AccountOf returns the name of a main region's ServiceAccount in each remote, for a Secret. If a
// ServiceAccount's name can't contain the region's name, AccountOf replaces the invalid characters
// and adds a checksum, so that similar regions get different accounts. It also adds a checksum to a
// name that is in use for something else.
func AccountOf(region, secret string) string {
	if secret != usualSecret {
		region += "-" + secret
	}
	name := accountPrefix + region
	if validation.IsDNS1123Label(name) == nil && !reserved.MatchString(region) {
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

// A Grant is a token that an API server issued.
type Grant struct {
	Token   string
	Expires time.Time // in UTC
	// Note is a message for the operator, such as a shorter lifetime than requested; "" if there is
	// none.
	Note string
}

// newToken requests a token for an account, with the API server itself as the audience. The server
// may grant a shorter lifetime than requested. newToken rejects a token that fails
// [kube.CheckToken], because an oversized token would break the Secret that stores all of them.
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

// shortened returns a note if the API server granted a shorter lifetime than requested, and ""
// otherwise. It ignores a difference of up to a minute.
func shortened(asked, expires time.Time, life time.Duration) string {
	granted := expires.Sub(asked).Round(time.Second)
	if granted >= life-time.Minute {
		return ""
	}
	return fmt.Sprintf("The API server limits tokens to %s (%s was requested). This token expires at %s.", duration.HumanDuration(granted), duration.HumanDuration(life), expires.Format(time.RFC3339))
}
