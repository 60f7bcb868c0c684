package mirror

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilnet "k8s.io/apimachinery/pkg/util/net"
)

// FailureOf is what a remote is shown as whose request ended with err.
func FailureOf(err error) Decision {
	d := Decision{State: StateFailed, Reason: ReasonAnswer, Detail: Explain(err)}
	var status apierrors.APIStatus
	switch {
	case errors.As(err, &status):
		code := int(status.Status().Code)
		d.State, d.Reason = byCode(code)
	case refused(err) != nil:
		if !refused(err).Reached() {
			d.State = StateUnreachable
		}
	case timedOut(err):
		d.State, d.Reason = StateUnreachable, ReasonTimeout
	case disconnected(err):
		d.State, d.Reason = StateUnreachable, ReasonConnection
	}
	if advice := remedy(err, d.State); advice != "" {
		d.Detail += "; " + advice
	}
	return d
}

// byCode takes the state and the reason from an answer's code. The reason that
// is in the answer is the server's own, and could be anything.
func byCode(code int) (State, Reason) {
	reason := Reason(apierrors.ReasonForError(apierrors.NewGenericServerResponse(code, "", schema.GroupResource{}, "", "", 0, true)))
	switch {
	case code == http.StatusUnauthorized || code == http.StatusForbidden:
		return StateDenied, reason
	case code == http.StatusTooManyRequests || code >= http.StatusInternalServerError:
		return StateUnreachable, reason
	}
	return StateFailed, reason
}

// remedy is the next step. A 403 is RBAC's only where the message says so
// (apiserver/pkg/endpoints/handlers/responsewriters); a quota, a namespace that
// ends and an admission policy have 403 too, and their own words.
func remedy(err error, state State) string {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return ""
	}
	switch said := status.Status().Message; {
	case strings.Contains(said, "denied request") || strings.Contains(said, "denied the request"):
		return "an admission policy or webhook there refuses it"
	case state != StateDenied:
		return ""
	case apierrors.IsUnauthorized(err):
		return "renew the token or the certificate in its kubeconfig"
	case strings.Contains(said, " cannot ") && strings.Contains(said, " resource "):
		return "apply manifests/remote there, or make the namespace: a missing one looks like this too"
	}
	return "that is no lack of rights: see to it there"
}

// Explain says what went wrong with a request, printably and not at length, in
// words that hold no key even where the server quotes what it was sent: of a text
// that is not ours or Go's own, only what reads as plain words is kept.
func Explain(err error) string { return Printable(explain(err)) }

func explain(err error) string {
	var status apierrors.APIStatus
	var request *url.Error
	switch isRequest := errors.As(err, &request); {
	case errors.As(err, &status):
		return strings.TrimSpace(fmt.Sprintf("%d %s", status.Status().Code, words(status.Status().Message)))
	case errors.Is(err, context.DeadlineExceeded) && !dialing(err):
		return "no answer in time"
	case isRequest && (refused(err) != nil || fromSystem(err)):
		return request.Err.Error()
	case refused(err) != nil || fromSystem(err):
		return err.Error()
	case isRequest:
		return words(request.Err.Error())
	}
	return words(err.Error())
}

// refusal is an answer that package kube does not believe. Its text is ours.
type refusal interface {
	error
	// Reached says whether what answered may be the cluster at all.
	Reached() bool
}

func refused(err error) refusal {
	var r refusal
	errors.As(err, &r)
	return r
}

// fromSystem says whether an error is Go's own, of an address, a dial, TLS or a file.
func fromSystem(err error) bool {
	var file *fs.PathError
	var operation *net.OpError
	var lookup *net.DNSError
	var certificate *tls.CertificateVerificationError
	var alert tls.AlertError
	return errors.As(err, &operation) || errors.As(err, &lookup) || errors.As(err, &certificate) || errors.As(err, &alert) || errors.As(err, &file)
}

// dialing says whether an error came before there was a connection: it names the address.
func dialing(err error) bool {
	var operation *net.OpError
	return errors.As(err, &operation) && operation.Op == "dial"
}

func timedOut(err error) bool {
	var timeout interface{ Timeout() bool }
	return errors.As(err, &timeout) && timeout.Timeout()
}

// disconnected says whether an error is of the network, before there was a whole answer.
func disconnected(err error) bool {
	var request *url.Error
	return errors.As(err, &request) || fromSystem(err) || utilnet.IsProbableEOF(err) || utilnet.IsHTTP2ConnectionLost(err)
}
