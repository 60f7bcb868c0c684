package watcher

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Which of the three voices counts: each case is a story, and what is seen at its end.
func TestWhichViewCounts(t *testing.T) {
	type story func(*Watcher[string], *cluster)
	get := func(version string) story {
		return func(w *Watcher[string], c *cluster) {
			c.get = answer(secretAt(version), nil)
			if version == "absent" {
				c.get = answer(nil, errNotFound)
			}
			if _, err := w.Get(t.Context()); err != nil {
				t.Error(err)
			}
		}
	}
	event := func(version string) story {
		return func(w *Watcher[string], _ *cluster) { _ = store[string]{w}.Update(secretAt(version)) }
	}
	gone := func(version string) story {
		return func(w *Watcher[string], _ *cluster) { _ = store[string]{w}.Delete(secretAt(version)) }
	}
	list := func(version string, items ...any) story {
		return func(w *Watcher[string], _ *cluster) { _ = store[string]{w}.Replace(items, version) }
	}
	wrote := func(version string) story {
		return func(w *Watcher[string], _ *cluster) { w.Wrote(secretAt(version)) }
	}
	// during is a GET that is answered with version after the watch brought event.
	during := func(version string, bring story) story {
		return func(w *Watcher[string], c *cluster) {
			c.get = func() (*corev1.Secret, error) { bring(w, c); return secretAt(version), nil }
			if _, err := w.Get(t.Context()); err != nil {
				t.Error(err)
			}
		}
	}
	absentDuring := func(bring story) story {
		return func(w *Watcher[string], c *cluster) {
			c.get = func() (*corev1.Secret, error) { bring(w, c); return nil, errNotFound }
			if _, err := w.Get(t.Context()); err != nil {
				t.Error(err)
			}
		}
	}
	for what, tc := range map[string]struct {
		tale  []story
		seen  string
		fresh bool
	}{
		"nothing":                                      {nil, "", false},
		"the watch goes on":                            {[]story{event("5"), event("6")}, "6", true},
		"the watch lags behind a GET":                  {[]story{get("6"), event("5")}, "6", true},
		"the watch catches up with a GET":              {[]story{get("6"), event("5"), event("7")}, "7", true},
		"a GET rewinds":                                {[]story{event("9"), get("4")}, "4", true},
		"after a rewind the watch counts again":        {[]story{event("9"), get("4"), event("5")}, "5", true},
		"the watch lags behind our own write":          {[]story{event("5"), wrote("7"), event("6")}, "7", true},
		"a rival was faster than our answer":           {[]story{event("5"), event("8"), wrote("7")}, "8", true},
		"deleted":                                      {[]story{event("5"), gone("6")}, "absent", true},
		"deleted before our write":                     {[]story{event("5"), wrote("7"), gone("6")}, "7", true},
		"absent, says a GET, and then it is there":     {[]story{get("absent"), event("5")}, "5", true},
		"a list without it":                            {[]story{event("5"), list("9")}, "absent", true},
		"a list that lags":                             {[]story{get("6"), list("5", secretAt("5"))}, "6", false},
		"a list of a restored cluster, then a GET":     {[]story{event("9"), list("5", secretAt("5")), get("5")}, "5", true},
		"a list with others alone":                     {[]story{list("9", &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "other"}})}, "absent", true},
		"a GET is overtaken by the watch":              {[]story{during("5", event("6"))}, "6", true},
		"a GET is overtaken by an older event":         {[]story{get("4"), during("7", event("6"))}, "7", true},
		"a GET finds nothing, and the watch something": {[]story{event("4"), absentDuring(event("5"))}, "absent", false},
		"a GET finds the end of a rewind meanwhile":    {[]story{event("9"), during("4", event("8"))}, "4", true},
	} {
		t.Run(what, func(t *testing.T) {
			c := &cluster{}
			w := versions(c, Options[string]{})
			for _, chapter := range tc.tale {
				chapter(w, c)
			}
			if seen, fresh := w.Seen(); seen != tc.seen || fresh != tc.fresh {
				t.Errorf("seen %q, fresh %v; want %q, %v", seen, fresh, tc.seen, tc.fresh)
			}
		})
	}
}
