package model_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// These are requirements for promotions, in addition to the promises.
const (
	consent = "without --force, promote does nothing that loses keys or uses up terms"
	highest = "a promotion's term exceeds every term that promote could see"
	truth   = "promote reports what it did"
)

// maxLead is the most by which one cluster's term may exceed all others. Without --force, promote
// must not take a term above a higher one.
const maxLead = 1000

// judgeMark checks each mark when it is written.
func (p *promoting) judgeMark(before, after *corev1.Secret) {
	w := p.world
	mark, _, readable := claims(after)
	if p.denied != "" {
		w.breaks(truth, "%s marked its source after it had reported %q", p.name, p.denied)
	}
	if stamp, _ := claim(after, stampParts); !readable || mark.region != p.region.name || stamp != (owner{}) {
		w.breaks(exact, "%s wrote an incomplete mark: %s", p.name, describe(after))
	}
	if !equal(before.Data, after.Data) || before.Type != after.Type || before.Labels["kept"] != after.Labels["kept"] {
		w.breaks(readOnlyAtHome, "%s changed more than the mark: from %s to %s", p.name, describe(before), describe(after))
	}
	if !w.keys.good(before.Data) {
		w.breaks(neverWorse, "%s marked data that is not a key set: %s", p.name, describe(before))
	}
	if highestTerm(before) >= mark.term {
		w.breaks(highest, "%s took term %d, and overwrote %s", p.name, mark.term, describe(before))
	}
	terms, again := p.terms(highestTerm(before)), p.looks > 1
	far := outliers(terms)
	for _, n := range terms {
		switch {
		case n == mark.term-1 && slices.Contains(far, n) && (again || !p.opts.Force):
			w.breaks(consent, "%s took term %d, above an outlier of one cluster; all terms: %v", p.name, mark.term, terms)
		case n >= mark.term && !(again && slices.Contains(far, n)):
			w.breaks(highest, "%s took term %d, but saw the terms %v", p.name, mark.term, terms)
		}
	}
	if !again {
		p.judgeSource(before)
		p.judgeKeys(mark)
		p.rivals = map[*cluster]rivalry{}
		for _, c := range w.clusters {
			if c.now != nil && c != p.region {
				p.rivals[c] = rivalry{c.version, rivalTerm(c.now, mark)}
			}
		}
	}
	p.marks = append(p.marks, mark)
}

// judgeSource checks that the marked Secret is the source that the promotion read, and that only
// rotations have changed it since. Without --force, its mark and owner must be readable.
func (p *promoting) judgeSource(before *corev1.Secret) {
	switch _, _, readable := claims(before); {
	case before.UID != p.source.UID || !continues(prints(before.Data), prints(p.source.Data)):
		p.world.breaks(consent, "%s read %s, but marked %s", p.name, describe(p.source), describe(before))
	case !readable && !p.opts.Force:
		p.world.breaks(consent, "%s replaced unreadable annotations: %s", p.name, describe(before))
	}
}

// judgeKeys checks that a promotion without --force happens only if the source's keys continue
// those of every copy and main region that was read, except ignored ones.
func (p *promoting) judgeKeys(mark owner) {
	for name, s := range p.looked {
		if p.opts.Force || s == nil || s.UID == p.source.UID || slices.Contains(p.opts.Ignore, name) {
			continue
		}
		held := ""
		if o, _ := claim(s, stampParts); o != (owner{}) {
			held = stamped(s)
		}
		if o, _ := claim(s, markParts); o != (owner{}) {
			held = prints(s.Data)
		}
		if len(byIndex(held)) > 1 && !continues(prints(p.source.Data), held) {
			p.world.breaks(consent, "%s promoted a source with %s, although %s holds %s", p.name, prints(p.source.Data), name, held)
		}
	}
}

// judgeEnd checks a promotion's result and final message.
func (p *promoting) judgeEnd() {
	w, said := p.world, fmt.Sprint(p.end)
	w.say("%s: ends: %s", p.name, said)
	switch {
	case p.end == nil && len(p.marks) == 0 && !p.markedByAnother():
		w.breaks(truth, "%s succeeded, but marked nothing", p.name)
	case strings.Contains(said, "nothing was changed") || strings.Contains(said, "has not begun"):
		if p.denied = said; len(p.marks) > 0 {
			w.breaks(truth, "%s marked its source, but reported %s", p.name, said)
		}
	}
	if p.end != nil || len(p.marks) == 0 {
		return
	}
	last, far := p.marks[len(p.marks)-1].term, outliers(p.terms(p.marks[0].term))
	for c, r := range p.rivals {
		_, reached := p.looked[c.name]
		if reached && c.version == r.version && r.term >= last && !slices.Contains(far, r.term) && !slices.Contains(p.opts.Ignore, c.name) {
			w.breaks(highest, "%s succeeded with term %d, but %s had term %d all the time: %s", p.name, last, c.name, r.term, describe(c.now))
		}
	}
}

// markedByAnother reports whether another promotion in the same region has set a mark since p read
// its source.
func (p *promoting) markedByAnother() bool {
	began, _ := strconv.Atoi(p.source.ResourceVersion)
	return slices.ContainsFunc(p.region.past, func(m moment) bool {
		mark, _, _ := claims(m.secret)
		return m.version > began && mark.region == p.region.name
	})
}

// terms returns the promotion's own term, followed by the last terms that it saw in clusters that
// it didn't ignore.
func (p *promoting) terms(own int) []int {
	terms := []int{own}
	for name, s := range p.looked {
		if s != nil && s.UID != p.source.UID && !slices.Contains(p.opts.Ignore, name) {
			terms = append(terms, highestTerm(s))
		}
	}
	return terms
}

// highestTerm returns the higher of the terms in the mark and the stamp, even if the mark was set
// on another object.
func highestTerm(s *corev1.Secret) int {
	mark, _ := claim(s, markParts)
	stamp, _ := claim(s, stampParts)
	return max(mark.term, stamp.term)
}

// rivalTerm returns the highest term of another owner that us does not outrank; 0 if there
// is none.
func rivalTerm(s *corev1.Secret, us owner) int {
	mark, stamp, _ := claims(s)
	rival := 0
	for _, o := range []owner{mark, stamp} {
		if o != us && o.term >= us.term {
			rival = max(rival, o.term)
		}
	}
	return rival
}

// outliers returns the highest terms, as long as each is more than maxLead above the next lower
// one.
func outliers(terms []int) []int {
	down := append(slices.Clone(terms), 0)
	slices.SortFunc(down, func(a, b int) int { return b - a })
	for i := range terms {
		if down[i]-down[i+1] <= maxLead {
			return down[:i]
		}
	}
	return down[:len(terms)]
}
