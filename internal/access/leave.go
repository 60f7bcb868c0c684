package access

import (
	"context"
	"fmt"

	"github.com/fernetcast/fernetcast/internal/kubeconfig"
	"github.com/fernetcast/fernetcast/internal/mirror"
	"github.com/fernetcast/fernetcast/internal/setup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// Leave takes back what [Join] made for one main. It deletes neither the keys, nor a
// namespace, nor the policy, nor anything of another main.
type Leave struct {
	Remote, Account string
	// Keyless is set if no credentials were stored. Stored sets it.
	Keyless bool
	// Namespace and Secret are where the keys are there.
	Namespace, Secret string
	Entries, Tokens   Entries
	// UsedBy is another remote that is stored for the same cluster, and needs what is
	// there; "" for none. Identify finds it.
	UsedBy string
	// Unidentified is why it is not known which cluster the context leads to; nil if it is.
	Unidentified error

	stored kubeconfig.Config
}

// leaving is the name of what is kept of an entry until all is taken back: where the
// remote is. Names with a leading dot are no remotes, so nothing is pushed there.
func leaving(remote string) string { return "." + remote + ".leaving" }

// Stored is what is stored of the remote, or what a leave before this one has left of
// it, without a token; false where nothing is known of it here.
func (l *Leave) Stored(ctx context.Context) (kubeconfig.Config, bool, error) {
	entries, err := l.Entries.Read(ctx)
	if err != nil {
		return kubeconfig.Config{}, false, fmt.Errorf("reading the stored kubeconfigs: %s", mirror.Explain(err))
	}
	for _, entry := range []string{kubeconfig.EntryOf(entries, l.Remote), leaving(l.Remote)} {
		if data := entries[entry]; data != nil {
			k, err := kubeconfig.Decode(data)
			if err != nil {
				return kubeconfig.Config{}, true, nil // nobody could use it either
			}
			l.Keyless = k.Keyless() && entry != leaving(l.Remote) // of which the token was taken out
			l.stored = k
			return k, true, nil
		}
	}
	return kubeconfig.Config{}, false, nil
}

// Identify returns a [Refusal] if there is a different cluster from the one stored, and
// sets UsedBy. If it can't find out, it sets Unidentified, and nothing may be deleted there.
func (l *Leave) Identify(ctx context.Context, there Cluster) error {
	same, err := l.identify(ctx, &there)
	l.Unidentified = err
	if err == nil && !same && l.stored.Server != "" {
		return Refusal{fmt.Errorf("your context %s leads to a different cluster (%s) from the one stored as %s (%s): name the right one with --remote-context, or remove only what is stored here with --local",
			there.Context, there.Server, l.Remote, mirror.Printable(l.stored.Server))}
	}
	return nil
}

func (l *Leave) identify(ctx context.Context, there *Cluster) (same bool, err error) {
	if err := there.identify(ctx); err != nil {
		return false, err
	}
	if same, err = there.is(ctx, l.stored); err != nil {
		return false, err
	}
	entries, err := l.Entries.Read(ctx)
	if err == nil {
		l.UsedBy, err = there.storedAs(ctx, entries, l.Remote, l.Namespace, l.Account)
	}
	return same, err
}

// Forget takes the entry away, so that nothing is pushed there any more, and keeps
// where the remote is until Done.
func (l *Leave) Forget(ctx context.Context) error {
	entries, err := l.Entries.Read(ctx)
	if err != nil {
		return err
	}
	entry := kubeconfig.EntryOf(entries, l.Remote)
	if data := entries[entry]; data != nil {
		changes := []Change{{entry, data, nil}}
		if rest, err := kubeconfig.WithToken(data, ""); err == nil {
			changes = append(changes, Change{leaving(l.Remote), entries[leaving(l.Remote)], rest})
		}
		if err := l.Entries.Store(ctx, changes...); err != nil {
			return err
		}
	}
	return l.Tokens.Remove(ctx, l.Remote)
}

// Withdraw takes back what is in the remote, and says what it took.
func (l *Leave) Withdraw(ctx context.Context, there *setup.APIs) (gone []string, err error) {
	bindings, accounts := there.RBAC.RoleBindings(l.Namespace), there.Core.ServiceAccounts(l.Namespace)
	took := func(what string, err error) error {
		if err == nil {
			gone = append(gone, what)
		} else if !apierrors.IsNotFound(err) {
			return fmt.Errorf("deleting %s: %s", what, mirror.Explain(err))
		}
		return nil
	}
	if err := took("RoleBinding "+l.Account, bindings.Delete(ctx, l.Account, metav1.DeleteOptions{})); err != nil {
		return gone, err
	}
	if err := took("RoleBinding "+keylessBinding(l.Account), bindings.Delete(ctx, keylessBinding(l.Account), metav1.DeleteOptions{})); err != nil {
		return gone, err
	}
	if err := took("ServiceAccount "+l.Account, accounts.Delete(ctx, l.Account, metav1.DeleteOptions{})); err != nil {
		return gone, err
	}
	for _, kind := range []struct {
		what   string
		delete func(context.Context, string, metav1.DeleteOptions) error
	}{{"RoleBinding ", bindings.Delete}, {"Role ", there.RBAC.Roles(l.Namespace).Delete}} {
		if err := took(kind.what+l.renewal(), kind.delete(ctx, l.renewal(), metav1.DeleteOptions{})); err != nil {
			return gone, err
		}
	}
	// The version that was read before the bindings were: where a join has applied the
	// Role since, or bound it, it stays or is applied again.
	name := RoleOf(l.Secret)
	role, err := there.RBAC.Roles(l.Namespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return gone, nil
	}
	if err != nil {
		return gone, fmt.Errorf("reading Role %s: %s", name, mirror.Explain(err))
	}
	list, err := bindings.List(ctx, metav1.ListOptions{})
	if err != nil {
		return gone, fmt.Errorf("reading the RoleBindings: %s", mirror.Explain(err))
	}
	for _, b := range list.Items {
		if b.RoleRef.Kind == "Role" && b.RoleRef.Name == name {
			return gone, nil
		}
	}
	return gone, took("Role "+name, there.RBAC.Roles(l.Namespace).Delete(ctx, name,
		metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &role.UID, ResourceVersion: ptr.To(role.ResourceVersion)}}))
}

// renewal is the name of the Role and the RoleBinding of manifests/remote/self-renew.
func (l *Leave) renewal() string { return l.Account + "-renew" }

// Done ends it: nothing is known of the remote any more.
func (l *Leave) Done(ctx context.Context) error { return l.Entries.Remove(ctx, leaving(l.Remote)) }

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
