// Package promotion makes a cluster the main: the plan, and carrying it out.
//
// It sends no request and prints nothing itself: its caller has the source, the
// remotes and the operator, and asks between the plan and carrying it out.
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

// markTries is how often the mark is sent where a rotation overtakes it, or an
// answer does not settle whether it is set.
const markTries = 5

// Source is the Secret that is to be the main's.
type Source interface {
	// Get reads it from etcd, by a request that begins after the call.
	Get(context.Context) (mirror.Source, error)
	// Mark sends it with the mark, by compare-and-swap, and returns it as it was
	// answered. What an API server refuses is an apierrors.APIStatus.
	Mark(context.Context, *corev1.Secret) (mirror.Source, error)
}

// Fleet is the remotes.
type Fleet interface {
	// Look reads all of them, and returns the same names in the same order each time.
	Look(context.Context) []Remote
	// Push pushes to those named, and returns when each was tried once.
	Push(ctx context.Context, names []string)
}

// Promotion is one promotion: what it needs, and what the operator asked for.
type Promotion struct {
	// Apply adds the remotes to Ignore whose terms it does not follow.
	Options
	Source Source
	Fleet  Fleet
	// Secret is the source's namespace and name, to be shown.
	Secret string
	// Say takes what there is to tell the operator during Apply, a line at a time.
	Say func(line string)
	// Pause is how long to wait after an answer that does not settle whether the
	// mark is set, before the source is read.
	Pause time.Duration
}

// Plan reads the source and the remotes, and plans. It changes nothing. If the error
// refuses the plan, the plan can be shown all the same.
func (p *Promotion) Plan(ctx context.Context) (Plan, error) {
	src, err := p.fit(ctx)
	if err != nil {
		return Plan{}, err
	}
	looks := p.Fleet.Look(ctx)
	plan, err := NewPlan(src, looks, p.Options)
	plan.shown, plan.promoted, plan.looks = src, src, looks
	return plan, err
}

// Apply carries out a plan that nothing refuses: it marks the source, reads the remotes
// again, and pushes, to old mains first. The error says whether the source is marked,
// and what to do.
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

// complete is what follows once the source is marked: the remotes are read again and
// pushed to.
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
	// Old mains first, so that they stand by before anything else.
	for _, mains := range []bool{true, false} {
		var names []string
		for _, l := range now {
			if l.Copy.IsMain() == mains {
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

// fit is the source, if it can be a main's.
func (p *Promotion) fit(ctx context.Context) (mirror.Source, error) {
	src, err := p.Source.Get(ctx)
	switch {
	case err != nil:
		err = fmt.Errorf("nothing was changed: the source cannot be read: %s", mirror.Explain(err))
	case src.State() == mirror.SourceAbsent || src.State() == mirror.SourceRefused:
		err = fmt.Errorf("nothing was changed: Secret %s cannot be the main region's: %s", p.Secret, src.Detail())
	case len(src.Unreadable()) > 0 && !p.Force:
		err = fmt.Errorf("nothing was changed: the annotations %s on Secret %s cannot be read; to replace them, add --force", strings.Join(src.Unreadable(), ", "), p.Secret)
	}
	return src, err
}

// mark sets the mark by compare-and-swap. A rotation that came in between is
// taken along; anything else that changed ends the promotion. undone is what it means
// if the mark is not set.
func (p *Promotion) mark(ctx context.Context, shown mirror.Source, term int, undone string) (mirror.Source, error) {
	return p.write(ctx, shown, term, undone, func(seen mirror.Source) (mirror.Source, bool) {
		return seen, seen.SameClaims(shown) && seen.Keys().Fingerprints().Continues(shown.Keys().Fingerprints())
	})
}

// write sends the source with its mark by compare-and-swap, as it is or with other
// keys: then says what is to be marked of a source that was seen meanwhile, and whether
// it may be. An answer that does not settle whether the mark is set is followed by a GET
// and another try, which compare-and-swap makes safe.
func (p *Promotion) write(ctx context.Context, shown mirror.Source, term int, undone string, then func(seen mirror.Source) (mirror.Source, bool)) (mirror.Source, error) {
	want := mirror.Owner{Region: p.Region, Term: term, UID: shown.UID()}
	marked := func(s mirror.Source) bool { return s.State() == mirror.SourceMain && s.Owner() == want }
	src, trouble, unsettled := shown, "", false
	for range markTries {
		seen, err := p.Source.Mark(ctx, src.Marked(p.Region, term))
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
			next, fits := then(seen)
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

// codeOf is the code of an API server's answer, 0 where it is no such answer.
func codeOf(err error) int32 {
	var answer apierrors.APIStatus
	if errors.As(err, &answer) {
		return answer.Status().Code
	}
	return 0
}

// outrank marks the source once more where its term, or a higher one, has
// turned up elsewhere. It does not follow one cluster alone far above all others.
func (p *Promotion) outrank(ctx context.Context, src mirror.Source, looks []Remote) (mirror.Source, error) {
	own, rival := src.Owner().Term, 0
	for _, t := range outliers(termsOf(src, looks, p.Ignore)) {
		if t.value >= own && t.remote != "" {
			p.Ignore = append(p.Ignore, t.remote)
			p.Say(fmt.Sprintf("Term %d has appeared in %s, far above all others. It is ignored: find out who wrote it there.", t.value, t.remote))
		}
	}
	for _, l := range looks {
		if !slices.Contains(p.Ignore, l.Name) {
			rival = max(rival, l.Copy.Rival(src).Term)
		}
	}
	if rival == 0 {
		return src, nil
	}
	undone := fmt.Sprintf("this cluster is marked with term %d, but term %d has appeared in another region", own, rival)
	if rival >= mirror.MaxTerm {
		return src, fmt.Errorf("%s; no higher term is possible: find out who wrote it", undone)
	}
	p.Say(fmt.Sprintf("Term %d has appeared in another region: marking again.", rival))
	return p.mark(ctx, src, rival+1, undone+"; promote again")
}
