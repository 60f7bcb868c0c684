package mirror

import (
	"bytes"
	"encoding/base64"
	"maps"
	"strconv"
	"strings"
	"testing"

	"github.com/fernetcast/fernetcast/internal/keyset"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
)

const (
	homeUID = types.UID("uid-of-the-source")
	farUID  = types.UID("uid-of-the-copy")
)

// repo returns a Secret's data for "index=letter" pairs. Each letter stands for a key.
func repo(pairs string) map[string][]byte {
	data := map[string][]byte{}
	for pair := range strings.FieldsSeq(pairs) {
		i, letter, _ := strings.Cut(pair, "=")
		data[i] = []byte(base64.URLEncoding.EncodeToString(bytes.Repeat([]byte(letter), 32)))
	}
	return data
}

func prints(pairs string) string { return keyset.FingerprintsOf(repo(pairs)).String() }

// secret returns a Secret with the given keys and annotations, after applying edits.
func secret(uid types.UID, version, pairs string, annotations map[string]string, edits ...func(*corev1.Secret)) *corev1.Secret {
	s := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Name: "keystone-fernet-keys", Namespace: "openstack", UID: uid, ResourceVersion: version,
			Annotations: maps.Clone(annotations), Labels: map[string]string{"kept": "yes"},
		},
		Type: corev1.SecretTypeOpaque,
		Data: repo(pairs),
	}
	for _, edit := range edits {
		edit(s)
	}
	return s
}

func mark(region string, term int, uid types.UID) map[string]string {
	return map[string]string{MarkRegion: region, MarkTerm: strconv.Itoa(term), MarkUID: string(uid)}
}

func stamp(region string, term int, uid types.UID, version, pairs string) map[string]string {
	return map[string]string{
		StampRegion: region, StampTerm: strconv.Itoa(term), StampUID: string(uid),
		StampVersion: version, StampKeys: prints(pairs),
	}
}

func both(a, b map[string]string) map[string]string {
	a = maps.Clone(a)
	maps.Copy(a, b)
	return a
}

func without(a map[string]string, names ...string) map[string]string {
	a = maps.Clone(a)
	for _, name := range names {
		delete(a, name)
	}
	return a
}

// These are the key sets in the table. Each is one rotation ahead of the previous one.
const (
	older1 = "0=b 1=a"
	older0 = "0=c 1=a 2=b"
	newest = "0=d 1=a 2=b 3=c"
	anew   = "0=x 1=y"
)

// mainSecret returns the source for most rows: main region sjc, term 3, version 100.
func mainSecret(edits ...func(*corev1.Secret)) *corev1.Secret {
	return secret(homeUID, "100", newest, mark("sjc", 3, homeUID), edits...)
}

func annotate(annotations map[string]string) func(*corev1.Secret) {
	return func(s *corev1.Secret) { s.Annotations = maps.Clone(annotations) }
}

func keys(pairs string) func(*corev1.Secret) {
	return func(s *corev1.Secret) { s.Data = repo(pairs) }
}

// row is a test case for one row of the decision table.
type row struct {
	name   string
	source Source
	copy   Copy
	force  bool
	action Action
	state  State
	reason Reason
	live   bool
	says   string
}

func rows() []row {
	far := func(version, pairs string, annotations map[string]string, edits ...func(*corev1.Secret)) Copy {
		return ReadCopy(Place{"dfw", "openstack", "keystone-fernet-keys", ""}, secret(farUID, version, pairs, annotations, edits...))
	}
	home := func(edits ...func(*corev1.Secret)) Source { return ReadSource(mainSecret(edits...)) }
	ours := func(version, pairs string) map[string]string { return stamp("sjc", 3, homeUID, version, pairs) }
	absent := ReadCopy(Place{"dfw", "openstack", "keystone-fernet-keys", ""}, nil)
	itself := func(cluster string) Copy {
		return ReadCopy(Place{"dfw", "openstack", "keystone-fernet-keys", cluster}, mainSecret())
	}
	inCluster := func(uid string, edits ...func(*corev1.Secret)) Source {
		return home(append([]func(*corev1.Secret){func(s *corev1.Secret) { s.Annotations[MarkCluster] = uid }}, edits...)...)
	}
	immutable := func(s *corev1.Secret) { s.Immutable = ptr.To(true) }
	tls := func(s *corev1.Secret) { s.Type = corev1.SecretTypeTLS }
	synced := ours("100", newest)

	return []row{
		{name: "1 source not read", source: Source{}, copy: absent, state: StatePending, reason: ReasonSourceUnread},
		{name: "2 source absent", source: ReadSource(nil), copy: absent, state: StateHeld, reason: ReasonSourceAbsent, says: "source"},
		{name: "2 source emptied", source: home(keys("")), copy: absent, state: StateHeld, reason: ReasonSourceRefused, says: "has no keys"},
		{name: "2 before 3", source: home(keys("0=a"), annotate(stamp("iad", 9, farUID, "1", older0))), copy: absent, state: StateHeld, reason: ReasonSourceRefused},
		{name: "3 source is a copy", source: home(annotate(stamp("iad", 4, farUID, "1", newest))), copy: absent, state: StateStandby, reason: ReasonSourceCopy, says: "copy of iad"},
		{name: "3 marked, and a copy of a higher term", source: home(annotate(both(mark("sjc", 3, homeUID), stamp("iad", 4, farUID, "1", newest)))), copy: absent, state: StateStandby, reason: ReasonSourceCopy},
		{name: "3 marked, and a copy of the same term", source: home(annotate(both(mark("sjc", 3, homeUID), stamp("iad", 3, farUID, "1", newest)))), copy: absent, state: StateStandby, reason: ReasonSourceCopy},
		{name: "3 a copy with a foreign mark of a higher term", source: home(annotate(both(mark("iad", 9, farUID), stamp("iad", 4, farUID, "1", newest)))), copy: absent, state: StateStandby, reason: ReasonSourceCopy},
		{name: "3 before 4: a copy with an unreadable mark", source: home(annotate(both(without(mark("sjc", 3, homeUID), MarkTerm), stamp("iad", 4, farUID, "1", newest)))), copy: absent, state: StateStandby, reason: ReasonSourceCopy},
		{name: "4 not promoted", source: home(annotate(nil)), copy: absent, state: StateHeld, reason: ReasonNotPromoted, says: "fernetcast promote REGION"},
		{name: "4 mark of another object", source: home(annotate(mark("sjc", 3, farUID))), copy: absent, state: StateHeld, reason: ReasonNotPromoted, says: "another object"},
		{name: "4 unreadable mark", source: home(annotate(without(mark("sjc", 3, homeUID), MarkTerm))), copy: absent, state: StateHeld, reason: ReasonNotPromoted, says: MarkRegion},
		{name: "4 marked, with an unreadable owner", source: home(annotate(both(mark("sjc", 3, homeUID), without(ours("1", newest), StampRegion)))), copy: absent, state: StateHeld, reason: ReasonNotPromoted, says: StampUID},
		{name: "a mark counts, not a stamp with a lower term", source: home(annotate(both(mark("sjc", 3, homeUID), stamp("iad", 2, farUID, "1", newest)))), copy: absent, action: ActionCreate, state: StateBehind, reason: ReasonAbsent, live: true},

		{name: "copy not read", source: home(), copy: Copy{}, action: ActionLook, state: StatePending, reason: ReasonNotLookedAt},
		{name: "5 absent", source: home(), copy: absent, action: ActionCreate, state: StateBehind, reason: ReasonAbsent, live: true},
		{name: "6 the source itself", source: home(), copy: ReadCopy(Place{"dfw", "openstack", "keystone-fernet-keys", ""}, mainSecret()), state: StateSelf, reason: ReasonSelf},
		{name: "6 the source itself, and the cluster's UID is stored", source: inCluster("c1"), copy: itself("c1"), state: StateSelf, reason: ReasonSelf},
		{name: "6 a kubeconfig without the cluster's UID", source: inCluster("c1"), copy: itself(""), state: StateSelf, reason: ReasonSelf},
		{name: "6 a mark without the cluster's UID", source: home(), copy: itself("c1"), state: StateSelf, reason: ReasonSelf},
		{name: "6 another cluster that claims the source's UID", source: inCluster("c1"), copy: itself("c2"), force: true, state: StateHeld, reason: ReasonImpostor, says: "fernetcast join dfw"},
		{name: "6 the UID in a mark of another object doesn't count", source: inCluster("c1", func(s *corev1.Secret) { s.Annotations[MarkUID] = string(farUID) }), copy: itself("c2"), state: StateHeld, reason: ReasonNotPromoted},
		{name: "7 stamped with a higher term", source: home(), copy: far("9", newest, stamp("iad", 4, farUID, "1", newest)), state: StateHeld, reason: ReasonOwned, says: "iad, term 4"},
		{name: "7 stamped with our term by another region", source: home(), copy: far("9", newest, stamp("iad", 3, homeUID, "1", newest)), state: StateHeld, reason: ReasonOwned},
		{name: "7 stamped with our term by our name, another object", source: home(), copy: far("9", newest, stamp("sjc", 3, "old", "1", newest)), state: StateHeld, reason: ReasonOwned},
		{name: "7 stamped with our own next term", source: home(), copy: far("9", newest, stamp("sjc", 4, homeUID, "1", newest)), state: StateHeld, reason: ReasonOwned, live: true},
		{name: "7 marked with a higher term", source: home(), copy: far("9", newest, mark("iad", 4, farUID)), state: StateHeld, reason: ReasonOwned},
		{name: "7 marked with our term", source: home(), copy: far("9", newest, mark("iad", 3, farUID)), state: StateHeld, reason: ReasonOwned},
		{name: "7 stamped by us, marked with our term", source: home(), copy: far("9", newest, both(synced, mark("iad", 3, farUID))), state: StateHeld, reason: ReasonOwned},
		{name: "7 before 8", source: home(), copy: far("9", newest, both(mark("iad", 4, farUID), map[string]string{StampTerm: "5"})), state: StateHeld, reason: ReasonOwned},
		{name: "8 owner lacks its uid", source: home(), copy: far("9", newest, without(synced, StampUID)), state: StateHeld, reason: ReasonStamp, says: "fernetcast/region- fernetcast/term-"},
		{name: "8 owner's term is not a number", source: home(), copy: far("9", newest, both(synced, map[string]string{StampTerm: "03"})), state: StateHeld, reason: ReasonStamp},
		{name: "8 owner's term is too high", source: home(), copy: far("9", newest, both(synced, map[string]string{StampTerm: "1000000"})), state: StateHeld, reason: ReasonStamp},
		{name: "8 unreadable mark", source: home(), copy: far("9", newest, both(synced, map[string]string{MarkRegion: "iad"})), state: StateHeld, reason: ReasonStamp, says: MarkRegion},
		{name: "8 even with force", source: home(), copy: far("9", newest, without(synced, StampUID)), force: true, state: StateHeld, reason: ReasonStamp},
		{name: "9 equal, with a matching stamp", source: home(), copy: far("9", newest, synced), state: StateSynced},
		{name: "9 stamped at another version of the same keys", source: home(), copy: far("9", newest, ours("99", newest)), state: StateSynced},
		{name: "9 before 10", source: home(), copy: far("9", newest, synced, immutable), state: StateSynced},
		{name: "10 immutable", source: home(), copy: far("9", older0, ours("50", older0), immutable), state: StateHeld, reason: ReasonImmutable},
		{name: "10 another type", source: home(), copy: far("9", older0, ours("50", older0), tls), state: StateHeld, reason: ReasonType, says: "kubernetes.io/tls"},
		{name: "11 equal, never stamped", source: home(), copy: far("9", newest, nil), action: ActionUpdate, state: StateBehind, reason: ReasonUnstamped, live: true},
		{name: "11 equal, of a lower term", source: home(), copy: far("9", newest, stamp("iad", 2, farUID, "1", newest)), action: ActionUpdate, state: StateBehind, reason: ReasonSuperseded, live: true},
		{name: "11 equal, keys lost from the stamp", source: home(), copy: far("9", newest, without(synced, StampKeys)), action: ActionUpdate, state: StateBehind, reason: ReasonDrifted, live: true},
		{name: "11 equal, version lost from the stamp", source: home(), copy: far("9", newest, without(synced, StampVersion)), action: ActionUpdate, state: StateBehind, reason: ReasonRequested, live: true},
		{name: "11 equal, with a mark of another object", source: home(), copy: far("9", newest, both(synced, mark("sjc", 9, homeUID))), action: ActionUpdate, state: StateBehind, reason: ReasonDrifted, live: true},
		{name: "12 recreated keys", source: home(keys(anew)), copy: far("9", newest, synced), state: StateHeld, reason: ReasonDiscontinuous, live: true, says: "push dfw --force"},
		{name: "12 the source is older", source: home(keys(older0)), copy: far("9", newest, synced), state: StateHeld, reason: ReasonDiscontinuous, live: true},
		{name: "12 too many rotations missed", source: home(keys("0=z 8=w 9=y")), copy: far("9", newest, synced), state: StateHeld, reason: ReasonDiscontinuous, live: true},
		{name: "12 by the data if the stamp lists no keys", source: home(keys(anew)), copy: far("9", newest, without(synced, StampKeys)), state: StateHeld, reason: ReasonDiscontinuous, live: true},
		{name: "12 by the stamp if the data drifted", source: home(keys(anew)), copy: far("9", anew+" 9=q", synced), state: StateHeld, reason: ReasonDiscontinuous, live: true},
		{name: "12 forced", source: home(keys(anew)), copy: far("9", newest, synced), force: true, action: ActionUpdate, state: StateBehind, reason: ReasonRotated, live: true},
		{name: "13 a normal rotation", source: home(), copy: far("9", older0, ours("50", older0)), action: ActionUpdate, state: StateBehind, reason: ReasonRotated, says: "1 generation behind"},
		{name: "13 a normal rotation, but the stamp is not older", source: home(), copy: far("9", older0, ours("100", older0)), action: ActionUpdate, state: StateBehind, reason: ReasonRotated, live: true},
		{name: "13 a normal rotation, but the data differs from the stamp", source: home(), copy: far("9", older1, ours("50", older0)), action: ActionUpdate, state: StateBehind, reason: ReasonDrifted, live: true},
		{name: "13 two generations behind", source: home(), copy: far("9", older1, ours("50", older1)), action: ActionUpdate, state: StateBehind, reason: ReasonRotated, live: true, says: "2 generations behind"},
		{name: "13 drifted", source: home(), copy: far("9", anew, synced), action: ActionUpdate, state: StateBehind, reason: ReasonDrifted, live: true},
		{name: "13 emptied", source: home(), copy: far("9", "", synced), action: ActionUpdate, state: StateBehind, reason: ReasonDrifted, live: true},
		{name: "13 one extra data key", source: home(), copy: far("9", newest, synced, func(s *corev1.Secret) { s.Data["extra"] = nil }), action: ActionUpdate, state: StateBehind, reason: ReasonDrifted, live: true},
		{name: "13 never stamped", source: home(), copy: far("9", anew, nil), action: ActionUpdate, state: StateBehind, reason: ReasonUnstamped, live: true},
		{name: "13 of a lower term, whatever its keys", source: home(), copy: far("9", anew, stamp("iad", 2, farUID, "1", anew)), action: ActionUpdate, state: StateBehind, reason: ReasonSuperseded, live: true},
		{name: "13 a main of a lower term", source: home(), copy: far("9", anew, mark("iad", 2, farUID)), action: ActionUpdate, state: StateBehind, reason: ReasonSuperseded, live: true, says: "main region iad, term 2"},
	}
}

func TestDecisionTable(t *testing.T) {
	for _, r := range rows() {
		t.Run(r.name, func(t *testing.T) {
			d := Decide(r.source, r.copy, r.force)
			if d.Action != r.action || d.State != r.state || d.Reason != r.reason || d.LiveRead != r.live {
				t.Errorf("action %v, state %s, reason %s, live read %v; want %v, %s, %s, %v\n%s",
					d.Action, d.State, d.Reason, d.LiveRead, r.action, r.state, r.reason, r.live, d.Detail)
			}
			if !strings.Contains(d.Detail, r.says) {
				t.Errorf("the detail %q does not contain %q", d.Detail, r.says)
			}
			if !d.State.Well() && d.Detail == "" {
				t.Error("the detail is empty")
			}
			if d.State == StateHeld && !strings.Contains(d.Detail, "nothing was changed") {
				t.Errorf("the detail does not report that nothing was changed: %s", d.Detail)
			}
			writes := d.Action == ActionCreate || d.Action == ActionUpdate
			if writes != (d.Secret != nil) {
				t.Fatalf("action %v, but the decision has a Secret: %v", d.Action, d.Secret != nil)
			}
			if writes {
				checkWrite(t, r, d.Secret)
			}
		})
	}
}

// checkWrite checks that the Secret to write has exactly the source's data, the copy's UID and
// resourceVersion as preconditions, other writers' metadata, a complete stamp, and no mark. After
// the write, the remote must be Synced.
func checkWrite(t *testing.T, r row, s *corev1.Secret) {
	t.Helper()
	if !r.source.Keys().SameData(s.Data) {
		t.Error("the data differs from the source's")
	}
	for _, name := range []string{MarkRegion, MarkTerm, MarkUID} {
		if _, ok := s.Annotations[name]; ok {
			t.Errorf("annotation %s was not removed", name)
		}
	}
	if before := r.copy.secret; before != nil {
		if s.UID != before.UID || s.ResourceVersion != before.ResourceVersion || s.Labels["kept"] != "yes" || s.Type != before.Type {
			t.Error("the Secret lost the copy's UID, version, labels, or type")
		}
	}
	written := s.DeepCopy()
	if written.UID == "" {
		written.UID = farUID
	}
	if after := Decide(r.source, ReadCopy(Place{"dfw", "openstack", "keystone-fernet-keys", ""}, written), false); after.State != StateSynced {
		t.Errorf("after the write, the remote is %s (%s: %s)", after.State, after.Reason, after.Detail)
	}
}

// A region's name must survive a round trip through an annotation and a line of text.
func TestRegionNames(t *testing.T) {
	for region, good := range map[string]bool{
		"sjc": true, "RegionOne": true, "us-east-1": true, "A.b_c-9": true, "7": true, strings.Repeat("r", 63): true,
		"": false, " sjc": false, "sjc\n": false, "a\x00b": false, strings.Repeat("r", 64): false, "\xff": false,
		"us-east 1": false, "Zürich": false, "-sjc": false, "sjc.": false, "sjc;rm": false, "a$(b)c": false,
	} {
		if err := CheckRegion(region); (err == nil) != good {
			t.Errorf("region %q: %v", region, err)
		}
	}
}
