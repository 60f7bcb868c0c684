package keyset

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// python is the interpreter that Debian's keystone package uses.
const python = "/usr/bin/python3"

// loaded lists the keys that Keystone loads from a key repository.
type loaded struct {
	Keys    []string // by index, descending
	Primary []string // the keys that validate a token that Keystone signs
	Error   string
}

// keystone loads each key set with Keystone's own code from Debian's keystone package. Without the
// package, it skips the test, or fails it if REQUIRE_KEYSTONE is set.
func keystone(t *testing.T, sets []map[string][]byte) []loaded {
	t.Helper()
	const there = `import importlib.util, sys; sys.exit(importlib.util.find_spec("keystone") is None)`
	if err := exec.CommandContext(t.Context(), python, "-c", there).Run(); err != nil {
		if os.Getenv("REQUIRE_KEYSTONE") != "" {
			t.Fatalf("Keystone is not installed: %v", err)
		}
		t.Skip("skipped: Debian's package keystone is not installed (with REQUIRE_KEYSTONE=1, the test fails instead)")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, python, "testdata/load_keys.py")
	cmd.Env = append(os.Environ(), "TMPDIR="+t.TempDir())
	var in, out, trouble bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = &in, &out, &trouble
	for _, set := range sets {
		if err := json.NewEncoder(&in).Encode(set); err != nil {
			t.Fatal(err)
		}
	}
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s", err, trouble.String())
	}
	all := make([]loaded, len(sets))
	for i, answers := 0, json.NewDecoder(&out); i < len(sets); i++ {
		if err := answers.Decode(&all[i]); err != nil {
			t.Fatalf("answer %d: %v", i, err)
		}
	}
	return all
}

// Keystone loads every set that Parse accepts. It loads exactly these keys, can use all of them,
// and signs with the highest index.
func TestTakesOnlyWhatKeystoneLoads(t *testing.T) {
	var sets []map[string][]byte
	for range 1500 {
		sets = append(sets, mutated())
	}
	answers := keystone(t, sets)
	taken := 0
	for i, d := range sets {
		set, err := Parse(d)
		if err != nil {
			continue
		}
		taken++
		var keys []string
		for _, n := range slices.Backward(slices.Sorted(maps.Keys(set.Fingerprints()))) {
			keys = append(keys, string(d[strconv.Itoa(n)]))
		}
		if got := answers[i]; got.Error != "" || !slices.Equal(got.Keys, keys) || !slices.Contains(got.Primary, keys[0]) {
			t.Errorf("Parse accepts %q, but Keystone loads %+v", d, got)
		}
	}
	if taken < len(sets)/4 || taken > len(sets)*3/4 {
		t.Errorf("Parse accepted %d of %d sets, which proves little", taken, len(sets))
	}
}

// Each key that Parse rejects is a problem for Keystone: either every token request fails, or
// Keystone loads keys other than expected.
func TestKeystoneHasReasonsToRefuse(t *testing.T) {
	good, other, null := key(1), key(2), base64.URLEncoding.EncodeToString(make([]byte, keyBytes))
	cases := map[string]struct {
		index, value string
		keys         []string // the loaded keys; nil if Keystone fails
	}{
		"a key with a leading zero is loaded":      {"02", other, []string{other, good, good}},
		"a negative index is the lowest":           {"-1", other, []string{good, good, other}},
		"an underscore makes it the primary":       {"1_0", other, []string{other, good, good}},
		"a word is skipped":                        {"README", other, []string{good, good}},
		"an empty key is skipped":                  {"2", "", []string{good, good}},
		"a newline alone":                          {"2", "\n", nil},
		"a truncated key":                          {"2", other[:20], nil},
		"a key without its padding":                {"2", other[:43], nil},
		"text after the padding is ignored":        {"2", other + other[:20], []string{other + other[:20], good, good}},
		"no base64 at all":                         {"2", strings.Repeat("!", 44), nil},
		"no text at all":                           {"2", "\xff\xfe", nil},
		"the all-zero key, which is public, signs": {"2", null, []string{null, good, good}},
	}
	names := slices.Sorted(maps.Keys(cases))
	var sets []map[string][]byte
	for _, name := range names {
		d := data(map[int]int{0: 1, 1: 1})
		d[cases[name].index] = []byte(cases[name].value)
		sets = append(sets, d)
		if _, err := Parse(d); err == nil {
			t.Errorf("%s: Parse accepted it", name)
		}
	}
	sets = append(sets, data(map[int]int{0: 1}), map[string][]byte{})
	answers := keystone(t, sets)
	for i, name := range names {
		want := cases[name].keys
		if got := answers[i]; !slices.Equal(got.Keys, want) || (got.Error != "") != (want == nil) {
			t.Errorf("%s: Keystone loads %+v, want %v", name, got, want)
		}
	}
	if got := answers[len(names)]; !slices.Equal(got.Keys, []string{good}) || answers[len(names)+1].Error == "" {
		t.Errorf("Keystone loads %+v from a staged key alone, and %+v from no keys", got, answers[len(names)+1])
	}
}

// mutated returns a key set with up to two errors or unusual values.
func mutated() map[string][]byte {
	d := map[string][]byte{}
	primary := 1 + rand.N(3)*rand.N(40)
	for n := range 1 + rand.N(6) {
		d[strconv.Itoa(max(0, primary-n))] = []byte(key(rand.N(1 << 16)))
	}
	if rand.N(4) > 0 {
		d["0"] = []byte(key(rand.N(1 << 16)))
	}
	for range rand.N(3) {
		names := slices.Collect(maps.Keys(d))
		name := names[rand.N(len(names))]
		value := string(d[name])
		if rand.N(3) > 0 {
			d[name] = []byte(odd(value))
			continue
		}
		// Kubernetes accepts these names of data keys, so files with these names can exist.
		d[fmt.Sprintf([]string{"0%s", "-%s", "%s_0", "%s.tmp", "1%s", "%s0", "x%s"}[rand.N(7)], name)] = []byte(value)
	}
	return d
}

// odd returns a modified value.
func odd(value string) string {
	at := rand.N(len(value) + 1)
	letter := string("ABab01-_+/=\n\r\t !é\x00\xff"[rand.N(20)])
	switch rand.N(7) {
	case 0:
		return value + "\n"
	case 1:
		return value[:at]
	case 2:
		return value[:at] + letter + value[at:]
	case 3:
		return value[:at] + letter + value[min(at+1, len(value)):]
	case 4:
		return value[:at] + value[min(at+1, len(value)):]
	case 5: // modify the unused bits at the end
		return strings.TrimRight(value, "=\n") + "="
	}
	return letter + value
}
