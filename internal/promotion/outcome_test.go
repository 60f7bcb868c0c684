package promotion

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/fernetcast/fernetcast/internal/mirror"
	corev1 "k8s.io/api/core/v1"
)

// TestSecondLook changes remotes between the two reads of a promotion.
func TestSecondLook(t *testing.T) {
	shows := func(name string, s *corev1.Secret) func(*region) {
		return func(r *region) { r.remotes[name] = s }
	}
	for name, tc := range map[string]struct {
		first   func(*region)
		between func(*region)
		puts    []put
		opts    Options
		term    int
		says    []string
		silent  bool   // whether only the plan and the marks are printed
		err     string // text in the error; "" if the promotion succeeds
	}{
		"nothing new":    {term: 3, silent: true},
		"home is marked": {first: func(r *region) { r.remotes["sjc"] = r.secret }, between: func(r *region) { r.remotes["sjc"] = r.secret }, term: 3, silent: true},
		"other keys": {between: shows("dfw", secret("dfw", newest, stamp("lon", 2, newest))), term: 3,
			says: []string{"  dfw has changed since the plan: it was a copy of lon, term 2, primary 2 and is now a copy of lon, term 2, primary 3"}},
		"its own term": {between: shows("dfw", copyOf("dfw", 3)), term: 4,
			says: []string{"dfw has changed since the plan", "Term 3 has appeared in another region: marking again.", "Marked openstack/keystone-fernet-keys as the main region's: sjc, term 4."}},
		"a higher one": {between: shows("dfw", copyOf("dfw", 1003)), term: 1004, says: []string{"Term 1003 has appeared in another region"}},
		"one far above": {between: shows("dfw", copyOf("dfw", 1004)), term: 3,
			says: []string{"Term 1004 has appeared in dfw, far above all others. It is ignored"}},
		"one far above, with force":           {between: shows("dfw", copyOf("dfw", 1004)), opts: Options{Force: true}, term: 3, says: []string{"It is ignored"}},
		"one far above with the source's uid": {between: shows("dfw", copyOf("home", 1004)), term: 3, says: []string{"in dfw, far above"}},
		"one far above, and one above": {between: func(r *region) { r.remotes["dfw"], r.remotes["lon"] = copyOf("dfw", 9000), copyOf("lon", 3) }, term: 4,
			says: []string{"Term 9000 has appeared in dfw", "Term 3 has appeared in another region"}},
		"two far above":       {between: func(r *region) { r.remotes["dfw"], r.remotes["lon"] = copyOf("dfw", 9000), copyOf("lon", 9000) }, term: 9001, says: []string{"Term 9000 has appeared in another region"}},
		"one that is ignored": {between: shows("dfw", copyOf("dfw", 3)), opts: Options{Ignore: []string{"dfw"}}, term: 3, says: []string{"dfw has changed since the plan"}},
		"the highest there is": {between: func(r *region) { r.remotes["dfw"], r.remotes["lon"] = copyOf("dfw", 999999), copyOf("lon", 999999) }, term: 3,
			err: "this cluster is marked with term 3, but term 999999 has appeared in another region; no higher term is possible: find out who wrote it"},
		"marked once more, and lost": {between: shows("dfw", copyOf("dfw", 3)), puts: []put{{done: true}, {true, answer(504), nil}}, term: 4, says: []string{"term 4."}},
		"once more, and forbidden": {between: shows("dfw", copyOf("dfw", 3)), puts: []put{{done: true}, {false, answer(403), nil}}, term: 3,
			err: "this cluster is marked with term 3, but term 3 has appeared in another region; promote again: marking the source: 403"},
		"once more, and never answered": {between: shows("dfw", copyOf("dfw", 3)), puts: append([]put{{done: true}}, slices.Repeat([]put{{false, answer(504), nil}}, 9)...), term: 3,
			err: "it is unknown whether the source is marked with term 4"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRegion()
				r.first, r.between, r.puts = tc.first, tc.between, tc.puts
				said, err := r.promote(t.Context(), tc.opts)
				if (err != nil) != (tc.err != "") || err != nil && !strings.Contains(err.Error(), tc.err) {
					t.Errorf("the error is %v, want %q", err, tc.err)
				}
				if r.term() != tc.term {
					t.Errorf("term %d, want %d", r.term(), tc.term)
				}
				for _, text := range tc.says {
					if !strings.Contains(said, text) {
						t.Errorf("the output does not contain %q:\n%s", text, said)
					}
				}
				if tc.silent && (strings.Contains(said, "has changed") || strings.Contains(said, "has appeared")) {
					t.Errorf("the output is\n%s", said)
				}
				if pushed := r.pushed != nil; pushed != (err == nil) {
					t.Errorf("the remotes %v got a push, and the error is %v", r.pushed, err)
				}
			})
		})
	}
}

// Old main regions are pushed to first, and each remote is pushed to once.
func TestOldMainsFirst(t *testing.T) {
	r := newRegion()
	r.remotes["iad"], r.remotes["zrh"] = nil, secret("zrh", newest, mark("zrh", 1, "zrh"))
	if _, err := r.promote(t.Context(), Options{}); err != nil || !slices.Equal(r.pushed, []string{"lon", "zrh", "dfw", "iad"}) {
		t.Errorf("pushed to %v, %v", r.pushed, err)
	}
}

// At whatever step a promotion is interrupted, the error says whether the source is marked.
func TestInterrupted(t *testing.T) {
	const before, after = "nothing was changed", "interrupted: this cluster is the main region, with term 3; run, fernetcast push, or another promote pushes the rest"
	for what, tc := range map[string]struct {
		at   func(r *region, cancel func())
		says string
	}{
		"in the first look":  {func(r *region, cancel func()) { r.first = func(*region) { cancel() } }, before},
		"in the mark":        {func(r *region, cancel func()) { r.puts = []put{{true, context.Canceled, func(*region) { cancel() }}} }, "it is unknown whether the source is marked with term 3"},
		"in the second look": {func(r *region, cancel func()) { r.between = func(*region) { cancel() } }, after},
	} {
		t.Run(what, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			r := newRegion()
			tc.at(r, cancel)
			if _, err := r.promote(ctx, Options{}); err == nil || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("the error is %v", err)
			}
		})
	}
}

// If the source can't be promoted or a promotion is only planned, nothing is changed.
func TestNothingIsChanged(t *testing.T) {
	unreadable := secret("home", newest, map[string]string{mirror.MarkTerm: "many"})
	for name, tc := range map[string]struct {
		secret *corev1.Secret
		get    error
		opts   Options
		says   string // text in the error; "" if the source is promoted
	}{
		"not to be read":            {newRegion().secret, answer(503), Options{Force: true}, "nothing was changed: the source cannot be read: 503"},
		"absent":                    {nil, nil, Options{Force: true}, "nothing was changed: Secret openstack/keystone-fernet-keys cannot be the main region's: the Secret does not exist; to restore its keys: fernetcast recover --from dfw"},
		"without keys":              {secret("home", ""), nil, Options{Force: true}, "cannot be the main region's: "},
		"unreadable":                {unreadable, nil, Options{}, "nothing was changed: the annotations fernetcast/main-term on Secret openstack/keystone-fernet-keys cannot be read; to replace them, add --force"},
		"unreadable, and by force":  {unreadable, nil, Options{Force: true}, ""},
		"a remote's keys are ahead": {secret("home", older), nil, Options{}, "nothing was changed: the keys of lon are"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRegion()
			r.secret, r.gets = tc.secret, []error{tc.get}
			_, err := r.promote(t.Context(), tc.opts)
			if (err != nil) != (tc.says != "") || err != nil && !strings.Contains(err.Error(), tc.says) {
				t.Errorf("the error is %v, want %q", err, tc.says)
			}
			if (r.sent > 0 || r.pushed != nil) != (err == nil) {
				t.Errorf("%d marks were written, and the remotes %v got a push", r.sent, r.pushed)
			}
		})
	}
	r := newRegion()
	p := Promotion{Source: r, Fleet: r, Options: Options{Region: "sjc"}}
	if _, err := p.Plan(t.Context()); err != nil || r.sent > 0 || r.pushed != nil {
		t.Errorf("after the plan alone: %v, %d marks, pushed to %v", err, r.sent, r.pushed)
	}
}
