package promotion

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fernetcast/fernetcast/internal/mirror"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// A region is a source with two remotes, a copy and the old main region. A test can make its
// requests fail.
type region struct {
	secret  *corev1.Secret
	remotes map[string]*corev1.Secret
	// puts are the outcomes of the PUTs, in order. Later PUTs succeed.
	puts []put
	// gets are the errors of the GETs, in order. Later GETs succeed.
	gets []error
	// first runs before the first Look. between runs before the second.
	first   func(*region)
	between func(*region)

	sent, read, looked int
	pushed             []string
	said               []string
}

// A put is the outcome of a PUT.
type put struct {
	done   bool  // whether the write is applied
	answer error // nil if the response is correct
	before func(*region)
}

func newRegion() *region {
	return &region{
		secret:  secret("home", newest, stamp("lon", 2, newest)),
		remotes: map[string]*corev1.Secret{"dfw": copyOf("dfw", 2), "lon": secret("lon", newest, mark("lon", 2, "lon"))},
	}
}

func (r *region) Get(ctx context.Context) (mirror.Source, error) {
	r.read++
	if ctx.Err() != nil {
		return mirror.Source{}, ctx.Err()
	}
	if r.read <= len(r.gets) && r.gets[r.read-1] != nil {
		return mirror.Source{}, r.gets[r.read-1]
	}
	return mirror.ReadSource(r.secret), nil
}

func (r *region) Mark(ctx context.Context, marked *corev1.Secret) (mirror.Source, error) {
	if ctx.Err() != nil {
		return mirror.Source{}, ctx.Err()
	}
	fate := put{done: true}
	if r.sent++; r.sent <= len(r.puts) {
		fate = r.puts[r.sent-1]
	}
	if fate.before != nil {
		fate.before(r)
	}
	if fate.done {
		if marked.ResourceVersion != r.secret.ResourceVersion {
			return mirror.Source{}, apierrors.NewConflict(schema.GroupResource{Resource: "secrets"}, marked.Name, errors.New("it was modified"))
		}
		r.write(func(s *corev1.Secret) { s.Annotations = marked.Annotations })
	}
	return mirror.ReadSource(r.secret), fate.answer
}

func (r *region) write(change func(*corev1.Secret)) {
	s := r.secret.DeepCopy()
	version, _ := strconv.Atoi(s.ResourceVersion)
	s.ResourceVersion = strconv.Itoa(version + 1)
	change(s)
	r.secret = s
}

func (r *region) Look(context.Context) []Remote {
	r.looked++
	if r.looked == 1 && r.first != nil {
		r.first(r)
	}
	if r.looked == 2 && r.between != nil {
		r.between(r)
	}
	return looks(r.remotes)
}

func (r *region) Push(_ context.Context, names []string) { r.pushed = append(r.pushed, names...) }

// promote promotes sjc and returns the printed lines.
func (r *region) promote(ctx context.Context, opts Options) (string, error) {
	opts.Region = "sjc"
	p := Promotion{
		Options: opts, Source: r, Fleet: r, Secret: "openstack/keystone-fernet-keys", Pause: time.Second,
		Say: func(line string) { r.said = append(r.said, line) },
	}
	plan, err := p.Plan(ctx)
	r.said = append(r.said, plan.Lines...)
	if err == nil {
		err = p.Apply(ctx, plan)
	}
	return strings.Join(r.said, "\n"), err
}

func (r *region) term() int { return mirror.ReadSource(r.secret).Owner().Term }

func answer(code int) error {
	return apierrors.NewGenericServerResponse(code, "put", schema.GroupResource{Resource: "secrets"}, "keystone-fernet-keys", "words", 0, true)
}

// TestMark covers each kind of response to the PUT of the mark.
func TestMark(t *testing.T) {
	lost := &url.Error{Op: "Put", URL: "https://home", Err: io.ErrUnexpectedEOF}
	rotate := func(r *region) { r.write(func(s *corev1.Secret) { s.Data = keys(next) }) }
	again := func(p put, times int) []put { return slices.Repeat([]put{p}, times) }
	type row struct {
		puts   []put
		gets   []error // starting with the second GET
		marked bool
		sent   int
		says   string // text in the error; "" if the promotion succeeds
	}
	table := map[string]row{
		"served":                              {marked: true, sent: 1},
		"cut, and done":                       {puts: []put{{true, lost, nil}}, marked: true, sent: 1},
		"cut, and not done":                   {puts: []put{{false, lost, nil}}, marked: true, sent: 2},
		"a 200 that is another's":             {puts: []put{{false, nil, nil}}, marked: true, sent: 2},
		"never answered":                      {puts: again(put{false, context.DeadlineExceeded, nil}, 9), sent: 5, says: "timed out; it is unknown whether the source is marked with term 3: check fernetcast status"},
		"a rotation came in between":          {puts: []put{{true, nil, rotate}}, marked: true, sent: 2},
		"a rotation after a lost answer":      {puts: []put{{false, answer(504), nil}, {true, nil, rotate}}, marked: true, sent: 3},
		"new keys came in between":            {puts: []put{{true, nil, func(r *region) { r.write(func(s *corev1.Secret) { s.Data = keys(alien) }) }}}, sent: 1, says: "someone else changed the source"},
		"another owner came in between":       {puts: []put{{true, nil, func(r *region) { r.write(func(s *corev1.Secret) { s.Annotations = stamp("lon", 9, newest) }) }}}, sent: 1, says: "someone else changed the source"},
		"another object came in between":      {puts: []put{{true, nil, func(r *region) { r.write(func(s *corev1.Secret) { s.UID = "anew" }) }}}, sent: 1, says: "someone else changed the source"},
		"another writer at every attempt":     {puts: again(put{true, nil, func(r *region) { r.write(func(*corev1.Secret) {}) }}, 9), sent: 5, says: "the promotion has not begun: marking the source: 409"},
		"done, and then not to be read":       {puts: []put{{true, answer(504), nil}}, gets: []error{answer(503)}, marked: true, sent: 2},
		"done, and never to be read":          {puts: again(put{true, answer(504), nil}, 9), gets: slices.Repeat([]error{answer(503)}, 9), marked: true, sent: 5, says: "it is unknown whether the source is marked with term 3"},
		"not known, then forbidden":           {puts: []put{{true, answer(504), nil}, {false, answer(403), nil}}, gets: []error{answer(503), nil}, marked: true, sent: 2},
		"not done so far, then forbidden":     {puts: append([]put{{false, answer(504), nil}}, again(put{false, answer(403), nil}, 9)...), sent: 5, says: "it is unknown whether"},
		"overtaken, and then not to be read":  {puts: []put{{true, nil, rotate}}, gets: []error{answer(503)}, marked: true, sent: 3},
		"a 504 that calls itself a forbidden": {puts: []put{{true, reason(504), nil}}, marked: true, sent: 1},
	}
	for _, code := range []int{408, 418, 429, 500, 502, 503, 504} {
		table[fmt.Sprintf("%d, and done", code)] = row{puts: []put{{true, answer(code), nil}}, marked: true, sent: 1}
		table[fmt.Sprintf("%d, and not done", code)] = row{puts: []put{{false, answer(code), nil}}, marked: true, sent: 2}
		table[fmt.Sprintf("%d, again and again", code)] = row{puts: again(put{false, answer(code), nil}, 9), sent: 5, says: "it is unknown whether the source is marked with term 3"}
	}
	for _, code := range []int{400, 401, 403, 404, 422} {
		table[strconv.Itoa(code)] = row{puts: []put{{false, answer(code), nil}}, sent: 1, says: "the promotion has not begun: marking the source: " + strconv.Itoa(code)}
	}
	for name, tc := range table {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRegion()
				r.puts, r.gets = tc.puts, append([]error{nil}, tc.gets...)
				said, err := r.promote(t.Context(), Options{})
				if got := fmt.Sprint(err); (err != nil) != (tc.says != "") || !strings.Contains(got, tc.says) && err != nil {
					t.Errorf("the error is %v, want %q", err, tc.says)
				}
				if marked := r.term() == 3; marked != tc.marked || r.sent != tc.sent {
					t.Errorf("term %d after %d PUTs; want marked %v after %d", r.term(), r.sent, tc.marked, tc.sent)
				}
				if told := strings.Contains(said, "Marked openstack/keystone-fernet-keys as the main region's: sjc, term 3."); told != (err == nil) || told != (r.pushed != nil) {
					t.Errorf("pushed %v, said\n%s", r.pushed, said)
				}
			})
		})
	}
}

// reason returns an error with that code and the reason Forbidden.
func reason(code int32) error {
	err := apierrors.NewForbidden(schema.GroupResource{Resource: "secrets"}, "", errors.New("words"))
	err.ErrStatus.Code = code
	return err
}

// After an inconclusive response, promote pauses before it retries. After the operator cancels, it
// doesn't retry.
func TestPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began, r := time.Now(), newRegion()
		r.puts = []put{{false, answer(503), nil}, {false, answer(503), nil}}
		if _, err := r.promote(t.Context(), Options{}); err != nil || time.Since(began) != 2*time.Second {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
		defer cancel()
		began, r = time.Now(), newRegion()
		r.puts = slices.Repeat([]put{{false, answer(503), nil}}, 9)
		if _, err := r.promote(ctx, Options{}); err == nil || !strings.Contains(err.Error(), "unknown whether the source is marked") || time.Since(began) != 1500*time.Millisecond || r.sent != 2 {
			t.Errorf("after %v and %d PUTs: %v", time.Since(began), r.sent, err)
		}
	})
}
