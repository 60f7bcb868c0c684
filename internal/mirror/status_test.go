package mirror

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

func TestWell(t *testing.T) {
	for _, state := range []State{StatePending, StateBehind, StateHeld, StateContested, StateDenied, StateUnreachable, StateFailed, StateMisconfigured} {
		if state.Well() {
			t.Errorf("State(%s).Well() is true", state)
		}
	}
	for _, state := range []State{StateSynced, StateStandby, StateSelf} {
		if !state.Well() {
			t.Errorf("State(%s).Well() is false", state)
		}
	}
	good, bad := SourceStatus{State: SourceMain}, []RemoteStatus{{State: StateSynced}, {State: StateHeld}}
	for name, c := range map[string]struct {
		status Status
		want   bool
	}{
		"a main":              {Status{Source: good, Remotes: bad[:1]}, true},
		"a standby":           {Status{Source: SourceStatus{State: SourceStandby}}, true},
		"without a mark":      {Status{Source: SourceStatus{State: SourceUnpromoted}}, false},
		"not read any longer": {Status{Source: SourceStatus{State: SourceMain, Stale: true}}, false},
		"without remotes":     {Status{Source: good}, false},
		"a remote is held":    {Status{Source: good, Remotes: bad}, false},
	} {
		if got := c.status.Well(); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestSourceStatus(t *testing.T) {
	for name, c := range map[string]struct {
		secret        *corev1.Secret
		trouble       string
		term, primary int // 0: null
		staged, stale bool
		detail        string
	}{
		"a main":                   {secret: mainSecret(), term: 3, primary: 3, staged: true},
		"no staged key":            {secret: mainSecret(keys("2=b 3=c")), term: 3, primary: 3, detail: "no staged key 0: after the next rotation, remotes reject new tokens until it is pushed"},
		"a standby, no staged key": {secret: secret(farUID, "7", "2=b 3=c", stamp("sjc", 2, homeUID, "100", newest)), term: 2, primary: 3, detail: "copy of sjc"},
		"not promoted":             {secret: mainSecret(annotate(nil)), primary: 3, staged: true, detail: "it has no mark of a main region; if this cluster was the main region: fernetcast recover --from REMOTE; if it should become the main region: fernetcast promote REGION"},
		"an unreadable mark": {secret: mainSecret(annotate(map[string]string{MarkRegion: "sjc"})), primary: 3, staged: true,
			detail: "its annotations fernetcast/main cannot be read, so its owner is unknown; if this cluster was the main region: fernetcast recover --from REMOTE; if it should become the main region: fernetcast promote REGION --force"},
		"absent":     {detail: "the Secret does not exist; to restore the keys: fernetcast recover --from REMOTE"},
		"in trouble": {secret: mainSecret(), trouble: "no answer", term: 3, primary: 3, staged: true, stale: true, detail: "no answer"},
	} {
		st := ReadSource(c.secret).Status("openstack", "keystone-fernet-keys", c.trouble)
		number := func(n *int) int {
			if n == nil {
				return 0
			}
			return *n
		}
		if number(st.Term) != c.term || number(st.Primary) != c.primary || st.Staged != c.staged || st.Stale != c.stale || st.Detail != c.detail {
			t.Errorf("%s: %+v, term %d, primary %d", name, st, number(st.Term), number(st.Primary))
		}
		if (st.Term == nil) != (c.term == 0) || (st.Primary == nil) != (c.primary == 0) {
			t.Errorf("%s: term %v, primary %v", name, st.Term, st.Primary)
		}
	}
}

// If a Secret is not a key set, the status lists at most 200 keys.
func TestStatusShowsSoManyKeys(t *testing.T) {
	for n, want := range map[int]int{maxShownKeys: maxShownKeys, maxShownKeys + 1: 0} {
		var pairs []string
		for i := range n {
			pairs = append(pairs, fmt.Sprintf("%d=%c", i, 'a'+i%20))
		}
		copied := ReadCopy(Place{}, secret(farUID, "7", strings.Join(pairs, " "), nil))
		if got := len(copied.Status(Source{}, Decision{}).Keys); got != want {
			t.Errorf("%d keys: %d are shown, want %d", n, got, want)
		}
	}
}

// Rival returns the owner in the copy that the source does not outrank.
func TestRival(t *testing.T) {
	src := ReadSource(mainSecret())
	other := func(term int) map[string]string { return stamp("lon", term, "uid-of-lon", "7", newest) }
	for name, c := range map[string]struct {
		annotations map[string]string
		want        int
	}{
		"nobody":             {nil, 0},
		"itself":             {stamp("sjc", 3, homeUID, "7", newest), 0},
		"a lower term":       {other(2), 0},
		"its own term":       {other(3), 3},
		"a higher term":      {other(4), 4},
		"a mark of a main":   {mark("lon", 3, farUID), 3},
		"two, mark higher":   {both(mark("ord", 6, farUID), other(5)), 6},
		"two, stamp higher":  {both(mark("ord", 5, farUID), other(6)), 6},
		"two of equal terms": {both(mark("ord", 5, farUID), other(5)), 5},
	} {
		copied := ReadCopy(Place{}, secret(farUID, "7", newest, c.annotations))
		rival := copied.Rival(src)
		if rival.Term != c.want {
			t.Errorf("%s: term %d, want %d", name, rival.Term, c.want)
		}
		if name == "two of equal terms" && rival.Region != "ord" {
			t.Errorf("%s: %s", name, rival.Region)
		}
	}
}

// Then forgets past primaries if the owner changes.
func TestThenOfAnotherMain(t *testing.T) {
	main := func(version, pairs string) *corev1.Secret {
		return secret(homeUID, version, pairs, mark("sjc", 3, homeUID))
	}
	copied := secret(homeUID, "99", older0, stamp("lon", 2, "uid-of-lon", "7", older0))
	for name, c := range map[string]struct {
		steps []*corev1.Secret
		want  int
	}{
		"a rotation":          {[]*corev1.Secret{main("99", older0), main("100", newest)}, 1},
		"a standby before":    {[]*corev1.Secret{copied, main("100", newest)}, 0},
		"a standby between":   {[]*corev1.Secret{main("98", older1), copied, main("100", newest)}, 0},
		"a standby of itself": {[]*corev1.Secret{secret(homeUID, "99", older0, stamp("sjc", 3, homeUID, "7", older0)), main("100", newest)}, 0},
		"another term":        {[]*corev1.Secret{secret(homeUID, "99", older0, mark("sjc", 2, homeUID)), main("100", newest)}, 0},
	} {
		var src Source
		for _, step := range c.steps {
			src = src.Then(step)
		}
		if got := len(src.past); got != c.want {
			t.Errorf("%s: %d primaries are remembered, want %d", name, got, c.want)
		}
	}
}

// A decision's detail describes how the copy differs. It names another writer only if there is one.
func TestDescribes(t *testing.T) {
	src := ReadSource(mainSecret())
	stamped := func(pairs string) map[string]string { return stamp("sjc", 3, homeUID, "90", pairs) }
	by := func(manager string) func(*corev1.Secret) {
		return func(s *corev1.Secret) {
			at := metav1.Unix(7, 0)
			s.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: manager, Time: &at}}
		}
	}
	const otherStaged = "0=e 1=a 2=b 3=c"
	for name, c := range map[string]struct {
		copied *corev1.Secret
		want   string
	}{
		"one rotation":       {secret(farUID, "9", older0, stamped(older0)), "1 generation behind"},
		"two rotations":      {secret(farUID, "9", older1, stamped(older1)), "2 generations behind"},
		"another staged key": {secret(farUID, "9", otherStaged, stamped(otherStaged)), "its keys differ from the source's"},
		"drift":              {secret(farUID, "9", anew, stamped(newest)), "changed there by an unknown writer"},
		"drift by a writer":  {secret(farUID, "9", anew, stamped(newest), by("argocd")), "changed there by argocd"},
		"drift by ourselves": {secret(farUID, "9", anew, stamped(newest), by(FieldManager)), "changed there by an unknown writer"},
	} {
		if d := Decide(src, ReadCopy(Place{}, c.copied), false); d.Detail != c.want {
			t.Errorf("%s: %q, want %q", name, d.Detail, c.want)
		}
	}
}

// Words of at most 63 letters are shown, and managedFields entries of at most 64 KiB are parsed.
func TestBounds(t *testing.T) {
	for n, want := range map[int]string{maxWordLength: strings.Repeat("a", maxWordLength), maxWordLength + 1: leftOut} {
		if got := words(strings.Repeat("a", n)); got != want {
			t.Errorf("a word of %d letters is shown as %s", n, got)
		}
	}
	for n, want := range map[int]bool{maxManagedFields: true, maxManagedFields + 1: false} {
		text := `{"f:data":{"f:0":{}}}`
		fields := &metav1.FieldsV1{}
		fields.SetRawBytes([]byte(text + strings.Repeat(" ", n-len(text))))
		if got := (managed{FieldsV1: fields}).writesData(); got != want {
			t.Errorf("managedFields entry of %d bytes: %v", n, got)
		}
	}
	if (managed{}).writesData() {
		t.Error("a managedFields entry without fields owns data keys")
	}
}

// Old keys that a remote lacks mean that nothing pushes.
func TestIdle(t *testing.T) {
	now := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	at := func(minutes int) *time.Time { return ptr.To(now.Add(time.Duration(-minutes) * time.Minute)) }
	behind, synced := RemoteStatus{State: StateBehind, LastPushed: at(60)}, RemoteStatus{State: StateSynced, LastPushed: at(30)}
	for name, c := range map[string]struct {
		rotated *time.Time
		remotes []RemoteStatus
		want    string // text in the message; "" if there is none
	}{
		"behind":           {at(5), []RemoteStatus{synced, behind}, "written at 2026-11-30T11:55:00Z (last push: 2026-11-30T11:30:00Z)"},
		"never pushed":     {at(5), []RemoteStatus{{State: StateBehind}}, "last push: never"},
		"a new rotation":   {at(1), []RemoteStatus{behind}, ""},
		"all are synced":   {at(5), []RemoteStatus{synced}, ""},
		"an unknown time":  {nil, []RemoteStatus{behind}, ""},
		"without a remote": {at(5), nil, ""},
	} {
		got := Status{Source: SourceStatus{State: SourceMain, RotatedAt: c.rotated}, Remotes: c.remotes}.Idle(now)
		if (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}
