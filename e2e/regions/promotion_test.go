package regions

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/fernetcast/fernetcast/e2e/testenv"
)

// claimed are a stamp's annotations as whoever may write a remote can set them.
func claimed(term int) string {
	return fmt.Sprintf(`{"metadata":{"annotations":{"fernetcast/region":"hkg","fernetcast/term":"%d","fernetcast/source-uid":"hkg"}}}`, term)
}

// terms waits until each region's Secret is of sjc, with the term.
func (w *world) terms(term int, regions ...string) {
	w.Helper()
	w.Until(func(ctx context.Context) error {
		for _, region := range regions {
			secret, err := shared.Cluster(region).Secret(ctx, w.NS)
			if err != nil {
				return err
			}
			if n, owner := ownerOf(testenv.Version{Secret: secret}); n != term || owner != mainRegion {
				return fmt.Errorf("%s is of %q, term %d, not of term %d", region, owner, n, term)
			}
		}
		return nil
	})
}

// guarded is a main and its remotes, promoted once, and a gateway that the
// operator's requests to the main go through.
func guarded(t *testing.T) (*world, *testenv.Gateway) {
	t.Helper()
	w := newWorld(t)
	keys := w.keys()
	w.join(remotes...)
	w.promote()
	w.equal(testenv.Soon, keys, remotes...)
	gateway, err := w.Home.Gateway()
	w.Must(err)
	t.Cleanup(gateway.Close)
	flags, err := w.Flags(w.Ctx, testenv.Access{Role: testenv.OperatorRole, Server: gateway.URL()})
	w.Must(err)
	built := w.Raced()
	w.Operator = built.With(flags...)
	return w, gateway
}

// onMark is what becomes of the n-th PUT of a mark, from 1 on; all else is honest.
func onMark(spoil func(n int32, honest http.Handler, answer http.ResponseWriter, r *http.Request)) func(http.Handler) http.Handler {
	var puts atomic.Int32
	return func(honest http.Handler) http.Handler {
		return http.HandlerFunc(func(answer http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodPut {
				honest.ServeHTTP(answer, r)
				return
			}
			spoil(puts.Add(1), honest, answer, r)
		})
	}
}

// A term that one cluster alone has, far above all others, is not followed, but
// named: whoever may write one remote would else use up all the terms there are.
func TestTermOfOneRemote(t *testing.T) {
	t.Parallel()
	w, _ := guarded(t)
	w.patch("dfw", claimed(999998))
	histories := w.follow(append([]string{mainRegion}, remotes...)...)
	w.says(1, []string{"dfw has term 999998", "more than 1000 above all others'", "nothing was changed", "--ignore dfw", "--force"}, "promote", mainRegion, "--yes")
	w.says(2, []string{`--ignore: there is no remote "fra"`, "dfw, iad, ord"}, "promote", mainRegion, "--yes", "--ignore", "fra")
	w.untouched(histories)

	output := w.exits(1, "promote", mainRegion, "--yes", "--ignore", "dfw")
	for _, text := range []string{"dfw: stays as it is: owned by hkg, term 999998", "Marked", "term 2.", "Held"} {
		if !strings.Contains(output, text) {
			t.Errorf("it does not say %q:\n%s", text, output)
		}
	}
	if strings.Contains(output, "Another main") {
		t.Errorf("an ignored remote passes for another main:\n%s", output)
	}
	w.terms(2, mainRegion, "iad", "ord")
	histories["dfw"].untouched()

	w.says(0, []string{"term 999999."}, "promote", mainRegion, "--yes", "--force")
	w.terms(999999, append([]string{mainRegion}, remotes...)...)
	w.says(1, []string{"term 999999, there is none above it", "nothing was changed"}, "promote", mainRegion, "--yes", "--force")
}

// A term that turns up while a promotion is under way: one of a cluster alone,
// far above, is named; the next one is followed, also where the answer to the
// second mark is lost.
func TestTermMeanwhile(t *testing.T) {
	t.Parallel()
	w, gateway := guarded(t)
	gateway.Spoil(onMark(func(_ int32, honest http.Handler, answer http.ResponseWriter, r *http.Request) {
		w.patch("dfw", claimed(999998))
		honest.ServeHTTP(answer, r)
	}))
	w.says(1, []string{"Term 999998 has turned up meanwhile in dfw alone", "not followed", "dfw changed meanwhile", "Held"}, "promote", mainRegion, "--yes", "--force")
	w.terms(2, mainRegion, "iad", "ord")

	w.patch("dfw", noStamp)
	gateway.Spoil(onMark(func(n int32, honest http.Handler, answer http.ResponseWriter, r *http.Request) {
		if n == 1 {
			w.patch("dfw", claimed(3))
			honest.ServeHTTP(answer, r)
			return
		}
		honest.ServeHTTP(httptest.NewRecorder(), r)
		http.Error(answer, "no answer", http.StatusGatewayTimeout)
	}))
	w.says(0, []string{"term 3.", "Term 3 has turned up elsewhere meanwhile: marking once more.", "term 4."}, "promote", mainRegion, "--yes")
	w.terms(4, append([]string{mainRegion}, remotes...)...)
}

// An answer to the mark that does not settle whether it is set is followed by a
// look, and another try where it is not.
func TestMarkAnswers(t *testing.T) {
	t.Parallel()
	w, gateway := guarded(t)
	page := func(code int) func(http.ResponseWriter, *http.Request) {
		return func(answer http.ResponseWriter, _ *http.Request) {
			answer.Header().Set("Content-Type", "text/html")
			answer.WriteHeader(code)
			fmt.Fprint(answer, "<html>something stands between</html>")
		}
	}
	later := func(answer http.ResponseWriter, _ *http.Request) {
		answer.Header().Set("Retry-After", "1")
		http.Error(answer, "too many", http.StatusTooManyRequests)
	}
	forbidden := func(answer http.ResponseWriter, _ *http.Request) {
		http.Error(answer, "no", http.StatusForbidden)
	}
	const unknown, undone = "it is not known whether it is marked", "the promotion has not begun"
	term := 1
	for _, tc := range []struct {
		name   string
		done   bool // whether the PUT is done
		times  int32
		answer func(http.ResponseWriter, *http.Request)
		marked bool // in the end
		says   string
	}{
		{"504, done", true, 1, page(504), true, "Marked"},
		{"504, not done", false, 1, page(504), true, "Marked"},
		{"504, never done", false, 99, page(504), false, unknown},
		{"cut, done", true, 1, func(_ http.ResponseWriter, r *http.Request) { testenv.Sever(r) }, true, "Marked"},
		{"cut, not done", false, 1, func(_ http.ResponseWriter, r *http.Request) { testenv.Sever(r) }, true, "Marked"},
		{"not answered, done", true, 1, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, true, "Marked"},
		{"429, done", true, 1, later, true, "Marked"},
		{"502, not done", false, 2, page(502), true, "Marked"},
		{"a login page, done", true, 1, page(200), true, "Marked"},
		{"a login page, not done", false, 1, page(200), true, "Marked"},
		{"403", false, 1, forbidden, false, undone},
	} {
		gateway.Spoil(onMark(func(n int32, honest http.Handler, answer http.ResponseWriter, r *http.Request) {
			if n > tc.times {
				honest.ServeHTTP(answer, r)
				return
			}
			if tc.done {
				honest.ServeHTTP(httptest.NewRecorder(), r)
			}
			tc.answer(answer, r)
		}))
		code := 1
		if tc.marked {
			code = 0
			term++
		}
		t.Log(tc.name)
		w.says(code, []string{tc.says}, "promote", mainRegion, "--yes", "--request-timeout", "2s")
		w.terms(term, append([]string{mainRegion}, remotes...)...)
	}

	// It is done, and the API server is gone then.
	gateway.Spoil(func(honest http.Handler) http.Handler {
		var gone atomic.Bool
		return http.HandlerFunc(func(answer http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPut && !gone.Swap(true) {
				honest.ServeHTTP(httptest.NewRecorder(), r)
			}
			if gone.Load() {
				page(503)(answer, r)
				return
			}
			honest.ServeHTTP(answer, r)
		})
	})
	w.says(1, []string{unknown, "look at fernetcast status"}, "promote", mainRegion, "--yes")
	w.terms(term+1, mainRegion)
}

// Whoever interrupts promote between the mark and the push is told that the
// mark is set, and how to go on.
func TestPromoteInterrupted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	keys := w.keys()
	gateway, err := shared.Cluster("dfw").Gateway()
	w.Must(err)
	t.Cleanup(gateway.Close)
	w.join("iad")
	w.joinAs("dfw", testenv.Access{Role: testenv.RemoteRole, Server: gateway.URL()})
	var reads atomic.Int32
	gateway.Spoil(func(honest http.Handler) http.Handler {
		return http.HandlerFunc(func(answer http.ResponseWriter, r *http.Request) {
			if reads.Add(1) > 1 {
				<-r.Context().Done()
				return
			}
			honest.ServeHTTP(answer, r)
		})
	})
	promote, err := w.Operator.Start("promote", mainRegion, "--yes", "--request-timeout", "2m")
	w.Must(err)
	t.Cleanup(promote.Kill)
	w.Until(func(context.Context) error {
		if reads.Load() < 2 {
			return errors.New("the second look has not begun")
		}
		return nil
	})
	w.Must(promote.Terminate())
	code, err := promote.Wait(w.Ctx)
	w.Must(err)
	output := promote.Stdout.String() + promote.Stderr.String()
	w.noLeaks(output)
	if code != 1 || !strings.Contains(output, "interrupted: this cluster is the main, marked with term 1") || !strings.Contains(output, "fernetcast push") {
		t.Errorf("exit %d\n%s", code, output)
	}
	gateway.Spoil(nil)
	w.exits(0, "push")
	w.equal(testenv.Soon, keys, "dfw", "iad")
}
