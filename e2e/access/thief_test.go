package access

import (
	"testing"
	"time"

	"github.com/fernetcast/fernetcast/e2e/testenv"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Someone who steals the token for a joined region can use it only to change the keys in the one
// Secret.
func TestJoinedTokenIsOfNoOtherUse(t *testing.T) {
	s := newStage(t)
	keys := s.main("sjc")
	s.join("sjc", "dfw", "--wait", "0", "--self-renew")
	s.exits(0, "push")
	admin := s.cluster("dfw").Client().CoreV1()
	_, err := admin.Secrets(s.NS).Create(s.Ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "other"}}, metav1.CreateOptions{})
	s.Must(err)
	thief := s.client(s.entry("sjc", "dfw"))
	core := thief.CoreV1()
	secret := func(change func(*corev1.Secret)) error {
		present, err := core.Secrets(s.NS).Get(s.Ctx, testenv.SecretName, metav1.GetOptions{})
		s.Must(err)
		change(present)
		_, err = core.Secrets(s.NS).Update(s.Ctx, present, metav1.UpdateOptions{})
		return err
	}
	for what, try := range map[string]func() error{
		"another Secret":    func() error { _, err := core.Secrets(s.NS).Get(s.Ctx, "other", metav1.GetOptions{}); return err },
		"all Secrets":       func() error { _, err := core.Secrets(s.NS).List(s.Ctx, metav1.ListOptions{}); return err },
		"of all namespaces": func() error { _, err := core.Secrets("").List(s.Ctx, metav1.ListOptions{}); return err },
		"the keys elsewhere": func() error {
			_, err := core.Secrets("default").Get(s.Ctx, testenv.SecretName, metav1.GetOptions{})
			return err
		},
		"delete the Secret": func() error { return core.Secrets(s.NS).Delete(s.Ctx, testenv.SecretName, metav1.DeleteOptions{}) },
		"delete all Secrets": func() error {
			return core.Secrets(s.NS).DeleteCollection(s.Ctx, metav1.DeleteOptions{}, metav1.ListOptions{})
		},
		"create a Secret": func() error {
			_, err := core.Secrets(s.NS).Create(s.Ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "mine"}}, metav1.CreateOptions{})
			return err
		},
		"pods": func() error { _, err := core.Pods(s.NS).List(s.Ctx, metav1.ListOptions{}); return err },
		"a pod": func() error {
			_, err := core.Pods(s.NS).Create(s.Ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "mine"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "x", Image: "x"}}}}, metav1.CreateOptions{})
			return err
		},
		"namespaces": func() error { _, err := core.Namespaces().List(s.Ctx, metav1.ListOptions{}); return err },
		"its own Role": func() error {
			_, err := thief.RbacV1().Roles(s.NS).Get(s.Ctx, "fernetcast", metav1.GetOptions{})
			return err
		},
		"a RoleBinding": func() error {
			_, err := thief.RbacV1().RoleBindings(s.NS).Create(s.Ctx, &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "mine"}, RoleRef: rbacv1.RoleRef{Kind: "ClusterRole", Name: "admin"}}, metav1.CreateOptions{})
			return err
		},
		"another's token":    func() error { return s.ask(thief, "default", time.Hour) },
		"delete its account": func() error { return core.ServiceAccounts(s.NS).Delete(s.Ctx, account, metav1.DeleteOptions{}) },
		"an owner": func() error {
			return secret(func(c *corev1.Secret) {
				c.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: "x", UID: "7"}}
			})
		},
		"a finalizer":            func() error { return secret(func(c *corev1.Secret) { c.Finalizers = []string{"example.com/x"} }) },
		"an immutable Secret":    func() error { yes := true; return secret(func(c *corev1.Secret) { c.Immutable = &yes }) },
		"a label":                func() error { return secret(func(c *corev1.Secret) { c.Labels = map[string]string{"x": "y"} }) },
		"an annotation":          func() error { return secret(func(c *corev1.Secret) { c.Annotations["example.com/x"] = "y" }) },
		"the mark of a main":     func() error { return secret(func(c *corev1.Secret) { c.Annotations["fernetcast/main"] = "dfw" }) },
		"data that is not a key": func() error { return secret(func(c *corev1.Secret) { c.Data["x"] = []byte("y") }) },
	} {
		s.forbids(what, try)
	}
	s.Must(s.cluster("dfw").Holds(s.Ctx, s.NS, keys))
	s.Must(admin.Secrets(s.NS).Delete(s.Ctx, testenv.SecretName, metav1.DeleteOptions{}))
	_, err = core.Secrets(s.NS).Patch(s.Ctx, testenv.SecretName, types.ApplyPatchType, []byte(`{"apiVersion":"v1","kind":"Secret","type":"kubernetes.io/service-account-token",
		"metadata":{"name":"`+testenv.SecretName+`","annotations":{"kubernetes.io/service-account.name":"default"}}}`), metav1.PatchOptions{FieldManager: "thief"})
	if !apierrors.IsForbidden(err) {
		t.Errorf("creating a Secret for another account's token: %v", err)
	}
}
