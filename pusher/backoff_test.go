package pusher

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fernetcast/fernetcast/internal/mirror"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// A remote that is down is retried with backoff, without a limit. When it can be reached
// again, it is retried immediately.
func TestBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, dfw := &source{}, &remote{}
		p := running(t, src, members{"dfw": dfw})
		dfw.set(func() { dfw.fail = apierrors.NewServiceUnavailable("down") })
		src.rotate()
		p.SourceChanged()
		time.Sleep(time.Hour)
		expect(t, p, "dfw", mirror.StateUnreachable)
		if next := state(t, p, "dfw").NextTry; next == nil || time.Until(*next) > 30*time.Second {
			t.Errorf("next try at %v", next)
		}
		dfw.set(func() { dfw.fail = nil })
		p.RemoteAnswered("dfw")
		synctest.Wait()
		expect(t, p, "dfw", mirror.StateSynced)
		if state(t, p, "dfw").NextTry != nil || !dfw.holds(1) {
			t.Error("the remote still waits for its backoff")
		}
	})
}

// If the live read fails, nothing is written, and the remote is retried with backoff.
func TestNoLiveRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, dfw := &source{fail: apierrors.NewServiceUnavailable("down")}, &remote{}
		p := running(t, src, members{"dfw": dfw})
		expect(t, p, "dfw", mirror.StateBehind)
		if st := state(t, p, "dfw"); dfw.sent > 0 || st.NextTry == nil || !strings.HasPrefix(st.Detail, "the source cannot be read: 503") {
			t.Errorf("%d writes, next try at %v: %s", dfw.sent, st.NextTry, st.Detail)
		}
		src.mu.Lock()
		src.fail = nil
		src.mu.Unlock()
		time.Sleep(time.Second)
		expect(t, p, "dfw", mirror.StateSynced)
	})
}

func TestLimiter(t *testing.T) {
	l := newLimiter(200*time.Millisecond, 30*time.Second)
	for try := range 1000 {
		wait := l.When("dfw")
		if wait < 100*time.Millisecond || wait > 30*time.Second {
			t.Fatalf("attempt %d waits %v", try, wait)
		}
		if try > 50 && wait < 10*time.Second {
			t.Fatalf("attempt %d waits only %v", try, wait)
		}
	}
	if n := l.NumRequeues("dfw"); n != 1000 {
		t.Errorf("%d requeues", n)
	}
	l.Forget("dfw")
	if wait := l.When("dfw"); wait > 300*time.Millisecond || l.NumRequeues("dfw") != 1 {
		t.Errorf("after Forget, the wait is %v", wait)
	}
	l.waitAtLeast("dfw", 5*time.Second)
	if wait := l.When("dfw"); wait < 5*time.Second || wait > 30*time.Second {
		t.Errorf("with a Retry-After of 5 s, the wait is %v", wait)
	}
	l.waitAtLeast("dfw", time.Hour)
	if wait := l.When("dfw"); wait != 30*time.Second {
		t.Errorf("with a Retry-After of an hour, the wait is %v", wait)
	}
}
