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
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// FailureOf is what a remote is shown as whose request ended with err.
func FailureOf(err error) Decision {
	d := Decision{State: StateFailed, Reason: ReasonAnswer, Detail: Explain(err)}
	var status apierrors.APIStatus
	var answer refusal
	var network net.Error // a deadline's, or whatever else ended a request without an answer
	switch {
	case errors.As(err, &status):
		d.State, d.Reason = byCode(int(status.Status().Code))
		var told advised
		if errors.As(err, &told) {
			d.Detail += "; " + Printable(told.Advice())
		} else if advice := remedy(status.Status().Message, d); advice != "" {
			d.Detail += "; " + advice
		}
	case errors.As(err, &answer):
		if !answer.Reached() {
			d.State = StateUnreachable
		}
	case errors.As(err, &network):
		d.State, d.Reason = StateUnreachable, ReasonConnection
		if network.Timeout() {
			d.Reason = ReasonTimeout
		}
	}
	return d
}

// refusal is an answer that package kube does not believe. Its text is ours.
type refusal interface {
	error
	// Reached says whether what answered may be the cluster at all.
	Reached() bool
}

// advised is an error of ours that knows the next step itself.
type advised interface {
	error
	Advice() string
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

// remedy is the next step after an answer with that message. A 403 is RBAC's only
// where the message says so (apiserver/pkg/endpoints/handlers/responsewriters); a
// quota, a namespace that ends and an admission policy have 403 too, and their own
// words.
func remedy(message string, d Decision) string {
	switch {
	case strings.Contains(message, "denied request") || strings.Contains(message, "denied the request"):
		return "an admission policy or webhook there refuses it"
	case d.State != StateDenied:
		return ""
	case d.Reason == Reason(metav1.StatusReasonUnauthorized):
		return "renew the token or the certificate in its kubeconfig: fernetcast renew"
	case strings.Contains(message, " cannot ") && strings.Contains(message, " resource "):
		return "let it in again (fernetcast join), or make the namespace: a missing one looks like this too"
	}
	return "that is no lack of rights: see to it there"
}

// Explain says what went wrong with a request, printably and not at length, in
// words that hold no key even where the server quotes what it was sent: of a text
// that is not ours or Go's own, only what reads as plain words is kept.
func Explain(err error) string { return Printable(explain(err)) }

func explain(err error) string {
	var status apierrors.APIStatus
	var operation *net.OpError
	var certificate *tls.CertificateVerificationError
	var file *fs.PathError
	var answer refusal
	known := errors.As(err, &operation) || errors.As(err, &certificate) || errors.As(err, &file) || errors.As(err, &answer)
	dialing := operation != nil && operation.Op == "dial" // its text names the address
	switch {
	case errors.As(err, &status):
		return fmt.Sprintf("%d, as the server says: \"%s\"", status.Status().Code, strings.ReplaceAll(words(status.Status().Message), `"`, "'"))
	case errors.Is(err, context.DeadlineExceeded) && !dialing:
		return "no answer in time"
	}
	var request *url.Error
	if errors.As(err, &request) { // without the address, which is shown beside it
		err = request.Err
	}
	if known {
		return err.Error()
	}
	return words(err.Error())
}
