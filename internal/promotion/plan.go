package promotion

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/fernetcast/fernetcast/internal/mirror"
	"k8s.io/apimachinery/pkg/types"
)

// maxLead is how far the term of one cluster may be above those of all others.
// Whoever can write one remote's annotations could else use up all terms there are.
const maxLead = 1000

// Remote is one remote as it was read.
type Remote struct {
	Name string
	// Namespace is the remote's own where it is not the source's, else "".
	Namespace string
	Copy      mirror.Copy
	// Why says why it was not read; "" if it was.
	Why string
}

// Options are what the operator asks for.
type Options struct {
	Region string
	// Force overrides all refusals but that of a source without good keys and
	// that of a term above [mirror.MaxTerm].
	Force bool
	// Ignore names the remotes whose terms do not count.
	Ignore []string
	// instead is what to do where a remote is ahead: a promotion there, if "".
	instead string
}

// Plan is what a promotion does. Its JSON is what -o json shows.
type Plan struct {
	Region string `json:"region"`
	Term   int    `json:"term"`
	// Remotes are all remotes in order, even those that could not be read.
	Remotes []Effect `json:"remotes"`
	// Lines are for the operator: what happens to this cluster, and to each remote.
	Lines []string `json:"plan"`
	// Lost are the remotes whose keys this cluster does not continue.
	Lost []string `json:"-"`

	// The source as it was read, and as the promotion writes it before the mark is added.
	shown, promoted mirror.Source
	looks           []Remote
}

// Effect is what a promotion does to one remote.
type Effect struct {
	Name string `json:"name"`
	// Reached is false if the remote could not be read.
	Reached bool `json:"reached"`
	// Lost reports whether tokens are lost: this cluster does not continue the remote's keys.
	Lost   bool   `json:"lost"`
	Detail string `json:"detail"`
}

// NewPlan plans from what was read. The error says what refuses the plan, which
// can be shown all the same. It is a pure function.
func NewPlan(src mirror.Source, looks []Remote, opts Options) (Plan, error) {
	terms := termsOf(src, looks, opts.Ignore)
	plan := Plan{Region: opts.Region, Term: terms[0].value + 1, Remotes: []Effect{}}
	if plan.Term > mirror.MaxTerm {
		return plan, fmt.Errorf("nothing was changed: %s", terms[0].refusal("the highest that is possible"))
	}
	keys := src.Keys().Fingerprints()
	plan.Lines = []string{fmt.Sprintf("%s becomes the main region, term %d, with primary %d (%s).", opts.Region, plan.Term, keys.Primary(), keys[keys.Primary()])}
	if len(looks) == 0 {
		plan.Lines = append(plan.Lines, "  there are no remotes")
	}
	promoted := mirror.ReadSource(src.Marked(opts.Region, plan.Term))
	for _, look := range looks {
		text, lost := look.effect(src, promoted)
		plan.Lines = append(plan.Lines, "  "+look.title()+": "+text)
		plan.Remotes = append(plan.Remotes, Effect{look.Name, look.Copy.Read(), lost, text})
		if lost {
			plan.Lost = append(plan.Lost, look.Name)
		}
	}
	var refusals []string
	for _, t := range outliers(terms) {
		refusals = append(refusals, t.refusal(fmt.Sprintf("more than %d above all others", maxLead))+"; to exceed it, add --force")
	}
	if len(plan.Lost) > 0 {
		refusals = append(refusals, fmt.Sprintf("the keys of %s are newer than this cluster's or unrelated to them, so tokens would be lost; %s, or add --force", strings.Join(plan.Lost, ", "), cmp.Or(opts.instead, "promote there instead")))
	}
	if len(refusals) == 0 || opts.Force {
		return plan, nil
	}
	return plan, errors.New("nothing was changed: " + strings.Join(refusals, "; and "))
}

// effect says what happens to the remote once src is promoted, and whether its keys are lost.
func (l Remote) effect(src, promoted mirror.Source) (text string, lost bool) {
	d := mirror.Decide(promoted, l.Copy, false)
	switch {
	case !l.Copy.Read():
		return "NOT REACHED (" + l.Why + "): its term and keys are unknown; it is updated when it is reachable again", false
	case l.Copy.Is(src):
		return "this cluster itself; nothing changes", false
	case !l.Copy.Promotable(src) && d.Reason != mirror.ReasonOwned: // a remote that is ignored, and not outranked, keeps its keys
		return "has keys that this cluster does not continue (" + l.describe(src) + "): its tokens will be lost", true
	case d.State == mirror.StateHeld:
		return "not changed: " + d.Detail, false
	}
	return "gets these keys (now " + l.describe(src) + ")", false
}

// describe says whose the remote's Secret is, as it may be shown beside src, and with which primary.
func (l Remote) describe(src mirror.Source) string {
	if n := l.Copy.Fingerprints().Primary(); n > 0 {
		return fmt.Sprintf("%s, primary %d", l.Copy.Whose(src), n)
	}
	return l.Copy.Whose(src)
}

// changed says whether owner or keys are others than they were.
func (l Remote) changed(was Remote, src mirror.Source) bool {
	return was.Copy.Read() && l.Copy.Read() && (was.Copy.Whose(src) != l.Copy.Whose(src) || !was.Copy.Fingerprints().Equal(l.Copy.Fingerprints()))
}

func (l Remote) title() string {
	if l.Namespace == "" {
		return l.Name
	}
	return fmt.Sprintf("%s (namespace %s)", l.Name, l.Namespace)
}

// term is the highest that is written in one cluster.
type term struct {
	value  int
	remote string // "" for the source
	uid    types.UID
}

// refusal says that the term is not to be followed, and what to do.
func (t term) refusal(why string) string {
	if t.remote == "" {
		return fmt.Sprintf("this cluster's own Secret has term %d, %s: find out who wrote it", t.value, why)
	}
	return fmt.Sprintf("%s has term %d, %s: find out who wrote it there, or ignore it with --ignore %s", t.remote, t.value, why, t.remote)
}

// termsOf are the terms that count, the highest first. A cluster that was read
// twice, as the source where a kubeconfig points home, counts once.
func termsOf(src mirror.Source, looks []Remote, ignore []string) []term {
	terms := []term{{src.HighestTerm(), "", src.UID()}, {}} // nothing is the least
	for _, l := range looks {
		if !slices.Contains(ignore, l.Name) {
			terms = append(terms, term{l.Copy.HighestTerm(), l.Name, l.Copy.UID()})
		}
	}
	slices.SortStableFunc(terms, func(a, b term) int { return b.value - a.value })
	return slices.CompactFunc(terms, func(a, b term) bool { return a.uid == b.uid })
}

// outliers are the terms that one cluster alone has, far above all others'.
func outliers(terms []term) []term {
	n := 0
	for n+1 < len(terms) && terms[n].value-terms[n+1].value > maxLead {
		n++
	}
	return terms[:n]
}
