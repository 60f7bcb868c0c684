package mirror

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// rotations returns n sets of three keys. The first set's primary has the index first, and each set
// is one rotation ahead of the previous one.
func rotations(first, n int) []string {
	var sets []string
	for p := first; p < first+n; p++ {
		letter := func(i int) string { return string(rune('a' + i%20)) }
		sets = append(sets, fmt.Sprintf("0=%s %d=%s %d=%s", letter(p+1), p, letter(p), p-1, letter(p-1)))
	}
	return sets
}

func seen(sets ...string) (last Source) {
	for i, set := range sets {
		last = last.Then(secret(homeUID, fmt.Sprint(100+i), set, mark("sjc", 1, homeUID)))
	}
	return last
}

// If the source no longer has any of a copy's keys, it continues the copy only if every rotation in
// between was seen.
func TestThen(t *testing.T) {
	all := rotations(5, 10)
	at := Place{"dfw", "openstack", "keystone-fernet-keys", ""}
	given := func(pairs string) Copy {
		return ReadCopy(at, secret(farUID, "9", pairs, stamp("sjc", 1, homeUID, "100", pairs)))
	}
	gap := append(append([]string{}, all[:3]...), all[8:]...)
	var withAbsence Source
	for i, set := range all {
		if i == 5 {
			withAbsence = withAbsence.Then(nil)
		}
		withAbsence = withAbsence.Then(secret(homeUID, fmt.Sprint(100+i), set, mark("sjc", 1, homeUID)))
	}
	var promoted Source
	for i, set := range all {
		promoted = promoted.Then(secret(homeUID, fmt.Sprint(100+i), set, mark("sjc", 1+i/5, homeUID)))
	}
	for name, try := range map[string]struct {
		source Source
		copy   Copy
		state  State
	}{
		"seen all the way":             {seen(all...), given(all[0]), StateBehind},
		"seen from later on":           {seen(all[1:]...), given(all[0]), StateHeld},
		"read once":                    {seen(all[9]), given(all[0]), StateHeld},
		"rotations were missed":        {seen(gap...), given(all[0]), StateHeld},
		"absent in between":            {withAbsence, given(all[0]), StateHeld},
		"absent in between, and since": {withAbsence, given(all[5]), StateBehind},
		"another key of that index":    {seen(all...), given("0=x 5=y 4=z"), StateHeld},
		"that key, another index":      {seen(all...), given("0=g 4=f 3=e"), StateHeld},
		"a key that was staged alone":  {seen(all...), given("0=f 3=z"), StateHeld},
		"set up again":                 {seen(append(all, "0=x 1=y")...), given(all[9]), StateHeld},
	} {
		if d := Decide(try.source, try.copy, false); d.State != try.state {
			t.Errorf("%s: %s %s, want %s", name, d.State, d.Detail, try.state)
		}
	}
	if len(promoted.past) != 4 {
		t.Errorf("%d primaries from before a promotion are remembered", len(promoted.past))
	}
	if many := seen(rotations(5, maxPast+20)...); len(many.past) != maxPast {
		t.Errorf("%d primaries are remembered", len(many.past))
	}
}

// Then does not modify its source, even if it is called twice on it.
func TestThenTwice(t *testing.T) {
	all := rotations(5, 6)
	first := seen(all[:4]...)
	next := func(set string) Source {
		return first.Then(secret(homeUID, "200", set, mark("sjc", 1, homeUID), func(s *corev1.Secret) {}))
	}
	one, two := next(all[4]), next(all[4])
	if len(first.past) != 3 || len(one.past) != 4 || len(two.past) != 4 {
		t.Errorf("%d, %d and %d primaries", len(first.past), len(one.past), len(two.past))
	}
}
