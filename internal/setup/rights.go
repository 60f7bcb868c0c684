package setup

import (
	"fmt"
	"slices"
	"strings"

	"github.com/fernetcast/fernetcast/internal/mirror"
	authorizationv1 "k8s.io/api/authorization/v1"
)

// SecretVerbs are the verbs that the main region needs on a remote's Secret. manifests/remote grants
// the same verbs.
var SecretVerbs = []string{"get", "list", "watch", "create", "update", "patch"}

// everybodys are the API groups of the reviews that any authenticated user may request about itself
// (ClusterRole system:basic-user).
var everybodys = []string{"authorization.k8s.io", "authentication.k8s.io"}

// Rights compares an account's permissions in a namespace with those that the main region needs. It
// returns the missing verbs on the Secret, and all permissions beyond manifests/remote and
// manifests/remote/self-renew.
func Rights(rules []authorizationv1.ResourceRule, secret, account string) (missing []string, excess []authorizationv1.ResourceRule) {
	missing = slices.Clone(SecretVerbs)
	for _, rule := range rules {
		if subset(rule.APIGroups, everybodys) && subset(rule.Verbs, []string{"create"}) {
			continue
		}
		secrets := slices.Contains(rule.Resources, "secrets") || slices.Contains(rule.Resources, "*")
		core := slices.Contains(rule.APIGroups, "") || slices.Contains(rule.APIGroups, "*")
		named := len(rule.ResourceNames) == 0 || slices.Contains(rule.ResourceNames, secret)
		if secrets && core && named {
			missing = slices.DeleteFunc(missing, func(verb string) bool {
				return slices.Contains(rule.Verbs, verb) || slices.Contains(rule.Verbs, "*")
			})
		}
		within := func(resource, name string, verbs ...string) bool {
			return subset(rule.APIGroups, []string{""}) && subset(rule.Resources, []string{resource}) && len(rule.ResourceNames) > 0 &&
				subset(rule.ResourceNames, []string{name}) && subset(rule.Verbs, verbs)
		}
		if !within("secrets", secret, SecretVerbs...) && !within("serviceaccounts/token", account, "create") && !within("serviceaccounts", account, "get", "patch") {
			excess = append(excess, rule)
		}
	}
	return missing, excess
}

func subset(some, of []string) bool {
	return !slices.ContainsFunc(some, func(one string) bool { return !slices.Contains(of, one) })
}

// Grave reports whether a permission could reveal Secrets, or lead to other accounts' permissions.
func Grave(rule authorizationv1.ResourceRule) bool {
	has := func(list []string, of ...string) bool {
		return slices.ContainsFunc(append(of, "*"), func(one string) bool { return slices.Contains(list, one) })
	}
	return has(rule.APIGroups, "") && has(rule.Resources, "secrets", "serviceaccounts/token", "*/token") || has(rule.Verbs, "impersonate") ||
		has(rule.APIGroups, "rbac.authorization.k8s.io") && !subset(rule.Verbs, []string{"get", "list", "watch"})
}

// DescribeRule returns a permission as text.
func DescribeRule(rule authorizationv1.ResourceRule) string {
	text := fmt.Sprintf("%s of %s", names(rule.Verbs), names(rule.Resources))
	if len(rule.ResourceNames) > 0 {
		text += " named " + names(rule.ResourceNames)
	}
	return text
}

func names(list []string) string {
	var shown []string
	for _, name := range list {
		shown = append(shown, mirror.Name(name))
	}
	return strings.Join(shown, ",")
}
