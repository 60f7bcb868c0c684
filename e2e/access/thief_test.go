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

// Whoever has the token of a region that was let in can do nothing with it but keep
// the one Secret a copy of keys.
func TestJoinedTokenIsOfNoOtherUse(t *testing.T) {
	s := newStage(t)
	keys := s.main("sjc")
	s.join("sjc", "dfw", "--wait", "0", "--self-renew")
	s.exits(0, "push")
	admin := s.cluster("dfw").Client().CoreV1()
	_, err := admin.Secrets(s.ns).Create(s.ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "other"}}, metav1.CreateOptions{})
	s.must(err)
	thief := s.client(s.entry("sjc", "dfw"))
	core := thief.CoreV1()
	secret := func(change func(*corev1.Secret)) error {
		present, err := core.Secrets(s.ns).Get(s.ctx, testenv.SecretName, metav1.GetOptions{})
		s.must(err)
		change(present)
		_, err = core.Secrets(s.ns).Update(s.ctx, present, metav1.UpdateOptions{})
		return err
	}
	for what, try := range map[string]func() error{
		"another Secret":    func() error { _, err := core.Secrets(s.ns).Get(s.ctx, "other", metav1.GetOptions{}); return err },
		"all Secrets":       func() error { _, err := core.Secrets(s.ns).List(s.ctx, metav1.ListOptions{}); return err },
		"of all namespaces": func() error { _, err := core.Secrets("").List(s.ctx, metav1.ListOptions{}); return err },
		"the keys elsewhere": func() error {
			_, err := core.Secrets("default").Get(s.ctx, testenv.SecretName, metav1.GetOptions{})
			return err
		},
		"delete the Secret": func() error { return core.Secrets(s.ns).Delete(s.ctx, testenv.SecretName, metav1.DeleteOptions{}) },
		"delete all Secrets": func() error {
			return core.Secrets(s.ns).DeleteCollection(s.ctx, metav1.DeleteOptions{}, metav1.ListOptions{})
		},
		"create a Secret": func() error {
			_, err := core.Secrets(s.ns).Create(s.ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "mine"}}, metav1.CreateOptions{})
			return err
		},
		"pods": func() error { _, err := core.Pods(s.ns).List(s.ctx, metav1.ListOptions{}); return err },
		"a pod": func() error {
			_, err := core.Pods(s.ns).Create(s.ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "mine"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "x", Image: "x"}}}}, metav1.CreateOptions{})
			return err
		},
		"namespaces": func() error { _, err := core.Namespaces().List(s.ctx, metav1.ListOptions{}); return err },
		"its own Role": func() error {
			_, err := thief.RbacV1().Roles(s.ns).Get(s.ctx, "fernetcast", metav1.GetOptions{})
			return err
		},
		"a RoleBinding": func() error {
			_, err := thief.RbacV1().RoleBindings(s.ns).Create(s.ctx, &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "mine"}, RoleRef: rbacv1.RoleRef{Kind: "ClusterRole", Name: "admin"}}, metav1.CreateOptions{})
			return err
		},
		"another's token":    func() error { return s.ask(thief, "default", time.Hour) },
		"delete its account": func() error { return core.ServiceAccounts(s.ns).Delete(s.ctx, account, metav1.DeleteOptions{}) },
		"an owner": func() error {
			return secret(func(c *corev1.Secret) {
				c.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: "x", UID: "7"}}
			})
		},
		"a finalizer":         func() error { return secret(func(c *corev1.Secret) { c.Finalizers = []string{"example.com/x"} }) },
		"an immutable Secret": func() error { yes := true; return secret(func(c *corev1.Secret) { c.Immutable = &yes }) },
		"a label":             func() error { return secret(func(c *corev1.Secret) { c.Labels = map[string]string{"x": "y"} }) },
		"an annotation":       func() error { return secret(func(c *corev1.Secret) { c.Annotations["example.com/x"] = "y" }) },
		"the mark of a main":  func() error { return secret(func(c *corev1.Secret) { c.Annotations["fernetcast/main"] = "dfw" }) },
		"data that is no key": func() error { return secret(func(c *corev1.Secret) { c.Data["x"] = []byte("y") }) },
	} {
		s.forbids(what, try)
	}
	s.must(s.cluster("dfw").Holds(s.ctx, s.ns, keys))
	s.must(admin.Secrets(s.ns).Delete(s.ctx, testenv.SecretName, metav1.DeleteOptions{}))
	_, err = core.Secrets(s.ns).Patch(s.ctx, testenv.SecretName, types.ApplyPatchType, []byte(`{"apiVersion":"v1","kind":"Secret","type":"kubernetes.io/service-account-token",
		"metadata":{"name":"`+testenv.SecretName+`","annotations":{"kubernetes.io/service-account.name":"default"}}}`), metav1.PatchOptions{FieldManager: "thief"})
	if !apierrors.IsForbidden(err) {
		t.Errorf("a Secret that is filled with another account's token: %v", err)
	}
}
