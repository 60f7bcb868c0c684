package access

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/fernetcast/fernetcast/internal/kubeconfig"
	"github.com/fernetcast/fernetcast/internal/mirror"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// Leave takes back what [Join] made for one main: first there, then here, so that an
// interrupted one can be repeated. It deletes neither the keys, nor a namespace, nor the
// policy, nor anything of another main.
type Leave struct {
	Remote string
	// Namespace and Secret are where the keys are there. Read replaces the namespace by the
	// stored one.
	Namespace, Secret string
	Stored
	// There is the remote; nil to take back only what is here.
	There *Cluster

	// Kubeconfig is what is stored; zero if that is nothing, or can't be read. Account is this
	// main's account there, and Mine reports whether it is this main's alone. Read sets them.
	Kubeconfig kubeconfig.Config
	Account    string
	Mine       bool
	// UsedBy is another remote that is stored for the same cluster, and needs what is
	// there; "" for none. Identify sets it.
	UsedBy string

	entry Change
}

// Read finds what is stored of the remote. region is this main's; "" if it isn't known.
func (l *Leave) Read(ctx context.Context, region string) error {
	entries, err := l.Kubeconfigs.Read(ctx)
	if err != nil {
		return fmt.Errorf("reading the stored kubeconfigs: %s", mirror.Explain(err))
	}
	l.entry.Entry = kubeconfig.EntryOf(entries, l.Remote)
	l.entry.Was = entries[l.entry.Entry]
	l.Kubeconfig, _ = kubeconfig.Decode(l.entry.Was) // one that can't be read is of no use to anybody
	l.Namespace = cmp.Or(l.Kubeconfig.Namespace, l.Namespace)
	l.Account = l.Kubeconfig.Account
	l.Mine = Own(l.Account)
	if region != "" {
		own := AccountOf(region, l.Secret)
		l.Account = cmp.Or(l.Account, own)
		l.Mine = l.Account == own
	}
	return nil
}

// Known reports whether anything is stored of the remote.
func (l *Leave) Known() bool { return l.entry.Was != nil }

// Identify sets UsedBy, and returns a [Refusal] if There is a different cluster from the
// one stored. After any error, nothing may be deleted there.
func (l *Leave) Identify(ctx context.Context) error {
	if err := l.There.identify(ctx); err != nil {
		return err
	}
	same, err := l.There.is(ctx, l.Kubeconfig)
	if err != nil {
		return err
	}
	if !same && l.Kubeconfig.Server != "" {
		return Refusal{fmt.Errorf("your context %s is for a different cluster (%s) than the one stored as %s (%s): specify the right one with --remote-context, or remove only what is stored here with --local",
			l.There.Context, l.There.Server, l.Remote, mirror.Printable(l.Kubeconfig.Server))}
	}
	entries, err := l.Kubeconfigs.Read(ctx)
	if err == nil {
		l.UsedBy, err = l.There.storedAs(ctx, entries, l.Remote, l.Namespace, l.Account)
	}
	return err
}

// deletion deletes an object in the remote.
type deletion struct {
	kind, name string
	delete     func(ctx context.Context, name string, opts metav1.DeleteOptions) error
}

// deletions are the objects that join made there for this main, and the Role that all
// mains share. The rights go first, so that the account is of no use from then on. The
// account goes later because its UID can identify the cluster when leave is repeated.
func (l *Leave) deletions() []deletion {
	bindings, roles, accounts := l.There.RBAC.RoleBindings(l.Namespace), l.There.RBAC.Roles(l.Namespace), l.There.Core.ServiceAccounts(l.Namespace)
	return []deletion{
		{"RoleBinding", l.Account, bindings.Delete},
		{"RoleBinding", keylessBinding(l.Account), bindings.Delete},
		{"RoleBinding", l.renewal(), bindings.Delete},
		{"Role", l.renewal(), roles.Delete},
		{"ServiceAccount", l.Account, accounts.Delete},
		{"Role", RoleOf(l.Secret), l.deleteRole},
	}
}

// errRoleUsed keeps a Role that another RoleBinding refers to.
var errRoleUsed = errors.New("another main has this Role")

// deleteRole deletes a Role that no RoleBinding refers to. The version is the one read
// before the RoleBindings: if a join has applied the Role since, or bound it, it stays or
// is applied again.
func (l *Leave) deleteRole(ctx context.Context, name string, opts metav1.DeleteOptions) error {
	roles := l.There.RBAC.Roles(l.Namespace)
	role, err := roles.Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	bindings, err := l.There.RBAC.RoleBindings(l.Namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for _, b := range bindings.Items {
		if b.RoleRef.Kind == "Role" && b.RoleRef.Name == name {
			return errRoleUsed
		}
	}
	opts.Preconditions = &metav1.Preconditions{UID: &role.UID, ResourceVersion: ptr.To(role.ResourceVersion)}
	return roles.Delete(ctx, name, opts)
}

// Withdraw takes back what is in the remote, and returns what it deleted, even with an
// error. It deletes nothing if the account is not this main's alone, or another remote
// needs it.
func (l *Leave) Withdraw(ctx context.Context) (gone []string, err error) {
	if l.There == nil || !l.Mine || l.UsedBy != "" {
		return nil, nil
	}
	for _, d := range l.deletions() {
		what := d.kind + " " + d.name
		err := d.delete(ctx, d.name, metav1.DeleteOptions{})
		switch {
		case err == nil:
			gone = append(gone, what)
		case !apierrors.IsNotFound(err) && !errors.Is(err, errRoleUsed):
			return gone, fmt.Errorf("deleting %s: %s", what, mirror.Explain(err))
		}
	}
	return gone, nil
}

// Forget removes what is stored of the remote, the kubeconfig last. An entry that was
// changed since Read is [ErrChanged].
func (l *Leave) Forget(ctx context.Context) error {
	if err := l.Tokens.Remove(ctx, l.Remote); err != nil {
		return err
	}
	return l.Kubeconfigs.Store(ctx, l.entry)
}

// renewal is the name of the Role and the RoleBinding of manifests/remote/self-renew.
func (l *Leave) renewal() string { return l.Account + "-renew" }

// Stays are the commands that take back what is in a remote that cannot be reached.
func (l *Leave) Stays(context string) []string {
	return append(l.ofAccount(context), l.kubectl(context)+"--ignore-not-found rolebinding "+keylessBinding(l.Account))
}

// ofAccount are those that take back the account alone.
func (l *Leave) ofAccount(context string) []string {
	kubectl := l.kubectl(context)
	return []string{
		kubectl + "rolebinding " + l.Account, kubectl + "serviceaccount " + l.Account,
		kubectl + "--ignore-not-found rolebinding/" + l.renewal() + " role/" + l.renewal(),
	}
}

func (l *Leave) kubectl(context string) string {
	return fmt.Sprintf("kubectl --context %s --namespace %s delete ", mirror.Quote(context), mirror.Quote(l.Namespace))
}
