package setup

import (
	"fmt"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
)

func TestRights(t *testing.T) {
	type rule = authorizationv1.ResourceRule
	core := []string{""}
	one := func(verbs ...string) rule {
		return rule{Verbs: verbs, APIGroups: core, Resources: []string{"secrets"}, ResourceNames: []string{"keys"}}
	}
	everybodys := rule{Verbs: []string{"create"}, APIGroups: []string{"authorization.k8s.io"}, Resources: []string{"selfsubjectaccessreviews"}}
	self := rule{Verbs: []string{"create"}, APIGroups: core, Resources: []string{"serviceaccounts/token"}, ResourceNames: []string{"fernetcast-sjc"}}
	for name, try := range map[string]struct {
		rules           []rule
		missing, excess string
	}{
		"just these":          {[]rule{everybodys, one(SecretVerbs...)}, "[]", "[]"},
		"in two rules":        {[]rule{one("get", "list", "watch"), one("create", "update", "patch")}, "[]", "[]"},
		"none":                {[]rule{everybodys}, "[get list watch create update patch]", "[]"},
		"no watch":            {[]rule{one("get", "list", "create", "update", "patch")}, "[watch]", "[]"},
		"one verb more":       {[]rule{one(append([]string{"delete"}, SecretVerbs...)...)}, "[]", "[delete,get,list,watch,create,update,patch of secrets named keys]"},
		"of all Secrets":      {[]rule{{Verbs: SecretVerbs, APIGroups: core, Resources: []string{"secrets"}}}, "[]", "[get,list,watch,create,update,patch of secrets]"},
		"of another, too":     {[]rule{one(SecretVerbs...), {Verbs: []string{"get"}, APIGroups: core, Resources: []string{"secrets"}, ResourceNames: []string{"keys", "other"}}}, "[]", "[get of secrets named keys,other]"},
		"anything":            {[]rule{{Verbs: []string{"*"}, APIGroups: []string{"*"}, Resources: []string{"*"}}}, "[]", "[* of *]"},
		"another group":       {[]rule{{Verbs: SecretVerbs, APIGroups: []string{"x"}, Resources: []string{"secrets"}}}, "[get list watch create update patch]", "[get,list,watch,create,update,patch of secrets]"},
		"its own token":       {[]rule{one(SecretVerbs...), self}, "[]", "[]"},
		"another's token":     {[]rule{one(SecretVerbs...), {Verbs: self.Verbs, APIGroups: core, Resources: self.Resources, ResourceNames: []string{"default"}}}, "[]", "[create of serviceaccounts/token named default]"},
		"anybody's token":     {[]rule{one(SecretVerbs...), {Verbs: self.Verbs, APIGroups: core, Resources: self.Resources}}, "[]", "[create of serviceaccounts/token]"},
		"more than a review ": {[]rule{one(SecretVerbs...), {Verbs: []string{"*"}, APIGroups: []string{"authorization.k8s.io"}, Resources: []string{"*"}}}, "[]", "[* of *]"},
	} {
		missing, rules := Rights(try.rules, "keys", "fernetcast-sjc")
		excess := []string{}
		for _, rule := range rules {
			excess = append(excess, DescribeRule(rule))
		}
		if fmt.Sprint(missing) != try.missing || fmt.Sprint(excess) != try.excess {
			t.Errorf("%s: missing %v, excess %v", name, missing, excess)
		}
	}
}

func TestGrave(t *testing.T) {
	for name, c := range map[string]struct {
		group, resource, verb string
		grave                 bool
	}{
		"a Secret":             {"", "secrets", "get", true},
		"everything":           {"*", "*", "*", true},
		"a wildcard group":     {"*", "secrets", "list", true},
		"a token":              {"", "serviceaccounts/token", "create", true},
		"tokens by wildcard":   {"", "*/token", "create", true},
		"impersonation":        {"authentication.k8s.io", "userextras/scopes", "impersonate", true},
		"a role":               {"rbac.authorization.k8s.io", "rolebindings", "create", true},
		"each verb of a group": {"example.com", "widgets", "*", true},
		"reading roles":        {"rbac.authorization.k8s.io", "roles", "list", false},
		"Calico's":             {"projectcalico.org", "tiers", "get", false},
		"KubeVirt's":           {"subresources.kubevirt.io", "*", "get", false},
		"a ConfigMap":          {"", "configmaps", "get", false},
		"another's Secrets":    {"example.com", "secrets", "get", false},
	} {
		if got := Grave(authorizationv1.ResourceRule{APIGroups: []string{c.group}, Resources: []string{c.resource}, Verbs: []string{c.verb}}); got != c.grave {
			t.Errorf("%s: %t", name, got)
		}
	}
}
