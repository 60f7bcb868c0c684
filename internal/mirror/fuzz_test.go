package mirror

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/types"
)

// annotationNames lists the annotations of the mark, followed by those of the stamp.
var annotationNames = []string{MarkRegion, MarkTerm, MarkUID, StampRegion, StampTerm, StampUID, StampVersion, StampKeys}

// ownerIn parses an owner without using readOwner. The owner is either complete or zero. If it is
// zero, the annotations that exist are returned as unreadable.
func ownerIn(a map[string]string, names []string) (o Owner, unreadable []string) {
	region, term, uid := a[names[0]], a[names[1]], a[names[2]]
	n, err := strconv.Atoi(term)
	if err == nil && strconv.Itoa(n) == term && n >= 1 && n <= 999999 && CheckRegion(region) == nil && uid != "" {
		return Owner{Region: region, Term: n, UID: types.UID(uid)}, nil
	}
	for _, name := range names {
		if _, ok := a[name]; ok {
			unreadable = append(unreadable, name)
		}
	}
	return Owner{}, unreadable
}

// Whatever the annotations are, a parsed owner is complete or zero. A source is a Main only if it
// has a valid mark of its own. A copy is written only if its owner is readable, and is this main
// region or outranked by it. The written annotations can be parsed.
func FuzzClaims(f *testing.F) {
	all := byte(1<<len(annotationNames) - 1)
	f.Add("dfw", "2", string(farUID), "sjc", "3", string(homeUID), "7", prints(older0), all)
	f.Add("sjc", "3", string(homeUID), "iad", "3", string(farUID), "7", prints(older0), all)
	f.Add("sjc", "3", string(homeUID), "", "03", "", "", "", byte(7))
	f.Add("sjc", "1000000", string(homeUID), "iad ", "3", "u", "+7", "1=x", all)
	f.Add("", "", "", "sjc", "3", "other", "99", prints(newest), byte(0xf8))
	f.Add("iad", "4", string(farUID), "sjc", "3", string(homeUID), "99", prints(older1), byte(0xff))
	f.Fuzz(func(t *testing.T, mark, markTerm, markUID, region, term, uid, version, keys string, present byte) {
		a := map[string]string{}
		for i, value := range []string{mark, markTerm, markUID, region, term, uid, version, keys} {
			if present>>i&1 == 1 {
				a[annotationNames[i]] = value
			}
		}
		wantMark, unreadableMark := ownerIn(a, annotationNames[:3])
		wantStamp, unreadableStamp := ownerIn(a, annotationNames[3:6])
		unreadable := slices.Concat(unreadableMark, unreadableStamp)
		c := readClaims(mainSecret(annotate(a)))
		if c.mark != wantMark || c.stamp != wantStamp || !slices.Equal(c.unreadable, unreadable) {
			t.Fatalf("%q parsed as %+v", a, c)
		}
		if c.keys != nil && c.keys.String() != a[StampKeys] || c.pushed != "" && c.pushed != a[StampVersion] {
			t.Errorf("%q parsed as %+v", a, c)
		}
		asSource(t, a, wantMark, wantStamp, unreadable)
		asCopy(t, a, wantMark, wantStamp, unreadable)
	})
}

// asSource checks a source with these annotations.
func asSource(t *testing.T, a map[string]string, mark, stamp Owner, unreadable []string) {
	src := ReadSource(mainSecret(annotate(a)))
	want := mark != Owner{} && mark.UID == homeUID && mark.Term > stamp.Term && len(unreadable) == 0
	if isMain := src.State() == SourceMain; isMain != want || isMain && src.Owner() != mark {
		t.Errorf("annotations %q: the source is %s, owned by %+v", a, src.State(), src.Owner())
	}
	marked := readClaims(src.Marked("iad", MaxTerm, "", nil))
	if (marked.mark != Owner{"iad", MaxTerm, homeUID}) || marked.stamp != (Owner{}) || marked.keys != nil || marked.pushed != "" || len(marked.unreadable) > 0 {
		t.Errorf("annotations %q: after a promotion, they are parsed as %+v", a, marked)
	}
}

// asCopy checks the decision for a remote with these annotations and older keys.
func asCopy(t *testing.T, a map[string]string, mark, stamp Owner, unreadable []string) {
	src := ReadSource(mainSecret())
	if mark.UID != farUID {
		mark = Owner{} // set on another object
	}
	there := secret(farUID, "9", older0, a)
	d := Decide(src, ReadCopy(Place{"dfw", "openstack", "keystone-fernet-keys", ""}, there), true)
	forbidden := len(unreadable) > 0
	for _, owner := range []Owner{mark, stamp} {
		forbidden = forbidden || owner.Term > src.Owner().Term || owner.Term == src.Owner().Term && owner != src.Owner()
	}
	if (d.Action == ActionUpdate) == forbidden || d.Action != ActionUpdate && (d.Secret != nil || d.State != StateHeld) {
		t.Errorf("%q: %s (%s), action %d", a, d.State, d.Detail, d.Action)
	}
	if d.Action == ActionUpdate {
		written := readClaims(d.Secret)
		if written.stamp != src.Owner() || !written.keys.Equal(src.Keys().Fingerprints()) || written.pushed != src.ResourceVersion() || written.marked || len(written.unreadable) > 0 {
			t.Errorf("annotations %q: the written ones are parsed as %+v", a, written)
		}
	}
	// The values of unreadable annotations do not influence the decision and are not shown.
	blank := maps.Clone(a)
	for _, name := range unreadable {
		blank[name] = ""
	}
	without := Decide(src, ReadCopy(Place{"dfw", "openstack", "keystone-fernet-keys", ""}, secret(farUID, "9", older0, blank)), true)
	if without.Detail != d.Detail || without.Reason != d.Reason || !strings.Contains(d.Detail, strings.Join(unreadable, ", ")) && d.Reason == ReasonStamp {
		t.Errorf("%q: %s, without the values %s", a, d.Detail, without.Detail)
	}
	if !maps.Equal(there.Annotations, a) {
		t.Errorf("Decide changed the annotations %q to %q", a, there.Annotations)
	}
}
