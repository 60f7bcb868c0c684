// Package promotion plans and carries out promotions, which make a cluster the main region, and
// recoveries, which also restore its keys from a remote.
//
// It sends no requests and prints nothing itself. The caller provides the source, the remotes, and
// the output, and asks for confirmation between the plan and its execution.
package promotion

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/fernetcast/fernetcast/internal/mirror"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// markTries limits the attempts to write the mark because a rotation can change the Secret first,
// or a response may not show whether the mark was written.
const markTries = 5

// A Source accesses the Secret of the future main region.
type Source interface {
	// Get reads the Secret from etcd. The request must start after the call.
	Get(context.Context) (mirror.Source, error)
	// Mark writes the marked Secret by compare-and-swap and returns the response. If an API server
	// rejects the write, the error is an apierrors.APIStatus.
	Mark(context.Context, *corev1.Secret) (mirror.Source, error)
}

// A Fleet accesses the remotes.
type Fleet interface {
	// Look reads all remotes. Each call must return the same names in the same order.
	Look(context.Context) []Remote
	// Push makes one attempt to push to each named remote, and returns after all of them.
	Push(ctx context.Context, names []string)
}

// A Promotion is a single promotion: its dependencies and the operator's options.
type Promotion struct {
	// Apply adds remotes to Ignore if it refuses to outrank their terms.
	Options
	Source Source
	Fleet  Fleet
	// Secret is the source's namespace and name, for display.
	Secret string
	// Say prints one line for the operator during Apply.
	Say func(line string)
	// Pause is the delay before the source is read after a response that doesn't show whether the
	// mark was written.
	Pause time.Duration
}

// Plan reads the source and the remotes and returns a plan. It changes nothing. Even if the error
// refuses the plan, the plan can be shown.
func (p *Promotion) Plan(ctx context.Context) (Plan, error) {
	src, err := p.Source.Get(ctx)
	switch {
	case err != nil:
		return Plan{}, fmt.Errorf("nothing was changed: the source cannot be read: %s", mirror.Explain(err))
	case src.State() == mirror.SourceAbsent || src.State() == mirror.SourceRefused:
		return Plan{}, fmt.Errorf("nothing was changed: Secret %s cannot be the main region's: %s; to restore its keys: fernetcast recover --from %s", p.Secret, src.Detail(), giver(p.Fleet.Look(ctx)))
	case len(src.Unreadable()) > 0 && !p.Force:
		return Plan{}, fmt.Errorf("nothing was changed: the annotations %s on Secret %s cannot be read; to replace them, add --force", strings.Join(src.Unreadable(), ", "), p.Secret)
	}
	looks := p.Fleet.Look(ctx)
	plan, err := NewPlan(src, looks, p.Options)
	plan.shown, plan.looks = src, looks
	return plan, err
}

// Apply carries out a plan that wasn't refused. It marks the source, reads the remotes again, and
// pushes to them, old main regions first. The error says whether the source is marked, and what to
// do.
func (p *Promotion) Apply(ctx context.Context, plan Plan) error {
	if ctx.Err() != nil {
		return errors.New("nothing was changed")
	}
	src, err := p.mark(ctx, plan.shown, plan.Term, "the promotion has not begun")
	if err != nil {
		return err
	}
	return p.complete(ctx, src, plan.looks)
}

// complete reads the remotes again after the source was marked, marks it with a higher term if
// necessary, and pushes.
func (p *Promotion) complete(ctx context.Context, src mirror.Source, before []Remote) (err error) {
	now := p.Fleet.Look(ctx)
	for i, l := range now {
		if was := before[i]; l.changed(was, src) && !l.Copy.Is(src) {
			p.Say(fmt.Sprintf("  %s has changed since the plan: it was %s and is now %s", l.title(), was.describe(src), l.describe(src)))
		}
	}
	if src, err = p.outrank(ctx, src, now); err != nil {
		return err
	}
	// Old main regions first, so that they stop pushing as soon as possible.
	for _, mains := range []bool{true, false} {
		var names []string
		for _, l := range now {
			if (l.Copy.Main() != mirror.Owner{}) == mains {
				names = append(names, l.Name)
			}
		}
		p.Fleet.Push(ctx, names)
	}
	if ctx.Err() != nil {
		return fmt.Errorf("interrupted: this cluster is the main region, with term %d; run, fernetcast push, or another promote pushes the rest", src.Owner().Term)
	}
	return nil
}

// mark writes the mark by compare-and-swap. If a rotation changes the source first, mark retries
// with the new keys. Any other change to the source ends the promotion. The error starts with
// undone if the mark is known not to be written.
func (p *Promotion) mark(ctx context.Context, shown mirror.Source, term int, undone string) (mirror.Source, error) {
	return p.write(ctx, shown, term, undone, func(seen mirror.Source) (mirror.Source, bool) {
		return seen, seen.SameClaims(shown) && seen.Keys().Fingerprints().Continues(shown.Keys().Fingerprints())
	})
}

// write writes shown, which can contain recovered keys, with the mark by compare-and-swap. If the
// source has changed, write calls onChange, which returns the source to mark instead, and whether
// to continue. If a response doesn't show whether the mark was written, write reads the source and
// retries. Compare-and-swap makes the retry safe.
func (p *Promotion) write(ctx context.Context, shown mirror.Source, term int, undone string, onChange func(seen mirror.Source) (mirror.Source, bool)) (mirror.Source, error) {
	want := mirror.Owner{Region: p.Region, Term: term, UID: shown.UID()}
	marked := func(s mirror.Source) bool { return s.State() == mirror.SourceMain && s.Owner() == want }
	src, trouble, unsettled := shown, "", false
	for range markTries {
		seen, err := p.Source.Mark(ctx, src.Marked(p.Region, term, p.Cluster, p.Unserved))
		if err == nil && !marked(seen) {
			err = errors.New("the response lacks the mark")
		}
		if err != nil {
			trouble = "marking the source: " + mirror.Explain(err)
			overtaken := codeOf(err) == http.StatusConflict
			refused := slices.Contains([]int32{http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusUnprocessableEntity}, codeOf(err))
			unsettled = unsettled || !refused && !overtaken
			if refused && !unsettled {
				break
			}
			if !overtaken {
				select {
				case <-ctx.Done():
				case <-time.After(p.Pause):
				}
			}
			seen, err = p.Source.Get(ctx)
		}
		switch {
		case err != nil:
			trouble += "; reading it: " + mirror.Explain(err)
		case marked(seen):
			p.Say(fmt.Sprintf("Marked %s as the main region's: %s, term %d.", p.Secret, p.Region, term))
			return seen, nil
		default:
			next, fits := onChange(seen)
			if seen.UID() != shown.UID() || !fits {
				return src, errors.New("someone else changed the source in the meantime; check fernetcast status, and run the command again")
			}
			src = next
		}
	}
	if !unsettled {
		return src, fmt.Errorf("%s: %s", undone, trouble)
	}
	return src, fmt.Errorf("%s; it is unknown whether the source is marked with term %d: check fernetcast status, and run the command again", trouble, term)
}

// codeOf returns the HTTP status code of an API server's error, or 0 for any other error.
func codeOf(err error) int32 {
	var answer apierrors.APIStatus
	if errors.As(err, &answer) {
		return answer.Status().Code
	}
	return 0
}

// outrank marks the source again if another cluster has its term or a higher one. It doesn't
// outrank a single cluster that is far above all others.
func (p *Promotion) outrank(ctx context.Context, src mirror.Source, looks []Remote) (mirror.Source, error) {
	own, rival, at := src.Owner().Term, 0, ""
	for _, t := range outliers(termsOf(src, looks, p.Ignore)) {
		if t.value >= own && t.remote != "" {
			p.Ignore = append(p.Ignore, t.remote)
			p.Say(fmt.Sprintf("Term %d has appeared in %s, far above all others. It is ignored: find out who wrote it there.", t.value, t.remote))
		}
	}
	for _, l := range looks {
		if t := l.Copy.Rival(src).Term; t > rival && !slices.Contains(p.Ignore, l.Name) {
			rival, at = t, l.Name
		}
	}
	if rival == 0 {
		return src, nil
	}
	undone := fmt.Sprintf("this cluster is marked with term %d, but term %d has appeared in another region", own, rival)
	if rival >= mirror.MaxTerm {
		return src, fmt.Errorf("%s; no higher term is possible: find out who wrote it in %s, or promote again with --ignore %s", undone, at, at)
	}
	p.Say(fmt.Sprintf("Term %d has appeared in another region: marking again.", rival))
	return p.mark(ctx, src, rival+1, undone+"; promote again")
}
