package chart

import (
	"context"
	"fmt"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"

	"github.com/fernetcast/fernetcast/e2e/testenv"
)

// account is the name of the main region's ServiceAccount in a remote on the node.
const account = "fernetcast"

// LetIn creates a ServiceAccount for the main region in a namespace, as an operator could without
// join. The tests can't use join here, because that uses the same namespace as in the main region.
func LetIn(ctx context.Context, client kubernetes.Interface, namespace string) error {
	meta := metav1.ObjectMeta{Name: account, Namespace: namespace}
	_, err := client.CoreV1().ServiceAccounts(namespace).Create(ctx, &corev1.ServiceAccount{ObjectMeta: meta}, metav1.CreateOptions{})
	if err == nil {
		_, err = client.RbacV1().Roles(namespace).Create(ctx, &rbacv1.Role{ObjectMeta: meta, Rules: []rbacv1.PolicyRule{{
			APIGroups: []string{""}, Resources: []string{"secrets"}, ResourceNames: []string{testenv.SecretName},
			Verbs: []string{"get", "list", "watch", "create", "update", "patch"},
		}}}, metav1.CreateOptions{})
	}
	if err == nil {
		_, err = client.RbacV1().RoleBindings(namespace).Create(ctx, &rbacv1.RoleBinding{
			ObjectMeta: meta, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: account},
			Subjects: []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Name: account, Namespace: namespace}},
		}, metav1.CreateOptions{})
	}
	if err != nil {
		return fmt.Errorf("joining %s: %w", namespace, err)
	}
	return nil
}

// Token returns a new token for the account that LetIn creates. The token is valid for 60 days.
func Token(ctx context.Context, client kubernetes.Interface, namespace string) (string, error) {
	request, err := client.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, account, &authenticationv1.TokenRequest{
		Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: ptr.To(int64(60 * 24 * 60 * 60))},
	}, metav1.CreateOptions{})
	if err != nil {
		return "", fmt.Errorf("creating a token of %s: %w", namespace, err)
	}
	return request.Status.Token, nil
}
