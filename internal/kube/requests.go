package kube

import (
	"maps"
	"net/http"
	"strconv"
	"sync"

	"github.com/fernetcast/fernetcast/internal/mirror"
)

// requests counts what was sent. A server chooses the codes, so only those that
// HTTP knows are kept apart.
type requests struct {
	mu     sync.Mutex
	counts map[mirror.Request]int
}

// count counts a request, whose answer is nil where there was none.
func (r *requests) count(method string, answer *http.Response) {
	request := mirror.Request{Method: method, Code: "none"}
	switch {
	case answer != nil && http.StatusText(answer.StatusCode) != "":
		request.Code = strconv.Itoa(answer.StatusCode)
	case answer != nil:
		request.Code = "other"
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.counts == nil {
		r.counts = map[mirror.Request]int{}
	}
	r.counts[request]++
}

func (r *requests) all() map[mirror.Request]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.counts)
}
