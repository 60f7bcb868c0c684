package pusher

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"time"

	"github.com/fernetcast/fernetcast/internal/mirror"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	utilnet "k8s.io/apimachinery/pkg/util/net"
)

// Failed is what a remote is shown as whose request ended with err.
func Failed(err error) mirror.Decision {
	d := mirror.Decision{State: mirror.Failed, Reason: mirror.Reason(apierrors.ReasonForError(err)), Detail: Scrub(text(err))}
	var status apierrors.APIStatus
	var refusal interface{ Answered() bool }
	switch {
	case errors.As(err, &status):
		d.State = byCode(int(status.Status().Code))
	case errors.As(err, &refusal) && refusal.Answered():
		d.Reason = "Answer"
	case timedOut(err):
		d.State, d.Reason = mirror.Unreachable, "Timeout"
	case disconnected(err):
		d.State, d.Reason = mirror.Unreachable, "Connection"
	}
	if d.State == mirror.Denied {
		d.Detail += "; " + remedy(err)
	}
	return d
}

func byCode(code int) mirror.State {
	switch {
	case code == http.StatusUnauthorized || code == http.StatusForbidden:
		return mirror.Denied
	case code == http.StatusTooManyRequests || code >= http.StatusInternalServerError:
		return mirror.Unreachable
	}
	return mirror.Failed
}

func remedy(err error) string {
	if apierrors.IsUnauthorized(err) {
		return "renew the token or the certificate in its kubeconfig"
	}
	return "apply manifests/remote there, or make the namespace: a missing one looks like this too"
}

func timedOut(err error) bool {
	var timeout interface{ Timeout() bool }
	return errors.As(err, &timeout) && timeout.Timeout()
}

// disconnected says whether an error is of the network, before there was a whole answer.
func disconnected(err error) bool {
	var request *url.Error
	var network net.Error
	return errors.As(err, &request) || errors.As(err, &network) || utilnet.IsProbableEOF(err) || utilnet.IsHTTP2ConnectionLost(err)
}

// text leaves out the request that a network error begins with.
func text(err error) string {
	if errors.Is(err, context.DeadlineExceeded) {
		return "no answer in time"
	}
	var request *url.Error
	if errors.As(err, &request) {
		return request.Err.Error()
	}
	return err.Error()
}

// retryAfter is how long the server asks to be left alone; 0 where it does not.
func retryAfter(err error) time.Duration {
	seconds, _ := apierrors.SuggestsClientDelay(err)
	return time.Duration(seconds) * time.Second
}

// secretLike is anything as long as a key, as text, base64 or hex.
var secretLike = regexp.MustCompile(`[A-Za-z0-9+/_=-]{40,}`)

// Scrub takes out of a text that somebody else made whatever could be a key or
// a token: a server's error may quote what it was sent.
func Scrub(s string) string {
	const enough = 500
	s = secretLike.ReplaceAllString(s, "[redacted]")
	if len(s) > enough {
		s = s[:enough] + "…"
	}
	return s
}
