package promotion

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/fernetcast/fernetcast/internal/keyset"
	"github.com/fernetcast/fernetcast/internal/mirror"
	corev1 "k8s.io/api/core/v1"
)

// A Recovery promotes this cluster with the keys of a remote's copy after its own keys were lost.
// The region is by default the one that pushed the copy.
type Recovery struct {
	*Promotion
	// From is the name of the remote.
	From string
	// Idle returns an error while a rotation Job is running: its retry would start from a directory
	// without the recovered keys. Both Plan and Apply call it.
	Idle func(context.Context) error
	// Create creates the source if it is missing. It must never overwrite an existing Secret.
	Create func(context.Context, *corev1.Secret) (mirror.Source, error)
}

// Plan reads the source and the remotes and returns a plan with the recovered and the lost keys. It
// changes nothing. Even if the error refuses the plan, the plan can be shown.
func (r *Recovery) Plan(ctx context.Context) (Plan, error) {
	src, err := r.Source.Get(ctx)
	if err != nil {
		return Plan{}, fmt.Errorf("nothing was changed: the source cannot be read: %s", mirror.Explain(err))
	}
	if err := r.Idle(ctx); err != nil {
		return Plan{}, fmt.Errorf("nothing was changed: %w", err)
	}
	looks := r.Fleet.Look(ctx)
	from, err := r.giver(looks)
	if err != nil {
		return Plan{}, err
	}
	return r.plan(src, from, looks)
}

// Apply carries out a plan that wasn't refused. It writes the keys and the mark in one request, and
// continues like a promotion. If the source is missing, Apply creates it without keys first. The
// error says whether anything was changed, and what to do.
func (r *Recovery) Apply(ctx context.Context, plan Plan) error {
	if err := r.Idle(ctx); err != nil {
		return fmt.Errorf("nothing was changed: %w", err)
	}
	restored, err := r.put(ctx, plan)
	if err != nil {
		return err
	}
	return r.complete(ctx, restored, plan.looks)
}

// giver returns the remote whose keys are recovered. The error says why they can't be.
func (r *Recovery) giver(looks []Remote) (Remote, error) {
	i := slices.IndexFunc(looks, func(l Remote) bool { return l.Name == r.From })
	if i < 0 {
		return Remote{}, fmt.Errorf("nothing was changed: there is no remote %s", r.From)
	}
	from := looks[i]
	if !from.Copy.Read() {
		return from, fmt.Errorf("nothing was changed: %s cannot be read: %s", r.From, from.Why)
	}
	if err := from.Copy.Recoverable(); err != nil {
		return from, fmt.Errorf("nothing was changed: %s: %w", r.From, err)
	}
	return from, nil
}

// plan plans the recovery without sending a request. It refuses a plan that would lose keys or
// overrule another main region. It sets the region if there is none.
func (r *Recovery) plan(src mirror.Source, from Remote, looks []Remote) (Plan, error) {
	r.Region = cmp.Or(r.Region, from.Copy.Owner().Region)
	r.from = r.From
	plan, err := NewPlan(src.Restored(from.Copy), looks, r.Options)
	plan.shown, plan.looks, plan.from = src, looks, from.Copy
	plan.Lines = slices.Concat(r.compare(src, from), plan.Lines)
	refusals := r.refusals(src, from, looks)
	if len(refusals) > 0 && !r.Force {
		err = errors.Join(err, fmt.Errorf("nothing was changed: %s; to recover anyway, add --force", strings.Join(refusals, "; and ")))
	}
	return plan, err
}

// refusals returns the reasons why the recovery needs --force.
func (r *Recovery) refusals(src mirror.Source, from Remote, looks []Remote) (list []string) {
	refuse := func(format string, args ...any) { list = append(list, fmt.Sprintf(format, args...)) }
	owner, claimed, there := from.Copy.Owner(), src.Claimed(), from.Copy.Fingerprints()
	here, _ := src.Usable()
	// A source that was set up again with unrelated keys has nothing to keep.
	switch lost := without(here, there); {
	case lost == "":
	case src.State() == mirror.SourceRefused:
		refuse("tokens signed here with %s would be lost", lost)
	case src.State() == mirror.SourceUnpromoted && here.Continues(there):
		refuse("tokens signed here with %s would be lost, but these keys continue those of %s; to keep them: fernetcast promote %s", lost, r.From, mirror.Quote(r.Region))
	}
	switch {
	case src.State() == mirror.SourceMain:
		refuse("there is nothing to recover: this cluster is the main region, and its keys are valid (primary %d)", src.Keys().Fingerprints().Primary())
	case claimed.Region != "" && claimed.Region != owner.Region:
		refuse("the keys of %s were pushed by %s, but this Secret belongs to %s", r.From, owner.Region, claimed.Region)
	case src.State() == mirror.SourceStandby:
		refuse("this cluster is a standby (%s): its keys are the main region's", src.Detail())
	}
	if unreadable := src.Unreadable(); len(unreadable) > 0 {
		refuse("the annotations %s on Secret %s cannot be read, so its owner is unknown", strings.Join(unreadable, ", "), r.Secret)
	}
	if highest := termsOf(src, looks, r.Ignore)[0]; owner.Term < highest.value {
		refuse("the keys of %s have term %d, but %s", r.From, owner.Term, highest.refusal("which is higher", r.From))
	}
	others := here.Primary() // the highest primary of all clusters except from
	for _, l := range looks {
		if l.Copy.UID() != from.Copy.UID() && !slices.Contains(r.Ignore, l.Name) {
			others = max(others, l.Copy.Fingerprints().Primary())
		}
	}
	if there.Primary()-others > maxLead {
		refuse("the primary %d of %s is more than %d above that of any other cluster that could be read (at most %d): find out who wrote it there, or recover from another remote", there.Primary(), r.From, maxLead, others)
	}
	return list
}

// compare shows both key sets, and whose tokens become valid or invalid.
func (r *Recovery) compare(src mirror.Source, look Remote) []string {
	here, flaws := src.Usable()
	there := look.Copy.Fingerprints()
	lines := []string{
		"Here now:  " + cmp.Or(here.String(), "no keys") + written(src.Written()),
		"In " + r.From + ":    " + cmp.Or(there.String(), "no keys") + written(look.Copy.HeldSince()),
	}
	if len(flaws) > 0 {
		lines[0] += fmt.Sprintf(", and %d invalid: %s", len(flaws), flaws[0])
	}
	if len(flaws) == 1 && flaws[0].Index >= 0 && len(here) > 0 {
		lines = append(lines, "To repair only this key: "+r.repair(flaws[0].Index, here, look))
	}
	if list := without(there, here); list != "" {
		lines = append(lines, "Valid again: tokens signed with "+list)
	}
	if list := without(here, there); list != "" {
		lines = append(lines, "LOST: tokens signed here with "+list)
	}
	return lines
}

// repair returns the command that repairs one bad data key of the source's Secret. A staged key has
// signed nothing, so a new one replaces it. Any other key is copied from the remote if the remote
// has it, perhaps as its staged key. Otherwise, it is lost, and the command removes it.
func (r *Recovery) repair(index int, here keyset.Fingerprints, look Remote) string {
	namespace, name, _ := strings.Cut(r.Secret, "/")
	there := look.Copy.Fingerprints()
	kin := here.Continues(there) || there.Continues(here) || here.Staged() != "" && here.Staged() == there.Staged()
	from := index
	if from == there.Primary()+1 {
		from = 0
	}
	first, field, value := "", "data", "null"
	switch {
	case index == 0:
		field, value = "stringData", `\"$(openssl rand 32 | base64 | tr +/ -_)\"`
	case kin && there[from] != "":
		first = fmt.Sprintf(`key=$(%s get secret %s --output jsonpath={.data.%d}) && test -n "$key" && `,
			mirror.Kubectl(r.From, cmp.Or(look.Namespace, namespace)), name, from)
		value = `\"$key\"`
	}
	return fmt.Sprintf(`%s%s patch secret %s --type merge --patch "{\"%s\":{\"%d\":%s}}"`, first, mirror.Kubectl("", namespace), name, field, index, value)
}

func written(at *time.Time) string {
	if at == nil {
		return ""
	}
	return ", written " + at.Format(time.RFC3339)
}

// without lists the keys in some, except the staged key, that others don't have under any index.
// The index doesn't matter, because Keystone validates a token by trying every key.
func without(some, others keyset.Fingerprints) string {
	var list []string
	for _, index := range slices.Sorted(maps.Keys(some)) {
		if index > 0 && !slices.Contains(slices.Collect(maps.Values(others)), some[index]) {
			list = append(list, fmt.Sprintf("%d (%s)", index, some[index]))
		}
	}
	return strings.Join(list, ", ")
}

// put writes the keys and the mark in one request. It fails if the source has changed since it was
// shown.
func (r *Recovery) put(ctx context.Context, plan Plan) (_ mirror.Source, err error) {
	src := plan.shown
	if src.State() == mirror.SourceAbsent {
		if src, err = r.Create(ctx, src.Restored(plan.from).Kept()); err != nil {
			return src, fmt.Errorf("creating Secret %s: %s; run the command again", r.Secret, mirror.Explain(err))
		}
	}
	return r.write(ctx, src.Restored(plan.from), plan.Term, "the keys were not restored", func(seen mirror.Source) (mirror.Source, bool) {
		return seen.Restored(plan.from), seen.ResourceVersion() == src.ResourceVersion()
	})
}
