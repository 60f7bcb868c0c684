package cli

import (
	"context"
	"encoding/json"
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
}

// promoting is one run of promote or recover.
type promoting struct {
	*session
	*promoteOptions
	promotion promotion.Promotion
	outcomes  map[string]pusher.Outcome // of the pushes
	lines     io.Writer                 // for the plan and the progress
}

// begin opens the source and the remotes. It prints the plan and the progress to lines, but to
// stderr with -o json, and to stdout with --dry-run.
func (o *promoteOptions) begin(cmd *cobra.Command, lines io.Writer) (*promoting, error) {
	if err := requireTerminal(cmd, o.yes || o.dryRun); err != nil {
		return nil, err
	}
	s, err := o.open(cmd)
	if err != nil {
		return nil, err
	}
	switch {
	case o.output == "json":
		lines = cmd.ErrOrStderr()
	case o.dryRun:
		lines = cmd.OutOrStdout()
	}
	p := &promoting{session: s, promoteOptions: o, outcomes: map[string]pusher.Outcome{}, lines: lines}
	p.promotion = promotion.Promotion{
		Options: o.Options, Secret: o.namespace + "/" + o.secret, Source: p, Fleet: p, Pause: markPause, Say: p.say,
	}
	return p, nil
}

func (p *promoting) say(line string) { fmt.Fprintln(p.lines, line) }

// planned is implemented by [promotion.Promotion] and [promotion.Recovery].
type planned interface {
	Plan(context.Context) (promotion.Plan, error)
	Apply(context.Context, promotion.Plan) error
}

// run makes the plan, shows it, asks for confirmation, and applies it.
func (p *promoting) run(cmd *cobra.Command, c planned) error {
	ctx := cmd.Context()
	plan, err := c.Plan(ctx)
	for _, line := range plan.Lines {
		p.say(line)
	}
	if err != nil {
		return exitError{err}
	}
	if p.dryRun && ctx.Err() == nil {
		return p.encode(cmd.OutOrStdout(), promoted{plan, nil})
	}
	if ctx.Err() != nil || !p.yes && !confirmed(ctx, cmd) {
		return exitError{errors.New("nothing was changed")}
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

// encode writes the result if -o json is set.
func (p *promoting) encode(out io.Writer, result promoted) error {
	if p.output != "json" {
		return nil
	}
	if err := json.NewEncoder(out).Encode(result); err != nil {
		return exitError{fmt.Errorf("writing the result: %w", err)}
	}
	return nil
}

// conclude prints the remotes' status and the next steps. A remote in --ignore doesn't count
// as another main region.
func (p *promoting) conclude(cmd *cobra.Command, plan promotion.Plan) error {
	out, st := cmd.OutOrStdout(), p.status(p.outcomes)
	end := verdict(st)
	if p.output == "json" {
		if err := p.encode(out, promoted{plan, &st}); err != nil {
			return err
		}
		out = p.lines
	} else {
		fmt.Fprintln(out)
		end = verdicts(out, show.Options{})(st)
	}
	for name, o := range p.outcomes {
		if o.Decision.Reason == mirror.ReasonOwned && !slices.Contains(p.promotion.Ignore, name) {
			fmt.Fprintln(out, "\nAnother region is also marked as the main region. Neither overwrites the other. Promote again in the region that should be the main region.")
			break
		}
	}
	fmt.Fprintln(out, "\nEnable the rotation CronJob (keystone-fernet-rotate) here, and suspend it in every other region.")
	return end
}

// Get implements [promotion.Source].
func (p *promoting) Get(ctx context.Context) (mirror.Source, error) { return p.source.Get(ctx) }

// Mark implements [promotion.Source].
func (p *promoting) Mark(ctx context.Context, marked *corev1.Secret) (mirror.Source, error) {
	return p.wrote(p.secrets.Update(ctx, marked, mirror.MarkManager))
}

// create creates the source. It fails if the source exists.
func (p *promoting) create(ctx context.Context, empty *corev1.Secret) (mirror.Source, error) {
	return p.wrote(p.secrets.Create(ctx, empty, mirror.MarkManager))
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
		look := promotion.Remote{Name: name, Copy: o.Copy, Why: o.Decision.Detail} // set if the kubeconfig was rejected
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
