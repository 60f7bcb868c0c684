package regions

import (
	"bytes"
	"net/http"
	"time"
)

// request says which requests a hostile remote answers in its own way.
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

// kind is a way to be hostile, or broken.
type kind struct {
	name   string
	on     request
	answer http.HandlerFunc
	// old has the remote speak HTTP/1.1, for what no HTTP/2 server of Go's would send.
	old bool
	// rival says that it looks as if somebody else wrote the Secret.
	rival bool
	// thrice has three of it be hostile at a time: they cost the most.
	thrice bool
	// first says that it stands for its mechanism in the short test.
	first bool
}

// spoil is for [testenv.Gateway.Spoil]. One that spoils LISTs alone has its
// watches expire, because a LIST comes only then.
func (k kind) spoil(honest http.Handler) http.Handler {
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

// brokenWatches answer a WATCH so that it is of no use, and all else as it is.
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

// costlyWatches are for whoever believes them to pay.
func costlyWatches() []kind {
	return []kind{
		{name: "frames-as-json", on: aWatch, answer: endless(inProtobuf+"+json;stream=watch", nil, bytes.Repeat([]byte("\x00\x00\x00\x00"), 8<<10)), first: true},
		{name: "drift-events", on: aWatch, answer: flood(drifted), rival: true, thrice: true},
		{name: "bookmark-ahead", on: aWatch, answer: ahead(bookmark), first: true},
		{name: "large-events", on: aWatch, answer: flood(large), thrice: true},
		{name: "gzip-events", on: aWatch, answer: gzipped(inProtobuf+";stream=watch", bytes.Repeat([]byte("\x00\x00\x00\x00"), 32<<20)), first: true},
		{name: "hints", on: aWatch, answer: hints, first: true},
	}
}

// costlyAnswers are those to all other requests.
func costlyAnswers(trap *trap) []kind {
	return []kind{
		{name: "list-of-two-million", on: aList, answer: protobuf(http.StatusOK, emptyList(2_000_000)), first: true},
		{name: "million-owners", on: anything, answer: owned, thrice: true, first: true},
		{name: "endless", on: anything, answer: endless(inProtobuf, []byte("k8s\x00"), make([]byte, 32<<10)), first: true},
		{name: "endless-headers", on: anything, answer: onTheWire("HTTP/1.1 200 OK\r\n", "X-More: and more\r\n"), old: true, first: true},
		{name: "endless-chunks", on: anything, answer: onTheWire("HTTP/1.1 200 OK\r\nContent-Type: "+inProtobuf+"\r\nTransfer-Encoding: chunked\r\n\r\n", "1\r\nx\r\n"), old: true, thrice: true},
		{name: "drip-protobuf", on: anything, answer: drip(inProtobuf, "k8s\x00")},
		{name: "mute", on: anything, answer: mute, first: true},
		{name: "redirects", on: anything, answer: redirect(trap.secure.URL()), first: true},
	}
}

// wrongAnswers are those of something that is no API server, or of one that is
// mistaken. What is said of each, and how it is shown, stands beside it.
func wrongAnswers() []wrong {
	return []wrong{
		{kind{name: "p404", answer: page(http.StatusNotFound, "text/html", html)}, "Unreachable", "404, with an HTML page"},
		{kind{name: "json-409", answer: page(http.StatusConflict, inJSON, `{"kind":"Status","apiVersion":"v1","reason":"Conflict","code":409}`)}, "Unreachable", "409, with JSON"},
		{kind{name: "login-page", answer: page(http.StatusOK, "text/html", html)}, "Failed", "the server answers with an HTML page in place of the Secret"},
		{kind{name: "another-secret", answer: object(anotherSecret())}, "Failed", "the server answers with another Secret than the one"},
	}
}

// dripEvery is how long a slow server takes for a byte.
const dripEvery = time.Second
