package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/fernetcast/fernetcast/internal/mirror"
	"github.com/fernetcast/fernetcast/internal/promotion"
	"github.com/fernetcast/fernetcast/internal/show"
	"github.com/fernetcast/fernetcast/pusher"
	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
)

// markPause is how long promote waits before it sends the mark again.
const markPause = time.Second

func newPromote(o *options) *cobra.Command {
	var yes bool
	var opts promotion.Options
	cmd := &cobra.Command{
		Use:   "promote REGION",
		Short: "Make this cluster the main",
		Long: `Makes this cluster the main, at installation or at a failover, under the name
that Keystone's catalogue has for the region. It reads every remote, shows what
will change and whom it could not reach, asks, marks this cluster's Secret with
a term above all that it read, and pushes, to an old main first. On the present
main it raises the term.

It refuses while a reachable copy or main is ahead of this cluster's keys, or
not kin to them: their tokens would be lost. It also refuses a term that one
cluster alone has, and that is more than 1,000 above all others': --ignore
promotes without counting that remote. --force promotes in spite of both, and
replaces a mark or an owner on this cluster's Secret that cannot be read.

It is run with an operator's rights: the sidecar may not write the source.`,
		Example:           "  fernetcast promote sjc --yes",
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return errors.New("promote takes one REGION")
			}
			if err := mirror.CheckRegion(args[0]); err != nil {
				return err
			}
			if err := asks(cmd, yes); err != nil {
				return err
			}
			s, err := o.open(cmd)
			if err != nil {
				return err
			}
			if _, err := s.choose(opts.Ignore); err != nil {
				return fmt.Errorf("--ignore: %w", err)
			}
			opts.Region = args[0]
			p := &promoting{session: s, outcomes: map[string]pusher.Outcome{}}
			run := &promotion.Promotion{
				Options: opts, Secret: o.namespace + "/" + o.secret, Source: p, Fleet: p, Pause: markPause,
				Say:     func(line string) { fmt.Fprintln(cmd.OutOrStdout(), line) },
				Confirm: func(ctx context.Context) bool { return yes || confirmed(ctx, cmd) },
			}
			if err := run.Run(cmd.Context()); err != nil {
				return exitError{err}
			}
			return p.conclude(cmd.OutOrStdout(), run.Ignore)
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	cmd.Flags().BoolVar(&opts.Force, "force", false, "also where keys of a reachable copy or main are lost, a term is far above all others', or a mark or owner here cannot be read")
	cmd.Flags().StringArrayVar(&opts.Ignore, "ignore", nil, "do not count the terms of this remote (repeatable)")
	complete(cmd, "ignore", o.completeRemotes)
	o.identityFlag(cmd)
	return cmd
}

// promoting is the source and the remotes of a promotion.
type promoting struct {
	*session
	outcomes map[string]pusher.Outcome // of the pushes
}

// Get implements [promotion.Source].
func (p *promoting) Get(ctx context.Context) (mirror.Source, error) { return p.source.Get(ctx) }

// Mark implements [promotion.Source].
func (p *promoting) Mark(ctx context.Context, marked *corev1.Secret) (mirror.Source, error) {
	written, err := p.secrets.Update(ctx, marked, mirror.MarkManager)
	if err != nil {
		return mirror.Source{}, err
	}
	p.source.Wrote(written)
	return mirror.ReadSource(written), nil
}

// create creates the source where it is absent.
func (p *promoting) create(ctx context.Context, empty *corev1.Secret) (mirror.Source, error) {
	made, err := p.secrets.Create(ctx, empty, mirror.MarkManager)
	if err != nil {
		return mirror.Source{}, err
	}
	p.source.Wrote(made)
	return mirror.ReadSource(made), nil
}

// Look implements [promotion.Fleet].
func (p *promoting) Look(ctx context.Context) (looks []promotion.Look) {
	seen := p.each(ctx, p.set.Names(), func(ctx context.Context, remote pusher.Remote) *pusher.Outcome {
		c, err := remote.Look(ctx)
		return &pusher.Outcome{Copy: c, Err: err}
	})
	for _, name := range p.set.Names() {
		o := seen[name]
		look := promotion.Look{Name: name, Copy: o.Copy, Why: o.Decision.Detail} // a refused kubeconfig's
		if o.Err != nil {                                                        // the copy is what was read before
			src, _ := p.source.Seen()
			look.Copy, look.Why = mirror.Copy{}, mirror.Decision{Detail: mirror.Explain(o.Err)}.Redacted(src, o.Copy).Detail
		}
		if remote, _ := p.set.Remote(name); remote != nil && remote.Namespace() != p.opts.namespace {
			look.Namespace = remote.Namespace()
		}
		looks = append(looks, look)
	}
	return looks
}

// Push implements [promotion.Fleet].
func (p *promoting) Push(ctx context.Context, names []string) {
	maps.Copy(p.outcomes, p.push(ctx, names, false))
}

// conclude prints the table, and what is left to do. A remote whose terms are
// ignored does not count as another main.
func (p *promoting) conclude(out io.Writer, ignored []string) error {
	fmt.Fprintln(out)
	verdict := verdicts(out, show.Options{})(p.status(p.outcomes))
	for name, o := range p.outcomes {
		if o.Decision.Reason == mirror.ReasonOwned && !slices.Contains(ignored, name) {
			fmt.Fprintln(out, "\nAnother main has not given way, and neither overwrites the other. Promote once more, in the one region that is to be the main.")
			break
		}
	}
	fmt.Fprintln(out, "\nThe rotation CronJob (keystone-fernet-rotate) belongs on here, and off in every other region.")
	return verdict
}
