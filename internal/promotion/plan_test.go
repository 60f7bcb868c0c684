package promotion

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/fernetcast/fernetcast/internal/keyset"
	"github.com/fernetcast/fernetcast/internal/mirror"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// keys returns Secret data for "index=letter" pairs. Each letter is a different key.
func keys(pairs string) map[string][]byte {
	data := map[string][]byte{}
	for pair := range strings.FieldsSeq(pairs) {
		i, letter, _ := strings.Cut(pair, "=")
		data[i] = []byte(base64.URLEncoding.EncodeToString(bytes.Repeat([]byte(letter), 32)))
	}
	return data
}

// Key sets. newest is one rotation newer than older, and next is one newer than newest. alien is
// unrelated to all of them.
const (
	older  = "0=c 1=a 2=b"
	newest = "0=d 1=a 2=b 3=c"
	next   = "0=e 2=b 3=c 4=d"
	alien  = "0=x 1=y"
)

func secret(uid types.UID, pairs string, annotations ...map[string]string) *corev1.Secret {
	s := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "keystone-fernet-keys", Namespace: "openstack", UID: uid, ResourceVersion: "100", Annotations: map[string]string{}},
		Type:       corev1.SecretTypeOpaque, Data: keys(pairs),
	}
	for _, a := range annotations {
		maps.Copy(s.Annotations, a)
	}
	return s
}

func mark(region string, term int, uid types.UID) map[string]string {
	return map[string]string{mirror.MarkRegion: region, mirror.MarkTerm: strconv.Itoa(term), mirror.MarkUID: string(uid)}
}

func stamp(region string, term int, pairs string) map[string]string {
	return map[string]string{
		mirror.StampRegion: region, mirror.StampTerm: strconv.Itoa(term), mirror.StampUID: "uid-of-" + region,
		mirror.StampVersion: "7", mirror.StampKeys: keyset.FingerprintsOf(keys(pairs)).String(),
	}
}

// looks returns remotes that were read, sorted by name. Each remote's Secret keeps its own UID.
func looks(remotes map[string]*corev1.Secret) (list []Remote) {
	for _, name := range slices.Sorted(maps.Keys(remotes)) {
		list = append(list, Remote{Name: name, Copy: mirror.ReadCopy(mirror.Place{Remote: name, Namespace: "openstack", Secret: "keystone-fernet-keys"}, remotes[name])})
	}
	return list
}

func copyOf(name string, term int) *corev1.Secret {
	return secret(types.UID(name), older, stamp("lon", term, older))
}

func TestPlan(t *testing.T) {
	type fleet = map[string]*corev1.Secret
	for name, tc := range map[string]struct {
		source  *corev1.Secret // if nil, sjc with the newest keys and a stamp of lon, term 2
		remotes fleet
		unread  []string
		ignore  []string
		term    int
		lines   []string // prefixes of the remotes' lines
		lost    string
		refusal []string // texts in the error; nil if the plan isn't refused
		force   bool     // whether --force overrides the refusal
	}{
		"no remotes":           {term: 3, lines: []string{"there are no remotes"}},
		"first of all":         {source: secret("home", newest), remotes: fleet{"dfw": nil}, term: 1, lines: []string{"dfw: gets these keys (now absent)"}},
		"one above all others": {remotes: fleet{"dfw": copyOf("dfw", 7), "iad": copyOf("iad", 4)}, term: 8, lines: []string{"dfw: gets these keys (now a copy of lon, term 7, primary 2)", "iad: gets"}},
		"an old main":          {remotes: fleet{"lon": secret("lon", older, mark("lon", 2, "lon"))}, term: 3, lines: []string{"lon: gets these keys (now main region lon, term 2, primary 2)"}},
		"its own term, once more": {source: secret("home", newest, mark("sjc", 4, "home")), remotes: fleet{"dfw": copyOf("dfw", 2)}, term: 5,
			lines: []string{"dfw: gets"}},
		"a mark that came along counts": {remotes: fleet{"dfw": secret("dfw", older, mark("lon", 9, "gone"))}, term: 10, lines: []string{"dfw: gets these keys (now unowned, primary 2)"}},
		"not reached": {remotes: fleet{"dfw": nil}, unread: []string{"iad"}, term: 3,
			lines: []string{"dfw: gets these keys (now absent)", "iad: NOT REACHED (down): its term and keys are unknown"}},
		"home itself":                 {remotes: fleet{"sjc": secret("home", newest)}, term: 3, lines: []string{"sjc: this cluster itself; nothing changes"}},
		"other keys without an owner": {remotes: fleet{"dfw": secret("dfw", alien)}, term: 3, lines: []string{"dfw: gets these keys (now unowned, primary 1)"}},
		"an unreadable owner":         {remotes: fleet{"dfw": secret("dfw", older, map[string]string{mirror.StampTerm: "3"})}, term: 3, lines: []string{"dfw: not changed: its annotations "}},
		"a copy is ahead": {remotes: fleet{"dfw": secret("dfw", next, stamp("lon", 2, next)), "iad": copyOf("iad", 2)}, term: 3, lost: "dfw",
			lines:   []string{"dfw: has keys that this cluster does not continue (a copy of lon, term 2, primary 4): its tokens will be lost", "iad: gets"},
			refusal: []string{"nothing was changed", "the keys of dfw are newer", "promote there instead; --force makes all tokens invalid", "to promote without dfw, add --ignore dfw"}, force: true},
		"recreated, and a copy is ahead": {source: secret("home", newest), remotes: fleet{"dfw": copyOf("dfw", 2), "iad": secret("iad", next, stamp("lon", 2, next))}, term: 3, lost: "iad",
			lines:   []string{"dfw: gets", "iad: has keys"},
			refusal: []string{"if this cluster was the main region: fernetcast recover --from iad; otherwise, promote there instead; --force makes all tokens invalid"}, force: true},
		"a main is ahead, and ignored": {remotes: fleet{"dfw": secret("dfw", alien, mark("dfw", 9000, "dfw"))}, ignore: []string{"dfw"}, term: 3, lines: []string{"dfw: not changed: owned by dfw, term 9000"}},
		"two are ahead, and one is ignored": {remotes: fleet{"dfw": secret("dfw", next, stamp("lon", 2, next)), "iad": secret("iad", next, stamp("lon", 2, next))}, ignore: []string{"dfw"},
			term: 3, lost: "iad", lines: []string{"dfw: has keys", "iad: has keys"}, refusal: []string{"the keys of iad are newer", "to promote without iad, add --ignore iad"}, force: true},
		"all are ignored": {remotes: fleet{"dfw": secret("dfw", next, stamp("lon", 2, next)), "iad": copyOf("iad", 5000)}, ignore: []string{"dfw", "iad"}, term: 3,
			lines: []string{"dfw: has keys", "iad: not changed: owned by lon, term 5000"}},
		"an ignored remote is unread": {unread: []string{"dfw"}, ignore: []string{"dfw"}, term: 3, lines: []string{"dfw: NOT REACHED (down)"}},
		"two are not kin": {remotes: fleet{"dfw": secret("dfw", alien, stamp("lon", 2, alien)), "iad": secret("iad", alien, mark("iad", 1, "iad"))}, term: 3, lost: "dfw iad",
			lines: []string{"dfw: has keys", "iad: has keys"}, refusal: []string{"the keys of dfw, iad are", "add --ignore dfw --ignore iad"}, force: true},
		"one cluster alone, 1,000 above": {remotes: fleet{"dfw": copyOf("dfw", 1002)}, term: 1003, lines: []string{"dfw: gets"}},
		"one cluster alone, 1,001 above": {remotes: fleet{"dfw": copyOf("dfw", 1003), "iad": copyOf("iad", 2)}, term: 1004, lines: []string{"dfw: gets", "iad: gets"},
			refusal: []string{"nothing was changed", "dfw has term 1003, more than 1000 above all others", "--ignore dfw", "add --force"}, force: true},
		"two clusters far above": {remotes: fleet{"dfw": copyOf("dfw", 5000), "iad": copyOf("iad", 4000)}, term: 5001, lines: []string{"dfw: gets", "iad: gets"}},
		"two, one after the other": {remotes: fleet{"dfw": copyOf("dfw", 5000), "iad": copyOf("iad", 3000)}, term: 5001, lines: []string{"dfw: gets", "iad: gets"},
			refusal: []string{"dfw has term 5000", "--ignore dfw", "and iad has term 3000", "--ignore iad"}, force: true},
		"one cluster that is listed twice": {remotes: fleet{"dfw": copyOf("dfw", 5000), "dfw2": copyOf("dfw", 5000)}, term: 5001, lines: []string{"dfw: gets", "dfw2: gets"},
			refusal: []string{"dfw has term 5000"}, force: true},
		"the source alone": {source: secret("home", newest, stamp("lon", 5000, newest)), remotes: fleet{"dfw": copyOf("dfw", 2), "sjc": secret("home", newest, stamp("lon", 5000, newest))},
			term: 5001, lines: []string{"dfw: gets", "sjc: this"}, refusal: []string{"this cluster's own Secret has term 5000", "more than 1000"}, force: true},
		"a stranger with the source's uid": {remotes: fleet{"dfw": secret("home", newest, stamp("lon", 5000, newest))}, term: 5001, lines: []string{"dfw: this"},
			refusal: []string{"dfw has term 5000"}, force: true},
		"far above, and keys ahead": {remotes: fleet{"dfw": secret("dfw", next, stamp("lon", 5000, next))}, term: 5001, lost: "dfw", lines: []string{"dfw: has keys"},
			refusal: []string{"dfw has term 5000", "; and the keys of dfw are newer"}, force: true},
		"ignored": {remotes: fleet{"dfw": copyOf("dfw", 999998), "iad": copyOf("iad", 4)}, ignore: []string{"dfw"}, term: 5,
			lines: []string{"dfw: not changed: owned by lon, term 999998", "iad: gets"}},
		"ignored, and its keys stay": {remotes: fleet{"dfw": secret("dfw", alien, stamp("lon", 999998, alien))}, ignore: []string{"dfw"}, term: 3,
			lines: []string{"dfw: not changed: owned by lon, term 999998"}},
		"ignored, and outranked all the same": {remotes: fleet{"dfw": secret("dfw", alien, stamp("lon", 1, alien))}, ignore: []string{"dfw"}, term: 3,
			lines: []string{"dfw: has keys"}},
		"the last term there is": {remotes: fleet{"dfw": copyOf("dfw", mirror.MaxTerm-1), "iad": copyOf("iad", mirror.MaxTerm-1)}, term: mirror.MaxTerm, lines: []string{"dfw: gets", "iad: gets"}},
		"none above it": {remotes: fleet{"dfw": copyOf("dfw", mirror.MaxTerm), "iad": copyOf("iad", mirror.MaxTerm)}, term: mirror.MaxTerm + 1,
			refusal: []string{"nothing was changed", "dfw has term 999999, the highest that is possible", "--ignore dfw"}},
		"none above it, one alone": {remotes: fleet{"dfw": copyOf("dfw", mirror.MaxTerm)}, term: mirror.MaxTerm + 1, refusal: []string{"--ignore dfw"}},
		"none above its own": {source: secret("home", newest, mark("sjc", mirror.MaxTerm, "home")), term: mirror.MaxTerm + 1,
			refusal: []string{"this cluster's own Secret has term 999999, the highest that is possible: find out who wrote it"}},
	} {
		t.Run(name, func(t *testing.T) {
			if tc.source == nil {
				tc.source = secret("home", newest, stamp("lon", 2, newest))
			}
			all := looks(tc.remotes)
			for _, name := range tc.unread {
				all = append(all, Remote{Name: name, Why: "down"})
			}
			src := mirror.ReadSource(tc.source)
			for _, force := range []bool{false, true} {
				plan, err := NewPlan(src, all, Options{Region: "sjc", Ignore: tc.ignore, Force: force})
				if plan.Term != tc.term || strings.Join(plan.Lost, " ") != tc.lost {
					t.Errorf("term %d, lost %v; want %d, %s", plan.Term, plan.Lost, tc.term, tc.lost)
				}
				checkLines(t, plan, tc.lines)
				if refused := len(tc.refusal) > 0 && !(force && tc.force); refused != (err != nil) {
					t.Fatalf("force %v: refused: %v", force, err)
				}
				for _, text := range tc.refusal {
					if err != nil && !strings.Contains(err.Error(), text) {
						t.Errorf("the error does not contain %q: %v", text, err)
					}
				}
			}
		})
	}
}

// checkLines checks the headline and the prefix of each remote's line.
func checkLines(t *testing.T, plan Plan, want []string) {
	t.Helper()
	if len(want) == 0 && len(plan.Lines) == 0 {
		return
	}
	headline := fmt.Sprintf("sjc becomes the main region, term %d, with primary 3 (%s).", plan.Term, keyset.FingerprintsOf(keys(newest))[3])
	if len(plan.Lines) != len(want)+1 || plan.Lines[0] != headline {
		t.Fatalf("lines %q", plan.Lines)
	}
	for i, text := range want {
		if !strings.HasPrefix(plan.Lines[i+1], "  "+text) {
			t.Errorf("line %q, want %q", plan.Lines[i+1], text)
		}
	}
}

// A remote's namespace is shown if it differs from the source's.
func TestNamespaceIsShown(t *testing.T) {
	all := []Remote{{Name: "dfw", Namespace: "other", Why: "down"}}
	plan, err := NewPlan(mirror.ReadSource(secret("home", newest)), all, Options{Region: "sjc"})
	if err != nil || !strings.HasPrefix(plan.Lines[1], "  dfw (namespace other): NOT REACHED") {
		t.Errorf("%q, %v", plan.Lines, err)
	}
}

// A region's name that another cluster uses is refused without --force. A remote in --ignore doesn't
// count.
func TestNameTaken(t *testing.T) {
	const here = "the UID of sjc's cluster"
	itself := Remote{Name: "sjc", Copy: mirror.ReadCopy(mirror.Place{Remote: "sjc", Cluster: here}, secret("home", newest))}
	for name, tc := range map[string]struct {
		source  *corev1.Secret
		remotes []Remote
		from    string
		refusal string // "" if the plan isn't refused
	}{
		"a copy of its own name": {source: secret("home", newest, stamp("sjc", 1, newest)), refusal: "this cluster's keys are a copy from sjc, which is another cluster"},
		"recovered":              {source: secret("home", newest, stamp("sjc", 1, newest)), from: "dfw"},
		"recreated":              {source: secret("home", newest), remotes: looks(map[string]*corev1.Secret{"dfw": secret("dfw", newest, stamp("sjc", 1, newest))})},
		"a copy of another":      {source: secret("home", newest, stamp("lon", 1, newest))},
		"its own mark":           {source: secret("home", newest, mark("sjc", 1, "home"))},
		"another main region":    {source: secret("home", newest), remotes: looks(map[string]*corev1.Secret{"dfw": secret("dfw", newest, mark("sjc", 1, "dfw"))}), refusal: "remote dfw is the main region sjc"},
		"a copied mark":          {source: secret("home", newest), remotes: looks(map[string]*corev1.Secret{"dfw": secret("dfw", newest, mark("sjc", 1, "gone"))})},
		"a remote of that name":  {source: secret("home", newest), remotes: looks(map[string]*corev1.Secret{"sjc": nil}), refusal: "sjc is a remote of this cluster"},
		"an unread remote":       {source: secret("home", newest), remotes: []Remote{{Name: "sjc", Why: "down"}}},
		"itself":                 {source: secret("home", newest), remotes: []Remote{itself}},
	} {
		t.Run(name, func(t *testing.T) {
			opts := Options{Region: "sjc", Cluster: here, Place: "context sjc", from: tc.from}
			plan, err := NewPlan(mirror.ReadSource(tc.source), tc.remotes, opts)
			if (err != nil) != (tc.refusal != "") || err != nil && !strings.Contains(err.Error(), tc.refusal+": use this cluster's own name, or add --force") {
				t.Errorf("refused: %v, want %q", err, tc.refusal)
			}
			if plan.Lines[0] != "This cluster: context sjc" {
				t.Errorf("the first line is %q", plan.Lines[0])
			}
			for _, l := range tc.remotes {
				opts.Ignore = append(opts.Ignore, l.Name)
			}
			opts.Force = len(opts.Ignore) == 0
			if _, err := NewPlan(mirror.ReadSource(tc.source), tc.remotes, opts); err != nil {
				t.Errorf("with --ignore or --force: %v", err)
			}
		})
	}
}

// A remote with the source's UID is this cluster only if its kubeconfig isn't for another cluster.
func TestPlanForAnImpostor(t *testing.T) {
	for cluster, says := range map[string]string{"": "this cluster itself", "here": "this cluster itself", "elsewhere": "not changed: its Secret has the source's UID"} {
		look := Remote{Name: "dfw", Copy: mirror.ReadCopy(mirror.Place{Remote: "dfw", Cluster: cluster}, secret("home", newest))}
		plan, err := NewPlan(mirror.ReadSource(secret("home", newest)), []Remote{look}, Options{Region: "sjc", Cluster: "here"})
		if err != nil || !strings.HasPrefix(plan.Lines[1], "  dfw: "+says) {
			t.Errorf("%q: %q, %v", cluster, plan.Lines, err)
		}
	}
}
