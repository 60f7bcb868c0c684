package access

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/fernetcast/fernetcast/internal/kube"
	"github.com/fernetcast/fernetcast/internal/kubeconfig"
	"github.com/fernetcast/fernetcast/internal/mirror"
	"github.com/fernetcast/fernetcast/internal/preflight"
	"github.com/fernetcast/fernetcast/internal/setup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/duration"
	"sigs.k8s.io/yaml"
)

// Stored is the data about remotes that the source's cluster stores: their kubeconfigs, and the
// newer tokens that renew keeps separately.
type Stored struct{ Kubeconfigs, Tokens Entries }

// TokenOptions are the operator's settings for a new token.
type TokenOptions struct {
	// Life is the lifetime to request.
	Life time.Duration
	// SelfRenew lets the token request its own successor.
	SelfRenew bool
}

// Join adds one remote. The exported fields are its input.
type Join struct {
	// Kubeconfig is stored after the new token is added to it.
	Kubeconfig kubeconfig.Config
	// Here is the source's cluster. There is the remote, at the address that will be stored.
	Here, There Cluster
	Stored
	// Token applies if the remote gets an account and a stored token. If Trust isn't nil, the
	// remote accepts the main region's tokens instead, and no token is stored.
	Token TokenOptions
	Trust *Trust
	// Operator accesses the remote through the operator's context. Remote returns the remote as
	// accessed through a kubeconfig.
	Operator preflight.Remote
	Remote   func(kubeconfig []byte) preflight.Remote
	// Say prints a line for the operator.
	Say func(line string)

	entry Change // the kubeconfig's entry, with the value that Identify read
}

// Plan examines and identifies the remote, and writes nothing. A [Refusal] means incorrect usage.
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
	return found, fmt.Errorf("%s cannot be reached: %w", j.There.Config.Host, err)
}

// Identify determines which cluster the remote is. It returns a [Refusal] if that is the source's
// own cluster, if it is already stored under another name, or if the name is in use for another
// cluster.
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
	if warning := j.There.unidentified(); warning != "" {
		j.Say(warning)
	}
	if err := j.apart(ctx); err != nil {
		return err
	}
	j.Kubeconfig.Cluster = j.There.uid
	return j.unique(ctx, entries)
}

// apart returns an error if the remote is the source's own cluster.
func (j *Join) apart(ctx context.Context) error {
	here, err := j.Here.ClusterUID(ctx)
	same := here == j.There.uid
	if err != nil || here == "" || j.There.uid == "" {
		secret, err := j.There.Core.Secrets(j.Kubeconfig.Namespace).Get(ctx, j.Operator.Secret, metav1.GetOptions{})
		same = j.Here.Config.Host == j.There.Config.Host || err == nil && secret.UID == j.Operator.Source.UID()
	}
	if same {
		return Refusal{fmt.Errorf("%s is the source's own cluster, which needs no access to itself", j.Kubeconfig.Remote)}
	}
	return nil
}

// unique returns an error if the name is stored for another cluster, or if the cluster is stored
// under another name. In both cases, leaving one remote would disconnect the other.
func (j *Join) unique(ctx context.Context, entries map[string][]byte) error {
	other, err := j.There.storedAs(ctx, entries, j.Kubeconfig.Remote, j.Kubeconfig.Namespace, "")
	if err != nil {
		return err
	}
	if other != "" {
		return Refusal{fmt.Errorf("this cluster is already stored as %s; to rename it: fernetcast leave %s --local, then fernetcast join %s",
			other, other, j.Kubeconfig.Remote)}
	}
	stored, err := kubeconfig.Parse(j.entry.Was, true)
	if err != nil {
		return nil // a missing or invalid kubeconfig can be replaced
	}
	same, err := j.There.is(ctx, stored)
	if same || err != nil {
		return err
	}
	if stored.Server == j.Kubeconfig.Server {
		j.Say(fmt.Sprintf("Warning: the cluster at %s is not the one stored as %s, and replaces it.", mirror.Address(stored.Server), j.Kubeconfig.Remote))
		return nil
	}
	return Refusal{fmt.Errorf("%s is already stored with address %s; to use the name for another cluster, first: fernetcast leave %s",
		j.Kubeconfig.Remote, mirror.Address(stored.Server), j.Kubeconfig.Remote)}
}

// Lines describes what Make and Store will do.
func (j *Join) Lines(found preflight.Examined) []string {
	k, secret := j.Kubeconfig, j.Operator.Secret
	made, signsIn := "ServiceAccount and RoleBinding "+k.Account, fmt.Sprintf("token: for %s, valid for %s", k.Account, duration.HumanDuration(j.Token.Life))
	if t := j.Trust; t != nil {
		made = "RoleBinding " + keylessBinding(t.account())
		signsIn = fmt.Sprintf("token: none is stored; its API servers must trust %s, with the configuration from `fernetcast join %s --keyless --server %s -o config`", t.Issuer, k.Remote, mirror.Quote(k.Server))
	}
	lines := []string{
		fmt.Sprintf("%s is the cluster at %s%s (Kubernetes %s), namespace %s", k.Remote, k.Server, k.Through(), found.Of("version").What, k.Namespace),
		fmt.Sprintf("  created in the remote: %s, and Role %s: %s, only for Secret %s", made, RoleOf(secret), strings.Join(setup.SecretVerbs, ", "), secret),
		fmt.Sprintf("  created in the remote, cluster-wide: ValidatingAdmissionPolicy %s, which lets such accounts write only copies of keys", policyName),
		"  " + signsIn,
		fmt.Sprintf("  stored here: %s in Secret %s", j.entry.Entry, j.Kubeconfigs.name),
		"  its keys: " + j.keys(found.Copy),
	}
	if j.Token.SelfRenew {
		lines = append(lines, fmt.Sprintf("  also created in the remote: Role and RoleBinding %s-renew, which let the token request its successor, and the policies fernetcast-self-renew", k.Account))
	}
	switch c := found.Of("rotation"); c.Result {
	case preflight.Skip:
		lines = append(lines, "  its rotation: unknown, because you may not read CronJobs there; it must be suspended")
	case preflight.Fail:
		lines = append(lines, "  its rotation: "+c.Error())
	}
	return lines
}

// objects returns the objects to create in the remote, in the order to apply them.
func (j *Join) objects() ([]*unstructured.Unstructured, error) {
	if j.Trust != nil {
		return j.Trust.rights()
	}
	objects, err := rights(j.Kubeconfig.Account, j.Kubeconfig.Namespace, j.Operator.Secret)
	if err != nil || !j.Token.SelfRenew {
		return objects, err
	}
	self, err := selfRights(j.Kubeconfig.Account, j.Kubeconfig.Namespace)
	return append(objects, self...), err
}

// Documents returns the objects for both clusters as YAML, without a token. If the remote trusts
// the main region's tokens, its API servers' configuration comes first. It returns a [Refusal] in
// the same cases as Identify.
func (j *Join) Documents(ctx context.Context, kubespray bool) ([]byte, error) {
	if err := j.Identify(ctx); errors.As(err, new(Refusal)) {
		return nil, err
	} else if err != nil {
		j.Say(fmt.Sprintf("Warning: cannot identify the cluster of %s, so its kubeconfig does not contain the cluster's UID: %v", j.Kubeconfig.Remote, err))
	}
	var out bytes.Buffer
	about := fmt.Sprintf("It contains no token, because a token does not belong in a repository. To add one: fernetcast join %s", j.Kubeconfig.Remote)
	if j.Trust != nil {
		text, err := j.Trust.Configuration(kubespray)
		if err != nil {
			return nil, err
		}
		out.Write(text)
		about = "It contains no credentials."
	}
	objects, err := j.objects()
	comment := fmt.Sprintf("# For the cluster %s.\n", j.Kubeconfig.Remote)
	for _, object := range objects {
		err = errors.Join(err, write(&out, comment, object.Object))
		comment = ""
	}
	if proxy, err := url.Parse(j.Kubeconfig.ProxyURL); err != nil || proxy.User != nil {
		return nil, fmt.Errorf("the proxy-url of context %s contains credentials, which do not belong in a repository: remove them from your context, or join without -o yaml", j.There.Context)
	}
	encoded, failed := j.Kubeconfig.Encode()
	err = errors.Join(err, failed, write(&out, "# For the main region's cluster. "+about+"\n", &corev1.Secret{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"},
		ObjectMeta: metav1.ObjectMeta{Name: j.Kubeconfigs.name, Namespace: j.Kubeconfig.Namespace},
		StringData: map[string]string{kubeconfig.EntryOf(nil, j.Kubeconfig.Remote): string(encoded)},
	}))
	return out.Bytes(), err
}

// write writes one document of a YAML stream, with a comment before it.
func write(out *bytes.Buffer, comment string, document any) error {
	text, err := yaml.Marshal(document)
	fmt.Fprintf(out, "---\n%s%s", comment, text)
	return err
}

// Make applies the objects in the remote and verifies that the new kubeconfig works. It returns
// that kubeconfig and the expiry of its token, which is nil if no token is stored. An error says
// what remains in the remote.
func (j *Join) Make(ctx context.Context, within time.Duration) (encoded []byte, expires *time.Time, err error) {
	if err := j.apply(ctx); err != nil {
		return nil, nil, j.left(err)
	}
	if j.Trust == nil {
		if expires, err = j.token(ctx); err != nil {
			return nil, nil, j.left(err)
		}
	}
	if encoded, err = j.Kubeconfig.Encode(); err != nil {
		return nil, nil, j.left(err)
	}
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	if err := j.prove(ctx, encoded); err != nil {
		return nil, nil, j.left(fmt.Errorf("its kubeconfig does not work: %w", err))
	}
	return encoded, expires, nil
}

// apply applies the objects in the remote.
func (j *Join) apply(ctx context.Context) error {
	objects, err := j.objects()
	if err != nil {
		return err
	}
	for _, object := range objects {
		what := object.GetKind() + " " + object.GetName()
		differ, err := apply(ctx, j.There.APIs, object)
		optional := !j.Token.SelfRenew && object.GetNamespace() == "" && (apierrors.IsForbidden(err) || apierrors.IsNotFound(err))
		switch {
		case optional:
			j.Say(fmt.Sprintf("Warning: %s could not be created (%s). Until a cluster administrator applies manifests/remote/policy, the token can be used to obtain tokens of any account in %s", what, mirror.Explain(err), j.Kubeconfig.Namespace))
		case err != nil:
			return fmt.Errorf("creating %s: %s", what, mirror.Explain(err))
		case len(differ) > 0:
			j.Say(fmt.Sprintf("Warning: someone else changed %s, so it stays as it is. It differs from manifests/remote in %s. To replace it, delete it and run the command again", what, strings.Join(differ, ", ")))
		}
	}
	return nil
}

// token adds a new token of the account to the kubeconfig, and returns its expiry.
func (j *Join) token(ctx context.Context) (*time.Time, error) {
	given, err := newToken(ctx, j.There.Core, j.Kubeconfig.Namespace, j.Kubeconfig.Account, j.Token.Life)
	if err != nil {
		return nil, fmt.Errorf("requesting a token for %s: %s", j.Kubeconfig.Account, mirror.Explain(err))
	}
	if given.Note != "" {
		j.Say(given.Note)
	}
	j.Kubeconfig.Token = given.Token
	if life := kubeconfig.LifetimeOf(j.Kubeconfig.ClientConfig()); life != nil && !life.Fits(kubeconfig.WeeklyRenewal) {
		j.Say(fmt.Sprintf("A weekly renewal is too rare for it: in manifests/renew, set the schedule to %q.", life.Schedule()))
	}
	return &given.Expires, nil
}

// Before returns the commands that revoke this main region's account and its token, which the remote
// used before it trusted the main region. It returns nil if there are none.
func (j *Join) Before() []string {
	before, err := kubeconfig.Parse(j.entry.Was, true)
	l := Leave{Account: j.Kubeconfig.Account, Namespace: j.Kubeconfig.Namespace}
	if j.Trust == nil || err != nil || before.Token == "" || before.Account != l.Account || cmp.Or(before.Namespace, l.Namespace) != l.Namespace {
		return nil
	}
	return l.ofAccount(j.There.Context)
}

// left adds to err what a failed attempt leaves in the remote, and how to continue.
func (j *Join) left(err error) error {
	return fmt.Errorf("%w; nothing was stored, but objects may remain in %s: run the command again, or remove them: fernetcast leave %s",
		err, j.Kubeconfig.Remote, j.Kubeconfig.Remote)
}

// Store stores the kubeconfig unless it has changed since Plan was called. It then deletes the token that
// renew kept for the previous kubeconfig, because that token would take precedence over the new
// one.
func (j *Join) Store(ctx context.Context, encoded []byte) error {
	j.entry.Now = encoded
	err := j.Kubeconfigs.Store(ctx, j.entry)
	if errors.Is(err, ErrChanged) {
		return j.left(fmt.Errorf("someone else stored %s in the meantime", j.entry.Entry))
	}
	if err != nil {
		return j.left(fmt.Errorf("storing %s in Secret %s: %s", j.entry.Entry, j.Kubeconfigs.name, mirror.Explain(err)))
	}
	if err := j.Kubeconfigs.Remove(ctx, kubeconfig.LeftOf(j.Kubeconfig.Remote)); err != nil {
		return fmt.Errorf("the kubeconfig is stored, but the note that %s had left is still there: %s", j.Kubeconfig.Remote, mirror.Explain(err))
	}
	if err := j.Tokens.Remove(ctx, j.Kubeconfig.Remote); err != nil {
		return fmt.Errorf("the kubeconfig is stored, but an older token in Secret %s overrides it: remove entry %s: %s", j.Tokens.name, j.Kubeconfig.Remote, mirror.Explain(err))
	}
	if j.Kubeconfig.Token == "" {
		return nil
	}
	// Register the token even if it can't renew itself now: self-renewal may be enabled later. Until
	// here, the previous token could request its successor.
	if err := register(ctx, j.There.APIs, j.Kubeconfig.Namespace, j.Kubeconfig.Account, kube.ReadToken(j.Kubeconfig.Token).ID, j.Token.Life); err != nil {
		return fmt.Errorf("the kubeconfig is stored, but its token cannot request its successor: %w; run the command again", err)
	}
	return nil
}
