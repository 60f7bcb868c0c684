package keyset

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// key returns a different valid key for each n.
func key(n int) string {
	b := bytes.Repeat([]byte{byte(n), byte(n >> 8), 0x5c}, 11)[:keyBytes]
	return base64.URLEncoding.EncodeToString(b)
}

// data returns a Secret's data with key(n) at index i for each pair i: n.
func data(pairs map[int]int) map[string][]byte {
	d := map[string][]byte{}
	for i, n := range pairs {
		d[strconv.Itoa(i)] = []byte(key(n))
	}
	return d
}

func TestParseTakesWhatKeystoneWrites(t *testing.T) {
	d := data(map[int]int{0: 1, 7: 2, 8: 3})
	d["7"] = append(d["7"], '\n')
	set, err := Parse(d)
	if err != nil {
		t.Fatal(err)
	}
	if p := set.Fingerprints().Primary(); p != 8 {
		t.Errorf("primary %d, want 8", p)
	}
	if !set.SameData(d) || !maps.EqualFunc(set.Data(), d, bytes.Equal) {
		t.Error("the data differs from the parsed data")
	}
	d["7"][0]++
	if set.SameData(d) {
		t.Error("the set shares memory with the parsed data")
	}
	set.Data()["7"][0]++
	if string(set.Data()["7"]) != key(2)+"\n" {
		t.Error("the set shares memory with the result of Data")
	}
}

func TestParseWithoutStagedKey(t *testing.T) {
	set, err := Parse(data(map[int]int{1: 1}))
	if err != nil || set.Fingerprints().Staged() != "" {
		t.Errorf("staged %q, error %v; want neither", set.Fingerprints().Staged(), err)
	}
}

func TestParseRefuses(t *testing.T) {
	good := key(1)
	for name, tc := range map[string]struct {
		index, value string
		reason       string
	}{
		"leading zero":       {"01", good, "not a key index"},
		"negative":           {"-1", good, "not a key index"},
		"underscore":         {"1_0", good, "not a key index"},
		"plus":               {"+1", good, "not a key index"},
		"word":               {"README", good, `"README" is not a key index`},
		"eight characters":   {"ABCDEFGH", good, `"ABCDEFGH" is not a key index`},
		"nine characters":    {"ABCDEFGHI", good, "of 9 characters is not a key index"},
		"twenty digits":      {strings.Repeat("9", 20), good, `"99999999999999999999" is not a key index`},
		"more digits":        {strings.Repeat("9", 21), good, "of 21 characters is not a key index"},
		"empty index":        {"", good, "not a key index"},
		"too high":           {"99999999999", good, `"99999999999" is not a key index`},
		"other digits":       {"١", good, "not a key index"},
		"empty":              {"2", "", "is empty"},
		"only a newline":     {"2", "\n", "is empty"},
		"two newlines":       {"2", good + "\n\n", "line break"},
		"newline inside":     {"2", good[:20] + "\n" + good[20:], "line break"},
		"carriage return":    {"2", good + "\r\n", "line break"},
		"leading space":      {"2", " " + good, "not URL-safe base64"},
		"truncated":          {"2", good[:20], "has 15 bytes"},
		"truncated unpadded": {"2", good[:43], "not URL-safe base64"},
		"long":               {"2", base64.URLEncoding.EncodeToString(make([]byte, 33)), "has 33 bytes"},
		"not base64":         {"2", strings.Repeat("!", 44), "not URL-safe base64"},
		"standard alphabet":  {"2", "++++" + good[4:], "not URL-safe base64"},
		"null key":           {"2", base64.URLEncoding.EncodeToString(make([]byte, 32)), "all-zero"},
	} {
		t.Run(name, func(t *testing.T) {
			d := data(map[int]int{0: 1, 1: 2})
			d[tc.index] = []byte(tc.value)
			_, err := Parse(d)
			if err == nil || !strings.Contains(err.Error(), tc.reason) {
				t.Fatalf("error %v, want an error containing %q", err, tc.reason)
			}
			if strings.Contains(err.Error(), good[4:20]) {
				t.Errorf("the error shows the key: %v", err)
			}
		})
	}
	for name, d := range map[string]map[string][]byte{"no data": nil, "only staged": data(map[int]int{0: 1})} {
		if _, err := Parse(d); err == nil {
			t.Errorf("%s: not rejected", name)
		}
	}
	for _, part := range []string{good, good[:20], good[:9]} {
		if _, err := Parse(map[string][]byte{part: []byte(good)}); err == nil || strings.Contains(err.Error(), good[:8]) {
			t.Errorf("a key in place of its index is shown or accepted: %v", err)
		}
	}
}

// A Flaw has the index of the key, or -1 if the data key's name is not an index.
func TestUsable(t *testing.T) {
	d := data(map[int]int{1: 1, 3: 3})
	d["2"], d["x"] = []byte("short"), []byte(key(4))
	prints, flaws := Usable(d)
	if len(prints) != 2 || prints.Primary() != 3 || len(flaws) != 2 || flaws[0].Index != 2 || flaws[1].Index != -1 {
		t.Errorf("%v, %+v", prints, flaws)
	}
	if new(Set).SameData(nil) || new(Set).Data() != nil {
		t.Error("the zero Set has data")
	}
}

func TestSetShowsNoKey(t *testing.T) {
	set, err := Parse(data(map[int]int{0: 1, 1: 2}))
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	logger := slog.New(slog.NewJSONHandler(&log, nil))
	text := slog.New(slog.NewTextHandler(&log, nil))
	around := struct{ set Set }{set}
	logger.Info("set", "keys", set, "around", around)
	text.Info("set", "keys", set, "around", around, "pointer", &set)
	asJSON, err := json.Marshal(map[string]any{"set": set, "pointer": &set})
	if err != nil {
		t.Fatal(err)
	}
	shown := log.String() + string(asJSON)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		shown += fmt.Sprintf(verb, set) + fmt.Sprintf(verb, &set) + fmt.Sprintf(verb, around) + fmt.Sprintf(verb, []Set{set})
	}
	for i, value := range set.Data() {
		raw, err := base64.URLEncoding.DecodeString(string(value))
		if err != nil {
			t.Fatal(err)
		}
		for _, form := range []string{string(value), fmt.Sprint([]byte(value)), fmt.Sprintf("%x", value), fmt.Sprintf("%x", raw), base64.StdEncoding.EncodeToString(value)} {
			if strings.Contains(shown, strings.TrimSuffix(form, "]")) {
				t.Errorf("key %s is shown as %s", i, form)
			}
		}
	}
	if print := set.Fingerprints()[1]; !strings.Contains(fmt.Sprint(set), "1="+print) || len(print) != 8 {
		t.Errorf("%v does not show the fingerprint %q", set, print)
	}
}

func TestPrintsRoundTrip(t *testing.T) {
	p := Fingerprints{0: "1a2b3c4d", 7: "00000000", 10: "ffffffff"}
	if got, want := p.String(), "0=1a2b3c4d,7=00000000,10=ffffffff"; got != want {
		t.Errorf("JSON %s, want %s", got, want)
	}
	back, err := ParseFingerprints(p.String())
	if err != nil || !back.Equal(p) {
		t.Errorf("after a round trip: %v, error %v", back, err)
	}
	for _, bad := range []string{"", "0", "0=", "0=1a2b3c4", "0=1A2B3C4D", "x=1a2b3c4d", "01=1a2b3c4d", "7=1a2b3c4d,0=1a2b3c4d", "0=1a2b3c4d,0=1a2b3c4d", "0=1a2b3c4d,", " 0=1a2b3c4d"} {
		if got, err := ParseFingerprints(bad); err == nil {
			t.Errorf("%q was parsed as %v", bad, got)
		}
	}
}

func TestContinues(t *testing.T) {
	// Each letter stands for a key.
	set := func(s string) Fingerprints {
		p := Fingerprints{}
		for part := range strings.FieldsSeq(s) {
			i, k, _ := strings.Cut(part, "=")
			n, _ := strconv.Atoi(i)
			p[n] = strings.Repeat(k, 8)
		}
		return p
	}
	for _, tc := range []struct {
		name, b, a      string
		continues, next bool
	}{
		{"itself", "0=a 1=b", "0=a 1=b", true, false},
		{"one rotation", "0=c 1=b 2=a", "0=a 1=b", true, true},
		{"one rotation that purged all others", "0=c 2=a", "0=a 1=b", true, true},
		{"two rotations", "0=d 1=b 2=a 3=c", "0=a 1=b", true, false},
		{"two rotations, related only by the staged key", "0=d 2=a 3=c", "0=a 1=b", true, false},
		{"rotations replaced every key", "0=e 3=c 4=d", "0=a 1=b", false, false},
		{"an older set", "0=a 1=b", "0=c 1=b 2=a", false, false},
		{"a new repository", "0=x 1=y", "0=a 1=b", false, false},
		{"a new repository, rotated", "0=x 1=y 2=z", "0=a 1=b", false, false},
		{"a different key at one index", "0=c 1=x 2=a", "0=a 1=b", false, false},
		{"only the staged key differs", "0=x 1=b", "0=a 1=b", true, false},
		{"no staged key before", "0=c 1=b 2=x", "1=b", true, false},
		{"nothing before", "0=a 1=b", "", false, false},
		{"only a staged key before", "0=c 1=a", "0=a", false, false},
	} {
		b, a := set(tc.b), set(tc.a)
		if got := b.Continues(a); got != tc.continues {
			t.Errorf("%s: Continues returned %v", tc.name, got)
		}
		if got := b.NextAfter(a); got != tc.next {
			t.Errorf("%s: NextAfter returned %v", tc.name, got)
		}
	}
}

// rotate simulates keystone-manage fernet_rotate on a repository that keeps at most limit keys.
// fresh is the new staged key.
func rotate(repo map[int]int, fresh, limit int) map[int]int {
	next := maps.Clone(repo)
	highest := 0
	for i := range next {
		highest = max(highest, i)
	}
	next[highest+1], next[0] = next[0], fresh
	for i := 1; len(next) > limit; i++ {
		delete(next, i)
	}
	return next
}

// With m keys, the current set continues each set that is at most m - 1 rotations older. NextAfter
// is true only for the set that is one rotation older.
func TestRotationsContinue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.IntRange(2, 8).Draw(t, "max_active_keys")
		before := rapid.IntRange(0, 20).Draw(t, "rotations before")
		missed := rapid.IntRange(0, 20).Draw(t, "rotations missed")
		fresh := 1
		repo := map[int]int{0: 0, 1: 1}
		turn := func() { fresh++; repo = rotate(repo, fresh, limit) }
		for range before {
			turn()
		}
		old := FingerprintsOf(data(repo))
		for range missed {
			turn()
		}
		now := FingerprintsOf(data(repo))
		if got, want := now.Continues(old), missed <= limit-1; got != want {
			t.Fatalf("%v.Continues(%v) is %v, want %v", now, old, got, want)
		}
		if got, want := now.NextAfter(old), missed == 1; got != want {
			t.Fatalf("%v.NextAfter(%v) is %v, want %v", now, old, got, want)
		}
		if missed > 0 && old.Continues(now) {
			t.Fatalf("%v continues %v, which is newer", old, now)
		}
	})
}
