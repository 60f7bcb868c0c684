package show

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fernetcast/fernetcast/internal/keyset"
	"github.com/fernetcast/fernetcast/internal/mirror"
	"k8s.io/utils/ptr"
)

// in returns the time that is d from now.
func in(d time.Duration) *time.Time { return ptr.To(time.Now().Add(d)) }

const day = 24 * time.Hour

var testKeys = keyset.Fingerprints{0: "99aa00bb", 7: "77777777", 8: "1f2e3d4c"}

func synced(name string) mirror.RemoteStatus {
	return mirror.RemoteStatus{
		Name: name, Namespace: "openstack", Server: "https://" + name + ":6443", State: mirror.StateSynced,
		Primary: ptr.To(8), Behind: ptr.To(0), Keys: testKeys, LastPushed: in(-252 * time.Minute), CredentialsDue: in(day), CredentialsExpire: in(31 * day),
	}
}

// few returns a status that has one remote of each kind that the table treats differently.
func few() mirror.Status {
	soon, past := synced("lon"), synced("nrt")
	soon.CredentialsDue, soon.CredentialsExpire, past.CredentialsExpire = in(-18*day), in(12*day+time.Hour), in(-3*time.Hour)
	past.State, past.Reason, past.Detail = mirror.StateDenied, "Unauthorized", "401 Unauthorized: renew the token or the certificate"
	return mirror.Status{
		Source: mirror.SourceStatus{
			Region: "sjc", Term: ptr.To(1), Namespace: "openstack", Secret: "keystone-fernet-keys", State: mirror.SourceMain,
			Primary: ptr.To(8), Staged: true, RotatedAt: in(-252 * time.Minute), Keys: testKeys,
		},
		Remotes: []mirror.RemoteStatus{
			synced("dfw"),
			{Name: "iad", Namespace: "identity", State: mirror.StateUnreachable, Detail: "dial tcp 10.0.0.9:6443: i/o timeout\x1b[2J"},
			synced("iah"), soon, past,
			{Name: "ord", State: mirror.StateHeld, Reason: mirror.ReasonDiscontinuous, Primary: ptr.To(5), Keys: keyset.Fingerprints{5: "0c0c0c0c"}, LastPushed: in(-48 * time.Hour),
				Detail: "discontinuous: the source's keys (primary 8) do not continue those pushed to ord (primary 5); nothing was changed; to push anyway: fernetcast push ord --force"},
			{Name: "syd", State: mirror.StateBehind, Reason: mirror.ReasonRotated, Primary: ptr.To(7), Behind: ptr.To(1), Keys: testKeys, Detail: "1 generation behind"},
		},
	}
}

// fleet returns a status with n remotes. Every hundredth is Unreachable, and one is Behind.
func fleet(n int) mirror.Status {
	st := few()
	st.Remotes = nil
	for i := range n {
		r := synced(fmt.Sprintf("region-%04d", i))
		if i%100 == 50 {
			r.State, r.Detail = mirror.StateUnreachable, "dial tcp 10.0.0.9:6443: i/o timeout"
		}
		st.Remotes = append(st.Remotes, r)
	}
	st.Remotes[1].State, st.Remotes[1].Behind = mirror.StateBehind, ptr.To(1)
	return st
}

// prints checks that the table's text is want.
func prints(t *testing.T, table table, st mirror.Status, want string) {
	t.Helper()
	if got := table.text(st); got != want {
		t.Errorf("printed\n%s\nwant\n%s", got, want)
	}
}

func TestTable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		prints(t, table{}, few(), `MAIN    sjc (term 1)  openstack/keystone-fernet-keys  primary 8 (1f2e3d4c)  staged 0 (99aa00bb)  3 keys  rotated 4h12m ago
REMOTE                    STATE        PRIMARY     BEHIND  LAST PUSHED  DETAIL
iad (namespace identity)  Unreachable  -           -       -            dial tcp 10.0.0.9:6443: i/o timeout?[2J
nrt                       Denied       8 1f2e3d4c  0       4h12m        credentials expired 3h ago; 401 Unauthorized: renew the token or the certificate
ord                       Held         5 0c0c0c0c  ?       2d           discontinuous: the source's keys (primary 8) do not continue those pushed to ord (primary 5); nothing was changed; to push anyway: fernetcast push ord --force
syd                       Behind       7 77777777  1       -            1 generation behind
lon                       Synced       8 1f2e3d4c  0       4h12m        credentials expire in 12d
dfw                       Synced       8 1f2e3d4c  0       4h12m
iah                       Synced       8 1f2e3d4c  0       4h12m
credentials: 1 expired, 1 due for renewal
3 Synced, 1 Behind, 1 Denied, 1 Held, 1 Unreachable
`)
	})
}

func TestTableOfTheUnwell(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := few()
		st.Remotes = st.Remotes[:3]
		prints(t, table{onlyUnwell: true}, st, `MAIN    sjc (term 1)  openstack/keystone-fernet-keys  primary 8 (1f2e3d4c)  staged 0 (99aa00bb)  3 keys  rotated 4h12m ago
REMOTE                    STATE        PRIMARY  BEHIND  LAST PUSHED  DETAIL
iad (namespace identity)  Unreachable  -        -       -            dial tcp 10.0.0.9:6443: i/o timeout?[2J
2 Synced, 1 Unreachable
`)
		// A trailing "-" of a command isn't mistaken for an empty cell.
		st.Remotes[1].Detail = "kubectl annotate secret x fernetcast/term-"
		if rows := (table{}).rows(st); !strings.HasSuffix(rows[1], " fernetcast/term-") {
			t.Errorf("the row ends with the wrong detail: %q", rows[1])
		}
		st.Remotes = st.Remotes[:1]
		prints(t, table{onlyUnwell: true}, st, `MAIN    sjc (term 1)  openstack/keystone-fernet-keys  primary 8 (1f2e3d4c)  staged 0 (99aa00bb)  3 keys  rotated 4h12m ago
1 Synced
`)
	})
}

func TestWideTable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := few()
		st.Remotes = st.Remotes[3:6]
		st.Remotes[0].LastSynced, st.Remotes[1].NextTry = in(-5*time.Second), in(20*time.Second)
		// The width of the terminal doesn't affect a wide table.
		wide := table{wide: true, Screen: Screen{width: 90, height: 24}}
		got := strings.Join(wide.lines(st)[2:], "\n")
		want := `REMOTE  STATE   REASON         NAMESPACE  SERVER            PRIMARY     KEYS  BEHIND  LAST PUSHED  LAST SYNCED  NEXT TRY  EXPIRES         DETAIL
nrt     Denied  Unauthorized   openstack  https://nrt:6443  8 1f2e3d4c  3     0       4h12m        -            in 20s    expired 3h ago  401 Unauthorized: renew the token or the certificate
ord     Held    Discontinuous  -          -                 5 0c0c0c0c  1     ?       2d           -            -         -               ` + st.Remotes[2].Detail + `
lon     Synced  -              openstack  https://lon:6443  8 1f2e3d4c  3     0       4h12m        5s           -         in 12d
credentials: 1 expired, 1 due for renewal
1 Synced, 1 Denied, 1 Held`
		if got != want {
			t.Errorf("printed\n%s\nwant\n%s", got, want)
		}
	})
}
