package keystone_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fernetcast/fernetcast/e2e/testenv"
)

// TestFiftyRegions probes fifty regions, one of them frozen. This takes little more than one
// timeout, and little memory.
func TestFiftyRegions(t *testing.T) {
	const regions, timeout, room = 50, 5 * time.Second, 60 << 20
	s := shared.Stage(t, "p", testTime)
	var names []string
	for n := range regions {
		names = append(names, fmt.Sprintf("r%02d", n))
	}
	program := s.Shipped().WithEnv(testenv.Identity(t, "r17", names...)...)
	began, peak := time.Now(), int64(0)
	process, err := program.Start("probe", "--request-timeout", timeout.String(), "--kubeconfig", filepath.Join(t.TempDir(), "none"))
	s.Must(err)
	s.Cleanup(process.Kill)
	var others time.Duration
	for process.Running() {
		if _, now, err := process.Memory(); err == nil {
			peak = max(peak, now)
		}
		if others == 0 && strings.Count(process.Stdout.String(), " accepted ") == regions-1 {
			others = time.Since(began)
		}
		time.Sleep(time.Millisecond)
	}
	took := time.Since(began)
	code, err := process.Wait(s.Ctx)
	s.Must(err)
	t.Logf("the others after %v, all after %v, %d MiB", others, took, peak>>20)
	if out := process.Stdout.String(); code != 1 || !strings.Contains(out, "49 of 50 accepted") || strings.Contains(process.Stderr.String(), "cancel") || !strings.Contains(out, "r00   r17   unreachable") {
		t.Errorf("exit code %d:\n%s%s", code, out, process.Stderr)
	}
	if others == 0 || others > took-time.Second || took > 2*timeout || peak > room {
		t.Errorf("the others after %v, all after %v, with %d MiB", others, took, peak>>20)
	}
}
