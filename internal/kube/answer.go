package kube

import (
	"bytes"
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// mediaType is what every API server speaks for core types, and hardly anything
// else on the way does.
const mediaType = "application/vnd.kubernetes.protobuf"

// magic begins each object that an API server encodes so
// (apimachinery/pkg/runtime/serializer/protobuf).
var magic = []byte("k8s\x00")

// maxParts bounds the fields of an answer, because two bytes can be decoded to
// an object of 400. A Secret of 100 keys has some 150.
const maxParts = 10_000

var (
	errBroken   = &Refusal{"the server's answer is broken protobuf", true}
	errTooMany  = &Refusal{"the server's answer has more than 10,000 parts", true}
	errNotOne   = &Refusal{"the server lists more than the one Secret", true}
	errNotAsked = &Refusal{"the server answers with another Secret than the one that it was asked for", true}
	errNoUID    = &Refusal{"the server answers with a Secret without uid or resourceVersion", true}
)

func isProtobuf(header http.Header) bool {
	got, _, err := mime.ParseMediaType(header.Get("Content-Type"))
	return err == nil && got == mediaType
}

// walk is one pass over an answer before it is decoded. It counts fields and
// takes what tells whose answer it is.
type walk struct{ left int }

// fields calls each for every field of a message that has a length; the others
// are numbers.
func (w *walk) fields(message []byte, each func(number protowire.Number, value []byte) error) error {
	for len(message) > 0 {
		if w.left--; w.left < 0 {
			return errTooMany
		}
		number, kind, n := protowire.ConsumeTag(message)
		if n < 0 {
			return errBroken
		}
		message = message[n:]
		if n = protowire.ConsumeFieldValue(number, kind, message); n < 0 {
			return errBroken
		}
		if kind == protowire.BytesType {
			value, _ := protowire.ConsumeBytes(message)
			if err := each(number, value); err != nil {
				return err
			}
		}
		message = message[n:]
	}
	return nil
}

// texts sets what to points to from the fields of these numbers. The last one of
// a number counts, as for a decoder.
func (w *walk) texts(message []byte, to map[protowire.Number]*string) error {
	return w.fields(message, func(number protowire.Number, value []byte) error {
		if text := to[number]; text != nil {
			*text = string(value)
		}
		return nil
	})
}

// object opens an encoded object: its kind, with the API version where that is
// not v1, and its message (apimachinery's runtime.Unknown).
func (w *walk) object(encoded []byte) (kind string, message []byte, err error) {
	rest, ok := bytes.CutPrefix(encoded, magic)
	if !ok {
		return "", nil, errBroken
	}
	version := ""
	err = w.fields(rest, func(number protowire.Number, value []byte) error {
		switch number {
		case 1: // typeMeta
			return w.texts(value, map[protowire.Number]*string{1: &version, 2: &kind})
		case 2: // raw
			message = value
		}
		return nil
	})
	if version != "v1" {
		kind = version + "/" + kind
	}
	return kind, message, err
}

// identity is what an answer says of which Secret it is.
type identity struct{ name, namespace, uid, version string }

// secret walks a Secret's message (k8s.io/api/core/v1/generated.proto).
func (w *walk) secret(message []byte) (identity, error) {
	var id identity
	err := w.fields(message, func(number protowire.Number, value []byte) error {
		if number != 1 { // metadata
			return nil
		}
		return w.texts(value, map[protowire.Number]*string{1: &id.name, 3: &id.namespace, 5: &id.uid, 6: &id.version})
	})
	return id, err
}

func (a asked) matches(id identity) error {
	switch {
	case id.name != a.name || id.namespace != a.namespace:
		return errNotAsked
	case id.uid == "" || id.version == "":
		return errNoUID
	}
	return nil
}

// check says why a successful answer is not believed: it is to be the Secret
// that was asked for, or a list that holds at most that one.
func (a asked) check(header http.Header, body []byte) error {
	if a == (asked{}) {
		return nil
	}
	w := &walk{left: maxParts}
	if !isProtobuf(header) || !bytes.HasPrefix(body, magic) {
		return a.instead(Describe(header, body))
	}
	kind, message, err := w.object(body)
	switch {
	case err != nil:
		return err
	case a.list && kind == "SecretList":
		return a.checkList(w, message)
	case a.list || kind != "Secret":
		return a.instead(known(kind))
	}
	id, err := w.secret(message)
	if err != nil {
		return err
	}
	return a.matches(id)
}

func (a asked) instead(what string) error {
	return &Refusal{fmt.Sprintf("the server answers with %s in place of the Secret: is the server in its kubeconfig an API server?", what), true}
}

func (a asked) checkList(w *walk, message []byte) error {
	items, more := 0, ""
	err := w.fields(message, func(number protowire.Number, value []byte) error {
		switch number {
		case 1: // metadata
			return w.texts(value, map[protowire.Number]*string{3: &more}) // continue
		case 2: // items
			items++
			id, err := w.secret(value)
			if err == nil {
				err = a.matches(id)
			}
			return err
		}
		return nil
	})
	if err == nil && (items > 1 || more != "") {
		err = errNotOne
	}
	return err
}

// checkEvent says why an event of a watch is not believed (metav1.WatchEvent).
func (a asked) checkEvent(frame []byte) error {
	w := &walk{left: maxParts}
	var kind string
	var raw []byte
	err := w.fields(frame, func(number protowire.Number, value []byte) (err error) {
		switch number {
		case 1: // type
			kind = string(value)
		case 2: // object, a RawExtension
			err = w.fields(value, func(number protowire.Number, value []byte) error {
				if number == 1 { // raw; a decoder passes over any other
					raw = value
				}
				return nil
			})
		}
		return err
	})
	if err != nil {
		return err
	}
	object, message, err := w.object(raw)
	switch {
	case err != nil:
		return err
	case kind == "ERROR" && object == "Status" && len(message) <= maxError:
		return nil
	case kind == "ERROR" || object != "Secret": // client-go quotes what an ERROR holds
		return a.instead(known(object))
	}
	id, err := w.secret(message)
	if err != nil || kind == "BOOKMARK" && id.version != "" {
		return err
	}
	return a.matches(id)
}

// readStatus reads the Status of an error, and says whether it came in protobuf,
// which only an API server speaks. The zero Status is none.
func readStatus(header http.Header, body []byte) (st metav1.Status, proto bool) {
	if len(body) > maxError {
		return st, false
	}
	if !isProtobuf(header) {
		// Some that stand before an API server answer in JSON, whose message is told.
		if json.Unmarshal(body, &st) != nil || st.Kind != "Status" {
			st = metav1.Status{}
		}
		return st, false
	}
	kind, message, err := (&walk{left: maxParts}).object(body)
	if err != nil || kind != "Status" || st.Unmarshal(message) != nil {
		return metav1.Status{}, false
	}
	return st, true
}

// Describe names, in a few words, an answer that isn't a Secret in protobuf.
func Describe(header http.Header, body []byte) string {
	got, _, _ := mime.ParseMediaType(header.Get("Content-Type"))
	start := strings.ToLower(string(bytes.TrimSpace(body[:min(len(body), described)])))
	switch {
	case len(body) == 0 && got == "":
		return "nothing"
	case strings.HasPrefix(start, "<") || got == "text/html":
		return "an HTML page"
	case strings.Contains(got, "json") || strings.HasPrefix(start, "{"):
		return "JSON"
	case strings.HasPrefix(got, "text/"):
		return "plain text"
	}
	return "something that is not protobuf"
}

// known is a kind that an API server has, with its article; the name of any
// other is the server's own text.
func known(kind string) string {
	for _, k := range []string{"Status", "ConfigMap", "Secret", "SecretList", "Pod", "Namespace", "List"} {
		if k == kind {
			return "a " + k
		}
	}
	return "another kind of object"
}
