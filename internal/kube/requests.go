package kube

import (
	"maps"
	"net/http"
	"strconv"
	"sync"

	"github.com/fernetcast/fernetcast/internal/mirror"
)

// requests counts what was sent. A server chooses the codes, so only those that an
// API server has are kept apart.
type requests struct {
	mu     sync.Mutex
	counts map[mirror.Request]int
}

// count counts a request, whose answer is nil where there was none.
func (r *requests) count(method string, answer *http.Response) {
	request := mirror.Request{Method: method, Code: "none"}
	if answer != nil {
		request.Code = codeOf(answer.StatusCode)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.counts == nil {
		r.counts = map[mirror.Request]int{}
	}
	r.counts[request]++
}

// codeOf is a code as it is counted.
func codeOf(code int) string {
	switch code {
	case http.StatusOK, http.StatusCreated, http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound,
		http.StatusConflict, http.StatusGone, http.StatusUnprocessableEntity, http.StatusTooManyRequests,
		http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return strconv.Itoa(code)
	}
	return "other"
}

// counted tells count of each request that is sent.
type counted struct {
	next  http.RoundTripper
	count func(method string, answer *http.Response)
}

// RoundTrip implements [http.RoundTripper].
func (c counted) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := c.next.RoundTrip(req)
	c.count(req.Method, resp)
	return resp, err
}

func (r *requests) all() map[mirror.Request]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.counts)
}
