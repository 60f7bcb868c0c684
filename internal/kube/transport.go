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

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/util/flowcontrol"
)

const (
	// maxAnswer bounds a response body and each watch event, in bytes. A Secret's limit is 1 MiB.
	maxAnswer = 2 << 20
	// maxError bounds the body of an error response.
	maxError = 64 << 10
	// usualAnswer is the size of the first buffer for a body, in bytes.
	usualAnswer = 8 << 10
	// describedBytes is how much of a body that isn't protobuf is read, to describe it.
	describedBytes = 64
)

// A Refusal is the error for a response that is not trusted. Its text contains nothing that the
// server sent.
type Refusal struct {
	text    string
	reached bool
}

// NewRefusal returns a Refusal with this text, which must not contain anything that the server
// sent. For reached, see [Refusal.Reached].
func NewRefusal(text string, reached bool) *Refusal { return &Refusal{text, reached} }

func (r *Refusal) Error() string { return r.text }

// Reached reports whether the response may come from the cluster itself. A load balancer's 404
// page, for example, does not.
func (r *Refusal) Reached() bool { return r.reached }

var (
	errTooLarge   = &Refusal{"the server's response is larger than 2 MiB", true}
	errNoAnswer   = &Refusal{"the watch got no response", false}
	errRedirected = &Refusal{"the server redirects, and fernetcast follows no redirects: they could carry keys and credentials to another host", true}
)

// An expected is the object that a request asks for: a Secret, or a list of at most that Secret.
// answered is set when a WATCH gets a response.
type expected struct {
	namespace, name string
	list            bool
	answered        *atomic.Bool
}

type expectedKey struct{}

func expectedBy(ctx context.Context) expected {
	e, _ := ctx.Value(expectedKey{}).(expected)
	return e
}

// A guard is a transport that doesn't trust the server. It limits reads, bounds responses, and
// returns only trusted ones. If a request times out, it closes all connections, because client-go
// would reuse them. It handles Retry-After so that client-go doesn't sleep, and records the
// server's time.
type guard struct {
	next   http.RoundTripper
	advice string // replaces the usual advice after a 401; "" keeps it
	client *Client
	reads  flowcontrol.RateLimiter // nil means unlimited
}

// RoundTrip implements [http.RoundTripper]. For a request from this package, it converts an error
// response to an API status error or a [Refusal]. For a request from [Client.HTTP], it bounds the
// response, lets only JSON be decoded, and leaves the errors to client-go.
func (t *guard) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx := req.Context()
	_, ours := ctx.Value(expectedKey{}).(expected)
	if t.reads != nil && req.Method == http.MethodGet {
		if err := t.reads.Wait(ctx); err != nil {
			return nil, fmt.Errorf("%w: waiting for the limit of reads", context.DeadlineExceeded)
		}
	}
	resp, err := t.next.RoundTrip(req)
	if err != nil {
		t.resetOnTimeout(ctx, ours)
		return nil, err
	}
	if at, err := http.ParseTime(resp.Header.Get("Date")); err == nil { // RFC 9110, 6.6.1
		t.client.clock.Store(&at)
	}
	if req.URL.Query().Has("watch") && resp.StatusCode == http.StatusOK {
		if !isProtobuf(resp.Header) {
			return nil, errors.Join(&Refusal{"the server answered a watch with " + Describe(resp.Header, nil), true}, resp.Body.Close())
		}
		if answered := expectedBy(ctx).answered; answered != nil {
			answered.Store(true)
		}
		resp.Body = newFrameReader(ctx, resp.Body, t.reads != nil)
		return resp, nil
	}
	body, err := read(resp, ours)
	closed := resp.Body.Close()
	if err != nil {
		t.resetOnTimeout(ctx, ours)
		return nil, err
	}
	if closed != nil {
		return nil, closed
	}
	if err := t.accept(req, resp, body, ours); err != nil {
		return nil, err
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, nil
}

// accept returns an error if the response must not reach client-go. Unless the request is ours,
// client-go creates the errors for error responses.
func (t *guard) accept(req *http.Request, resp *http.Response, body []byte, ours bool) error {
	if !ours {
		onlyJSON(resp.Header)
		if err := checkJSON(body); err != nil {
			return err
		}
	}
	advice := t.advice != "" && resp.StatusCode == http.StatusUnauthorized
	if !ours && resp.StatusCode >= http.StatusBadRequest && !advice {
		resp.Header.Del("Retry-After")
		return nil
	}
	return advised(judge(req, resp, body), t.advice)
}

// read reads only as much of a body as the checks need.
func read(resp *http.Response, ours bool) ([]byte, error) {
	most := maxAnswer + 1
	switch {
	case resp.StatusCode >= http.StatusBadRequest:
		most = maxError + 1
	case ours && !isProtobuf(resp.Header):
		most = describedBytes
	case resp.ContentLength > maxAnswer:
		return nil, errTooLarge
	}
	size := usualAnswer
	if resp.ContentLength >= 0 {
		size = min(size, int(resp.ContentLength)+bytes.MinRead)
	}
	body := bytes.NewBuffer(make([]byte, 0, size))
	_, err := body.ReadFrom(io.LimitReader(resp.Body, int64(most)))
	return body.Bytes(), err
}

// resetOnTimeout closes all connections after a timeout, except if the request came from
// [Client.HTTP], whose requests share connections.
func (t *guard) resetOnTimeout(ctx context.Context, ours bool) {
	if ours && errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
		t.client.dialer.CloseAll()
	}
}

// judge returns an error if the response must not reach client-go.
func judge(req *http.Request, resp *http.Response, body []byte) error {
	switch code := resp.StatusCode; {
	case len(body) > maxAnswer:
		return errTooLarge
	case code < http.StatusOK || code == http.StatusNoContent: // such a response has no content
		return &Refusal{fmt.Sprintf("the server responded with code %d", code), true}
	case code < http.StatusMultipleChoices:
		return expectedBy(req.Context()).check(resp.Header, body)
	case code < http.StatusBadRequest:
		return errRedirected
	}
	return statusError(req, resp, body)
}

// statusError returns the error for an error response. It derives the reason from the code, because
// the server could send any reason. A 404 or 409 describes the state of the Secret. So it counts
// only if an API server sent it for that Secret.
func statusError(req *http.Request, resp *http.Response, body []byte) error {
	code, want := resp.StatusCode, expectedBy(req.Context())
	st, proto := readStatus(resp.Header, body)
	switch {
	case code == http.StatusNotFound && !(proto && int(st.Code) == code && st.Details != nil),
		code == http.StatusConflict && !(proto && int(st.Code) == code):
		return &Refusal{fmt.Sprintf("%d, with %s: this answer isn't from an API server", code, Describe(resp.Header, body)), false}
	case code == http.StatusNotFound && (st.Details.Kind != "secrets" || st.Details.Name != want.name):
		return &Refusal{"404 for something other than the Secret: does its namespace exist?", true}
	}
	seconds, err := strconv.Atoi(resp.Header.Get("Retry-After"))
	if err != nil || seconds < 0 {
		seconds = 0 // the header has a date, for which the normal backoff is enough
	}
	failure := apierrors.NewGenericServerResponse(code, req.Method, schema.GroupResource{Resource: "secrets"}, want.name, "", seconds, true)
	failure.ErrStatus.Message = cmp.Or(st.Message, http.StatusText(code))
	return failure
}

// A rejectedToken is a 401 to a token that the main region issued. Advice tells the operator how to
// fix it.
type rejectedToken struct {
	*apierrors.StatusError
	advice string
}

// Unwrap exposes the StatusError to [errors.As].
func (d *rejectedToken) Unwrap() error  { return d.StatusError }
func (d *rejectedToken) Advice() string { return d.advice }

func advised(err error, advice string) error {
	if status, ok := err.(*apierrors.StatusError); ok && advice != "" && apierrors.IsUnauthorized(err) {
		return &rejectedToken{status, advice}
	}
	return err
}
