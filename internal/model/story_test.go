package model_test

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"pgregory.net/rapid"
)

// actions returns the possible actions. An action occurs as often as its weight.
func (w *world) actions() []func(*world) {
	var all []func(*world)
	add := func(times int, action func(*world)) {
		all = append(all, slices.Repeat([]func(*world){action}, times)...)
	}
	if len(w.waiting()) > 0 {
		add(16, (*world).someRequest)
	}
	if len(w.late) > 0 {
		add(2, (*world).lateWrite)
	}
	add(3, (*world).rotate)
	if w.promotions {
		add(2, (*world).twoPromotions)
		add(2, (*world).somePromotion)
		add(2, (*world).claimTerm)
		add(1, (*world).strip)
		add(1, (*world).rival)
		return all
	}
	add(4, (*world).someNews)
	add(2, (*world).rotateSlowly)
	add(2, (*world).rival)
	add(2, (*world).strip)
	add(2, (*world).remove)
	add(1, (*world).recreate)
	add(3, (*world).restore)
	add(2, (*world).somePromotion)
	add(1, (*world).twoPromotions)
	add(1, (*world).claimTerm)
	add(2, (*world).somePush)
	add(1, (*world).crash)
	add(1, (*world).someCut)
	add(12, (*world).someSync)
	return all
}

// proceed performs about sixty actions. Each action is one draw that includes its own draws, so
// that rapid removes whole actions when it shrinks a story.
func (w *world) proceed() {
	action := rapid.Custom(func(t *rapid.T) (ends bool) {
		w.draws = t
		ends = true
		for i := 0; ends && i < 6; i++ {
			ends = w.toss("ends")
		}
		if !ends {
			pick(w, "action", w.actions())(w)
		}
		return ends
	})
	for !action.Draw(w.t, "action") {
	}
	w.draws = w.t
}

// someSync makes a replica of run sync a remote, either completely or up to the first request.
func (w *world) someSync() {
	r, to := pick(w, "replica", w.replicas), w.somewhere("remote")
	w.atOneGo(w.sync(r, to, w.toss("look"), false))
}

func (w *world) atOneGo(p *process) {
	if !w.toss("step by step") {
		w.finish(p)
	}
}

// somePush runs the command push for one remote.
func (w *world) somePush() {
	region, to := pick(w, "region", w.regions), w.somewhere("remote")
	r := w.command("push", region)
	// The real command also reads the source first.
	w.finish(w.readSource(r))
	w.atOneGo(w.sync(r, to, true, w.toss("force")))
}

// somePromotion runs the command promote in one region. twoPromotions runs it in both regions at
// the same time.
func (w *world) somePromotion() {
	w.atOneGo(w.promotion(pick(w, "region", w.regions)))
}

func (w *world) twoPromotions() {
	for _, region := range w.regions {
		w.promotion(region)
	}
}

func (w *world) promotion(region *cluster) *process {
	var ignore []string
	if rare := w.toss("ignore"); rare && w.toss("ignore") {
		ignore = []string{w.somewhere("ignored").name}
	}
	return w.promote(region, w.toss("force"), ignore...)
}

// someRequest serves a pending request, successfully or not.
func (w *world) someRequest() {
	p := pick(w, "process", w.waiting())
	fates := []fate{served, served, served, served, served, served, refused, lost}
	if p.request.writes != nil {
		fates = append(fates, late, cut, denied)
	}
	w.serve(p, pick(w, "fate", fates))
}

// lateWrite performs a write on which its sender has already given up.
func (w *world) lateWrite() {
	q := pick(w, "write", w.late)
	w.late = slices.DeleteFunc(w.late, func(other *request) bool { return other == q })
	var a answer
	a.secret, a.err = q.do()
	w.say("a late %s is done%s", q.what, outcome(a))
}

// someNews delivers one or all pending events of a watch.
func (w *world) someNews() {
	r := pick(w, "replica", w.replicas)
	f := pick(w, "watch", r.feeds())
	all := w.toss("wholly")
	for f.bring() && all {
	}
	w.say("%s has seen %s up to v%d", r.name, f.cluster.name, f.at)
}

// someCut cuts a watch. The watch stays broken until it is cut again, or can resume immediately.
func (w *world) someCut() {
	r := pick(w, "replica", w.replicas)
	f := pick(w, "watch", r.feeds())
	f.stale = w.toss("stale")
	f.broken = w.toss("down")
	w.say("%s: the watch of %s is cut: stale %v, down %v", r.name, f.cluster.name, f.stale, f.broken)
	f.cut(w.toss("expired"))
	w.wait()
}

// crash kills a replica, whatever it is doing, and starts another.
func (w *world) crash() {
	dead := pick(w, "replica", w.replicas)
	w.say("%s is killed", dead.name)
	dead.kill()
	w.settle()
	w.replicas[slices.Index(w.replicas, dead)] = w.born(dead.region)
}

// conclude completes everything in progress, including writes that their senders have given up.
func (w *world) conclude() {
	for waiting := w.waiting(); len(waiting) > 0; waiting = w.waiting() {
		w.finish(waiting[0])
	}
	for len(w.late) > 0 {
		q := w.late[0]
		w.late = w.late[1:]
		_, _ = q.do()
	}
}

// calm stops the faults and lets every replica sync every remote for several rounds.
func (w *world) calm() {
	w.say("the faults stop")
	w.conclude()
	for _, r := range w.replicas {
		for _, f := range r.feeds() {
			f.broken = false
		}
	}
	w.wait()
	w.rounds()
	w.arrived()
	// If there is no main region or there are two, an operator promotes one.
	region := pick(w, "region", w.regions)
	w.finish(w.promote(region, true))
	if main, _ := w.main(); main != region && region.now != nil && w.keys.good(region.now.Data) {
		w.breaks(alwaysThere, "%s was promoted without any faults, but is not the main region: %s", region.name, describe(region.now))
	}
	w.rounds()
	w.arrived()
}

// rounds runs as many rounds of syncs as can be necessary: one in which an outranked main region
// becomes a standby, and one more to replace the copies that it wrote until then.
func (w *world) rounds() {
	for range 3 {
		for _, r := range w.replicas {
			w.catchUp(r)
			for _, c := range w.clusters {
				w.finish(w.sync(r, c, false, false))
			}
		}
	}
}

// catchUp delivers all events to a replica and checks that the views that it then considers fresh
// are correct.
func (w *world) catchUp(r *replica) {
	for _, f := range r.feeds() {
		for f.bring() {
		}
	}
	if _, fresh := r.source.Seen(); fresh {
		w.judgeView(r.name, r.home)
	}
	for _, c := range w.clusters {
		if l := r.links[c]; l != nil {
			if _, confirmed := l.Copy(); !confirmed.IsZero() {
				w.judgeView(r.name, l.feed)
			}
		}
	}
}

func (w *world) judgeView(name string, f *feed) {
	if version(f.seen) != version(f.cluster.now) {
		w.breaks(rightView, "%s considers %s to be %s, but it is %s", name, f.cluster.name, describe(f.seen), describe(f.cluster.now))
	}
}

func version(s *corev1.Secret) string {
	if s == nil {
		return ""
	}
	return s.ResourceVersion
}
