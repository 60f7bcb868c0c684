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

// Access says what a kubeconfig is for.
type Access struct {
	// Namespace is where the ServiceAccount is made and may do what Role says.
	Namespace string
	Role      Role
	// Server stands in for the cluster's own address: a Proxy's URL, for example.
	Server string
	// Expires is when the token does; zero: in a day. An API server allows for a
	// minute of its clock being ahead, and knows a good token for 10 s.
	Expires time.Time
	// NoNamespace leaves the namespace out of the kubeconfig's context.
	NoNamespace bool
}

// Kubeconfig makes a ServiceAccount, a Role and a RoleBinding, all named after
// the role, where they are absent, and a new token, valid for a day. An older
// token stays valid: Revoke ends it.
func (c *Cluster) Kubeconfig(ctx context.Context, access Access) ([]byte, error) {
	token, err := c.token(ctx, access)
	if err != nil {
		return nil, fmt.Errorf("making a token in %s for the role %s: %w", c.Name, access.Role, err)
	}
	namespace := access.Namespace
	if access.NoNamespace {
		namespace = ""
	}
	return c.kubeconfig(cmp.Or(access.Server, c.URL), namespace, string(access.Role), &clientcmdapi.AuthInfo{Token: token})
}

// KeylessKubeconfig has no credentials; server stands in for the cluster's own address.
func (c *Cluster) KeylessKubeconfig(namespace, server string) ([]byte, error) {
	return c.kubeconfig(server, namespace, "fernetcast", &clientcmdapi.AuthInfo{})
}

// TokenKubeconfig is for whoever a token is of.
func (c *Cluster) TokenKubeconfig(namespace, user, token string) ([]byte, error) {
	return c.kubeconfig(c.URL, namespace, user, &clientcmdapi.AuthInfo{Token: token})
}

// AdminKubeconfig is for an admin by client certificate.
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

// Revoke deletes the ServiceAccount of a role: its tokens become 401, once the
// API server's cache of good tokens lets go of them (10 s). A later Kubeconfig
// makes it anew.
func (c *Cluster) Revoke(ctx context.Context, namespace string, role Role) error {
	return c.client.CoreV1().ServiceAccounts(namespace).Delete(ctx, accountName(role), metav1.DeleteOptions{})
}

// Forbid deletes the RoleBinding of a role: its tokens get 403 at once. A later
// Kubeconfig makes it anew.
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
		return c.Token(ctx, meta, time.Now(), access.Expires)
	}
	return c.Request(ctx, meta, 24*time.Hour)
}

// WriteFile puts data under name into dir at once: who watches the directory
// never sees half of it.
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
