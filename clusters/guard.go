package clusters

import (
	"bytes"
	"encoding/binary"
	"io"
	"net/http"
	"strconv"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// refusal is an answer that we do not take. It says that there was one.
type refusal string

func (r refusal) Error() string { return string(r) }

// Answered tells a refusal from having no answer at all.
func (r refusal) Answered() bool { return true }

const (
	// errTooLarge is why an answer is not read to its end.
	errTooLarge refusal = "the server's answer is larger than 4 MiB"
	// errRedirected is why a redirect is not followed.
	errRedirected refusal = "the server redirects, which is not followed: it would carry keys and credentials to another host"
)

// maxAnswer bounds an answer's body, and each event of a watch. A Secret holds 1 MiB.
const maxAnswer = 4 << 20

// guard stands between client-go and a server that is not trusted: it refuses
// redirects, bounds what is read, and takes Retry-After out of client-go's
// hands, which would sleep through it until the request's deadline. It reads
// the server's clock in passing.
type guard struct {
	next  http.RoundTripper
	clock *clock
}

// RoundTrip implements [http.RoundTripper]. An answer with a Retry-After comes
// back as an API status error that carries the seconds, for the back-off.
func (g guard) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := g.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	g.clock.read(resp.Header)
	if resp.StatusCode >= http.StatusMultipleChoices && resp.StatusCode < http.StatusBadRequest {
		_ = resp.Body.Close()
		return nil, errRedirected
	}
	busy := resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode >= http.StatusInternalServerError
	if wait := resp.Header.Get("Retry-After"); wait != "" && busy {
		_ = resp.Body.Close()
		seconds, err := strconv.Atoi(wait)
		if err != nil || seconds < 0 {
			seconds = 0 // a date: the back-off's own wait will do
		}
		return nil, apierrors.NewGenericServerResponse(resp.StatusCode, req.Method, schema.GroupResource{Resource: "secrets"}, "", "the server asks to be tried again later", seconds, true)
	}
	body := &bounded{ReadCloser: resp.Body, size: whole()}
	if req.URL.Query().Has("watch") && resp.StatusCode == http.StatusOK {
		body.size = frames()
		if strings.Contains(resp.Header.Get("Content-Type"), "json") {
			body.size = lines()
		}
	}
	resp.Body = body
	return resp, nil
}

// bounded fails a body that goes on for too long.
type bounded struct {
	io.ReadCloser
	size sizer
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.size(p[:n]) > maxAnswer {
		return 0, errTooLarge
	}
	return n, err
}

// sizer is told what was read, and says how large the answer, or the largest
// of the events that this touches, is so far.
type sizer func(read []byte) int

// whole is the size of all that came.
func whole() sizer {
	size := 0
	return func(read []byte) int {
		size += len(read)
		return size
	}
}

// lines is the size of a JSON watch's events, which end with a newline each.
func lines() sizer {
	size := 0
	return func(read []byte) int {
		largest := 0
		for i, part := range bytes.Split(read, []byte("\n")) {
			if i > 0 {
				size = 0
			}
			size += len(part)
			largest = max(largest, size)
		}
		return largest
	}
}

// frames is the size of a protobuf watch's events, which begin with their
// length in four bytes each (apimachinery's length-delimited framer).
func frames() sizer {
	var header []byte
	left := 0
	return func(read []byte) int {
		largest := 0
		for len(read) > 0 {
			if left == 0 {
				n := min(len(read), 4-len(header))
				header, read = append(header, read[:n]...), read[n:]
				if len(header) < 4 {
					break
				}
				left, header = int(binary.BigEndian.Uint32(header)), nil
				largest = max(largest, left)
			}
			n := min(len(read), left)
			left, read = left-n, read[n:]
		}
		return largest
	}
}
