package access

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/fernetcast/fernetcast/internal/kube"
	"github.com/fernetcast/fernetcast/internal/kubeconfig"
	"github.com/fernetcast/fernetcast/internal/mirror"
	"github.com/fernetcast/fernetcast/internal/setup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// provePause is the wait between two tries of a proof.
const provePause = 200 * time.Millisecond

// Open opens a remote's kubeconfig as run does: clients, which the caller closes, and a
// GET of the Secret.
type Open = func(remote string, kubeconfig []byte) (apis *setup.APIs, get func(context.Context) error, err error)

// Join lets one remote in. The fields are what it needs and what the operator asked for.
type Join struct {
	// Kubeconfig is what is to be stored, but for the token.
	Kubeconfig kubeconfig.Config
	// Secret is the name of the one with the keys, Context the operator's for the remote.
	Secret, Context string
	// Life is how long the token is to live, SelfRenew that it may ask for the next one.
	Life      time.Duration
	SelfRenew bool
	// Trust is in place of an account and a token, where the remote is to trust the main's
	// own; else nil.
	Trust *Trust
	// Source is the main's Secret, HomeAddress its API server's.
	Source      mirror.Source
	HomeAddress string
	// Here is the source's cluster, There the remote, at the address that is to be
	// stored, both with the operator's rights.
	Here, There *setup.APIs
	// Entries are the stored kubeconfigs, Tokens those that renew keeps beside them.
	Entries, Tokens Entries
	Open            Open
	// Say takes what there is to tell the operator, a line at a time.
	Say func(line string)

	entry string // where the kubeconfig is stored
	was   []byte // what is there, as it was read
}

// Plan reads the remote and what is stored of it, writes nothing, and says what will
// be done. A [Refusal] is bad usage.
func (j *Join) Plan(ctx context.Context) (Survey, error) {
	entries, err := j.Entries.Read(ctx)
	if err != nil {
		return Survey{}, fmt.Errorf("reading the stored kubeconfigs: %s", mirror.Explain(err))
	}
	return j.survey(ctx, entries)
}

// Identify finds out which cluster this is. It returns a [Refusal] if it is the source's
// own cluster, if it is stored under another name, or if another cluster has the name.
func (j *Join) Identify(ctx context.Context) error {
	entries, err := j.Entries.Read(ctx)
	if err != nil {
		return fmt.Errorf("reading the stored kubeconfigs: %s", mirror.Explain(err))
	}
	return j.identify(ctx, entries)
}

func (j *Join) identify(ctx context.Context, entries map[string][]byte) error {
	j.entry = kubeconfig.EntryOf(entries, j.Kubeconfig.Remote)
	j.was = entries[j.entry]
	there := &Cluster{APIs: j.There, Context: j.Context, Server: j.Kubeconfig.Server, CA: j.Kubeconfig.TLS.CAData}
	if err := there.identify(ctx); err != nil {
		return err
	}
	if err := j.apart(ctx, there); err != nil {
		return err
	}
	j.Kubeconfig.Cluster = there.uid
	return j.unique(ctx, there, entries)
}

// unique refuses a name under which another cluster is stored, and a cluster that is
// stored under another name: a leave of one would cut off the other.
func (j *Join) unique(ctx context.Context, there *Cluster, entries map[string][]byte) error {
	other, err := there.storedAs(ctx, entries, j.Kubeconfig.Remote, j.Kubeconfig.Namespace, "")
	if err != nil {
		return err
	}
	if other != "" {
		return Refusal{fmt.Errorf("this cluster is stored as %s already; to rename it: fernetcast leave %s --local, then fernetcast join %s --remote-context %s",
			other, other, j.Kubeconfig.Remote, mirror.Quote(j.Context))}
	}
	stored, err := kubeconfig.Decode(j.was)
	if err != nil {
		return nil // one that is not there, or that cannot be read, is of no use to anybody
	}
	same, err := there.is(ctx, stored)
	if same || err != nil {
		return err
	}
	if stored.Server == j.Kubeconfig.Server {
		j.Say(fmt.Sprintf("Warning: the cluster at %s is not the one that was stored as %s until now. It takes its place.", mirror.Printable(stored.Server), j.Kubeconfig.Remote))
		return nil
	}
	return Refusal{fmt.Errorf("%s is stored already, at %s: to let another cluster in by that name, first: fernetcast leave %s",
		j.Kubeconfig.Remote, mirror.Printable(stored.Server), j.Kubeconfig.Remote)}
}

// Lines say what Make and Store will do.
func (j *Join) Lines(s Survey) []string {
	k := j.Kubeconfig
	made, signsIn := "ServiceAccount and RoleBinding "+k.Account, fmt.Sprintf("a token of %s that lives for %s", k.Account, j.Life)
	if t := j.Trust; t != nil {
		made = "RoleBinding " + keylessBinding(t.account())
		signsIn = fmt.Sprintf("no token is stored: its API servers have to trust %s, as `fernetcast join %s --remote-context %s --keyless --server %s -o config` prints it", t.Issuer, k.Remote, mirror.Quote(j.Context), mirror.Quote(k.Server))
	}
	lines := []string{
		fmt.Sprintf("%s is the cluster at %s (Kubernetes %s), namespace %s", k.Remote, k.Server, s.Version, k.Namespace),
		fmt.Sprintf("  made there: %s, and Role %s: %s, all on Secret %s alone", made, RoleOf(j.Secret), strings.Join(setup.SecretVerbs, ", "), j.Secret),
		fmt.Sprintf("  made there for the whole cluster: ValidatingAdmissionPolicy %s, which holds such accounts to copies of keys", policyName),
		"  " + signsIn,
		fmt.Sprintf("  stored here: %s in Secret %s", j.entry, j.Entries.name),
		"  its keys: " + s.Keys,
	}
	if j.SelfRenew {
		lines = append(lines, fmt.Sprintf("  also made there: Role and RoleBinding %s-renew, by which the token may ask for the next one, and the policies fernetcast-self-renew", k.Account))
	}
	switch {
	case s.Rotates == nil:
		lines = append(lines, "  its rotation: not known, because CronJobs may not be read there; it has to be off")
	case *s.Rotates:
		lines = append(lines, fmt.Sprintf("  its rotation: CronJob %s is ACTIVE, and signs tokens with keys that nobody else has; switch it off: %s",
			setup.RotationJob, setup.SuspendRotation(j.Context, k.Namespace)))
	}
	return lines
}

// Objects are the remote's half, in the order in which they are to be applied.
func (j *Join) Objects() ([]*unstructured.Unstructured, error) {
	if j.Trust != nil {
		return j.Trust.Rights()
	}
	objects, err := rights(j.Kubeconfig.Account, j.Kubeconfig.Namespace, j.Secret)
	if err != nil || !j.SelfRenew {
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
		err := apply(ctx, j.There, object)
		optional := !j.SelfRenew && object.GetNamespace() == "" && (apierrors.IsForbidden(err) || apierrors.IsNotFound(err))
		switch {
		case optional:
			j.Say(fmt.Sprintf("%s could not be made (%s): until an administrator of the cluster has applied manifests/remote/policy, the token can be made into that of any account in %s", what, mirror.Explain(err), j.Kubeconfig.Namespace))
		case err != nil:
			return j.left(fmt.Errorf("making %s: %s", what, mirror.Explain(err)))
		}
	}
	return nil
}

// token asks the remote for a token of the account.
func (j *Join) token(ctx context.Context) (string, *time.Time, error) {
	asked := time.Now()
	token, expires, err := newToken(ctx, j.There.Core, j.Kubeconfig.Namespace, j.Kubeconfig.Account, j.Life)
	if err != nil {
		return "", nil, fmt.Errorf("asking for a token of %s: %s", j.Kubeconfig.Account, mirror.Explain(err))
	}
	// Whether it may ask for the next one is decided there, perhaps later.
	if err := register(ctx, j.There, kube.ReadToken(token), "", j.Life); err != nil {
		return "", nil, fmt.Errorf("writing the token's id on account %s: %s", j.Kubeconfig.Account, mirror.Explain(err))
	}
	if short := shortened(asked, expires, j.Life); short != "" {
		j.Say(short)
	}
	return token, &expires, nil
}

// Before are the commands that take back the account and the token by which the remote was
// let in before it trusted the main; nil where there is none.
func (j *Join) Before() []string {
	before, err := kubeconfig.Decode(j.was)
	if j.Trust == nil || err != nil || before.Token == "" || !Own(before.Account) {
		return nil
	}
	l := Leave{Account: before.Account, Namespace: cmp.Or(before.Namespace, j.Kubeconfig.Namespace)}
	return l.ofAccount(j.Context)
}

// left says what an attempt has left in the remote.
func (j *Join) left(err error) error {
	return fmt.Errorf("%w; nothing was stored, and what was made in %s stays there: give the command again, or take it back: fernetcast leave %s --remote-context %s",
		err, j.Kubeconfig.Remote, j.Kubeconfig.Remote, mirror.Quote(j.Context))
}

// Store stores the kubeconfig, where nobody has stored another since Plan, and takes
// away a token that renew has kept for the one before.
func (j *Join) Store(ctx context.Context, encoded []byte) error {
	err := j.Entries.Store(ctx, Change{j.entry, j.was, encoded})
	if errors.Is(err, ErrChanged) {
		return j.left(fmt.Errorf("somebody else has stored %s meanwhile", j.entry))
	}
	if err != nil {
		return j.left(fmt.Errorf("storing %s in Secret %s: %s", j.entry, j.Entries.name, mirror.Explain(err)))
	}
	if err := j.Tokens.Remove(ctx, j.Kubeconfig.Remote); err != nil {
		return fmt.Errorf("the kubeconfig is stored, but the older token in Secret %s counts before it: remove its entry %s: %s", j.Tokens.name, j.Kubeconfig.Remote, mirror.Explain(err))
	}
	return nil
}

// shortened says that a token lives for a shorter time than was asked for; "" where
// it does not. A minute is the API server's own to choose.
func shortened(asked, expires time.Time, life time.Duration) string {
	granted := expires.Sub(asked).Round(time.Second)
	if granted >= life-time.Minute {
		return ""
	}
	return fmt.Sprintf("The API server grants tokens of %s at most (%s was asked for): this one expires at %s.", granted, life, expires.Format(time.RFC3339))
}

func joined(list []string) string { return strings.Join(slices.Compact(list), ", ") }
