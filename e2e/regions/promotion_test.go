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

// claimed returns a patch that sets a stamp with the given term. Anyone who can write to a remote
// can apply such a patch.
func claimed(term int) string {
	return fmt.Sprintf(`{"metadata":{"annotations":{"fernetcast/region":"hkg","fernetcast/term":"%d","fernetcast/source-uid":"hkg"}}}`, term)
}

// terms waits until sjc owns each region's Secret with the given term.
func (w *world) terms(term int, regions ...string) {
	w.Helper()
	w.Until(func(ctx context.Context) error {
		for _, region := range regions {
			secret, err := shared.Cluster(region).Secret(ctx, w.NS)
			if err != nil {
				return err
			}
			if n, owner := ownerOf(testenv.Version{Secret: secret}); n != term || owner != mainRegion {
				return fmt.Errorf("%s is owned by %q, term %d, want term %d", region, owner, n, term)
			}
		}
		return nil
	})
}

// guarded returns a promoted main region with remotes, and a gateway for the operator's requests to
// the main region.
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

// TestTermOfOneRemote checks a remote whose term is far above all others. promote must refuse to
// take an even higher term, and name the remote. Otherwise, anyone who can write to one remote
// could use up all terms.
func TestTermOfOneRemote(t *testing.T) {
	t.Parallel()
	w, _ := guarded(t)
	w.patch("dfw", claimed(999998))
	histories := w.follow(append([]string{mainRegion}, remotes...)...)
	w.says(1, []string{"dfw has term 999998", "more than 1000 above all others", "nothing was changed", "--ignore dfw", "--force"}, "promote", mainRegion, "--yes")
	w.says(2, []string{`--ignore: there is no remote "fra"`, "dfw, iad, ord"}, "promote", mainRegion, "--yes", "--ignore", "fra")
	w.untouched(histories)

	output := w.exits(1, "promote", mainRegion, "--yes", "--ignore", "dfw")
	for _, text := range []string{"dfw: not changed: owned by hkg, term 999998", "Marked", "term 2.", "Held"} {
		if !strings.Contains(output, text) {
			t.Errorf("the output does not contain %q:\n%s", text, output)
		}
	}
	if strings.Contains(output, "Another region") {
		t.Errorf("an ignored remote is shown as another main region:\n%s", output)
	}
	w.terms(2, mainRegion, "iad", "ord")
	histories["dfw"].untouched()

	w.says(0, []string{"term 999999."}, "promote", mainRegion, "--yes", "--force")
	w.terms(999999, append([]string{mainRegion}, remotes...)...)
	w.says(1, []string{"term 999999, the highest that is possible", "nothing was changed"}, "promote", mainRegion, "--yes", "--force")
}

// TestMarkAnswers checks responses that leave open whether the mark was set. promote must read the
// Secret, and retry if the mark isn't set. TestMark in internal/promotion has a table of all
// responses.
func TestMarkAnswers(t *testing.T) {
	t.Parallel()
	w, gateway := guarded(t)
	all := append([]string{mainRegion}, remotes...)
	gatewayTimeout := page(http.StatusGatewayTimeout, "text/html", html)
	for i, tc := range []struct {
		name   string
		done   bool // whether the first PUT takes effect
		answer http.HandlerFunc
	}{
		{"504, not done", false, gatewayTimeout},
		{"cut, done", true, cutOff},
		{"a login page, done", true, page(http.StatusOK, "text/html", html)},
	} {
		var spoilt atomic.Bool
		gateway.Spoil(func(honest http.Handler) http.Handler {
			return http.HandlerFunc(func(answer http.ResponseWriter, r *http.Request) {
				if r.Method != http.MethodPut || spoilt.Swap(true) {
					honest.ServeHTTP(answer, r)
					return
				}
				if tc.done {
					honest.ServeHTTP(httptest.NewRecorder(), r)
				}
				tc.answer(answer, r)
			})
		})
		t.Log(tc.name)
		w.says(0, []string{"Marked"}, "promote", mainRegion, "--yes", "--request-timeout", "2s")
		w.terms(2+i, all...)
	}

	gateway.Spoil(kind{on: aWrite, answer: gatewayTimeout}.spoil)
	w.says(1, []string{"it is unknown whether the source is marked", "check fernetcast --"}, "promote", mainRegion, "--yes", "--request-timeout", "2s")
	w.terms(4, all...)
}

// TestPromoteInterrupted interrupts promote after it has set the mark and before it pushes. promote
// must report that the mark is set, and how to continue.
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
			return errors.New("the second read has not started")
		}
		return nil
	})
	w.Must(promote.Terminate())
	code, err := promote.Wait(w.Ctx)
	w.Must(err)
	output := promote.Stdout.String() + promote.Stderr.String()
	w.noLeaks(output)
	if code != 1 || !strings.Contains(output, "interrupted: this cluster is the main region, with term 1") || !strings.Contains(output, " push, or another promote") {
		t.Errorf("exit %d\n%s", code, output)
	}
	gateway.Spoil(nil)
	w.exits(0, "push")
	w.equal(testenv.Soon, keys, "dfw", "iad")
}
