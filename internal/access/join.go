package access

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/fernetcast/fernetcast/internal/kube"
	"github.com/fernetcast/fernetcast/internal/kubeconfig"
	"github.com/fernetcast/fernetcast/internal/mirror"
	"github.com/fernetcast/fernetcast/internal/preflight"
	"github.com/fernetcast/fernetcast/internal/setup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/duration"
)

// Stored is what the source's cluster keeps of the remotes: their kubeconfigs, and the
// newer tokens that renew keeps beside them.
type Stored struct{ Kubeconfigs, Tokens Entries }

// TokenOptions are what the operator asked for of a token.
type TokenOptions struct {
	// Life is the lifetime to ask for.
	Life time.Duration
	// SelfRenew lets it ask for the next one.
	SelfRenew bool
}

// Join lets one remote in. The exported fields are its input.
type Join struct {
	// Kubeconfig is stored, with the new token.
	Kubeconfig kubeconfig.Config
	// Here is the source's cluster, There the remote at the address that will be stored.
	Here, There Cluster
	Stored
	// Token is for a remote with an account and a token. Trust is for one that trusts the
	// main's own tokens instead; nil for any other.
	Token TokenOptions
	Trust *Trust
	// Operator is the remote by the operator's context; Remote is the one of a kubeconfig.
	Operator preflight.Remote
	Remote   func(kubeconfig []byte) preflight.Remote
	// Say prints a line for the operator.
	Say func(line string)

	entry Change // the entry of the kubeconfig, from what was read
}

// Plan examines the remote, reads what is stored of it, and writes nothing. A [Refusal] is
// bad usage.
func (j *Join) Plan(ctx context.Context) (preflight.Examined, error) {
	found := preflight.Examine(ctx, j.Operator)
	err := found.Err()
	var c preflight.Check
	switch {
	case err == nil:
		return found, j.Identify(ctx)
	case errors.As(err, &c) && c.ID == "secret":
		return found, fmt.Errorf("reading Secret %s/%s in %s: %w", j.Kubeconfig.Namespace, j.Operator.Secret, j.Kubeconfig.Remote, err)
	}
	return found, fmt.Errorf("%s cannot be reached: %w", j.There.Server, err)
}

// Identify finds out which cluster this is. It returns a [Refusal] if it is the source's
// own cluster, if it is stored under another name, or if another cluster has the name.
func (j *Join) Identify(ctx context.Context) error {
	entries, err := j.Kubeconfigs.Read(ctx)
	if err != nil {
		return fmt.Errorf("reading the stored kubeconfigs: %s", mirror.Explain(err))
	}
	j.entry.Entry = kubeconfig.EntryOf(entries, j.Kubeconfig.Remote)
	j.entry.Was = entries[j.entry.Entry]
	if err := j.There.identify(ctx); err != nil {
		return err
	}
	if err := j.apart(ctx); err != nil {
		return err
	}
	j.Kubeconfig.Cluster = j.There.uid
	return j.unique(ctx, entries)
}

// apart refuses a remote that is the source's own cluster.
func (j *Join) apart(ctx context.Context) error {
	same := Refusal{fmt.Errorf("%s is the source's own cluster, which needs no access to itself", j.Kubeconfig.Remote)}
	here, err := j.Here.ClusterUID(ctx)
	switch {
	case err == nil && here != "" && j.There.uid != "":
		if here == j.There.uid {
			return same
		}
		return nil
	case j.Here.Server == j.There.Server:
		return same
	}
	secret, err := j.There.Core.Secrets(j.Kubeconfig.Namespace).Get(ctx, j.Operator.Secret, metav1.GetOptions{})
	if err == nil && secret.UID == j.Operator.Source.UID() {
		return same
	}
	return nil
}

// unique refuses a name under which another cluster is stored, and a cluster that is
// stored under another name: a leave of one would cut off the other.
func (j *Join) unique(ctx context.Context, entries map[string][]byte) error {
	other, err := j.There.storedAs(ctx, entries, j.Kubeconfig.Remote, j.Kubeconfig.Namespace, "")
	if err != nil {
		return err
	}
	if other != "" {
		return Refusal{fmt.Errorf("this cluster is already stored as %s; to rename it: fernetcast leave %s --local, then fernetcast join %s --remote-context %s",
			other, other, j.Kubeconfig.Remote, mirror.Quote(j.There.Context))}
	}
	stored, err := kubeconfig.Decode(j.entry.Was)
	if err != nil {
		return nil // one that is not there, or that cannot be read, is of no use to anybody
	}
	same, err := j.There.is(ctx, stored)
	if same || err != nil {
		return err
	}
	if stored.Server == j.Kubeconfig.Server {
		j.Say(fmt.Sprintf("Warning: the cluster at %s is not the one stored as %s, and replaces it.", mirror.Printable(stored.Server), j.Kubeconfig.Remote))
		return nil
	}
	return Refusal{fmt.Errorf("%s is already stored with address %s; to use the name for another cluster, first: fernetcast leave %s",
		j.Kubeconfig.Remote, mirror.Printable(stored.Server), j.Kubeconfig.Remote)}
}

// Lines say what Make and Store will do.
func (j *Join) Lines(found preflight.Examined) []string {
	k, secret := j.Kubeconfig, j.Operator.Secret
	made, signsIn := "ServiceAccount and RoleBinding "+k.Account, fmt.Sprintf("token: for %s, valid for %s", k.Account, duration.HumanDuration(j.Token.Life))
	if t := j.Trust; t != nil {
		made = "RoleBinding " + keylessBinding(t.account())
		signsIn = fmt.Sprintf("token: none is stored; its API servers must trust %s, with the configuration from `fernetcast join %s --remote-context %s --keyless --server %s -o config`", t.Issuer, k.Remote, mirror.Quote(j.There.Context), mirror.Quote(k.Server))
	}
	lines := []string{
		fmt.Sprintf("%s is the cluster at %s (Kubernetes %s), namespace %s", k.Remote, k.Server, found.Of("version").What, k.Namespace),
		fmt.Sprintf("  created in the remote: %s, and Role %s: %s, only for Secret %s", made, RoleOf(secret), strings.Join(setup.SecretVerbs, ", "), secret),
		fmt.Sprintf("  created in the remote, cluster-wide: ValidatingAdmissionPolicy %s, which lets such accounts write only copies of keys", policyName),
		"  " + signsIn,
		fmt.Sprintf("  stored here: %s in Secret %s", j.entry.Entry, j.Kubeconfigs.name),
		"  its keys: " + j.keys(found.Copy),
	}
	if j.Token.SelfRenew {
		lines = append(lines, fmt.Sprintf("  also created in the remote: Role and RoleBinding %s-renew, which let the token request its successor, and the policies fernetcast-self-renew", k.Account))
	}
	switch found.Of("rotation").Result {
	case preflight.Skip:
		lines = append(lines, "  its rotation: unknown, because you may not read CronJobs there; it must be suspended")
	case preflight.Fail:
		lines = append(lines, fmt.Sprintf("  its rotation: CronJob %s is ACTIVE and creates keys that no other region has; suspend it: %s",
			setup.RotationJob, setup.SuspendRotation(j.There.Context, k.Namespace)))
	}
	return lines
}

// Objects are the remote's half, in the order in which they are to be applied.
func (j *Join) Objects() ([]*unstructured.Unstructured, error) {
	if j.Trust != nil {
		return j.Trust.Rights()
	}
	objects, err := rights(j.Kubeconfig.Account, j.Kubeconfig.Namespace, j.Operator.Secret)
	if err != nil || !j.Token.SelfRenew {
		return objects, err
	}
	self, err := selfRights(j.Kubeconfig.Account, j.Kubeconfig.Namespace)
	return append(objects, self...), err
}

// Make makes the remote's half and proves it by use: it returns the kubeconfig that
// is to be stored, and when its token expires; nil where it has none. The error says what
// is left there.
func (j *Join) Make(ctx context.Context, within time.Duration) (encoded []byte, expires *time.Time, err error) {
	if err := j.apply(ctx); err != nil {
		return nil, nil, err
	}
	k := j.Kubeconfig
	if j.Trust == nil {
		if k.Token, expires, err = j.token(ctx); err != nil {
			return nil, nil, j.left(err)
		}
	}
	if encoded, err = k.Encode(); err != nil {
		return nil, nil, j.left(err)
	}
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	if err := j.prove(ctx, encoded); err != nil {
		return nil, nil, j.left(fmt.Errorf("its kubeconfig does not work: %w", err))
	}
	return encoded, expires, nil
}

// apply makes the objects in the remote.
func (j *Join) apply(ctx context.Context) error {
	objects, err := j.Objects()
	if err != nil {
		return err
	}
	for _, object := range objects {
		what := object.GetKind() + " " + object.GetName()
		err := apply(ctx, j.There.APIs, object)
		optional := !j.Token.SelfRenew && object.GetNamespace() == "" && (apierrors.IsForbidden(err) || apierrors.IsNotFound(err))
		switch {
		case optional:
			j.Say(fmt.Sprintf("Warning: %s could not be created (%s). Until a cluster administrator applies manifests/remote/policy, the token can be used to obtain tokens of any account in %s", what, mirror.Explain(err), j.Kubeconfig.Namespace))
		case err != nil:
			return j.left(fmt.Errorf("creating %s: %s", what, mirror.Explain(err)))
		}
	}
	return nil
}

// token asks the remote for a token of the account.
func (j *Join) token(ctx context.Context) (string, *time.Time, error) {
	given, err := newToken(ctx, j.There.Core, j.Kubeconfig.Namespace, j.Kubeconfig.Account, j.Token.Life)
	if err != nil {
		return "", nil, fmt.Errorf("requesting a token for %s: %s", j.Kubeconfig.Account, mirror.Explain(err))
	}
	// Whether it may ask for the next one is decided there, perhaps later.
	if err := register(ctx, j.There.APIs, kube.ReadToken(given.Token), "", j.Token.Life); err != nil {
		return "", nil, fmt.Errorf("recording the token's ID on account %s: %s", j.Kubeconfig.Account, mirror.Explain(err))
	}
	if given.Note != "" {
		j.Say(given.Note)
	}
	return given.Token, &given.Expires, nil
}

// Before are the commands that take back the account and the token by which the remote was
// let in before it trusted the main; nil where there is none.
func (j *Join) Before() []string {
	before, err := kubeconfig.Decode(j.entry.Was)
	if j.Trust == nil || err != nil || before.Token == "" || !Own(before.Account) {
		return nil
	}
	l := Leave{Account: before.Account, Namespace: cmp.Or(before.Namespace, j.Kubeconfig.Namespace)}
	return l.ofAccount(j.There.Context)
}

// left says what an attempt has left in the remote.
func (j *Join) left(err error) error {
	return fmt.Errorf("%w; nothing was stored, but objects may remain in %s: run the command again, or remove them: fernetcast leave %s --remote-context %s",
		err, j.Kubeconfig.Remote, j.Kubeconfig.Remote, mirror.Quote(j.There.Context))
}

// Store stores the kubeconfig, where nobody has stored another since Plan, and takes
// away a token that renew has kept for the one before.
func (j *Join) Store(ctx context.Context, encoded []byte) error {
	j.entry.Now = encoded
	err := j.Kubeconfigs.Store(ctx, j.entry)
	if errors.Is(err, ErrChanged) {
		return j.left(fmt.Errorf("someone else stored %s in the meantime", j.entry.Entry))
	}
	if err != nil {
		return j.left(fmt.Errorf("storing %s in Secret %s: %s", j.entry.Entry, j.Kubeconfigs.name, mirror.Explain(err)))
	}
	if err := j.Tokens.Remove(ctx, j.Kubeconfig.Remote); err != nil {
		return fmt.Errorf("the kubeconfig is stored, but an older token in Secret %s overrides it: remove entry %s: %s", j.Tokens.name, j.Kubeconfig.Remote, mirror.Explain(err))
	}
	return nil
}
