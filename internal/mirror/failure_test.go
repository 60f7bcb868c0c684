package mirror

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

var resource = schema.GroupResource{Resource: "secrets"}

func TestFailed(t *testing.T) {
	status := func(code int) error {
		return apierrors.NewGenericServerResponse(code, "put", resource, "keystone-fernet-keys", "", 0, true)
	}
	for state, errs := range map[State][]error{
		StateDenied: {status(401), status(403)},
		StateUnreachable: {status(429), status(500), status(503), context.DeadlineExceeded, fmt.Errorf("put: %w", context.DeadlineExceeded),
			fmt.Errorf("put: %w", &url.Error{Op: "Put", URL: "https://dfw", Err: io.ErrUnexpectedEOF})},
		StateFailed: {status(404), status(409), status(422), errors.New("no kind \"HTML\" is registered")},
	} {
		for _, err := range errs {
			if d := FailureOf(err); d.State != state || d.Detail == "" || d.Action != ActionNone {
				t.Errorf("%v is %s (%s)", err, d.State, d.Detail)
			}
		}
	}
	key := base64.URLEncoding.EncodeToString([]byte("0123456789abcdefghijklmnopqrstuv"))
	for _, quoted := range []string{key, key[:30], base64.StdEncoding.EncodeToString([]byte(key)), fmt.Sprintf("%x", key), fmt.Sprint([]byte(key)), `{"0":"` + key + `"}`} {
		for _, err := range []error{
			apierrors.NewGenericServerResponse(http.StatusUnprocessableEntity, "put", resource, "x", "you sent "+quoted, 0, true),
			&apierrors.StatusError{ErrStatus: metav1.Status{Code: 409, Reason: metav1.StatusReason(quoted), Message: quoted}},
			&url.Error{Op: "Put", URL: "https://dfw/" + quoted, Err: errors.New("malformed HTTP response " + quoted)},
			fmt.Errorf("decoding: %s", quoted),
		} {
			d := FailureOf(err)
			shown := d.Detail + string(d.Reason)
			for part := 0; part+8 <= len(quoted); part++ {
				if strings.Contains(shown, quoted[part:part+8]) {
					t.Fatalf("the text shows %q, which the server quoted: %s", quoted[part:part+8], shown)
				}
			}
		}
	}
}

// dialTimeout returns the error that a net.OpError wraps when a dial times out.
func dialTimeout(t *testing.T) error {
	t.Helper()
	_, err := (&net.Dialer{Deadline: time.Now().Add(-time.Second)}).DialContext(t.Context(), "tcp", "127.0.0.1:9")
	var operation *net.OpError
	if !errors.As(err, &operation) {
		t.Fatal(err)
	}
	return operation.Err
}

func TestExplain(t *testing.T) {
	forbidden := apierrors.NewForbidden(resource, "keystone-fernet-keys", errors.New(`User "system:serviceaccount:openstack:fernetcast" cannot update resource "secrets" in API group "" in the namespace "openstack"`))
	for want, err := range map[string]error{
		`403, the server says: "secrets 'keystone-fernet-keys' is forbidden: User 'system:serviceaccount:openstack:fernetcast' cannot update resource 'secrets' in API group '' in the namespace 'openstack'"`: forbidden,
		"dial tcp 10.0.0.9:6443: i/o timeout": &url.Error{Op: "Get", URL: "https://dfw", Err: &net.OpError{
			Op: "dial", Net: "tcp", Addr: &net.TCPAddr{IP: net.IPv4(10, 0, 0, 9), Port: 6443}, Err: dialTimeout(t)}},
		"timed out": fmt.Errorf("reading: %w", &url.Error{Op: "Get", URL: "https://dfw", Err: context.DeadlineExceeded}),
		"dial tcp 10.0.0.9:6443: connect: connection refused": &url.Error{Op: "Get", URL: "https://dfw", Err: &net.OpError{
			Op: "dial", Net: "tcp", Addr: &net.TCPAddr{IP: net.IPv4(10, 0, 0, 9), Port: 6443}, Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}},
		"finding the source's cluster: /etc/Kube_1: no context": fmt.Errorf("%w", Own{errors.New("finding the source's cluster: /etc/Kube_1: no context")}),
	} {
		if got := Explain(err); got != want {
			t.Errorf("explained as %q, want %q", got, want)
		}
	}
}

// Different causes of a 403 response need different advice.
func TestAdvice(t *testing.T) {
	forbidden := func(code int, message string) error {
		return &apierrors.StatusError{ErrStatus: metav1.Status{Code: int32(code), Message: message}}
	}
	const rbac = "fernetcast join"
	for name, tc := range map[string]struct {
		err   error
		state State
		says  []string
		not   string
	}{
		"RBAC":        {forbidden(403, `secrets "k" is forbidden: User "u" cannot update resource "secrets" in API group "" in the namespace "openstack"`), StateDenied, []string{rbac}, ""},
		"quota":       {forbidden(403, `secrets "k" is forbidden: exceeded quota: object-counts, requested: secrets=1`), StateDenied, []string{"exceeded quota: object-counts", "missing rights are not the cause"}, rbac},
		"terminating": {forbidden(403, `secrets "k" is forbidden: unable to create new content in namespace openstack because it is being terminated`), StateDenied, []string{"because it is being terminated"}, rbac},
		"policy":      {forbidden(403, `secrets "k" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'p' denied request: no`), StateDenied, []string{"an admission policy or webhook"}, rbac},
		"policy, 422": {forbidden(422, `secrets "k" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'p' denied request: no`), StateFailed, []string{"an admission policy or webhook"}, rbac},
		"webhook":     {forbidden(400, `admission webhook "w" denied the request: no`), StateFailed, []string{"an admission policy or webhook"}, rbac},
		"401":         {forbidden(401, "Unauthorized"), StateDenied, []string{"renew the token"}, rbac},
		"a page":      {forbidden(403, "Forbidden"), StateDenied, []string{"missing rights are not the cause"}, rbac},
		"escapes":     {forbidden(403, "\x1b[2J exceeded \x1b[31m quota"), StateDenied, []string{"exceeded … quota"}, "\x1b"},
		"at length":   {forbidden(403, strings.Repeat("word ", 10_000)), StateDenied, []string{"word"}, strings.Repeat("word ", 100)},
	} {
		d := FailureOf(tc.err)
		if d.State != tc.state {
			t.Errorf("%s: %s", name, d.State)
		}
		for _, says := range tc.says {
			if !strings.Contains(d.Detail, says) {
				t.Errorf("%s: %q does not contain %q", name, d.Detail, says)
			}
		}
		if tc.not != "" && strings.Contains(d.Detail, tc.not) {
			t.Errorf("%s: %q contains %q", name, d.Detail, tc.not)
		}
	}
}
