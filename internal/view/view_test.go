package view

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func at(version string) *corev1.Secret {
	if version == "" {
		return nil
	}
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{ResourceVersion: version}}
}

// story runs a sequence of steps on a View and records the result so far.
type story struct {
	view    *View[string]
	now     time.Time
	changed bool // whether the last event or GET changed the view
	deaf    bool // whether any GET reported a deaf watch
}

type step func(*story)

func get(version string) step { return during(version) }

// during returns the step of a GET during which other steps happen.
func during(version string, between ...step) step {
	return func(s *story) {
		reading := s.view.Begin()
		for _, b := range between {
			b(s)
		}
		deaf := false
		_, s.changed, deaf = reading.Answered(at(version), s.now)
		s.deaf = s.deaf || deaf
	}
}

func event(version string) step {
	return func(s *story) { s.changed = s.view.Watched(at(version), version) }
}

// gone returns the step in which the watch reports, at that version, a deletion or a list without
// the Secret.
func gone(version string) step {
	return func(s *story) { s.changed = s.view.Watched(nil, version) }
}

func wrote(version string) step { return func(s *story) { s.view.Wrote(at(version), s.now) } }
func stale(s *story)            { s.view.MarkStale() }
func progressed(s *story)       { s.view.Progressed(s.now) }
func later(d time.Duration) step {
	return func(s *story) { s.now = s.now.Add(d) }
}

// Each row has a sequence of GETs, events, and writes, and the view that must result.
func TestView(t *testing.T) {
	long := later(DeafAfter + time.Second)
	for name, tc := range map[string]struct {
		story []step
		seen  string // "" if nothing was seen
		fresh bool
		deaf  bool
	}{
		"nothing":                                           {nil, "", false, false},
		"the watch continues":                               {[]step{get("5"), event("6")}, "6", true, false},
		"the watch lags behind a GET":                       {[]step{get("6"), event("5")}, "6", true, false},
		"the watch catches up with a GET":                   {[]step{get("6"), event("5"), event("7")}, "7", true, false},
		"a GET rewinds":                                     {[]step{event("9"), get("4")}, "4", true, true},
		"after a rewind the watch counts again":             {[]step{event("9"), get("4"), event("5")}, "5", true, true},
		"the watch lags behind our own write":               {[]step{get("5"), wrote("7"), event("6")}, "7", true, false},
		"a rival's event precedes our response":             {[]step{get("5"), event("8"), wrote("7")}, "8", true, false},
		"deleted":                                           {[]step{get("5"), gone("6")}, "absent", true, false},
		"deleted before our write":                          {[]step{get("5"), wrote("7"), gone("6")}, "7", true, false},
		"a GET finds nothing, then an event comes":          {[]step{get(""), event("5")}, "5", true, false},
		"a list without it":                                 {[]step{get("5"), gone("9")}, "absent", true, false},
		"a list of a restored cluster, then a GET":          {[]step{event("9"), event("5"), get("5")}, "5", true, true},
		"a GET is overtaken by the watch":                   {[]step{during("5", event("6"))}, "6", true, false},
		"a GET is overtaken by an older event":              {[]step{get("4"), during("7", event("6"))}, "7", true, false},
		"an event comes during a GET that finds nothing":    {[]step{event("4"), during("", event("5"))}, "absent", false, false},
		"the watch delivers an older event during a rewind": {[]step{event("9"), during("4", event("8"))}, "4", true, true},
		"not confirmed by a GET":                            {[]step{event("5"), progressed, event("6"), progressed}, "6", false, false},
		"progress does not make it fresh":                   {[]step{get("5"), stale, event("6"), progressed}, "6", false, false},
		"stale":                                             {[]step{event("5"), stale}, "5", false, false},
		"stale until a GET":                                 {[]step{event("5"), stale, get("5")}, "5", true, false},
		"an event does not make it fresh":                   {[]step{event("5"), stale, event("6")}, "6", false, false},

		"the watch does not deliver what a GET found": {[]step{event("5"), get("6"), long, get("6")}, "6", true, true},
		"the watch delivers it late, but in time":     {[]step{event("5"), get("6"), later(time.Second), event("6"), long, get("6")}, "6", true, false},
		"a GET at exactly the end of that time":       {[]step{event("5"), get("6"), later(DeafAfter), get("6")}, "6", true, false},
		"the next GET comes before that time":         {[]step{event("5"), get("6"), later(time.Second), get("6")}, "6", true, false},
		"absent all the time":                         {[]step{gone("5"), long, get(""), long, get(""), gone("7"), long, get("")}, "absent", true, false},
		"many GETs, each with a new version":          {[]step{event("5"), get("6"), later(3 * time.Second), get("7"), later(3 * time.Second), get("8")}, "8", true, true},
		"the watch does not deliver our write":        {[]step{event("5"), wrote("6"), long, get("6")}, "6", true, true},
		"the watch delivers our write":                {[]step{event("5"), wrote("6"), event("6"), long, get("6")}, "6", true, false},
		"the watch does not deliver a deletion":       {[]step{event("5"), get(""), long, get("")}, "absent", true, true},
		"the watch delivers a deletion":               {[]step{event("5"), get(""), gone("6"), long, get("")}, "absent", true, false},
		"a lagging watch is not deaf forever":         {[]step{get("5"), event("5"), long, long, get("5")}, "5", true, false},
		"the first GET comes before the watch starts": {[]step{get("5"), later(time.Second), event("5"), long, get("5")}, "5", true, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := &story{now: time.Unix(0, 0), view: New(func(_ string, s *corev1.Secret) string {
				if s == nil {
					return "absent"
				}
				return s.ResourceVersion
			})}
			for _, happens := range tc.story {
				happens(s)
			}
			seen, confirmed := s.view.Get()
			if fresh := !confirmed.IsZero(); seen != tc.seen || fresh != tc.fresh || s.deaf != tc.deaf {
				t.Errorf("seen %q, fresh %v, deaf %v; want %q, %v, %v", seen, fresh, s.deaf, tc.seen, tc.fresh, tc.deaf)
			}
		})
	}
}

// A GET confirms the view, and so does the progress of the watch if it has missed nothing.
func TestConfirmed(t *testing.T) {
	minute := later(time.Minute)
	for name, tc := range map[string]struct {
		story []step
		ago   time.Duration
	}{
		"a GET":                       {[]step{get("5"), minute, event("6")}, time.Minute},
		"progress":                    {[]step{get("5"), event("5"), minute, progressed}, 0},
		"a GET after progress":        {[]step{get("5"), event("5"), minute, progressed, minute, get("5")}, 0},
		"a change is missing":         {[]step{get("5"), event("5"), get("6"), minute, progressed}, time.Minute},
		"our write is missing":        {[]step{get("5"), event("5"), wrote("6"), minute, progressed}, time.Minute},
		"the watch has caught up":     {[]step{get("5"), event("5"), wrote("6"), minute, event("6"), progressed}, 0},
		"an outdated deletion is not": {[]step{get("5"), event("5"), wrote("7"), minute, gone("6"), progressed}, time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			s := &story{now: time.Unix(0, 0), view: New(func(string, *corev1.Secret) string { return "" })}
			for _, happens := range tc.story {
				happens(s)
			}
			if _, confirmed := s.view.Get(); s.now.Sub(confirmed) != tc.ago {
				t.Errorf("confirmed %v ago, want %v", s.now.Sub(confirmed), tc.ago)
			}
		})
	}
}

// An event or a GET that contains nothing new doesn't count as a change.
func TestNews(t *testing.T) {
	s := &story{now: time.Unix(0, 0), view: New(func(_ string, s *corev1.Secret) string { return "" })}
	for i, tc := range []struct {
		happens step
		news    bool
	}{
		{event("5"), true}, {event("5"), false}, {get("5"), false}, {get("6"), true}, {event("6"), false},
		{wrote("7"), false}, {event("7"), false}, {event("6"), false}, {gone("8"), true}, {gone("8"), false}, {get(""), false}, {gone("9"), false}, {event("8"), false}, {event("10"), true}, {get(""), true}, {get(""), false},
	} {
		s.changed = false
		if tc.happens(s); s.changed != tc.news {
			t.Errorf("step %d: changed is %v", i, s.changed)
		}
	}
	if !s.view.Read() {
		t.Error("the view did not record an absence")
	}
}
