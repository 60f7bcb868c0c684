package model_test

import (
	"slices"
	"strconv"
	"strings"

	"github.com/fernetcast/fernetcast/internal/mirror"
	corev1 "k8s.io/api/core/v1"
)

const (
	neverBack      = "1, never back"
	alwaysThere    = "2, always there"
	neverWorse     = "3, never worse"
	exact          = "5, exact"
	fenced         = "7, fenced"
	readOnlyAtHome = "8, read-only at home"
	rightView      = "which view counts"
)

// pushed checks each write of the program when it happens. It uses the actual state and history of
// the clusters, not the program's view of them.
func (w *world) pushed(p *process, at *cluster, before, after *corev1.Secret) {
	_, us, readable := claims(after)
	version, err := strconv.Atoi(after.Annotations[mirror.StampVersion])
	if !readable || us == (owner{}) || err != nil {
		w.breaks(exact, "%s wrote an incomplete stamp: %s", at.name, describe(after))
	}
	// A create that is still pending when the source is deleted is exempt: it can't be prevented,
	// only undone.
	if us.uid == string(after.UID) || at == p.replica.region && before != nil {
		w.breaks(readOnlyAtHome, "%s wrote to its own source", p.name)
	}
	src := p.replica.region.at(version)
	w.judgeSource(at, src, us)
	w.judgeData(at, src, before, after)
	if before != nil {
		w.judgeOwner(at, before, us)
		if !p.force {
			w.judgeOrder(p.replica.region, at, src, before, us)
		}
		w.judgeVersion(at, before, us, version)
	}
	w.given[given{at.name, string(after.UID), us}] = version
}

// judgeSource checks that the pushed version of the source was a valid key set, and that its own
// mark made it the main region's.
func (w *world) judgeSource(at *cluster, src *corev1.Secret, us owner) {
	switch {
	case src == nil:
		w.breaks(neverWorse, "%s was pushed from a source that is absent", at.name)
	case !w.keys.good(src.Data):
		w.breaks(neverWorse, "%s was pushed from a source that is not a key set: %s", at.name, describe(src))
	}
	mark, stamp, readable := claims(src)
	switch {
	case stamp != owner{} && stamp.term >= mark.term:
		w.breaks(fenced, "%s was pushed by a standby: %s", at.name, describe(src))
	case !readable || mark == owner{} || mark != us:
		w.breaks(neverWorse, "%s was pushed from a source that is not promoted: %s", at.name, describe(src))
	}
}

// judgeData checks that the copy has the source's data, a matching stamp, and no mark, and that its
// other metadata is the same as before.
func (w *world) judgeData(at *cluster, src, before, after *corev1.Secret) {
	if !equal(after.Data, src.Data) {
		w.breaks(exact, "%s has data %s, but its source has %s", at.name, short(after.Data), short(src.Data))
	}
	if after.Annotations[mirror.StampKeys] != prints(src.Data) {
		w.breaks(exact, "%s has a stamp with the wrong keys: %s", at.name, after.Annotations[mirror.StampKeys])
	}
	for _, name := range markParts {
		if after.Annotations[name] != "" {
			w.breaks(exact, "%s still has a mark", at.name)
		}
	}
	if before != nil && (before.Labels["kept"] != after.Labels["kept"] || before.Annotations["kept"] != after.Annotations["kept"] || before.Type != after.Type) {
		w.breaks(exact, "%s lost other writers' metadata", at.name)
	}
}

// judgeOwner checks that us outranks the owner of the overwritten Secret.
func (w *world) judgeOwner(at *cluster, before *corev1.Secret, us owner) {
	mark, stamp, readable := claims(before)
	if !readable {
		w.breaks(fenced, "%s was overwritten, although its owner is unreadable: %s", at.name, describe(before))
	}
	for _, other := range []owner{mark, stamp} {
		if other != us && other.term >= us.term {
			w.breaks(fenced, "%s was %s, and was overwritten with term %d of %s", at.name, describe(before), us.term, us.region)
		}
	}
}

// judgeOrder checks that a copy with the same owner never gets older keys, and that the new keys
// continue the stamped ones.
func (w *world) judgeOrder(home, at *cluster, src, before *corev1.Secret, us owner) {
	_, stamp, _ := claims(before)
	if stamp != us || equal(before.Data, src.Data) {
		return
	}
	was := stamped(before)
	if was == prints(before.Data) && w.keys.older(src.Data, before.Data) {
		w.breaks(neverBack, "%s went from %s to the older %s", at.name, short(before.Data), short(src.Data))
	}
	if !continues(prints(src.Data), was) && !w.led(home, src, was, us) {
		w.breaks(neverWorse, "%s was stamped with %s, but the new keys %s do not continue those", at.name, was, prints(src.Data))
	}
}

// led reports whether the main region's own Secret once had the stamped primary, and every change
// from there to src continued the previous keys. A process that saw all of these changes may push
// src, even if no remaining key proves that the sets are related.
func (w *world) led(home *cluster, src *corev1.Secret, was string, us owner) bool {
	var line []string // key sets that led to src, starting with src
	for _, m := range slices.Backward(home.past) {
		if m.secret == src {
			line = append(line, prints(src.Data))
			continue
		}
		mark, _, _ := claims(m.secret)
		if len(line) == 0 || m.deleted || mark != us || !w.keys.good(m.secret.Data) {
			continue
		}
		set := prints(m.secret.Data)
		if !slices.ContainsFunc(line, func(later string) bool { return continues(later, set) }) {
			continue
		}
		if primary(set) == primary(was) {
			return true
		}
		line = append(line, set)
	}
	return false
}

// primary returns the highest index with its fingerprint, as in the stamp.
func primary(prints string) string { return prints[strings.LastIndex(prints, ",")+1:] }

// stamped returns the keys in the stamp of a copy, or the keys in its data if the stamp
// lacks them.
func stamped(s *corev1.Secret) string {
	if keys := s.Annotations[mirror.StampKeys]; keys != "" {
		return keys
	}
	return prints(s.Data)
}

// judgeVersion checks that within a term, no copy goes back to an older version of the source. The
// previous version is in the copy's stamp. If the stamp lacks it, the last version that the owner
// wrote to this very object counts.
func (w *world) judgeVersion(at *cluster, before *corev1.Secret, us owner, version int) {
	last := w.given[given{at.name, string(before.UID), us}]
	if _, stamp, _ := claims(before); stamp == us {
		if said, err := strconv.Atoi(before.Annotations[mirror.StampVersion]); err == nil {
			last = said
		}
	}
	if version < last {
		w.breaks(neverBack, "%s went from version %d of the source back to %d", at.name, last, version)
	}
}

// main returns the region whose mark has the highest term of all, and the owner in that mark. It
// returns nil if there is no such region, its source is not valid, or another owner has the same
// term.
func (w *world) main() (*cluster, owner) {
	var highest owner
	rivalled := false
	for _, c := range w.clusters {
		if c.now == nil {
			continue
		}
		mark, stamp, _ := claims(c.now)
		for _, o := range []owner{mark, stamp} {
			switch {
			case o.term > highest.term:
				highest, rivalled = o, false
			case o.term == highest.term && o != highest:
				rivalled = true
			}
		}
	}
	for _, c := range w.regions {
		if c.now == nil || rivalled || highest.term == 0 {
			continue
		}
		mark, stamp, readable := claims(c.now)
		if mark == highest && stamp.term < mark.term && readable && w.keys.good(c.now.Data) {
			return c, highest
		}
	}
	return nil, owner{}
}

// due reports whether promise 2 requires the main region's keys to arrive in a remote.
func (w *world) due(main, at *cluster, us owner) bool {
	if at == main {
		return false
	}
	if at.now == nil {
		return true
	}
	_, stamp, readable := claims(at.now)
	return readable && (stamp != us || equal(at.now.Data, main.now.Data) || continues(prints(main.now.Data), stamped(at.now)))
}

// arrived checks promise 2 after everything has come to rest.
func (w *world) arrived() {
	main, us := w.main()
	if main == nil {
		return
	}
	for _, c := range w.clusters {
		if !w.due(main, c, us) {
			continue
		}
		w.kept++
		if c.now == nil {
			w.breaks(alwaysThere, "%s has no Secret", c.name)
		}
		mark, stamp, _ := claims(c.now)
		if !equal(c.now.Data, main.now.Data) || stamp != us || mark != (owner{}) || stamped(c.now) != prints(main.now.Data) {
			w.breaks(alwaysThere, "%s has %s, but the main region has %s", c.name, describe(c.now), describe(main.now))
		}
	}
}
