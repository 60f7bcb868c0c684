package promotion

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/fernetcast/fernetcast/internal/mirror"
	"k8s.io/apimachinery/pkg/types"
)

// maxLead is how far one cluster's term can exceed all others before promote refuses to outrank it,
// and how far its primary can exceed all others before recover refuses to restore its keys.
// Otherwise, anyone who can write one remote's Secret could use up all terms or indices.
const maxLead = 1000

// A Remote is the state of one remote when it was read.
type Remote struct {
	Name string
	// Namespace is the remote's namespace if it differs from the source's; otherwise "".
	Namespace string
	Copy      mirror.Copy
	// Why is the reason if the remote couldn't be read; otherwise "".
	Why string
}

// Options are the operator's choices, and the cluster that they apply to.
type Options struct {
	Region string
	// Cluster is the UID of this cluster's Namespace kube-system, or "" if it may not be read. Place
	// describes how the operator reaches this cluster.
	Cluster, Place string
	// Unserved lists the previous main region's remotes that aren't this cluster's.
	Unserved []string
	// Force overrides all refusals except two: the source has no usable keys, or the new term would
	// exceed [mirror.MaxTerm].
	Force bool
	// Ignore lists the remotes that cause no refusal: neither their terms nor their keys count.
	Ignore []string
	// from is the remote whose keys are recovered; "" for a promotion.
	from string
}

// A Plan describes the effects of a promotion. Its JSON encoding is the output of -o json.
type Plan struct {
	Region string `json:"region"`
	Term   int    `json:"term"`
	// Remotes lists all remotes in order, even those that couldn't be read.
	Remotes []Effect `json:"remotes"`
	// Lines tells the operator what happens to this cluster and to each remote.
	Lines []string `json:"plan"`
	// Lost lists the remotes, except ignored ones, whose keys this cluster's keys don't continue.
	Lost []string `json:"-"`

	// The source and the remotes as they were read, and the copy to recover.
	shown mirror.Source
	looks []Remote
	from  mirror.Copy
}

// An Effect is the effect of a promotion on one remote.
type Effect struct {
	Name string `json:"name"`
	// Reached reports whether the remote could be read.
	Reached bool `json:"reached"`
	// Lost reports whether the remote's tokens become invalid, because this cluster's keys don't
	// continue the remote's.
	Lost   bool   `json:"lost"`
	Detail string `json:"detail"`
}

// NewPlan derives a plan from the state of the source and the remotes. If it returns an error, the
// plan was refused, but it can still be shown. NewPlan is a pure function.
func NewPlan(src mirror.Source, looks []Remote, opts Options) (Plan, error) {
	terms := termsOf(src, looks, opts.Ignore)
	plan := Plan{Region: opts.Region, Term: terms[0].value + 1, Remotes: []Effect{}}
	if plan.Term > mirror.MaxTerm {
		return plan, fmt.Errorf("nothing was changed: %s", terms[0].refusal("the highest that is possible", opts.from))
	}
	keys := src.Keys().Fingerprints()
	if opts.Place != "" {
		plan.Lines = append(plan.Lines, "This cluster: "+opts.Place)
	}
	plan.Lines = append(plan.Lines, fmt.Sprintf("%s becomes the main region, term %d, with primary %d (%s).", opts.Region, plan.Term, keys.Primary(), keys[keys.Primary()]))
	if len(looks) == 0 {
		plan.Lines = append(plan.Lines, "  there are no remotes")
	}
	promoted := mirror.ReadSource(src.Marked(opts.Region, plan.Term, opts.Cluster, nil))
	for _, look := range looks {
		text, lost := look.effect(src, promoted)
		plan.Lines = append(plan.Lines, "  "+look.title()+": "+text)
		plan.Remotes = append(plan.Remotes, Effect{look.Name, look.Copy.Read(), lost, text})
		if lost && !slices.Contains(opts.Ignore, look.Name) {
			plan.Lost = append(plan.Lost, look.Name)
		}
	}
	for _, name := range opts.Unserved {
		plan.Lines = append(plan.Lines, "  "+name+": NOT A REMOTE of this cluster, only of the previous main region: it gets no keys until it joins")
	}
	refusals := opts.nameTaken(src.Claimed(), promoted, looks)
	for _, t := range outliers(terms) {
		refusals = append(refusals, t.refusal(fmt.Sprintf("more than %d above all others", maxLead), opts.from)+"; to exceed it, add --force")
	}
	if len(plan.Lost) > 0 {
		lost, whose, instead, verb := strings.Join(plan.Lost, ", "), "this cluster's", "promote there instead", "promote"
		switch {
		case opts.from != "":
			whose, instead, verb = "those of "+opts.from, "recover from there instead", "recover"
		case src.State() == mirror.SourceUnpromoted:
			instead = "if this cluster was the main region: fernetcast recover --from " + giver(looks) + "; otherwise, " + instead
		}
		refusals = append(refusals, fmt.Sprintf("the keys of %s are newer than %s or unrelated to them; %s; --force makes all tokens invalid that were signed with those keys; to %s without %s, add --ignore %s",
			lost, whose, instead, verb, lost, strings.Join(plan.Lost, " --ignore ")))
	}
	if len(refusals) == 0 || opts.Force {
		return plan, nil
	}
	return plan, errors.New("nothing was changed: " + strings.Join(refusals, "; and "))
}

// nameTaken returns the reasons why the region's name belongs to another cluster. A recovery
// continues the region that pushed the keys, perhaps in a new cluster.
func (o Options) nameTaken(claimed mirror.Owner, promoted mirror.Source, looks []Remote) (list []string) {
	taken := func(format string, args ...any) {
		list = append(list, fmt.Sprintf(format, args...)+": use this cluster's own name, or add --force")
	}
	if o.from == "" && claimed.Region == o.Region && claimed.UID != promoted.UID() {
		taken("this cluster's keys are a copy from %s, which is another cluster", o.Region)
	}
	for _, l := range looks {
		switch main := l.Copy.Main(); {
		case slices.Contains(o.Ignore, l.Name) || l.Copy.Is(promoted):
		case main.Region == o.Region && main.UID != promoted.UID():
			taken("remote %s is the main region %s", l.Name, o.Region)
		case l.Copy.Read() && strings.EqualFold(l.Name, o.Region):
			taken("%s is a remote of this cluster", l.Name)
		}
	}
	return list
}

// giver returns the remote to recover from.
func giver(looks []Remote) string {
	copies := map[string]mirror.Copy{}
	for _, l := range looks {
		copies[l.Name] = l.Copy
	}
	return mirror.Newest(copies)
}

// effect describes what happens to the remote when src is promoted, and reports whether its tokens
// are lost.
func (l Remote) effect(src, promoted mirror.Source) (text string, lost bool) {
	d := mirror.Decide(promoted, l.Copy, false)
	switch {
	case !l.Copy.Read():
		return "NOT REACHED (" + l.Why + "): its term and keys are unknown; it is updated when it is reachable again", false
	case l.Copy.Is(promoted):
		return "this cluster itself; nothing changes", false
	case !l.Copy.Promotable(src) && d.Reason != mirror.ReasonOwned: // an ignored remote with a term that isn't outranked keeps its keys
		return "has keys that this cluster does not continue (" + l.describe(src) + "): its tokens will be lost", true
	case d.State == mirror.StateHeld:
		return "not changed: " + d.Detail, false
	}
	return "gets these keys (now " + l.describe(src) + ")", false
}

// describe returns the owner and the primary of the remote's Secret. Both are safe to print.
func (l Remote) describe(src mirror.Source) string {
	if n := l.Copy.Fingerprints().Primary(); n > 0 {
		return fmt.Sprintf("%s, primary %d", l.Copy.Whose(src), n)
	}
	return l.Copy.Whose(src)
}

// changed reports whether the owner or the keys differ from was. It returns false if either
// couldn't be read.
func (l Remote) changed(was Remote, src mirror.Source) bool {
	return was.Copy.Read() && l.Copy.Read() && (was.Copy.Whose(src) != l.Copy.Whose(src) || !was.Copy.Fingerprints().Equal(l.Copy.Fingerprints()))
}

func (l Remote) title() string {
	if l.Namespace == "" {
		return l.Name
	}
	return fmt.Sprintf("%s (namespace %s)", l.Name, l.Namespace)
}

// A term is the highest term in one cluster's mark and stamp.
type term struct {
	value  int
	remote string // "" means the source
	uid    types.UID
}

// refusal explains why the term isn't outranked, and what to do. from is the remote whose keys are
// recovered. That remote can't be ignored.
func (t term) refusal(why, from string) string {
	switch t.remote {
	case "":
		return fmt.Sprintf("this cluster's own Secret has term %d, %s: find out who wrote it", t.value, why)
	case from:
		return fmt.Sprintf("%s has term %d, %s: find out who wrote it there, or recover from another remote", t.remote, t.value, why)
	}
	return fmt.Sprintf("%s has term %d, %s: find out who wrote it there, or ignore it with --ignore %s", t.remote, t.value, why, t.remote)
}

// termsOf returns the terms that count, in descending order. If a kubeconfig points home, the
// source is read twice but counts once.
func termsOf(src mirror.Source, looks []Remote, ignore []string) []term {
	terms := []term{{src.HighestTerm(), "", src.UID()}, {}} // the zero term is a lower bound
	for _, l := range looks {
		if !slices.Contains(ignore, l.Name) {
			terms = append(terms, term{l.Copy.HighestTerm(), l.Name, l.Copy.UID()})
		}
	}
	slices.SortStableFunc(terms, func(a, b term) int { return b.value - a.value })
	return slices.CompactFunc(terms, func(a, b term) bool { return a.uid == b.uid })
}

// outliers returns the highest terms that are far above all lower ones, each from a single cluster.
func outliers(terms []term) []term {
	n := 0
	for n+1 < len(terms) && terms[n].value-terms[n+1].value > maxLead {
		n++
	}
	return terms[:n]
}
