package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"strings"

	"github.com/fernetcast/fernetcast/internal/mirror"
	"github.com/fernetcast/fernetcast/pusher"
	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// markTries is how often a mark is set again that a rotation has overtaken.
const markTries = 5

// promotion is one promote on its way.
type promotion struct {
	*session
	region string
	force  bool
	out    io.Writer
}

func newPromote(o *options) *cobra.Command {
	var yes, force bool
	cmd := &cobra.Command{
		Use:   "promote REGION",
		Short: "Make this cluster the main",
		Long: `Makes this cluster the main, at installation or at a failover, under the name
that Keystone's catalogue has for the region. It reads every remote, shows what
will change and whom it could not reach, asks, marks this cluster's Secret with
a term above all that it read, and pushes, to an old main first. On the present
main it raises the term.

It refuses while a reachable copy or main is ahead of this cluster's keys, or
not kin to them: their tokens would be lost. --force does it all the same, and
replaces a mark or an owner on this cluster's Secret that cannot be read.

It is run with an operator's rights: the sidecar may not write the source.`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return errors.New("promote takes one REGION")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := mirror.CheckRegion(args[0]); err != nil {
				return err
			}
			if !yes && !isTerminal(cmd.InOrStdin()) {
				return errors.New("promote asks before it acts, and there is no terminal to ask on: add --yes")
			}
			s, err := o.open(cmd)
			if err != nil {
				return err
			}
			p := &promotion{session: s, region: args[0], force: force, out: cmd.OutOrStdout()}
			var ask io.Reader
			if !yes {
				ask = cmd.InOrStdin()
			}
			return p.run(cmd.Context(), ask)
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	cmd.Flags().BoolVar(&force, "force", false, "also where keys of a reachable copy or main are lost, or a mark or owner here cannot be read")
	return cmd
}

// run is the promotion; a nil ask does not ask.
func (p *promotion) run(ctx context.Context, ask io.Reader) error {
	src, err := p.fit()
	if err != nil {
		return notWell{err}
	}
	seen := p.each(ctx, p.set.Names(), p.look)
	term := p.highest(src, seen) + 1
	if term > mirror.MaxTerm {
		return notWell{fmt.Errorf("the highest term that was read is %d, and there is none above %d: find out who wrote it", term-1, mirror.MaxTerm)}
	}
	fmt.Fprintf(p.out, "%s becomes the main, term %d, with primary %d (%s).\n", p.region, term,
		src.Keys().Fingerprints().Primary(), src.Keys().Fingerprints()[src.Keys().Fingerprints().Primary()])
	lost := p.plan(src, mirror.ReadSource(src.Marked(p.region, term)), seen)
	if len(lost) > 0 && !p.force {
		return notWell{fmt.Errorf("nothing was changed: the keys of %s are ahead of this cluster's, or not kin to them, and tokens would be lost; promote there instead, or add --force", strings.Join(lost, ", "))}
	}
	if ask != nil && !p.confirmed(ctx, ask) {
		return notWell{errors.New("nothing was changed")}
	}
	if src, err = p.mark(ctx, src, term); err != nil {
		return notWell{fmt.Errorf("the promotion has not begun: %w", err)}
	}
	again := p.each(ctx, p.set.Names(), p.look)
	p.tellChanges(seen, again)
	if rival := p.rivalTerm(src, again); rival > 0 {
		if rival == mirror.MaxTerm {
			return notWell{fmt.Errorf("term %d has turned up elsewhere meanwhile, and there is none above it: find out who wrote it", rival)}
		}
		fmt.Fprintf(p.out, "Term %d has turned up elsewhere meanwhile: marking once more.\n", rival)
		if _, err = p.mark(ctx, src, rival+1); err != nil {
			return notWell{fmt.Errorf("marking once more: %w", err)}
		}
	}
	return p.pushAll(ctx, again)
}

// fit is the source, if it can be a main.
func (p *promotion) fit() (mirror.Source, error) {
	src, read := p.source.Seen()
	switch {
	case !read:
		return src, fmt.Errorf("nothing was changed: %s", p.status(nil).Source.Detail)
	case src.State() == mirror.SourceAbsent || src.State() == mirror.SourceRefused:
		return src, fmt.Errorf("nothing was changed: Secret %s/%s cannot be a main's: %s", p.opts.namespace, p.opts.secret, src.Detail())
	case len(src.Unreadable()) > 0 && !p.force:
		return src, fmt.Errorf("nothing was changed: the annotations %s on Secret %s/%s cannot be read; to replace them: --force",
			strings.Join(src.Unreadable(), ", "), p.opts.namespace, p.opts.secret)
	}
	return src, nil
}

func (p *promotion) highest(src mirror.Source, seen map[string]pusher.Outcome) int {
	highest := src.HighestTerm()
	for _, o := range seen {
		highest = max(highest, o.Copy.HighestTerm())
	}
	return highest
}

// plan prints what will happen to each remote once src is the main, and
// returns those whose keys would be lost.
func (p *promotion) plan(src, promoted mirror.Source, seen map[string]pusher.Outcome) (lost []string) {
	if len(seen) == 0 {
		fmt.Fprintln(p.out, "  there are no remotes")
	}
	for _, name := range p.set.Names() {
		c := seen[name].Copy
		switch {
		case !c.Read():
			fmt.Fprintf(p.out, "  %s: NOT REACHED (%s): a higher term or newer keys there are not known; it follows when it is seen again\n", name, p.whyNot(seen[name]))
		case c.Is(src):
			fmt.Fprintf(p.out, "  %s: this cluster itself; nothing changes\n", name)
		case !c.Promotable(src):
			lost = append(lost, name)
			fmt.Fprintf(p.out, "  %s: has keys that this cluster does not continue (%s): its tokens will be lost\n", name, describe(c))
		case mirror.Decide(promoted, c, false).State == mirror.StateHeld:
			fmt.Fprintf(p.out, "  %s: stays as it is: %s\n", name, mirror.Decide(promoted, c, false).Detail)
		default:
			fmt.Fprintf(p.out, "  %s: gets these keys (now %s)\n", name, describe(c))
		}
	}
	return lost
}

// whyNot says why a remote was not read.
func (p *promotion) whyNot(o pusher.Outcome) string {
	if o.Err != nil {
		return mirror.Explain(o.Err)
	}
	return o.Decision.Detail // its kubeconfig is refused
}

// describe says whose a remote's Secret is, and with which primary.
func describe(c mirror.Copy) string {
	if n := c.Fingerprints().Primary(); n > 0 {
		return fmt.Sprintf("%s, primary %d", c.Whose(mirror.Source{}), n)
	}
	return c.Whose(mirror.Source{})
}

// confirmed asks, until there is an answer or ctx is done.
func (p *promotion) confirmed(ctx context.Context, in io.Reader) bool {
	fmt.Fprint(p.out, "Go on? [y/N] ")
	answer := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(in).ReadString('\n')
		answer <- strings.ToLower(strings.TrimSpace(line))
	}()
	select {
	case line := <-answer:
		return line == "y" || line == "yes"
	case <-ctx.Done():
		fmt.Fprintln(p.out)
		return false
	}
}

// mark sets the mark by compare-and-swap. A rotation that came in between is
// taken along; anything else that changed ends the promotion.
func (p *promotion) mark(ctx context.Context, shown mirror.Source, term int) (mirror.Source, error) {
	src := shown
	for range markTries {
		err := p.write(ctx, src, term)
		if err == nil {
			fmt.Fprintf(p.out, "Marked %s/%s as the main's: %s, term %d.\n", p.opts.namespace, p.opts.secret, p.region, term)
			src, _ = p.source.Seen()
			return src, nil
		}
		refused := fmt.Errorf("marking the source: %s", mirror.Explain(err))
		known := apierrors.ReasonForError(err) != metav1.StatusReasonUnknown
		if known && !apierrors.IsConflict(err) {
			return src, refused
		}
		if src, err = p.source.Get(ctx); err != nil {
			return src, fmt.Errorf("%w; and whether it is marked is not known: look at fernetcast status", refused)
		}
		if src.Owner() == (mirror.Owner{Region: p.region, Term: term, UID: shown.UID()}) { // the answer was lost
			return src, nil
		}
		if !src.SameClaims(shown) || !src.Keys().Fingerprints().Continues(shown.Keys().Fingerprints()) {
			break
		}
	}
	return src, errors.New("the source was changed by someone else meanwhile; look at fernetcast status, and promote again")
}

func (p *promotion) write(ctx context.Context, src mirror.Source, term int) error {
	written, err := p.home.Update(ctx, src.Marked(p.region, term), mirror.MarkManager)
	if err == nil {
		p.source.Wrote(written)
	}
	return err
}

// rivalTerm is the highest term that another owner has and ours does not outrank; 0 for none.
func (p *promotion) rivalTerm(src mirror.Source, seen map[string]pusher.Outcome) int {
	highest := 0
	for _, o := range seen {
		highest = max(highest, o.Copy.Rival(src).Term)
	}
	return highest
}

// tellChanges says whose Secret changed hands, or keys, since the plan was shown.
func (p *promotion) tellChanges(before, after map[string]pusher.Outcome) {
	for _, name := range p.set.Names() {
		was, is := before[name].Copy, after[name].Copy
		if was.Read() && is.Read() && (was.Whose(mirror.Source{}) != is.Whose(mirror.Source{}) || !was.Fingerprints().Equal(is.Fingerprints())) {
			fmt.Fprintf(p.out, "  %s changed meanwhile: it was %s, and is %s\n", name, describe(was), describe(is))
		}
	}
}

// pushAll pushes to an old main first, so that it stands by before anything else.
func (p *promotion) pushAll(ctx context.Context, seen map[string]pusher.Outcome) error {
	var mains, others []string
	for _, name := range p.set.Names() {
		if seen[name].Copy.IsMain() {
			mains = append(mains, name)
		} else {
			others = append(others, name)
		}
	}
	outcomes := p.each(ctx, mains, p.push(false))
	maps.Copy(outcomes, p.each(ctx, others, p.push(false)))
	fmt.Fprintln(p.out)
	verdict := p.show(p.out, p.status(outcomes))
	for _, o := range outcomes {
		if o.Decision.Reason == mirror.ReasonOwned {
			fmt.Fprintln(p.out, "\nAnother main has not given way, and neither overwrites the other. Promote once more, in the one region that is to be the main.")
			break
		}
	}
	fmt.Fprintln(p.out, "\nThe rotation CronJob (keystone-fernet-rotate) belongs on here, and off in every other region.")
	return verdict
}
