package model_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/fernetcast/fernetcast/internal/mirror"
	corev1 "k8s.io/api/core/v1"
	"pgregory.net/rapid"
)

// describe returns a one-line description of a Secret.
func describe(s *corev1.Secret) string {
	if s == nil {
		return "absent"
	}
	text := fmt.Sprintf("v%s (%s) %s", s.ResourceVersion, s.UID, short(s.Data))
	a := s.Annotations
	for i, parts := range [][]string{markParts, stampParts} {
		what := []string{"marked", "stamped"}[i]
		if o, readable := claim(s, parts); !readable {
			text += " " + what + " unreadably"
		} else if o != (owner{}) {
			text += fmt.Sprintf(" %s %s term %d (%s)", what, o.region, o.term, o.uid)
		}
	}
	if keys := a[mirror.StampKeys]; keys != "" {
		text += fmt.Sprintf(" v%s", a[mirror.StampVersion])
		if keys != prints(s.Data) {
			text += " of other keys"
		}
	}
	return text
}

func (w *world) toss(what string) bool { return rapid.Bool().Draw(w.draws, what) }

// pick draws each element with the same probability, unlike rapid, which prefers the first.
func pick[T any](w *world, what string, from []T) T {
	drawn := 0
	for reach := 1; reach < 4*len(from); reach *= 2 {
		drawn *= 2
		if w.toss(what) {
			drawn++
		}
	}
	return from[drawn%len(from)]
}

// somewhere draws a cluster. It draws one of them more often, so that more events affect each
// other.
func (w *world) somewhere(what string) *cluster {
	sjc, dfw, lon, syd := w.clusters[0], w.clusters[1], w.clusters[2], w.clusters[3]
	return pick(w, what, []*cluster{lon, syd, lon, sjc, lon, dfw})
}

// present returns c if it has a Secret, and nil otherwise.
func present(c *cluster) *cluster {
	if c.now == nil {
		return nil
	}
	return c
}

// rotate runs a region's rotation job, from its GET to its PUT.
func (w *world) rotate() {
	if c := present(pick(w, "region", w.regions)); c != nil {
		w.rotated(c, c.now)
	}
}

// rotated performs the PUT of a rotation job, which rotates the keys in the Secret that the job
// read.
func (w *world) rotated(c *cluster, read *corev1.Secret) {
	next := w.keys.rotated(read.Data)
	if next == nil {
		return
	}
	s := read.DeepCopy()
	s.Data = next
	if written, err := c.update(s); err != nil {
		w.say("rotation in %s: conflict", c.name)
	} else {
		w.say("rotation in %s: %s", c.name, describe(written))
	}
}

// rotateSlowly runs one request of a rotation job: its GET or, if the job has already read the
// Secret, its PUT.
func (w *world) rotateSlowly() {
	c := pick(w, "cluster", w.regions)
	if read := w.jobs[c]; read != nil {
		delete(w.jobs, c)
		w.rotated(c, read)
	} else if c.now != nil {
		w.say("rotation in %s: read %s", c.name, describe(c.now))
		w.jobs[c] = c.now
	}
}

// rival simulates another program that writes to some cluster.
func (w *world) rival() {
	c := present(w.somewhere("cluster"))
	if c == nil {
		return
	}
	how := pick(w, "how", []string{"another staged key", "a key too many", "a key too few", "a new set", "none", "a broken key"})
	c.edited(func(s *corev1.Secret) {
		s.Data = maps.Clone(s.Data)
		switch top := indices(s.Data); {
		case how == "a new set":
			s.Data = w.keys.repository()
		case how == "none" || len(top) == 0:
			s.Data = nil
		case how == "another staged key":
			s.Data["0"] = w.keys.key()
		case how == "a key too many":
			s.Data[fmt.Sprint(top[0]+1)] = w.keys.key()
		case how == "a broken key":
			s.Data[fmt.Sprint(top[0])] = []byte("cut off")
		default:
			delete(s.Data, fmt.Sprint(top[0]))
		}
	})
	w.say("rival writes %s: %s: %s", c.name, how, describe(c.now))
}

// strip removes annotations from some Secret.
func (w *world) strip() {
	c := present(w.somewhere("cluster"))
	if c == nil {
		return
	}
	how := pick(w, "how", []string{"all", mirror.StampKeys, mirror.StampVersion, mirror.StampRegion, mirror.MarkTerm})
	c.edited(func(s *corev1.Secret) {
		s.Annotations = maps.Clone(s.Annotations)
		maps.DeleteFunc(s.Annotations, func(name, _ string) bool {
			return name == how || how == "all" && strings.HasPrefix(name, "fernetcast/")
		})
	})
	w.say("annotations of %s are removed: %s: %s", c.name, how, describe(c.now))
}

// remove simulates a manual kubectl delete. recreate simulates Argo CD, which deletes the Secret,
// and a setup job, which then creates new keys.
func (w *world) remove() {
	if c := present(w.somewhere("cluster")); c != nil {
		c.remove()
		w.say("%s is deleted", c.name)
	}
}

func (w *world) recreate() {
	c := w.somewhere("cluster")
	c.remove()
	d := w.keys.repository()
	if w.toss("empty") {
		d = nil
	}
	w.say("%s is recreated: %s", c.name, describe(c.create(manifest(d, nil))))
}

// restore applies an older manifest, possibly another cluster's. It replaces the Secret,
// merges with it, or creates a new object.
func (w *world) restore() {
	c := w.somewhere("cluster")
	from := c
	if w.toss("of another") {
		from = w.somewhere("backup of")
	}
	past := slices.DeleteFunc(slices.Clone(from.past), func(m moment) bool { return m.deleted })
	if len(past) == 0 {
		return
	}
	backup := pick(w, "backup", past).secret
	old := manifest(backup.Data, backup.Annotations)
	switch how := pick(w, "how", []string{"merged", "replaced", "recreated"}); {
	case c.now == nil || how == "recreated":
		c.remove()
		c.create(old)
	case how == "replaced":
		c.store(old, c.now.UID)
	default:
		c.store(merged(c.now, old), c.now.UID)
	}
	w.say("%s is restored from v%s of %s: %s", c.name, backup.ResourceVersion, from.name, describe(c.now))
}

// claimTerm puts another owner's stamp on some Secret. The stamp's term is the next one, or far
// above all others. claimTerm runs rarely, because after it no region is the main until the next
// promotion.
func (w *world) claimTerm() {
	c := present(w.somewhere("cluster"))
	if c == nil || !pick(w, "now", []bool{true, false, false, false}) {
		return
	}
	term := 0
	for _, other := range w.clusters {
		if other.now != nil {
			term = max(term, highestTerm(other.now))
		}
	}
	term += pick(w, "by", []int{1, maxLead, maxLead + 1, 2 * maxLead})
	c.edited(func(s *corev1.Secret) {
		s.Annotations = maps.Clone(s.Annotations)
		if s.Annotations == nil {
			s.Annotations = map[string]string{}
		}
		s.Annotations[mirror.StampRegion], s.Annotations[mirror.StampTerm], s.Annotations[mirror.StampUID] = "hkg", fmt.Sprint(term), "hkg-1"
	})
	w.say("somebody stamps %s: %s", c.name, describe(c.now))
}
