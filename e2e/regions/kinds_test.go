package regions

import (
	"bytes"
	"net"
	"net/http"
	"time"

	"k8s.io/apimachinery/pkg/watch"
)

// request is a set of request types. A hostile remote answers requests of these types itself.
type request int

const (
	aWatch request = 1 << iota
	aList
	aGet
	aWrite
	aRead    = aList | aGet
	anything = aWatch | aRead | aWrite
)

func requestOf(r *http.Request) request {
	switch query := r.URL.Query(); {
	case r.Method != http.MethodGet:
		return aWrite
	case query.Has("watch"):
		return aWatch
	case query.Has("fieldSelector"):
		return aList
	}
	return aGet
}

// kind describes one way in which a remote is hostile or broken.
type kind struct {
	name   string
	on     request
	answer http.HandlerFunc
	// also, unless nil, runs once on each connection, in addition to honest answers.
	also func(net.Conn)
	// old makes the remote use HTTP/1.1, for responses that Go's HTTP/2 server can't send.
	old bool
	// rival reports whether this kind makes it look as if another writer changes the Secret.
	rival bool
	// thrice reports whether three remotes of this kind run at the same time. That applies to the
	// kinds that cost the most.
	thrice bool
	// first reports whether the short test includes this kind, as the only one of its mechanism.
	first bool
}

// spoil returns a handler for [testenv.Gateway.Spoil]. If a kind spoils only LISTs, the handler
// makes watches expire, because nothing else triggers a LIST.
func (k kind) spoil(honest http.Handler) http.Handler {
	if k.also != nil {
		return spoilConnections(honest, k.also)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch is := requestOf(r); {
		case k.on&is != 0:
			k.answer(w, r)
		case is == aWatch && k.on&aList != 0:
			code(http.StatusGone)(w, r)
		default:
			honest.ServeHTTP(w, r)
		}
	})
}

// brokenWatches returns kinds that make only WATCH unusable.
func brokenWatches() []kind {
	return []kind{
		{name: "410", on: aWatch, answer: code(http.StatusGone)},
		{name: "429", on: aWatch, answer: retryLater(http.StatusTooManyRequests, "0")},
		{name: "error-410", on: aWatch, answer: events(errorEvent(http.StatusGone))},
		{name: "ends-at-once", on: aWatch, answer: events()},
		{name: "is-cut", on: aWatch, answer: cutOff},
		{name: "login-page", on: aWatch, answer: page(http.StatusOK, "text/html", html)},
		{name: "another-secret", on: aWatch, answer: events(foreign)},
	}
}

// costlyWatches returns kinds whose watches are expensive for a client that trusts them.
func costlyWatches() []kind {
	return []kind{
		{name: "blank-lines", on: aWatch, answer: endless(inJSON+";stream=watch", nil, bytes.Repeat([]byte("\n"), 32<<10))},
		{name: "one-value", on: aWatch, answer: endless(inJSON, []byte(`{"type":"ADDED","object":{"kind":"`), bytes.Repeat([]byte("x\n"), 16<<10))},
		{name: "frames-as-json", on: aWatch, answer: endless(inProtobuf+"+json;stream=watch", nil, bytes.Repeat([]byte("\x00\x00\x00\x00"), 8<<10)), first: true},
		{name: "empty-frames", on: aWatch, answer: endless(inProtobuf+";stream=watch", nil, bytes.Repeat([]byte("\x00\x00\x00\x00"), 8<<10))},
		{name: "frame-of-2GiB", on: aWatch, answer: endless(inProtobuf+";stream=watch", []byte("\x7f\xff\xff\xff"), make([]byte, 32<<10))},
		{name: "same-events", on: aWatch, answer: flood(same(watch.Modified)), rival: true},
		{name: "drift-events", on: aWatch, answer: flood(drifted), rival: true, thrice: true},
		{name: "deleted-events", on: aWatch, answer: flood(same(watch.Deleted)), rival: true},
		{name: "drift-ahead", on: aWatch, answer: ahead(drifted), rival: true},
		{name: "deleted-ahead", on: aWatch, answer: ahead(same(watch.Deleted)), rival: true},
		{name: "bookmark-ahead", on: aWatch, answer: ahead(bookmark), first: true},
		{name: "bookmarks", on: aWatch, answer: flood(bookmark), thrice: true},
		{name: "large-events", on: aWatch, answer: flood(large), thrice: true},
		{name: "million-owner-events", on: aWatch, answer: flood(ownedEvent)},
		{name: "error-of-a-million", on: aWatch, answer: flood(millionCauses)},
		{name: "gzip-events", on: aWatch, answer: gzipped(inProtobuf+";stream=watch", bytes.Repeat([]byte("\x00\x00\x00\x00"), 32<<20)), first: true},
		{name: "drip", on: aWatch, answer: drip(inProtobuf+";stream=watch", "\x00\x00\x01\x00")},
		{name: "hints", on: aWatch, answer: hints, first: true},
		{name: "never-answered", on: aWatch, answer: mute},
	}
}

// costlyAnswers returns kinds whose responses to requests other than WATCH are expensive.
func costlyAnswers(trap *trap) []kind {
	return []kind{
		{name: "list-of-two-million", on: aList, answer: protobuf(http.StatusOK, emptyList(2_000_000)), first: true},
		{name: "list-of-a-million", on: aList, answer: protobuf(http.StatusOK, emptyList(1_000_000))},
		{name: "pages-without-end", on: aList, answer: pages},
		{name: "list-of-many", on: aList, answer: manyOfIt},
		{name: "two-million", on: anything, answer: protobuf(http.StatusOK, emptyList(2_000_000))},
		{name: "million-owners", on: anything, answer: owned, thrice: true, first: true},
		{name: "million-owners-json", on: anything, answer: page(http.StatusOK, inJSON, millionOwnersInJSON())},
		{name: "million-causes", on: anything, answer: protobuf(http.StatusUnprocessableEntity, statusOfAMillion())},
		{name: "million-causes-404", on: anything, answer: protobuf(http.StatusNotFound, statusOfAMillion())},
		{name: "million-causes-409", on: aWrite, answer: protobuf(http.StatusConflict, statusOfAMillion())},
		{name: "million-causes-json", on: anything, answer: page(http.StatusUnprocessableEntity, inJSON, millionCausesInJSON())},
		{name: "gzip", on: anything, answer: gzipped(inProtobuf, emptyList(2_000_000))},
		{name: "gzip-bomb", on: anything, answer: gzipped(inProtobuf, make([]byte, 128<<20))},
		{name: "gzip-json", on: anything, answer: gzipped(inJSON, []byte(millionOwnersInJSON()))},
		{name: "endless", on: anything, answer: endless(inProtobuf, []byte("k8s\x00"), make([]byte, 32<<10)), first: true},
		{name: "endless-json", on: anything, answer: endless(inJSON, []byte(`{"kind":"Secret","metadata":{"name":"`), bytes.Repeat([]byte("x"), 32<<10))},
		{name: "endless-error", on: anything, answer: endlessError},
		{name: "long-headers", on: anything, answer: longHeaders},
		{name: "endless-headers", on: anything, answer: onTheWire("HTTP/1.1 200 OK\r\n", "X-More: and more\r\n"), old: true, first: true},
		{name: "endless-header-line", on: anything, answer: onTheWire("HTTP/1.1 200 OK\r\nX-More: ", "and more and "), old: true},
		{name: "endless-hints-1", on: anything, answer: onTheWire("", "HTTP/1.1 103 Early Hints\r\nX-More: and more\r\n\r\n"), old: true},
		{name: "endless-chunks", on: anything, answer: onTheWire("HTTP/1.1 200 OK\r\nContent-Type: "+inProtobuf+"\r\nTransfer-Encoding: chunked\r\n\r\n", "1\r\nx\r\n"), old: true, thrice: true},
		{name: "endless-trailers", on: anything, answer: onTheWire("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", "X-More: and more\r\n"), old: true},
		{name: "endless-hints", on: anything, answer: hints},
		{name: "drip-protobuf", on: anything, answer: drip(inProtobuf, "k8s\x00")},
		{name: "drip-json", on: anything, answer: drip(inJSON, `{"kind":"Secret"}`)},
		{name: "mute", on: anything, answer: mute, first: true},
		{name: "all-cut", on: anything, answer: cutOff},
		{name: "redirects", on: anything, answer: redirect(trap.secure.URL()), first: true},
		{name: "redirects-to-plain", on: anything, answer: redirect(trap.plain.URL)},
		{name: "conflicts", on: aWrite, answer: code(http.StatusConflict), rival: true},
	}
}

// wrongAnswers returns responses from a server that isn't an API server or that returns another
// object. Each has the state and the text that fernetcast must show.
func wrongAnswers() []wrong {
	return []wrong{
		{kind{name: "p404", answer: page(http.StatusNotFound, "text/html", html)}, "Unreachable", "404, with an HTML page"},
		{kind{name: "json-409", answer: page(http.StatusConflict, inJSON, `{"kind":"Status","apiVersion":"v1","reason":"Conflict","code":409}`)}, "Unreachable", "409, with JSON"},
		{kind{name: "login-page", answer: page(http.StatusOK, "text/html", html)}, "Failed", "the server returned an HTML page instead of the Secret"},
		{kind{name: "another-secret", answer: object(anotherSecret())}, "Failed", "the server returned a different Secret than requested"},
	}
}

// dripEvery is the interval at which a slow server sends a byte.
const dripEvery = time.Second
