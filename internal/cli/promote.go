package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/fernetcast/fernetcast/internal/access"
	"github.com/fernetcast/fernetcast/internal/kubeconfig"
	"github.com/fernetcast/fernetcast/internal/mirror"
	"github.com/fernetcast/fernetcast/internal/promotion"
	"github.com/fernetcast/fernetcast/internal/show"
	"github.com/fernetcast/fernetcast/pusher"
	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
)

// markPause is the delay before promote retries writing the mark.
const markPause = time.Second

// promoteOptions holds the flags that promote and recover share.
type promoteOptions struct {
	*options
	promotion.Options
	change
}

func (o *promoteOptions) register(cmd *cobra.Command) {
	o.change.register(cmd)
	choose(cmd, cmd.Flags(), &o.output, "output", "o", "text or json", "text", "json")
	o.identityFlag(cmd)
	cmd.Flags().StringArrayVar(&o.Ignore, "ignore", nil, "ignore this remote's term and keys (repeatable)")
	complete(cmd, "ignore", o.completeRemotes)
}

func newPromote(all *options) *cobra.Command {
	o := &promoteOptions{options: all}
	cmd := &cobra.Command{
		Use:   "promote REGION",
		Short: "Make this cluster the main region",
		Long: `Makes this cluster the main region, at installation or during a failover. REGION is
the region's name in Keystone's catalog. promote reads every remote, shows what
will change and which remotes it could not reach, and asks for confirmation. Then
it marks this cluster's Secret with a higher term than any it has read, and pushes
the keys, first to the old main region. In the current main region, it raises the
term. With your context for the old main region, it also names remotes that only
that region has. status names them until they join.

It refuses if a remote has keys that are newer than this cluster's or unrelated to
them, because tokens would become invalid. It also refuses if the highest term
exceeds all others by more than 1,000, or if REGION is another cluster's name. If
you do not trust a remote, --ignore excludes it. The other remotes still count.
--force overrides these refusals, and replaces an unreadable mark on this cluster's
Secret.

It writes with your credentials, because the sidecar can only read the source.
-o json prints the plan and, without --dry-run, the status after the pushes.`,
		Example: "  fernetcast promote sjc --dry-run\n  fernetcast promote sjc --yes",
		Args:    one("REGION", mirror.CheckRegion),
		RunE:    o.promote,
	}
	o.register(cmd)
	cmd.Flags().BoolVar(&o.Force, "force", false, "promote even if a remote's tokens become invalid, a term is unusually high, REGION is taken, or a mark here is unreadable")
	return cmd
}

func (o *promoteOptions) promote(cmd *cobra.Command, args []string) error {
	o.Region = args[0]
	p, err := o.begin(cmd, cmd.OutOrStdout())
	if err != nil {
		return err
	}
	return p.run(cmd, &p.promotion)
}

// promoting is one run of promote or recover.
type promoting struct {
	*session
	*promoteOptions
	promotion promotion.Promotion
	outcomes  map[string]pusher.Outcome // the outcomes of the pushes
	notes     io.Writer                 // the stream for the plan and the progress
	say       func(line string)
}

// begin opens the source and the remotes. usual is the stream for the plan and the progress.
func (o *promoteOptions) begin(cmd *cobra.Command, usual io.Writer) (*promoting, error) {
	if err := o.requireTerminal(cmd); err != nil {
		return nil, err
	}
	s, err := o.open(cmd)
	if err != nil {
		return nil, err
	}
	if err := s.source.Err(); away(err) {
		return nil, refused(errors.New("the source cannot be read: " + o.unread(err)))
	}
	if _, err := s.choose(o.Ignore); err != nil {
		return nil, fmt.Errorf("--ignore: %w", err)
	}
	p := &promoting{session: s, promoteOptions: o, outcomes: map[string]pusher.Outcome{}, notes: o.change.notes(cmd, usual)}
	p.say = func(line string) { fmt.Fprintln(p.notes, advise(cmd, line)) }
	if o.Place = o.where(); p.identify(cmd.Context()) != nil || o.Cluster == "" {
		p.say("Warning: Namespace kube-system cannot be read, so this cluster is identified only by its Secret.")
	}
	p.compare(cmd.Context())
	p.promotion = promotion.Promotion{
		Options: o.Options, Secret: o.namespace + "/" + o.secret, Source: p, Fleet: p, Pause: markPause, Say: p.say,
	}
	return p, nil
}

// identify reads the UID of this cluster, which the mark contains.
func (p *promoting) identify(ctx context.Context) (err error) {
	if p.Cluster, err = p.home.ClusterUID(ctx); p.Cluster != "" {
		p.Place += ", cluster UID " + p.Cluster
	}
	return err
}

// compareTime limits how long promote tries to read the previous main region's list of remotes.
const compareTime = 3 * time.Second

// compare sets the remotes that only the previous main region has. It warns if they can't be read.
func (p *promoting) compare(ctx context.Context) {
	old := p.sourceStatus(p.source).Region
	if old == "" || p.Region == "" || old == p.Region {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, compareTime)
	defer cancel()
	entries, err := p.remotesOf(ctx, strings.ToLower(old))
	if err != nil {
		p.say(fmt.Sprintf("Warning: the remotes of %s are unknown: %s. Make sure that the plan lists them all.", old, mirror.Explain(err)))
	}
	for entry, data := range entries {
		name := kubeconfig.RemoteOf(entry)
		k, _ := kubeconfig.Parse(data, true)
		itself := strings.EqualFold(name, p.Region) || k.Cluster != "" && k.Cluster == p.Cluster
		if remoteName(name) == nil && !itself && !slices.Contains(p.set.Names(), name) {
			p.Unserved = append(p.Unserved, name)
		}
	}
	slices.Sort(p.Unserved)
}

// remotesOf reads the kubeconfigs that another main region stores, through the operator's context
// for that region.
func (p *promoting) remotesOf(ctx context.Context, region string) (map[string][]byte, error) {
	stored := kubeconfig.Config{}
	if remote, _ := p.set.Remote(region); remote != nil {
		stored.Server = remote.Server
	}
	there, err := (&remotePlace{global: &p.operator}).place(region, stored)
	if err != nil {
		return nil, err
	}
	apis, err := p.apis(there.config)
	if err != nil {
		return nil, err
	}
	defer apis.Close()
	return access.NewEntries(apis.Core, p.namespace, strings.TrimPrefix(cmp.Or(p.clusters, defaultSecret), secretPrefix)).Read(ctx)
}

// planned is implemented by [promotion.Promotion] and [promotion.Recovery].
type planned interface {
	Plan(context.Context) (promotion.Plan, error)
	Apply(context.Context, promotion.Plan) error
}

// run makes the plan, shows it, asks for confirmation, and applies it.
func (p *promoting) run(cmd *cobra.Command, c planned) error {
	ctx := cmd.Context()
	plan, err := c.Plan(ctx)
	if err != nil {
		for _, line := range plan.Lines {
			p.say(line)
		}
		return exitError{err}
	}
	if ok, err := p.approved(cmd, p.notes, plan.Lines, promoted{plan, nil}); !ok {
		return err
	}
	if err := c.Apply(ctx, plan); err != nil {
		return exitError{err}
	}
	return p.conclude(cmd, plan)
}

// promoted is the document that -o json prints.
type promoted struct {
	promotion.Plan
	// Status is the status after the pushes, or nil in a dry run.
	Status *mirror.Status `json:"status"`
}

// conclude prints the remotes' status and the next steps. A remote in --ignore doesn't count
// as another main region.
func (p *promoting) conclude(cmd *cobra.Command, plan promotion.Plan) error {
	out, st := cmd.OutOrStdout(), p.status(p.outcomes)
	if err := printed(cmd, p.output, promoted{plan, &st}, "\n"); err != nil {
		return err
	}
	end := verdict(st)
	if p.output == "json" {
		out = p.notes
	} else {
		end = verdicts(cmd, show.Options{})(st)
	}
	for name, o := range p.outcomes {
		if o.Decision.Reason == mirror.ReasonOwned && !slices.Contains(p.promotion.Ignore, name) {
			fmt.Fprintln(out, "\nAnother region is also marked as the main region. Neither overwrites the other. Promote again in the region that should be the main region.")
			break
		}
	}
	if len(st.Remotes) == 0 && st.Source.Well() && errors.As(end, new(exitError)) {
		end = nil // a main region's first remote joins after its promotion
	}
	fmt.Fprintln(out, "\nEnable the rotation CronJob (keystone-fernet-rotate) here, and suspend it in every other region.")
	return end
}

// Get implements [promotion.Source].
func (p *promoting) Get(ctx context.Context) (mirror.Source, error) { return p.source.Get(ctx) }

// Mark implements [promotion.Source].
func (p *promoting) Mark(ctx context.Context, marked *corev1.Secret) (mirror.Source, error) {
	return p.wrote(p.home.Secrets(p.namespace).Update(ctx, marked, mirror.MarkManager))
}

// create creates the source. It fails if the source exists.
func (p *promoting) create(ctx context.Context, empty *corev1.Secret) (mirror.Source, error) {
	return p.wrote(p.home.Secrets(p.namespace).Create(ctx, empty, mirror.MarkManager))
}

// wrote records the response to a write of the source.
func (p *promoting) wrote(secret *corev1.Secret, err error) (mirror.Source, error) {
	if err != nil {
		return mirror.Source{}, err
	}
	p.source.Wrote(secret)
	return mirror.ReadSource(secret), nil
}

// Look implements [promotion.Fleet].
func (p *promoting) Look(ctx context.Context) (looks []promotion.Remote) {
	seen := p.each(ctx, p.set.Names(), func(ctx context.Context, remote pusher.Remote) *pusher.Outcome {
		c, err := remote.Look(ctx)
		return &pusher.Outcome{Copy: c, Err: err}
	})
	for _, name := range p.set.Names() {
		o := seen[name]
		look := promotion.Remote{Name: name, Copy: o.Copy, Why: o.Decision.Detail} // Detail is set if the kubeconfig was rejected
		if o.Err != nil {                                                          // the copy is from an earlier read
			src, _ := p.source.Seen()
			look.Copy, look.Why = mirror.Copy{}, mirror.Decision{Detail: mirror.Explain(o.Err)}.Redacted(src, o.Copy).Detail
		}
		if remote, _ := p.set.Remote(name); remote != nil && remote.Namespace != p.namespace {
			look.Namespace = remote.Namespace
		}
		looks = append(looks, look)
	}
	return looks
}

// Push implements [promotion.Fleet].
func (p *promoting) Push(ctx context.Context, names []string) {
	maps.Copy(p.outcomes, p.push(ctx, names, false))
}
