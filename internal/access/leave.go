package access

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/fernetcast/fernetcast/internal/kubeconfig"
	"github.com/fernetcast/fernetcast/internal/mirror"
	"github.com/fernetcast/fernetcast/internal/setup"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// Leave removes the access that [Join] set up for one main region. It starts in the remote and ends
// with the stored data, so an interrupted leave can be repeated. It never deletes keys, a
// namespace, the policies, or another main region's objects.
type Leave struct {
	Remote string
	// Namespace and Secret are the location of the keys in the remote. Read replaces Namespace with
	// the stored namespace.
	Namespace, Secret string
	Stored
	// There is the remote. If it is nil, only the stored data is removed.
	There *Cluster

	// Kubeconfig is the stored kubeconfig; zero if it is missing or invalid. Account is the account
	// that it names. Mine reports whether that is exactly the account that join gives this main
	// region. Read sets all three.
	Kubeconfig kubeconfig.Config
	Account    string
	Mine       bool
	// UsedBy is another remote that is stored for the same cluster and uses the same account, or
	// "". Identify sets it.
	UsedBy string

	entry Change
}

// Read reads the stored kubeconfig. region is this main region, or "" if it isn't known.
func (l *Leave) Read(ctx context.Context, region string) error {
	entries, err := l.Kubeconfigs.Read(ctx)
	if err != nil {
		return fmt.Errorf("reading the stored kubeconfigs: %s", mirror.Explain(err))
	}
	l.entry.Entry = kubeconfig.EntryOf(entries, l.Remote)
	l.entry.Was = entries[l.entry.Entry]
	l.Kubeconfig, _ = kubeconfig.Parse(l.entry.Was, true) // an invalid kubeconfig counts as missing
	// The kubeconfig is untrusted: its account and namespace can be anyone's.
	joined := l.Namespace
	l.Namespace, l.Account = cmp.Or(l.Kubeconfig.Namespace, joined), l.Kubeconfig.Account
	if region != "" {
		own := AccountOf(region, l.Secret)
		l.Account = cmp.Or(l.Account, own)
		l.Mine = l.Account == own && l.Namespace == joined
	}
	return nil
}

// Known reports whether a kubeconfig is stored for the remote.
func (l *Leave) Known() bool { return l.entry.Was != nil }

// Identify verifies that There is the stored cluster, and sets UsedBy. A [Refusal] means that it is
// a different cluster. After any error, don't delete anything in the remote.
func (l *Leave) Identify(ctx context.Context) error {
	err := l.identify(ctx)
	if err == nil || errors.As(err, new(Refusal)) {
		return err
	}
	return l.manually(l.Remote, err)
}

func (l *Leave) identify(ctx context.Context) error {
	switch {
	case l.There == nil && !l.Known():
		return nil
	case l.There == nil:
		return errors.New("your kubeconfig has no context for it: specify one with --remote-context")
	}
	if err := l.There.identify(ctx); err != nil {
		return err
	}
	same, err := l.There.is(ctx, l.Kubeconfig)
	if err != nil {
		return err
	}
	if !same && l.Kubeconfig.Server != "" {
		return Refusal{fmt.Errorf("your context %s is for a different cluster (%s) than the one stored as %s (%s): specify the right one with --remote-context, or remove only what is stored here with --local",
			l.There.Context, l.There.Config.Host, l.Remote, mirror.Address(l.Kubeconfig.Server))}
	}
	entries, err := l.Kubeconfigs.Read(ctx)
	if err != nil {
		return fmt.Errorf("reading the stored kubeconfigs: %s", mirror.Explain(err))
	}
	l.UsedBy, err = l.There.storedAs(ctx, entries, l.Remote, l.Namespace, l.Account)
	return err
}

// manually adds to err how to remove the remote without [Leave].
func (l *Leave) manually(context string, err error) error {
	if !l.Mine {
		return fmt.Errorf("%w; to remove only what is stored here: fernetcast leave %s --local", err, l.Remote)
	}
	return fmt.Errorf("%w; run the command again, or run:\n  %s\n  fernetcast leave %s --local", err, strings.Join(l.stays(context), "\n  "), l.Remote)
}

// Lines describes what Withdraw and Forget will do.
func (l *Leave) Lines() (lines []string) {
	account := mirror.Printable(l.Account)
	switch {
	case l.There == nil:
	case l.UsedBy != "":
		lines = append(lines, fmt.Sprintf("keep account %s in the remote: %s is the same cluster and uses it", account, l.UsedBy))
	case !l.Mine:
		lines = append(lines, fmt.Sprintf("keep account %s in the remote: it is not the one that join gives this main region", cmp.Or(account, "(unknown)")))
	default:
		lines = append(lines, fmt.Sprintf("delete with context %s (%s), in namespace %s: RoleBinding and ServiceAccount %s, and Role %s if nothing else uses it", l.There.Context, l.There.Config.Host, mirror.Printable(l.Namespace), l.Account, RoleOf(l.Secret)))
	}
	if l.Known() {
		lines = append(lines, fmt.Sprintf("remove %s from Secret %s, so nothing is pushed to it", l.Remote, l.Kubeconfigs))
	}
	lines = append(lines, "keep the keys, the namespace, and the policy in the remote")
	if l.There != nil && l.There.unidentified() != "" {
		lines = append(lines, l.There.unidentified())
	}
	return lines
}

// bindingsPage is the number of RoleBindings to request per page.
const bindingsPage = 50

// errRoleUsed reports that a RoleBinding still refers to the Role.
var errRoleUsed = errors.New("a RoleBinding refers to this Role")

// deleteRole deletes a Role unless a RoleBinding refers to it. It reads the Role before it lists
// the RoleBindings, and deletes only that version. A concurrent join that applies the Role either
// prevents the deletion or recreates the Role.
func (l *Leave) deleteRole(ctx context.Context, name string, opts metav1.DeleteOptions) error {
	roles := l.There.RBAC.Roles(l.Namespace)
	role, err := roles.Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	used := false
	err = setup.EachPage(ctx, bindingsPage, l.There.RBAC.RoleBindings(l.Namespace).List, func(bindings *rbacv1.RoleBindingList) {
		used = used || slices.ContainsFunc(bindings.Items, func(b rbacv1.RoleBinding) bool {
			return b.RoleRef.Kind == "Role" && b.RoleRef.Name == name
		})
	})
	if err != nil {
		return err
	}
	if used {
		return errRoleUsed
	}
	opts.Preconditions = &metav1.Preconditions{UID: &role.UID, ResourceVersion: ptr.To(role.ResourceVersion)}
	return roles.Delete(ctx, name, opts)
}

// Withdraw deletes the objects that join created in the remote for this main region, and the Role
// that all main regions share. It returns the objects that it deleted, even if it also returns an
// error. It deletes nothing if another main region or another remote uses the account.
func (l *Leave) Withdraw(ctx context.Context) (gone []string, err error) {
	if l.There == nil || !l.Mine || l.UsedBy != "" {
		return nil, nil
	}
	bindings, roles := l.There.RBAC.RoleBindings(l.Namespace), l.There.RBAC.Roles(l.Namespace)
	// The bindings go first, which makes the account useless. The account goes later because its UID
	// can identify the cluster when leave is repeated.
	for _, d := range []struct {
		kind, name string
		delete     func(ctx context.Context, name string, opts metav1.DeleteOptions) error
	}{
		{"RoleBinding", l.Account, bindings.Delete},
		{"RoleBinding", keylessBinding(l.Account), bindings.Delete},
		{"RoleBinding", l.renewal(), bindings.Delete},
		{"Role", l.renewal(), roles.Delete},
		{"ServiceAccount", l.Account, l.There.Core.ServiceAccounts(l.Namespace).Delete},
		{"Role", RoleOf(l.Secret), l.deleteRole},
	} {
		what := d.kind + " " + d.name
		err := d.delete(ctx, d.name, metav1.DeleteOptions{})
		switch {
		case err == nil:
			gone = append(gone, what)
		case !apierrors.IsNotFound(err) && !errors.Is(err, errRoleUsed):
			return nil, l.manually(l.There.Context, fmt.Errorf("%s is still stored here, because its account was not completely removed: deleting %s: %s", l.Remote, what, mirror.Explain(err)))
		}
	}
	return gone, nil
}

// Forget removes the stored token, then the kubeconfig, unless the kubeconfig has changed since Read was called. It
// leaves an entry that tells run that the remote didn't disappear by accident.
func (l *Leave) Forget(ctx context.Context) error {
	err := l.Tokens.Remove(ctx, l.Remote)
	if err == nil && l.Known() {
		err = l.Kubeconfigs.Store(ctx, Change{kubeconfig.LeftOf(l.Remote), nil, []byte("removed by leave")})
	}
	if err == nil {
		err = l.Kubeconfigs.Store(ctx, l.entry)
	}
	if err != nil {
		return fmt.Errorf("removing %s from Secret %s: %s; run the command again", l.Remote, l.Kubeconfigs, mirror.Explain(err))
	}
	return nil
}

// renewal returns the name of the Role and the RoleBinding in manifests/remote/self-renew.
func (l *Leave) renewal() string { return l.Account + "-renew" }

// stays returns the commands that delete the objects in a remote that can't be reached now.
func (l *Leave) stays(context string) []string {
	return append(l.ofAccount(context), mirror.Kubectl(context, l.Namespace)+" delete --ignore-not-found rolebinding "+keylessBinding(l.Account))
}

// ofAccount returns the commands that delete only the account and its permissions.
func (l *Leave) ofAccount(context string) []string {
	kubectl := mirror.Kubectl(context, l.Namespace) + " delete "
	return []string{
		kubectl + "rolebinding " + l.Account, kubectl + "serviceaccount " + l.Account,
		kubectl + "--ignore-not-found rolebinding/" + l.renewal() + " role/" + l.renewal(),
	}
}
