package kube

import (
	"context"
	"errors"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Bearer has the token that a client signs in with, where none is stored. Its methods
// may be called concurrently.
type Bearer interface {
	// Token is the present one; the error is why there is none.
	Token(ctx context.Context) (string, error)
	// Refused is told of a token that was answered with 401, and says whether Token has
	// another one now.
	Refused(ctx context.Context, token string) bool
	// Advice is what to do where the cluster does not take the token.
	Advice(token string) string
}

// distrust is a 401 to a token of a [Bearer].
type distrust struct {
	*apierrors.StatusError
	advice string
}

// Unwrap is for the errors package.
func (d *distrust) Unwrap() error { return d.StatusError }

// Advice is what to do.
func (d *distrust) Advice() string { return d.advice }

// signed has each request bear the token of a [Bearer]; nil: the requests stay as they
// are.
func signed(next http.RoundTripper, bearer Bearer) http.RoundTripper {
	if bearer == nil {
		return next
	}
	return signer{next, bearer}
}

type signer struct {
	next   http.RoundTripper
	bearer Bearer
}

// RoundTrip implements [http.RoundTripper]. After a 401 it sends the request once more
// where there is another token by then.
func (s signer) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx := req.Context()
	token, resp, err := s.send(req)
	if err != nil || resp.StatusCode != http.StatusUnauthorized {
		return resp, err
	}
	again, err := replayed(req)
	if err == nil && s.bearer.Refused(ctx, token) {
		if err := resp.Body.Close(); err != nil {
			return nil, err
		}
		if token, resp, err = s.send(again); err != nil || resp.StatusCode != http.StatusUnauthorized {
			return resp, err
		}
	}
	failure := apierrors.NewGenericServerResponse(http.StatusUnauthorized, req.Method, schema.GroupResource{}, "", "", 0, true)
	failure.ErrStatus.Message = http.StatusText(http.StatusUnauthorized)
	return nil, errors.Join(&distrust{failure, s.bearer.Advice(token)}, resp.Body.Close())
}

// send sends a copy of the request with the present token.
func (s signer) send(req *http.Request) (token string, resp *http.Response, err error) {
	if token, err = s.bearer.Token(req.Context()); err != nil {
		return "", nil, err
	}
	req = req.Clone(req.Context())
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err = s.next.RoundTrip(req)
	return token, resp, err
}

// replayed is a request with its body from the start.
func replayed(req *http.Request) (*http.Request, error) {
	if req.Body == nil || req.Body == http.NoBody {
		return req, nil
	}
	if req.GetBody == nil {
		return nil, errors.New("the body cannot be read again")
	}
	body, err := req.GetBody()
	if err != nil {
		return nil, err
	}
	req = req.Clone(req.Context())
	req.Body = body
	return req, nil
}
