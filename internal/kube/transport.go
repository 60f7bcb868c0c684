package kube

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync/atomic"

	"golang.org/x/time/rate"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/util/flowcontrol"
)

const (
	// maxAnswer bounds an answer's body, and each event of a watch, in bytes. A
	// Secret holds 1 MiB.
	maxAnswer = 2 << 20
	// maxError bounds the body of an error.
	maxError = 64 << 10
	// described is how many bytes of a body tell what it is, where it is no protobuf.
	described = 64
)

// Refusal is an answer that is not believed. Its text holds nothing that the
// server made.
type Refusal struct {
	text    string
	reached bool
}

// NewRefusal returns a Refusal with a text of our own. See [Refusal.Reached] for reached.
func NewRefusal(text string, reached bool) *Refusal { return &Refusal{text, reached} }

func (r *Refusal) Error() string { return r.text }

// Reached says whether what answered may be the cluster at all: the 404 page of
// a load balancer is not.
func (r *Refusal) Reached() bool { return r.reached }

var (
	errTooLarge   = &Refusal{"the server's answer is larger than 2 MiB", true}
	errNoAnswer   = &Refusal{"the watch was not answered", false}
	errRedirected = &Refusal{"the server redirects, which is not followed: it would carry keys and credentials to another host", true}
)

// asked is what a request asks for: a Secret, or the list that holds at most that
// one. answered is set when a WATCH is answered.
type asked struct {
	namespace, name string
	list            bool
	answered        *atomic.Bool
}

type askedKey struct{}

func askedBy(ctx context.Context) asked {
	a, _ := ctx.Value(askedKey{}).(asked)
	return a
}

// guard stands between client-go and the server. It limits reads, bounds
// what is read, passes on only answers that are believed, and closes all
// connections where a request found no answer by its deadline: client-go would
// use them again. It takes Retry-After out of the hands of client-go, which
// would sleep through it, and notes the server's clock.
type guard struct {
	next   http.RoundTripper
	advice string // after a 401; "" for the usual one
	client *Client
	reads  flowcontrol.RateLimiter // nil: no limit
}

// RoundTrip implements [http.RoundTripper]. To a request of this package an answer with an
// error code comes back as an API status error, or as a [Refusal]. The answer to another
// request, one of [Client.HTTP], is bounded, and left to client-go.
func (t *guard) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx := req.Context()
	_, ours := ctx.Value(askedKey{}).(asked)
	if t.reads != nil && req.Method == http.MethodGet {
		if err := t.reads.Wait(ctx); err != nil {
			return nil, fmt.Errorf("%w: too many reads were needed there", context.DeadlineExceeded)
		}
	}
	resp, err := t.next.RoundTrip(req)
	if err != nil {
		t.resetWhereLate(ctx, ours)
		return nil, err
	}
	if at, err := http.ParseTime(resp.Header.Get("Date")); err == nil { // RFC 9110, 6.6.1
		t.client.clock.Store(&at)
	}
	if req.URL.Query().Has("watch") && resp.StatusCode == http.StatusOK {
		if !isProtobuf(resp.Header) {
			return nil, errors.Join(&Refusal{"the server answers a watch with " + Describe(resp.Header, nil), true}, resp.Body.Close())
		}
		if answered := askedBy(ctx).answered; answered != nil {
			answered.Store(true)
		}
		resp.Body = newFrames(ctx, resp.Body, t.reads != nil)
		return resp, nil
	}
	body, err := t.read(ctx, resp, ours)
	closed := resp.Body.Close()
	if err != nil {
		t.resetWhereLate(ctx, ours)
		return nil, err
	}
	if closed != nil {
		return nil, closed
	}
	advice := t.advice != "" && resp.StatusCode == http.StatusUnauthorized
	if !ours && resp.StatusCode >= http.StatusBadRequest && !advice { // client-go makes the error
		resp.Header.Del("Retry-After")
	} else if err := judge(req, resp, body); err != nil {
		return nil, advised(err, t.advice)
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, nil
}

// read reads of an answer's body what is needed to judge it, and from a remote
// at a bounded pace.
func (t *guard) read(ctx context.Context, resp *http.Response, ours bool) ([]byte, error) {
	most, from := maxAnswer+1, io.Reader(resp.Body)
	switch {
	case resp.StatusCode >= http.StatusBadRequest:
		most = maxError + 1
	case ours && !isProtobuf(resp.Header):
		most = described
	case resp.ContentLength > maxAnswer:
		return nil, errTooLarge
	}
	if t.reads != nil {
		from = paced{ctx, from, rate.NewLimiter(answerBytes, answerBurst)}
	}
	body := bytes.NewBuffer(make([]byte, 0, 2*readCost))
	_, err := body.ReadFrom(io.LimitReader(from, int64(most)))
	return body.Bytes(), err
}

// resetWhereLate leaves the connections of [Client.HTTP] alone: several requests share them.
func (t *guard) resetWhereLate(ctx context.Context, ours bool) {
	if ours && errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
		t.client.dialer.CloseAll()
	}
}

// judge says why an answer is not to be passed on.
func judge(req *http.Request, resp *http.Response, body []byte) error {
	switch code := resp.StatusCode; {
	case len(body) > maxAnswer:
		return errTooLarge
	case code < http.StatusOK || code == http.StatusNoContent: // without content
		return &Refusal{fmt.Sprintf("the server answers with code %d", code), true}
	case code < http.StatusMultipleChoices:
		return askedBy(req.Context()).check(resp.Header, body)
	case code < http.StatusBadRequest:
		return errRedirected
	}
	return statusError(req, resp, body)
}

// statusError is the error of an answer with an error code. Code and reason
// agree in it: the server's own reason could be any. A 404 and a 409 are news of
// a Secret, so they count only where an API server gave them for it.
func statusError(req *http.Request, resp *http.Response, body []byte) error {
	code, want := resp.StatusCode, askedBy(req.Context())
	st, proto := readStatus(resp.Header, body)
	switch {
	case code == http.StatusNotFound && !(proto && int(st.Code) == code && st.Details != nil),
		code == http.StatusConflict && !(proto && int(st.Code) == code):
		return &Refusal{fmt.Sprintf("%d, with %s: that is no API server's answer", code, Describe(resp.Header, body)), false}
	case code == http.StatusNotFound && (st.Details.Kind != "secrets" || st.Details.Name != want.name):
		return &Refusal{"404 for something else than the Secret: does its namespace exist?", true}
	}
	seconds, err := strconv.Atoi(resp.Header.Get("Retry-After"))
	if err != nil || seconds < 0 {
		seconds = 0 // a date: the back-off's own wait is enough
	}
	failure := apierrors.NewGenericServerResponse(code, req.Method, schema.GroupResource{Resource: "secrets"}, want.name, "", seconds, true)
	failure.ErrStatus.Message = cmp.Or(st.Message, http.StatusText(code))
	return failure
}

// distrust is a 401 to a token that the main has made.
type distrust struct {
	*apierrors.StatusError
	advice string
}

// Unwrap is for the errors package, Advice what to do.
func (d *distrust) Unwrap() error  { return d.StatusError }
func (d *distrust) Advice() string { return d.advice }

func advised(err error, advice string) error {
	if status, ok := err.(*apierrors.StatusError); ok && advice != "" && apierrors.IsUnauthorized(err) {
		return &distrust{status, advice}
	}
	return err
}
