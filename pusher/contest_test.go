package pusher

import (
	"bytes"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fernetcast/fernetcast/internal/mirror"
	corev1 "k8s.io/api/core/v1"
)

// The first drift is repaired at once. A rival at network speed gets a handful
// of writes, is named, and when it rests the copy is right and the contest over.
func TestContest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, dfw := &source{}, &remote{}
		p := running(t, src, members{"dfw": dfw})
		dfw.spoil()
		synctest.Wait()
		expect(t, p, "dfw", mirror.StateSynced)
		_, before := dfw.counts()
		for range 250 { // 5 s of 50 a second
			dfw.spoil()
			time.Sleep(20 * time.Millisecond)
		}
		expect(t, p, "dfw", mirror.StateContested)
		if st := state(t, p, "dfw"); !bytes.Contains([]byte(st.Detail), []byte("argocd")) {
			t.Errorf("the rival is not named: %s", st.Detail)
		}
		if _, after := dfw.counts(); after-before > 10 {
			t.Errorf("%d writes in 5 s", after-before)
		}
		time.Sleep(10 * time.Second)
		if !dfw.holds(0) {
			t.Error("not equal 10 s after the rival's last write")
		}
		src.rotate()
		p.SourceChanged()
		synctest.Wait()
		if !dfw.holds(1) {
			t.Error("a contest holds a rotation up")
		}
		time.Sleep(2 * time.Minute)
		expect(t, p, "dfw", mirror.StateSynced)
		dfw.spoil()
		synctest.Wait()
		if !dfw.holds(1) {
			t.Error("after the contest a drift is not repaired at once")
		}
	})
}

// A webhook that alters each write is a rival as well.
func TestMangledWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, dfw := &source{}, &remote{mangle: true}
		p := running(t, src, members{"dfw": dfw})
		expect(t, p, "dfw", mirror.StateContested)
		if _, writes := dfw.counts(); writes != 1 {
			t.Errorf("%d writes at once", writes)
		}
		time.Sleep(time.Minute)
		if _, writes := dfw.counts(); writes > 20 {
			t.Errorf("%d writes in a minute", writes)
		}
		dfw.set(func() { dfw.mangle = false })
		time.Sleep(2 * time.Minute)
		expect(t, p, "dfw", mirror.StateSynced)
	})
}

// A contest that ends in a Secret that is not to be written is over: what
// happens next is heeded.
func TestContestEndsWhenHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, dfw := &source{}, &remote{}
		p := running(t, src, members{"dfw": dfw})
		for range 3 {
			dfw.spoil()
			synctest.Wait()
		}
		expect(t, p, "dfw", mirror.StateContested)
		dfw.set(func() { dfw.secret.Type = corev1.SecretTypeTLS })
		time.Sleep(5 * time.Second)
		expect(t, p, "dfw", mirror.StateHeld)
		dfw.set(func() { dfw.secret = nil })
		dfw.changed()
		time.Sleep(time.Second)
		if !dfw.holds(0) {
			t.Error("it is not made anew")
		}
	})
}

// A drift now and then is no contest.
func TestSeldomDrift(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, dfw := &source{}, &remote{}
		p := running(t, src, members{"dfw": dfw})
		for range 5 {
			dfw.spoil()
			synctest.Wait()
			expect(t, p, "dfw", mirror.StateSynced)
			time.Sleep(40 * time.Second)
		}
	})
}
