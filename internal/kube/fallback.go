package kube

import (
	"net/http"
	"sync/atomic"
)

// A fallback is a transport that signs in with one of two tokens. After a 401, it sends the request
// again with the other token, and then keeps using that one.
type fallback struct {
	next   http.RoundTripper
	tokens [2]string
	used   atomic.Int32
}

// RoundTrip implements [http.RoundTripper].
func (f *fallback) RoundTrip(req *http.Request) (*http.Response, error) {
	for tries := 0; ; tries++ {
		i, sent := f.used.Load(), req.Clone(req.Context())
		if sent.Header.Set("Authorization", "Bearer "+f.tokens[i]); tries > 0 && req.GetBody != nil {
			body, err := req.GetBody()
			if err != nil {
				return nil, err
			}
			sent.Body = body
		}
		resp, err := f.next.RoundTrip(sent)
		if err != nil || resp.StatusCode != http.StatusUnauthorized || tries > 0 || req.Body != nil && req.GetBody == nil {
			return resp, err
		}
		f.used.CompareAndSwap(i, 1-i)
		_ = resp.Body.Close()
	}
}
