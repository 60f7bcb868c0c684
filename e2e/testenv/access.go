package testenv

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// Access describes the kubeconfig that Kubeconfig creates.
type Access struct {
	// Namespace is the namespace of the ServiceAccount. Role applies only in this namespace.
	Namespace string
	Role      Role
	// Server replaces the cluster's own address, for example with the URL of a Proxy.
	Server string
	// Issued is when the token was issued, if Expires is set. The zero time means now.
	Issued time.Time
	// Expires is when the token expires. The zero time means one day from now. The API server
	// accepts the token slightly longer, because it tolerates a minute of clock skew and caches a
	// valid token for 10 s.
	Expires time.Time
	// NoNamespace omits the namespace from the kubeconfig's context.
	NoNamespace bool
}

// Kubeconfig returns a kubeconfig with a new token, by default valid for a day. It creates a
// ServiceAccount, Role, and RoleBinding, all named after the role, if they are missing. Older
// tokens stay valid until Revoke.
func (c *Cluster) Kubeconfig(ctx context.Context, access Access) ([]byte, error) {
	token, err := c.token(ctx, access)
	if err != nil {
		return nil, fmt.Errorf("creating a token in %s for the role %s: %w", c.Name, access.Role, err)
	}
	namespace := access.Namespace
	if access.NoNamespace {
		namespace = ""
	}
	return c.kubeconfig(cmp.Or(access.Server, c.URL), namespace, string(access.Role), &clientcmdapi.AuthInfo{Token: token})
}

// KeylessKubeconfig returns a kubeconfig without credentials, with the address server instead of
// the cluster's own.
func (c *Cluster) KeylessKubeconfig(namespace, server string) ([]byte, error) {
	return c.kubeconfig(server, namespace, "fernetcast", &clientcmdapi.AuthInfo{})
}

// TokenKubeconfig returns a kubeconfig with the given token.
func (c *Cluster) TokenKubeconfig(namespace, user, token string) ([]byte, error) {
	return c.kubeconfig(c.URL, namespace, user, &clientcmdapi.AuthInfo{Token: token})
}

// AdminKubeconfig returns a kubeconfig with the cluster admin's client certificate.
func (c *Cluster) AdminKubeconfig(namespace string) ([]byte, error) {
	return c.kubeconfig(c.URL, namespace, "admin",
		&clientcmdapi.AuthInfo{ClientCertificateData: c.cert, ClientKeyData: c.key})
}

func (c *Cluster) kubeconfig(server, namespace, user string, auth *clientcmdapi.AuthInfo) ([]byte, error) {
	return clientcmd.Write(clientcmdapi.Config{
		Clusters:       map[string]*clientcmdapi.Cluster{c.Name: {Server: server, CertificateAuthorityData: c.servingCA()}},
		AuthInfos:      map[string]*clientcmdapi.AuthInfo{user: auth},
		Contexts:       map[string]*clientcmdapi.Context{c.Name: {Cluster: c.Name, AuthInfo: user, Namespace: namespace}},
		CurrentContext: c.Name,
	})
}

// Revoke deletes a role's ServiceAccount. Within 10 s, when the API server's token cache expires,
// requests with its tokens get 401. A later call to Kubeconfig recreates the ServiceAccount.
func (c *Cluster) Revoke(ctx context.Context, namespace string, role Role) error {
	return c.client.CoreV1().ServiceAccounts(namespace).Delete(ctx, accountName(role), metav1.DeleteOptions{})
}

// Forbid deletes a role's RoleBinding. Requests with its tokens then get 403 immediately. A later
// call to Kubeconfig recreates the RoleBinding.
func (c *Cluster) Forbid(ctx context.Context, namespace string, role Role) error {
	return c.client.RbacV1().RoleBindings(namespace).Delete(ctx, accountName(role), metav1.DeleteOptions{})
}

func accountName(role Role) string { return "fernetcast-" + string(role) }

func (c *Cluster) token(ctx context.Context, access Access) (string, error) {
	namespace, role := access.Namespace, access.Role
	meta := metav1.ObjectMeta{Name: accountName(role), Namespace: namespace}
	_, err := c.client.CoreV1().ServiceAccounts(namespace).
		Create(ctx, &corev1.ServiceAccount{ObjectMeta: meta}, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return "", err
	}
	_, err = c.client.RbacV1().Roles(namespace).
		Create(ctx, &rbacv1.Role{ObjectMeta: meta, Rules: role.rules()}, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return "", err
	}
	_, err = c.client.RbacV1().RoleBindings(namespace).Create(ctx, &rbacv1.RoleBinding{
		ObjectMeta: meta,
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: meta.Name},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Name: meta.Name, Namespace: namespace}},
	}, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return "", err
	}
	if !access.Expires.IsZero() {
		return c.Token(ctx, meta, cmp.Or(access.Issued, time.Now()), access.Expires)
	}
	return c.Request(ctx, meta, 24*time.Hour)
}

// WriteFile writes a file in dir atomically, so that a process that watches dir never reads a
// partial file.
func WriteFile(dir, name string, data []byte) error {
	half, err := os.CreateTemp(dir, ".half-")
	if err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	_, err = half.Write(data)
	if closeErr := half.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(half.Name(), filepath.Join(dir, name))
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	return nil
}
