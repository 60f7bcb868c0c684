package kube

import (
	"maps"
	"net/http"
	"strconv"

	"github.com/fernetcast/fernetcast/internal/mirror"
)

// Requests returns the number of requests sent, by method and code.
func (c *Client) Requests() map[mirror.Request]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.sent)
}

// count counts a request. answer is nil if there was no response.
func (c *Client) count(method string, answer *http.Response) {
	request := mirror.Request{Method: method, Code: "none"}
	if answer != nil {
		request.Code = codeOf(answer.StatusCode)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sent[request]++
}

// codeOf returns the metric label for a status code. The server chooses the code, so only codes
// that API servers use get their own label.
func codeOf(code int) string {
	switch code {
	case http.StatusOK, http.StatusCreated, http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound,
		http.StatusConflict, http.StatusGone, http.StatusUnprocessableEntity, http.StatusTooManyRequests,
		http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return strconv.Itoa(code)
	}
	return "other"
}
