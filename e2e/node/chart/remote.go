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

// account is a main's in a region on the node.
const account = "fernetcast"

// LetIn makes an account for a main in a namespace, as an operator does by hand: join goes
// to the namespace of the main's own Secret.
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
		return fmt.Errorf("letting a main into %s: %w", namespace, err)
	}
	return nil
}

// Token is a new one of that account, of 60 days.
func Token(ctx context.Context, client kubernetes.Interface, namespace string) (string, error) {
	request, err := client.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, account, &authenticationv1.TokenRequest{
		Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: ptr.To(int64(60 * 24 * 60 * 60))},
	}, metav1.CreateOptions{})
	if err != nil {
		return "", fmt.Errorf("making a token of %s: %w", namespace, err)
	}
	return request.Status.Token, nil
}
