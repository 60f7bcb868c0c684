package keyset

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// saysNoKey matches every error of Parse. The error reveals nothing about the input except an
// index, a length, or a short, invalid data key. Such a data key has at most 8 bytes, and each of
// them takes at most four characters when it is quoted.
var saysNoKey = regexp.MustCompile(`^(it has no keys` +
	`|data key ("(?s:.{0,32})"|"\d{9,20}"|of \d+ characters) is not a key index \(0, 1, 2, …\)` +
	`|key (0|[1-9]\d*) (is empty|has a line break in the middle, or more than one at the end|is not URL-safe base64` +
	`|has \d+ bytes instead of 32|is the all-zero key, which is publicly known)` +
	`|it has no primary key \(no index above 0\))$`)

// goodIndex and goodKey implement Parse's rules a second time, without its code.
func goodIndex(name string) (int, bool) {
	n, err := strconv.Atoi(name)
	return n, err == nil && n >= 0 && n <= math.MaxInt32 && strconv.Itoa(n) == name
}

func goodKey(value string) bool {
	text := strings.TrimSuffix(value, "\n")
	if len(text) != 44 || text[43] != '=' {
		return false
	}
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	if strings.Trim(text[:43], alphabet) != "" {
		return false
	}
	// The two lowest bits of the last character are padding.
	return strings.Trim(text[:42], "A") != "" || strings.IndexByte(alphabet, text[42]) >= 4
}

// Parse accepts only valid sets, and a set's data is the input, byte for byte. No error or printed
// set contains a key.
func FuzzParse(f *testing.F) {
	f.Add("0", key(1), "1", key(2))
	f.Add("1", key(1)+"\n", "01", key(2)+"\n")
	f.Add("1_0", key(3), "1", key(1))
	f.Add("1", key(1), "0", base64.URLEncoding.EncodeToString(make([]byte, keyBytes)))
	f.Add("2147483647", key(1)[:43], "2147483648", key(1)[:42]+"==")
	f.Add(key(3)[:20], "1", "README", key(3))
	f.Add(key(1), "1", "-1", strings.Repeat("A", 42)+"B=")
	f.Add("7", key(1)[:20]+"\n"+key(1)[20:], "8", key(2))
	f.Add("7", key(1), "8", base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{0xfb}, keyBytes)))
	f.Fuzz(func(t *testing.T, index, value, other, otherValue string) {
		d := map[string][]byte{index: []byte(value), other: []byte(otherValue)}
		want, primary := true, 0
		for name, value := range d {
			n, ok := goodIndex(name)
			want, primary = want && ok && goodKey(string(value)), max(primary, n)
		}
		set, err := Parse(d)
		if (err == nil) != (want && primary > 0) {
			t.Fatalf("Parse accepted %q: %v", d, err)
		}
		if err != nil {
			if !saysNoKey.MatchString(err.Error()) || len(set.Data())+len(set.Fingerprints()) > 0 {
				t.Errorf("rejected with %q and set %v", err, set)
			}
			return
		}
		if !set.SameData(d) || len(set.Data()) != len(d) || set.Fingerprints().Primary() != primary {
			t.Errorf("%q was parsed as %v", d, set)
		}
		if again, err := Parse(set.Data()); err != nil || !again.SameData(d) {
			t.Errorf("the data of an accepted set is rejected: %v", err)
		}
		if back, err := ParseFingerprints(set.Fingerprints().String()); err != nil || !back.Equal(set.Fingerprints()) {
			t.Errorf("the fingerprints don't survive a round trip: %v", err)
		}
		if shown := fmt.Sprintf("%v", set); shown != set.Fingerprints().String() {
			t.Errorf("printed as %s", shown)
		}
	})
}

var printsSayLittle = regexp.MustCompile(`^reading fingerprints: (entry ("(?s:.{0,32})"|"\d{9,20}"|of \d+ characters) is not index=fingerprint` +
	`|the indices are not in ascending order without repetition)$`)

// ParseFingerprints accepts only the output of String. Its errors quote only a few characters of
// the input, because that could contain keys.
func FuzzParseFingerprints(f *testing.F) {
	f.Add("0=1a2b3c4d,7=00000000,10=ffffffff")
	f.Add("0=1a2b3c4d,0=1a2b3c4d")
	f.Add("1=1A2B3C4D")
	f.Add("01=1a2b3c4d")
	f.Add("0=" + key(1) + ",1=" + key(2))
	f.Add(",=")
	f.Add("0=" + key(3)[:16])
	f.Fuzz(func(t *testing.T, text string) {
		p, err := ParseFingerprints(text)
		if err != nil {
			if !printsSayLittle.MatchString(err.Error()) || p != nil {
				t.Errorf("rejected with %q and fingerprints %v", err, p)
			}
			return
		}
		if p.String() != text || len(p) == 0 {
			t.Errorf("%q was parsed as %v", text, p)
		}
		for n, print := range p {
			if raw, err := strconv.ParseUint(print, 16, 32); err != nil || fmt.Sprintf("%08x", raw) != print || n < 0 || n > math.MaxInt32 {
				t.Errorf("%d=%s was accepted", n, print)
			}
		}
		var back Fingerprints
		asJSON, err := json.Marshal(p)
		if err != nil || json.Unmarshal(asJSON, &back) != nil || !back.Equal(p) {
			t.Errorf("%v became %v after a round trip through JSON", p, back)
		}
	})
}
