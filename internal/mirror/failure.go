package mirror

import (
	"context"
	"crypto/tls"
	"crypto/x509"
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

// FailureOf returns the decision that describes a remote whose request failed with err.
func FailureOf(err error) Decision {
	d := Decision{State: StateFailed, Reason: ReasonAnswer, Detail: Explain(err)}
	var status apierrors.APIStatus
	var answer refusal
	var network net.Error // a timeout or another request without a response
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

// refusal is an error from package kube about a response that it rejects. Its text is our own.
type refusal interface {
	error
	// Reached reports whether the response may have come from the cluster.
	Reached() bool
}

// Own is an error whose text no server wrote, so [Explain] keeps all of it.
type Own struct{ Err error }

func (o Own) Error() string { return o.Err.Error() }
func (o Own) Unwrap() error { return o.Err }

// advised is an error of our own that suggests the next step.
type advised interface {
	error
	Advice() string
}

// byCode derives the state and the reason from the HTTP status code. It ignores the reason in the
// response, because the server can send anything.
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

// remedy suggests the next step after a failed request. Only some 403 responses are caused
// by RBAC, as their message shows (apiserver/pkg/endpoints/handlers/responsewriters).
// Quotas, terminating namespaces, and admission policies also return 403, with their own
// messages. NAME stands for the remote ([RemoteStatus.Named]).
func remedy(message string, d Decision) string {
	switch {
	case strings.Contains(message, "denied request") || strings.Contains(message, "denied the request"):
		return "an admission policy or webhook there rejects it; change the policy, or exempt this account"
	case d.State != StateDenied:
		return ""
	case d.Reason == Reason(metav1.StatusReasonUnauthorized):
		return "renew the token or the certificate in its kubeconfig: fernetcast renew NAME"
	case strings.Contains(message, " cannot ") && strings.Contains(message, " resource "):
		return "to grant the missing rights: fernetcast join NAME; if the namespace is missing, which looks the same, create it"
	}
	return "missing rights are not the cause; fix the cause there"
}

// Explain returns a short, printable description of a failed request. It contains no keys, even if
// the server quotes the request: from text that is neither ours nor Go's, it keeps only plain
// words.
func Explain(err error) string { return Printable(explain(err)) }

func explain(err error) string {
	var status apierrors.APIStatus
	var operation *net.OpError
	var certificate *tls.CertificateVerificationError
	var file *fs.PathError
	var answer refusal
	var own Own
	known := errors.As(err, &operation) || errors.As(err, &file) || errors.As(err, &answer) || errors.As(err, &own)
	dialing := operation != nil && operation.Op == "dial" // its text names the address
	switch {
	case errors.As(err, &certificate):
		return untrusted(certificate.Err)
	case errors.As(err, &status):
		return fmt.Sprintf("%d, the server says: \"%s\"", status.Status().Code, strings.ReplaceAll(words(status.Status().Message), `"`, "'"))
	case errors.Is(err, context.DeadlineExceeded) && !dialing:
		return "timed out"
	}
	var request *url.Error
	if errors.As(err, &request) { // omit the address, which is shown next to it
		err = request.Err
	}
	if known {
		return err.Error()
	}
	return words(err.Error())
}

// untrusted explains why a certificate is rejected. Go's own error text isn't used, because it
// quotes names in the certificate.
func untrusted(err error) string {
	var authority x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(err, &authority):
		return "x509: certificate signed by unknown authority"
	case errors.As(err, &name):
		return "x509: certificate is not valid for " + name.Host
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "x509: certificate has expired or is not yet valid, according to the local clock"
	}
	return "x509: certificate cannot be verified"
}
