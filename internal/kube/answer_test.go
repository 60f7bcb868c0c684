package kube

import (
	"bytes"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// GET and PUT accept the same responses. reached is the result of [Refusal.Reached].
func TestAnswers(t *testing.T) {
	const html, text, asJSON = "text/html; charset=utf-8", "text/plain", "application/json"
	many := make([]metav1.OwnerReference, maxParts)
	type want struct {
		says    string // "" means no error
		refusal bool
		reached bool
		is      func(error) bool
	}
	refused := func(says string, reached bool) want { return want{says: says, refusal: true, reached: reached} }
	for name, tc := range map[string]struct {
		code int
		kind string
		body []byte
		want want
	}{
		"the Secret":            {200, mediaType, encode(good()), want{}},
		"created":               {201, mediaType, encode(good()), want{}},
		"absent":                {404, mediaType, encode(notFound("secrets", name)), want{says: "not found", is: apierrors.IsNotFound}},
		"no namespace":          {404, mediaType, encode(notFound("namespaces", namespace)), refused("does its namespace exist", true)},
		"another is absent":     {404, mediaType, encode(notFound("secrets", "other")), refused("for something other", true)},
		"404 page":              {404, html, []byte("<html>not here</html>"), refused("404, with an HTML page", false)},
		"default backend":       {404, text, []byte("default backend - 404"), refused("404, with plain text", false)},
		"404 of a product":      {404, asJSON, []byte(`{"error":"no route"}`), refused("404, with JSON", false)},
		"404 Status in JSON":    {404, asJSON, []byte(`{"kind":"Status","apiVersion":"v1","reason":"NotFound","code":404,"details":{"kind":"secrets","name":"` + name + `"}}`), refused("404, with JSON", false)},
		"404, another Status":   {404, mediaType, encode(&metav1.Status{Code: 500}), refused("404", false)},
		"404, empty":            {404, "", nil, refused("404, with nothing", false)},
		"404, a Secret":         {404, mediaType, encode(good()), refused("404", false)},
		"conflict":              {409, mediaType, encode(&metav1.Status{Code: 409, Reason: metav1.StatusReasonConflict, Message: "modified"}), want{says: "modified", is: apierrors.IsConflict}},
		"409 of a proxy":        {409, html, []byte("<html>"), refused("409, with an HTML page", false)},
		"409 in JSON":           {409, asJSON, []byte(`{"kind":"Status","code":409}`), refused("409, with JSON", false)},
		"forbidden":             {403, mediaType, encode(&metav1.Status{Code: 403, Message: "cannot get resource"}), want{says: "cannot get resource", is: apierrors.IsForbidden}},
		"forbidden, in JSON":    {403, asJSON, []byte(`{"kind":"Status","message":"no","reason":"NotFound","code":404}`), want{says: "no", is: apierrors.IsForbidden}},
		"forbidden, a page":     {403, html, []byte("<html>"), want{says: "Forbidden", is: apierrors.IsForbidden}},
		"500 that says absent":  {500, mediaType, encode(notFound("secrets", name)), want{says: "not found", is: apierrors.IsInternalError}},
		"empty JSON":            {200, asJSON, []byte("{}"), refused("JSON instead of the Secret", true)},
		"null":                  {200, asJSON, []byte("null"), refused("JSON", true)},
		"the Secret in JSON":    {200, asJSON, []byte(`{"kind":"Secret","apiVersion":"v1"}`), refused("JSON", true)},
		"login page":            {200, html, []byte("<!doctype html>"), refused("an HTML page", true)},
		"nothing":               {200, "", nil, refused("nothing", true)},
		"a lying content type":  {200, mediaType, []byte("<html>"), refused("an HTML page", true)},
		"Status":                {200, mediaType, encode(&metav1.Status{}), refused("a Status instead", true)},
		"a list":                {200, mediaType, encode(&corev1.SecretList{ListMeta: metav1.ListMeta{ResourceVersion: "9"}}), refused("a SecretList instead", true)},
		"a list of the one":     {200, mediaType, encode(&corev1.SecretList{Items: []corev1.Secret{*good()}}), refused("a SecretList instead", true)},
		"ConfigMap":             {200, mediaType, encode(&corev1.ConfigMap{}), refused("a ConfigMap instead", true)},
		"a kind that is text":   {200, mediaType, bytes.Replace(encode(good()), []byte("Secret"), []byte("\x1b[2JXx"), 1), refused("another kind of object", true)},
		"another Secret":        {200, mediaType, encode(good(func(s *corev1.Secret) { s.Name = "other" })), refused("a different Secret", true)},
		"of another namespace":  {200, mediaType, encode(good(func(s *corev1.Secret) { s.Namespace = "x; curl | sh #" })), refused("a different Secret", true)},
		"without uid":           {200, mediaType, encode(good(func(s *corev1.Secret) { s.UID = "" })), refused("without uid", true)},
		"without version":       {200, mediaType, encode(good(func(s *corev1.Secret) { s.ResourceVersion = "" })), refused("without uid", true)},
		"cut off":               {200, mediaType, encode(good())[:60], refused("invalid", true)},
		"empty protobuf":        {200, mediaType, []byte("k8s\x00"), refused("another kind", true)},
		"a million owners":      {200, mediaType, encode(good(func(s *corev1.Secret) { s.OwnerReferences = many })), refused("too many parts", true)},
		"a million in the data": {200, mediaType, bytes.Join([][]byte{[]byte("k8s\x00\x0a\x0c\x0a\x02v1\x12\x06Secret\x12\xc0\xb8\x02"), bytes.Repeat([]byte("\x12\x00"), 20_000)}, nil), refused("too many parts", true)},
		"too large":             {200, mediaType, append(encode(good()), make([]byte, maxAnswer)...), refused("larger than 2 MiB", true)},
		"redirect":              {307, html, nil, refused("redirects", true)},
		"not modified":          {304, "", nil, refused("redirects", true)},
		"no content":            {204, "", nil, refused("code 204", true)},
		"a Status of megabytes": {422, mediaType, append(encode(&metav1.Status{Code: 422, Message: "long"}), make([]byte, maxError)...), want{says: "", is: apierrors.IsInvalid}},
	} {
		t.Run(name, func(t *testing.T) {
			client := serve(t, 10*time.Second, answer(tc.code, tc.kind, tc.body))
			secrets := client.Secrets(namespace)
			_, read := secrets.Get(t.Context(), "keystone-fernet-keys")
			_, written := secrets.Update(t.Context(), good(), "test")
			for verb, err := range map[string]error{"GET": read, "PUT": written} {
				var refusal *Refusal
				isRefusal := errors.As(err, &refusal)
				switch {
				case tc.want.is != nil && !tc.want.is(err), tc.want.is == nil && (err == nil) != (tc.want.says == ""):
					t.Errorf("%s: error %v", verb, err)
				case err != nil && !strings.Contains(err.Error(), tc.want.says):
					t.Errorf("%s: error %v does not say %q", verb, err, tc.want.says)
				case isRefusal != tc.want.refusal, isRefusal && refusal.Reached() != tc.want.reached:
					t.Errorf("%s: %v: refusal %v, want %+v", verb, err, isRefusal, tc.want)
				}
			}
		})
	}
}

func TestLists(t *testing.T) {
	list := func(more string, items ...corev1.Secret) []byte {
		return encode(&corev1.SecretList{ListMeta: metav1.ListMeta{ResourceVersion: "9", Continue: more}, Items: items})
	}
	empty := append([]byte("k8s\x00\x0a\x10\x0a\x02v1\x12\x0aSecretList\x12\xc0\xb8\x02"), bytes.Repeat([]byte("\x12\x00"), 20_000)...)
	for name, tc := range map[string]struct {
		body []byte
		says string
	}{
		"none":                {list(""), ""},
		"the one":             {list("", *good()), ""},
		"two":                 {list("", *good(), *good()), "more than the requested"},
		"another":             {list("", *good(func(s *corev1.Secret) { s.Name = "other" })), "a different Secret"},
		"an endless page":     {list("go on", *good()), "more than the requested"},
		"an empty item":       {list("", corev1.Secret{}), "a different Secret"},
		"a million of nobody": {empty, "a different Secret"},
		"no list":             {encode(good()), "a Secret instead"},
	} {
		t.Run(name, func(t *testing.T) {
			client := serve(t, 10*time.Second, answer(http.StatusOK, mediaType, tc.body))
			_, err := client.Secrets(namespace).List(t.Context(), "keystone-fernet-keys", metav1.ListOptions{})
			if (err == nil) != (tc.says == "") || err != nil && !strings.Contains(err.Error(), tc.says) {
				t.Errorf("error %v, want %q", err, tc.says)
			}
		})
	}
}

// FuzzCheck verifies that a response that passes the check decodes to the requested Secret.
func FuzzCheck(f *testing.F) {
	f.Add(encode(good()))
	f.Add(encode(good(func(s *corev1.Secret) { s.Name = "other" })))
	f.Add(event("ADDED", good())[lengthBytes:])
	f.Add(twoObjects())
	want := expected{namespace: namespace, name: name}
	header := http.Header{"Content-Type": {mediaType}}
	f.Fuzz(func(t *testing.T, body []byte) {
		judge := func(encoded []byte, bookmark bool) {
			_, message, err := (&walk{left: maxParts}).object(encoded)
			var s corev1.Secret
			if err != nil || s.Unmarshal(message) != nil {
				return // it does not decode to a Secret
			}
			if !bookmark && (s.Name != name || s.Namespace != namespace || s.UID == "" || s.ResourceVersion == "") || len(s.OwnerReferences) > maxParts {
				t.Errorf("an unexpected Secret passed the check: %q in %q, UID %q, version %q", s.Name, s.Namespace, s.UID, s.ResourceVersion)
			}
		}
		if want.check(header, body) == nil {
			judge(body, false)
		}
		var e metav1.WatchEvent
		if want.checkEvent(body) == nil && e.Unmarshal(body) == nil && e.Type != "ERROR" {
			judge(e.Object.Raw, e.Type == "BOOKMARK")
		}
	})
}

// twoObjects returns an event with a bad object in the field that decoders read, and a good object
// in a field that they ignore.
func twoObjects() []byte {
	bad := encode(good(func(s *corev1.Secret) { s.Name = "other" }))
	object := protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), bad)
	object = protowire.AppendBytes(protowire.AppendTag(object, 2, protowire.BytesType), encode(good()))
	frame := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), "ADDED")
	return protowire.AppendBytes(protowire.AppendTag(frame, 2, protowire.BytesType), object)
}
