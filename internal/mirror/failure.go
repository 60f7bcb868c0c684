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
	"regexp"
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
	case answered(err):
	case timedOut(err):
		d.State, d.Reason = StateUnreachable, ReasonTimeout
	case disconnected(err):
		d.State, d.Reason = StateUnreachable, ReasonConnection
	}
	if d.State == StateDenied {
		d.Detail += "; " + remedy(err)
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

func remedy(err error) string {
	if apierrors.IsUnauthorized(err) {
		return "renew the token or the certificate in its kubeconfig"
	}
	return "apply manifests/remote there, or make the namespace: a missing one looks like this too"
}

// Explain says what went wrong with a request, in words that hold no key even
// where the server quotes what it was sent: of a text that is not ours or Go's
// own, only what reads as plain words is kept.
func Explain(err error) string {
	var status apierrors.APIStatus
	var request *url.Error
	switch isRequest := errors.As(err, &request); {
	case errors.As(err, &status):
		return strings.TrimSpace(fmt.Sprintf("%d %s", status.Status().Code, words(status.Status().Message)))
	case errors.Is(err, context.DeadlineExceeded) && !dialing(err):
		return "no answer in time"
	case isRequest && (answered(err) || fromSystem(err)):
		return request.Err.Error()
	case answered(err) || fromSystem(err):
		return err.Error()
	case isRequest:
		return words(request.Err.Error())
	}
	return words(err.Error())
}

// answered tells a refusal of our own transport from having no answer.
func answered(err error) bool {
	var refusal interface{ Answered() bool }
	return errors.As(err, &refusal) && refusal.Answered()
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

// A word, perhaps of several, as in a name or a path; or an abbreviation.
var word = regexp.MustCompile(`^([A-Z]?[a-z]+([-.:/][a-z]+)*|[A-Z]{2,5})?$`)

const (
	punctuation = `"'()[]{}<>,.:;`
	longestWord = 63
	mostWords   = 60
	leftOut     = "…"
)

// words keeps the plain words of a text that somebody else made. A key, or a
// part of one, has digits or mixed case, whatever it is written as.
func words(text string) string {
	var kept []string
	for field := range strings.FieldsSeq(text) {
		if len(kept) == mostWords {
			return strings.Join(append(kept, leftOut), " ")
		}
		if bare := strings.Trim(field, punctuation); len(bare) <= longestWord && word.MatchString(bare) {
			kept = append(kept, field)
		} else if len(kept) == 0 || kept[len(kept)-1] != leftOut {
			kept = append(kept, leftOut)
		}
	}
	return strings.Join(kept, " ")
}
