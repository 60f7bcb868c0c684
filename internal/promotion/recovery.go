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

// Recovery is a promotion of this cluster with the keys that a remote was given, after
// its own were lost. Its region is the one that they were pushed from.
type Recovery struct {
	*Promotion
	// From is the remote's name, Context the operator's for this cluster; "" for the current one.
	From, Context string
	// Idle says why nothing may be written now: a rotation that is under way would be
	// run again on a folder that lacks the keys. It is asked before the plan, and again
	// before the write.
	Idle func(context.Context) error
	// Create creates the source, where it is absent: what is there is never written over.
	Create func(context.Context, *corev1.Secret) (mirror.Source, error)
}

// Plan reads the source and the remotes, and plans: what is put back, and what is lost.
// It changes nothing. If the error refuses the plan, the plan can be shown all the same.
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
	restored, plan, err := r.plan(src, from, looks)
	plan.shown, plan.promoted, plan.looks = src, restored, looks
	return plan, err
}

// Apply carries out a plan that nothing refuses: it writes the keys and the mark in one
// request, and continues as a promotion does. An absent source is created first, empty.
// The error says whether anything was changed, and what to do.
func (r *Recovery) Apply(ctx context.Context, plan Plan) error {
	if err := r.Idle(ctx); err != nil {
		return fmt.Errorf("nothing was changed: %w", err)
	}
	from, err := r.giver(plan.looks)
	if err != nil {
		return err
	}
	restored, err := r.put(ctx, plan.shown, plan.promoted, from.Copy, plan.Term)
	if err != nil {
		return err
	}
	return r.complete(ctx, restored, plan.looks)
}

// giver returns the remote whose keys are put back. The error says why they can't be.
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

// plan plans what is put back, and refuses what would lose keys or belongs to another
// main. It sends no request. It sets the region if there is none.
func (r *Recovery) plan(src mirror.Source, from Remote, looks []Remote) (mirror.Source, Plan, error) {
	r.Region = cmp.Or(r.Region, from.Copy.Owner().Region)
	r.instead = "recover from there instead"
	restored := src.Restored(from.Copy)
	plan, err := NewPlan(restored, looks, r.Options)
	plan.Lines = slices.Concat(r.compare(src, from), plan.Lines)
	refusals := r.refusals(src, from, termsOf(src, looks, r.Ignore)[0])
	if len(refusals) > 0 && !r.Force {
		err = errors.Join(err, fmt.Errorf("nothing was changed: %s; to recover anyway, add --force", strings.Join(refusals, "; and ")))
	}
	return restored, plan, err
}

// refusals are the reasons why only --force recovers. highest is the highest term there is.
func (r *Recovery) refusals(src mirror.Source, from Remote, highest term) (list []string) {
	refuse := func(format string, args ...any) { list = append(list, fmt.Sprintf(format, args...)) }
	owner, claimed := from.Copy.Owner(), src.Claimed()
	if loss := r.loss(src, from); loss != "" {
		list = append(list, loss)
	}
	switch {
	case src.State() == mirror.SourceMain && src.Keys().Fingerprints().Continues(from.Copy.Fingerprints()):
		refuse("there is nothing to recover: this main region's keys continue those of %s", r.From)
	case claimed.Region != "" && claimed.Region != owner.Region:
		refuse("the keys of %s were pushed by %s, but this Secret belongs to %s", r.From, owner.Region, claimed.Region)
	case src.State() == mirror.SourceStandby:
		refuse("this cluster is a standby (%s): its keys are the main region's", src.Detail())
	}
	if unreadable := src.Unreadable(); len(unreadable) > 0 {
		refuse("the annotations %s on Secret %s cannot be read, so its owner is unknown", strings.Join(unreadable, ", "), r.Secret)
	}
	if owner.Term < highest.value {
		refuse("the keys of %s have term %d, but %s has term %d", r.From, owner.Term, cmp.Or(highest.remote, "this cluster"), highest.value)
	}
	return list
}

// compare shows both key sets, and which tokens live again and which die.
func (r *Recovery) compare(src mirror.Source, look Remote) []string {
	here, flaws := src.Usable()
	there := look.Copy.Fingerprints()
	lines := []string{
		"Here now:  " + keysOf(here) + written(src.Written()),
		"In " + r.From + ":    " + keysOf(there) + written(look.Copy.HeldSince()),
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

// loss refuses to give up keys that this source still has and the remote lacks; "" if
// none are lost, or if they belong to another key set, one that was set up again.
func (r *Recovery) loss(src mirror.Source, look Remote) string {
	here, _ := src.Usable()
	there := look.Copy.Fingerprints()
	kin, lost := here.Continues(there), without(here, there)
	switch {
	case lost == "":
		return ""
	case src.State() == mirror.SourceUnpromoted && kin:
		return fmt.Sprintf("tokens signed here with %s would be lost, but these keys continue those of %s; to keep them: fernetcast promote %s", lost, r.From, mirror.Quote(r.Region))
	case src.State() != mirror.SourceRefused:
		return ""
	}
	return fmt.Sprintf("tokens signed here with %s would be lost", lost)
}

// repair is the command that repairs one bad data key of the source's Secret. A staged key
// has signed nothing, so any new one will do. Another key is taken from the remote if it
// has it, perhaps as its staged one; otherwise it is lost already.
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
		first = fmt.Sprintf(`key=$(kubectl --context %s --namespace %s get secret %s --output jsonpath={.data.%d}) && test -n "$key" && `,
			mirror.Quote(r.From), cmp.Or(look.Namespace, namespace), name, from)
		value = `\"$key\"`
	}
	context := ""
	if r.Context != "" {
		context = " --context " + mirror.Quote(r.Context)
	}
	return fmt.Sprintf(`%skubectl%s --namespace %s patch secret %s --type merge --patch "{\"%s\":{\"%d\":%s}}"`, first, context, namespace, name, field, index, value)
}

func keysOf(p keyset.Fingerprints) string {
	if len(p) == 0 {
		return "no keys"
	}
	return p.String()
}

func written(at *time.Time) string {
	if at == nil {
		return ""
	}
	return ", written " + at.Format(time.RFC3339)
}

// without are the keys, but for the staged one, that others do not have under any index:
// a token names the key that has signed it by trying.
func without(some, others keyset.Fingerprints) string {
	var list []string
	for _, index := range slices.Sorted(maps.Keys(some)) {
		if index > 0 && !slices.Contains(slices.Collect(maps.Values(others)), some[index]) {
			list = append(list, fmt.Sprintf("%d (%s)", index, some[index]))
		}
	}
	return strings.Join(list, ", ")
}

// put writes the keys and the mark in one request, over the very source that was shown.
func (r *Recovery) put(ctx context.Context, shown, restored mirror.Source, from mirror.Copy, term int) (mirror.Source, error) {
	if shown.State() == mirror.SourceAbsent {
		made, err := r.Create(ctx, restored.Kept())
		if err != nil {
			return made, fmt.Errorf("creating Secret %s: %s; run the command again", r.Secret, mirror.Explain(err))
		}
		shown, restored = made, made.Restored(from)
	}
	version := shown.ResourceVersion()
	return r.write(ctx, restored, term, "the keys were not restored", func(seen mirror.Source) (mirror.Source, bool) {
		return seen.Restored(from), seen.ResourceVersion() == version
	})
}
