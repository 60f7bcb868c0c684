package access

import (
	"context"
	"slices"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// In many clusters, each account has some permissions through its groups. join warns about those,
// and refuses only permissions that could reveal Secrets or lead to other accounts' permissions,
// unless all other accounts have them, too.
func TestJoinInAClusterWithGroupRights(t *testing.T) {
	s := newStage(t)
	s.main("sjc")
	everyone := rbacv1.Subject{Kind: rbacv1.GroupKind, APIGroup: rbacv1.GroupName, Name: "system:authenticated"}
	s.grants("dfw", "calico", everyone, rbacv1.PolicyRule{APIGroups: []string{"projectcalico.org"}, Resources: []string{"tiers"}, Verbs: []string{"get"}})
	s.says(s.join("sjc", "dfw", "--wait", "0").Stderr, "Warning: its account may also get of tiers; remove these permissions")
	s.grants("dfw", "openshift", everyone, rbacv1.PolicyRule{APIGroups: []string{"authentication.k8s.io"}, Resources: []string{"userextras/scopes"}, Verbs: []string{"impersonate"}})
	s.says(s.join("sjc", "dfw", "--wait", "0").Stderr, "get of tiers", "impersonate of userextras/scopes")
	s.ends(s.check(0, "dfw"), "excess", "warn", "get of tiers")

	own := rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Name: account, Namespace: s.NS}
	s.grants("dfw", "configmaps", own, rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"configmaps"}, Verbs: []string{"get"}})
	s.says(s.join("sjc", "dfw", "--wait", "0").Stderr, "get of configmaps")
	rbac := s.cluster("dfw").Client().RbacV1()
	for name, rule := range map[string]rbacv1.PolicyRule{
		"secrets":       {APIGroups: []string{""}, Resources: []string{"secrets"}, Verbs: []string{"get"}},
		"tokens":        {APIGroups: []string{""}, Resources: []string{"serviceaccounts/token"}, Verbs: []string{"create"}},
		"impersonation": {APIGroups: []string{""}, Resources: []string{"users"}, Verbs: []string{"impersonate"}},
		"roles":         {APIGroups: []string{rbacv1.GroupName}, Resources: []string{"rolebindings"}, Verbs: []string{"create"}},
		"all verbs":     {APIGroups: []string{"example.com"}, Resources: []string{"widgets"}, Verbs: []string{"*"}},
	} {
		s.grants("dfw", "own", own, rule)
		s.says(s.exits(1, s.joinArgs("sjc", "dfw", "--wait", "0", "--request-timeout", "4s")...).Stderr, "its kubeconfig does not work", "its account may also", rule.Verbs[0]+" of "+rule.Resources[0])
		s.Must(rbac.RoleBindings(s.NS).Delete(s.Ctx, "own", metav1.DeleteOptions{}))
		s.Must(rbac.Roles(s.NS).Delete(s.Ctx, "own", metav1.DeleteOptions{}))
		t.Logf("join refuses %s", name)
	}
	s.join("sjc", "dfw", "--wait", "0")
}

// join keeps an administrator's change to a policy, and shows what differs.
func TestJoinKeepsAnException(t *testing.T) {
	s := newAlone(t)
	s.main("sjc")
	s.join("sjc", "iad", "--wait", "0")
	policies := s.cluster("iad").Client().AdmissionregistrationV1().ValidatingAdmissionPolicies()
	bindings := s.cluster("iad").Client().AdmissionregistrationV1().ValidatingAdmissionPolicyBindings()
	t.Cleanup(func() {
		for _, remove := range []func(context.Context, string, metav1.DeleteOptions) error{policies.Delete, bindings.Delete} {
			s.Must(remove(context.Background(), "fernetcast-remote", metav1.DeleteOptions{}))
		}
	})
	if r := s.join("sjc", "iad", "--wait", "0"); strings.Contains(r.Stderr, "stays as it is") {
		t.Errorf("nobody has changed the policy, but join says: %s", r.Stderr)
	}
	policy, err := policies.Get(s.Ctx, "fernetcast-remote", metav1.GetOptions{})
	s.Must(err)
	at := slices.IndexFunc(policy.Spec.Validations, func(v admissionv1.Validation) bool { return strings.Contains(v.Message, "labels") })
	policy.Spec.Validations = slices.Delete(policy.Spec.Validations, at, at+1)
	changed, err := policies.Update(s.Ctx, policy, metav1.UpdateOptions{FieldManager: "kubectl-edit"})
	s.Must(err)
	binding, err := bindings.Get(s.Ctx, "fernetcast-remote", metav1.GetOptions{})
	s.Must(err)
	binding.Spec.ValidationActions = []admissionv1.ValidationAction{admissionv1.Warn}
	_, err = bindings.Update(s.Ctx, binding, metav1.UpdateOptions{FieldManager: "kubectl-edit"})
	s.Must(err)

	s.says(s.join("sjc", "iad", "--wait", "0").Stderr,
		"someone else changed ValidatingAdmissionPolicy fernetcast-remote, so it stays as it is. It differs from manifests/remote in spec.validations.",
		"someone else changed ValidatingAdmissionPolicyBinding fernetcast-remote, so it stays as it is. It differs from manifests/remote in spec.")
	policy, err = policies.Get(s.Ctx, "fernetcast-remote", metav1.GetOptions{})
	s.Must(err)
	binding, err = bindings.Get(s.Ctx, "fernetcast-remote", metav1.GetOptions{})
	s.Must(err)
	if policy.Generation != changed.Generation || len(binding.Spec.ValidationActions) != 1 {
		t.Errorf("the exceptions were overwritten: %d validations, actions %v", len(policy.Spec.Validations), binding.Spec.ValidationActions)
	}
}
