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

// mediaType is the protobuf encoding of core types. Every API server supports it; proxies and load
// balancers almost never produce it.
const mediaType = "application/vnd.kubernetes.protobuf"

// magic starts every object in that encoding (apimachinery/pkg/runtime/serializer/protobuf).
var magic = []byte("k8s\x00")

// maxParts bounds the number of fields in a response, because two bytes can decode to a 400-byte
// object. A Secret with 100 keys has about 150 fields.
const maxParts = 10_000

// maxJSON bounds the number of values in a JSON response. An object or array counts as nestedCost
// values, because {} can decode to 2 KiB.
const maxJSON, nestedCost = 50_000, 10

var (
	errBroken   = &Refusal{"the server's response is invalid protobuf", true}
	errTooMany  = &Refusal{"the server's response has too many parts", true}
	errNotOne   = &Refusal{"the server's list contains more than the requested Secret", true}
	errNotAsked = &Refusal{"the server returned a different Secret than requested", true}
	errNoUID    = &Refusal{"the server returned a Secret without uid or resourceVersion", true}
)

func isProtobuf(header http.Header) bool {
	got, _, err := mime.ParseMediaType(header.Get("Content-Type"))
	return err == nil && got == mediaType
}

// checkJSON returns an error if decoding a body could take too much memory.
func checkJSON(body []byte) error {
	left, quoted := maxJSON, false
	for i := 0; i < len(body); i++ {
		switch c := body[i]; {
		case c == '"':
			quoted = !quoted
		case quoted && c == '\\':
			i++
		case !quoted && (c == '{' || c == '['):
			left -= nestedCost
		case !quoted && c == ',':
			left--
		}
	}
	if left < 0 {
		return errTooMany
	}
	return nil
}

// onlyJSON keeps client-go from decoding any other encoding, such as YAML.
func onlyJSON(header http.Header) {
	got, _, err := mime.ParseMediaType(header.Get("Content-Type"))
	if err != nil || got != "application/json" {
		header.Set("Content-Type", "text/plain")
	}
}

// A walk scans a response once before it is decoded. It counts the fields and extracts the object's
// identity. left is the number of fields still allowed.
type walk struct{ left int }

// fields calls each for every length-delimited field of a message. It skips the others, which hold
// only numbers.
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

// texts copies the fields with the given numbers into the strings. If a number repeats, the last
// field counts, as in a decoder.
func (w *walk) texts(message []byte, to map[protowire.Number]*string) error {
	return w.fields(message, func(number protowire.Number, value []byte) error {
		if text := to[number]; text != nil {
			*text = string(value)
		}
		return nil
	})
}

// object returns the kind and the message of an encoded object (apimachinery's runtime.Unknown).
// The kind includes the API version unless that is v1.
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

// An identity is a Secret's identity according to the response.
type identity struct{ name, namespace, uid, version string }

// secret returns the identity of an encoded Secret (k8s.io/api/core/v1/generated.proto).
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

func (e expected) matches(id identity) error {
	switch {
	case id.name != e.name || id.namespace != e.namespace:
		return errNotAsked
	case id.uid == "" || id.version == "":
		return errNoUID
	}
	return nil
}

// check returns an error unless a successful response contains the requested Secret, or a list with
// at most that Secret.
func (e expected) check(header http.Header, body []byte) error {
	if e == (expected{}) {
		return nil
	}
	w := &walk{left: maxParts}
	if !isProtobuf(header) || !bytes.HasPrefix(body, magic) {
		return e.instead(Describe(header, body))
	}
	kind, message, err := w.object(body)
	switch {
	case err != nil:
		return err
	case e.list && kind == "SecretList":
		return e.checkList(w, message)
	case e.list || kind != "Secret":
		return e.instead(known(kind))
	}
	id, err := w.secret(message)
	if err != nil {
		return err
	}
	return e.matches(id)
}

func (e expected) instead(what string) error {
	return &Refusal{fmt.Sprintf("the server returned %s instead of the Secret: is the server in its kubeconfig an API server?", what), true}
}

func (e expected) checkList(w *walk, message []byte) error {
	items, more := 0, ""
	err := w.fields(message, func(number protowire.Number, value []byte) error {
		switch number {
		case 1: // metadata
			return w.texts(value, map[protowire.Number]*string{3: &more}) // continue
		case 2: // items
			items++
			id, err := w.secret(value)
			if err == nil {
				err = e.matches(id)
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

// checkEvent returns an error unless a watch event (metav1.WatchEvent) is about the requested
// Secret, is a bookmark, or contains a Status.
func (e expected) checkEvent(frame []byte) error {
	w := &walk{left: maxParts}
	var kind string
	var raw []byte
	err := w.fields(frame, func(number protowire.Number, value []byte) (err error) {
		switch number {
		case 1: // type
			kind = string(value)
		case 2: // object, a RawExtension
			err = w.fields(value, func(number protowire.Number, value []byte) error {
				if number == 1 { // raw; decoders ignore all others
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
	case kind == "ERROR" || object != "Secret": // client-go quotes the content of an ERROR event
		return e.instead(known(object))
	}
	id, err := w.secret(message)
	if err != nil || kind == "BOOKMARK" && id.version != "" {
		return err
	}
	return e.matches(id)
}

// readStatus returns the Status in an error response, or the zero Status if there is none. It also
// reports whether the encoding was protobuf, which only an API server uses.
func readStatus(header http.Header, body []byte) (st metav1.Status, proto bool) {
	if len(body) > maxError {
		return st, false
	}
	if !isProtobuf(header) {
		// Some proxies in front of API servers respond in JSON. The message is still worth showing.
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
	start := strings.ToLower(string(bytes.TrimSpace(body[:min(len(body), describedBytes)])))
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

// known returns a well-known kind with its article. It hides any other kind, because that is text
// chosen by the server.
func known(kind string) string {
	for _, k := range []string{"Status", "ConfigMap", "Secret", "SecretList", "Pod", "Namespace", "List"} {
		if k == kind {
			return "a " + k
		}
	}
	return "another kind of object"
}
