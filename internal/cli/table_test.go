package cli

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/fernetcast/fernetcast/internal/keyset"
	"github.com/fernetcast/fernetcast/internal/mirror"
	"k8s.io/utils/ptr"
)

func TestTable(t *testing.T) {
	ago := func(d time.Duration) *time.Time { return ptr.To(time.Now().Add(-d)) }
	keys := keyset.Fingerprints{0: "99aa00bb", 7: "77777777", 8: "1f2e3d4c"}
	st := mirror.Status{
		Source: mirror.SourceStatus{
			Region: "sjc", Term: ptr.To(1), Namespace: "openstack", Secret: "keystone-fernet-keys", State: mirror.SourceMain,
			Primary: ptr.To(8), Staged: true, RotatedAt: ago(4*time.Hour + 12*time.Minute), Keys: keys,
		},
		Remotes: []mirror.RemoteStatus{
			{Name: "dfw", Namespace: "openstack", State: mirror.StateSynced, Primary: ptr.To(8), Behind: ptr.To(0), Keys: keys, LastPushed: ago(4*time.Hour + 12*time.Minute)},
			{Name: "iad", Namespace: "identity", State: mirror.StateUnreachable, Detail: "dial tcp 10.0.0.9:6443: i/o timeout\x1b[2J"},
			{Name: "ord", State: mirror.StateHeld, Reason: mirror.ReasonDiscontinuous, Detail: "discontinuous: the source's keys do not continue", Primary: ptr.To(5), Keys: keyset.Fingerprints{5: "0c0c0c0c"}, LastPushed: ago(48 * time.Hour)},
		},
	}
	var out bytes.Buffer
	if err := printTable(&out, st); err == nil {
		t.Error("two remotes are not well, and the exit code is 0")
	}
	const want = `MAIN    sjc (term 1)  openstack/keystone-fernet-keys  primary 8 (1f2e3d4c)  staged 0 (99aa00bb)  3 keys  rotated 4h12m ago
REMOTE                    STATE        PRIMARY     BEHIND  LAST PUSHED  DETAIL
dfw                       Synced       8 1f2e3d4c  0       4h12m        
iad (namespace identity)  Unreachable  -           -       -            dial tcp 10.0.0.9:6443: i/o timeout?[2J
ord                       Held         5 0c0c0c0c  ?       2d           discontinuous: the source's keys do not continue
`
	if out.String() != want {
		t.Errorf("printed\n%s\nwant\n%s", out.String(), want)
	}
}

func TestExitCodes(t *testing.T) {
	for args, want := range map[string]int{
		"version": 0, "--help": 0, "run --help": 0, "help push": 0,
		"": 2, "nonsense": 2, "version x": 2, "run x": 2, "status x": 2, "run --nonsense": 2,
		"run --clusters secret/x": 2, "run --resync 0": 2, "run --backoff-initial 1m": 2, "run --listen 9464": 2, "run --listen :x": 2,
		"run --log-level trace": 2, "run --log-level DEBUG-8": 2, "run --log-format xml": 2, "run --namespace A_b": 2, "run --secret -": 2,
		"status --output xml": 2, "status --request-timeout -1s": 2, "status --kubeconfig /nowhere": 2, "status --clusters secret/": 2,
		"promote": 2, "promote a b": 2, "promote sjc": 2, "promote --yes \n": 2,
	} {
		var out bytes.Buffer
		ctx, cancel := context.WithCancel(t.Context())
		cancel() // what is taken to be good ends at once
		if got := execute(ctx, strings.Split(args, " "), strings.NewReader(""), &out, &out); args != "" && got != want {
			t.Errorf("%q: exit code %d, want %d\n%s", args, got, want, out.String())
		}
		if want == exitUsage && !strings.Contains(out.String(), "fernetcast: ") {
			t.Errorf("%q: it is not said what is wrong:\n%s", args, out.String())
		}
	}
	if got := execute(t.Context(), nil, nil, &bytes.Buffer{}, &bytes.Buffer{}); got != exitUsage {
		t.Errorf("without a command: exit code %d", got)
	}
}
