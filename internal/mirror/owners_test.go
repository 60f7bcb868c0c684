package mirror

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

var somewhere = Place{"dfw", "openstack", "keystone-fernet-keys", ""}

// The table lists the owner of each copy, whether the copy is as pushed, and why its keys cannot be
// recovered ("" if they can).
func TestOwnersOfACopy(t *testing.T) {
	src := ReadSource(secret(homeUID, "100", newest, mark("sjc", 3, homeUID)))
	ours, theirs := stamp("sjc", 3, homeUID, "90", newest), stamp("iad", 2, farUID, "1", older0)
	broken := both(ours, map[string]string{StampTerm: "x"})
	for name, tc := range map[string]struct {
		secret               *corev1.Secret
		whose, unrecoverable string
		asPushed, sameKeys   bool
	}{
		"absent":                      {nil, "absent", "its Secret is missing", false, false},
		"unowned":                     {secret(farUID, "9", newest, nil), Unowned, "it has no stamp", false, true},
		"ours":                        {secret(farUID, "9", newest, ours), "a copy of sjc, term 3", "", true, true},
		"ours, drifted":               {secret(farUID, "9", anew, ours), "a copy of sjc, term 3", "they were changed there", false, false},
		"ours, emptied":               {secret(farUID, "9", "", ours), "a copy of sjc, term 3", "its keys are invalid", false, false},
		"another main's":              {secret(farUID, "9", older0, theirs), "a copy of iad, term 2", "", false, false},
		"unreadable":                  {secret(farUID, "9", newest, broken), "a copy with an unknown owner", StampTerm, false, true},
		"a main":                      {secret(farUID, "9", anew, mark("ord", 5, farUID)), "main region ord, term 5", "it has no stamp", false, false},
		"a main that was a copy":      {secret(farUID, "9", older0, both(mark("ord", 5, farUID), theirs)), "main region ord, term 5", "", false, false},
		"a main that has become one":  {secret(farUID, "9", older0, both(mark("ord", 2, farUID), theirs)), "a copy of iad, term 2", "", false, false},
		"a mark restored from a main": {secret(farUID, "9", older0, both(mark("ord", 5, "gone"), theirs)), "a copy of iad, term 2", "", false, false},
	} {
		c := ReadCopy(somewhere, tc.secret)
		if got := c.Whose(src); got != tc.whose {
			t.Errorf("%s: the owner is %q, want %q", name, got, tc.whose)
		}
		if err := c.Recoverable(); (err == nil) != (tc.unrecoverable == "") || err != nil && !strings.Contains(err.Error(), tc.unrecoverable) {
			t.Errorf("%s: Recoverable returned %v, want %q", name, err, tc.unrecoverable)
		}
		if c.AsPushedBy(src) != tc.asPushed || c.SameKeys(src) != tc.sameKeys {
			t.Errorf("%s: as pushed %v, same keys %v", name, c.AsPushedBy(src), c.SameKeys(src))
		}
	}
}

// Claimed returns the owner with the higher term in a source, or the stamp's owner if the terms are
// equal. SameClaims detects every change to the mark and the stamp.
func TestClaimsOfASource(t *testing.T) {
	marked, stamped := mark("sjc", 3, homeUID), stamp("iad", 3, farUID, "1", newest)
	read := func(annotations map[string]string) Source {
		return ReadSource(secret(homeUID, "100", newest, annotations))
	}
	for name, tc := range map[string]struct {
		annotations map[string]string
		claimed     string
	}{
		"unowned":  {map[string]string{}, ""},
		"a main's": {marked, "sjc"},
		"a copy":   {stamped, "iad"},
		"both":     {both(marked, stamped), "iad"},
		"promoted": {both(mark("sjc", 4, homeUID), stamped), "sjc"},
	} {
		s := read(tc.annotations)
		if got := s.Claimed().Region; got != tc.claimed {
			t.Errorf("%s: claimed by %q, want %q", name, got, tc.claimed)
		}
		for other, annotations := range map[string]map[string]string{
			"the same":       tc.annotations,
			"another mark":   both(tc.annotations, mark("ord", 7, homeUID)),
			"another stamp":  both(tc.annotations, stamp("ord", 7, farUID, "1", newest)),
			"a broken stamp": both(both(tc.annotations, stamp("iad", 3, farUID, "1", newest)), map[string]string{StampTerm: "x"}),
		} {
			if got := s.SameClaims(read(annotations)); got != (other == "the same") {
				t.Errorf("%s compared with %s: SameClaims returned %v", name, other, got)
			}
		}
	}
	if r := (Source{}).Restored(ReadCopy(somewhere, secret(farUID, "9", newest, stamped))); r.UID() != unmade {
		t.Errorf("an absent source restored from a copy has UID %q", r.UID())
	}
	if r := read(marked).Restored(ReadCopy(somewhere, secret(farUID, "9", older0, stamped))); r.UID() != homeUID {
		t.Errorf("a restored source has UID %q", r.UID())
	}
}

// The advice for a lost source names the copy with the highest term, then the highest primary, among
// those that can be recovered.
func TestNewest(t *testing.T) {
	of := func(term int, pairs string) Copy {
		return ReadCopy(somewhere, secret(farUID, "9", pairs, stamp("sjc", term, homeUID, "90", pairs)))
	}
	drifted := ReadCopy(somewhere, secret(farUID, "9", anew, stamp("sjc", 9, homeUID, "90", newest)))
	for want, copies := range map[string]map[string]Copy{
		"REMOTE": {"dfw": {}, "iad": drifted},
		"dfw":    {"dfw": of(2, newest), "iad": of(2, older0), "ord": drifted},
		"iad":    {"dfw": of(2, newest), "iad": of(3, older0)},
		"lon":    {"lon": of(2, newest), "ord": of(2, newest)},
	} {
		st := Status{Source: ReadSource(nil).Status("openstack", "keystone-fernet-keys", "")}
		d, _ := DecideBySource(ReadSource(nil))
		for name, c := range copies {
			st.Remotes = append(st.Remotes, c.Status(Source{}, d).Named(name))
		}
		st = st.Advised()
		for _, detail := range []string{st.Source.Detail, st.Remotes[0].Detail, st.Remotes[1].Detail} {
			if !strings.HasSuffix(detail, "; to restore the keys: fernetcast recover --from "+want) {
				t.Errorf("the advice is %q, want %s", detail, want)
			}
		}
	}
	if st := (Status{Source: SourceStatus{State: SourceMain, Detail: "REMOTE"}}).Advised(); st.Source.Detail != "REMOTE" {
		t.Errorf("a main region's detail is %q", st.Source.Detail)
	}
}

func TestUnserved(t *testing.T) {
	remote := func(name string, annotations map[string]string) RemoteStatus {
		return RemoteStatus{Name: name, Copy: ReadCopy(Place{Remote: name}, secret(farUID, "9", newest, annotations))}
	}
	listed := func(names string) Source {
		return ReadSource(mainSecret(func(s *corev1.Secret) { s.Annotations[MarkUnserved] = names }))
	}
	standby := ReadSource(mainSecret(annotate(stamp("sjc", 2, farUID, "1", newest))))
	for name, tc := range map[string]struct {
		source  Source
		remotes []RemoteStatus
		says    string // "" if each region is served
	}{
		"a standby":                           {standby, []RemoteStatus{remote("dfw", stamp("sjc", 2, farUID, "1", newest))}, ""},
		"a standby of an old main region":     {standby, []RemoteStatus{remote("dfw", stamp("iad", 3, farUID, "1", newest))}, "copy of sjc, term 2, which is no longer the main region: dfw is a copy of iad, term 3"},
		"a standby that reads the new region": {standby, []RemoteStatus{remote("iad", mark("iad", 3, farUID))}, "iad is main region iad, term 3"},
		"a standby and an older copy":         {standby, []RemoteStatus{remote("dfw", stamp("iad", 1, farUID, "1", newest)), remote("ord", nil)}, ""},
		"a main region":                       {listed(""), []RemoteStatus{remote("dfw", stamp("iad", 9, farUID, "1", newest))}, ""},
		"a main region that serves only one":  {listed("dfw,lon,../x"), []RemoteStatus{remote("dfw", nil)}, "served lon, and this one does not"},
		"a main region that serves them now":  {listed("dfw"), []RemoteStatus{remote("dfw", nil)}, ""},
	} {
		if got := tc.source.Unserved(tc.remotes); (got == "") != (tc.says == "") || !strings.Contains(got, tc.says) {
			t.Errorf("%s: %q, want %q", name, got, tc.says)
		}
	}
}
