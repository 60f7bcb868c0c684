package setup

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/fernetcast/fernetcast/internal/kube"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
)

const (
	million = 1_000_000
	// mostAllocated bounds the bytes that one request can allocate in total. The garbage collector
	// frees most of them before the request ends.
	mostAllocated = 40 << 20
)

// bombs returns responses that are small but need much memory to decode.
func bombs() map[string]http.HandlerFunc {
	list := func(begin, item, end string) []byte {
		return []byte(begin + strings.Repeat(item+",", 1<<20/(len(item)+1)) + item + end)
	}
	named := func(kind, group string) string {
		return `{"kind":"` + kind + `","apiVersion":"` + group + `","metadata":{"name":"x","uid":"y"},`
	}
	var packed bytes.Buffer
	pack := gzip.NewWriter(&packed)
	_, _ = pack.Write(bytes.Repeat([]byte("[{},"), 32<<20)) // writing to memory can't fail
	_ = pack.Close()
	const json = "application/json"
	at := func(contentType string, body []byte) http.HandlerFunc {
		return answer(http.StatusOK, contentType, body)
	}
	return map[string]http.HandlerFunc{
		"containers":       at(json, list(named("CronJob", "batch/v1")+`"spec":{"jobTemplate":{"spec":{"template":{"spec":{"containers":[`, "{}", `]}}}}}}`)),
		"jobs":             at(json, list(named("JobList", "batch/v1")+`"items":[`, "{}", `]}`)),
		"cronjobs":         at(json, list(named("CronJobList", "batch/v1")+`"items":[`, "{}", `]}`)),
		"stateful sets":    at(json, list(named("StatefulSetList", "apps/v1")+`"items":[`, "{}", `]}`)),
		"rules":            at(json, list(named("SelfSubjectRulesReview", "authorization.k8s.io/v1")+`"status":{"resourceRules":[`, "{}", `]}}`)),
		"verbs":            at(json, list(named("SelfSubjectRulesReview", "authorization.k8s.io/v1")+`"status":{"resourceRules":[{"verbs":[`, `""`, `]}]}}`)),
		"groups":           at(json, list(named("SelfSubjectReview", "authentication.k8s.io/v1")+`"status":{"userInfo":{"groups":[`, `""`, `]}}}`)),
		"audiences":        at(json, list(named("TokenRequest", "authentication.k8s.io/v1")+`"status":{"token":"x"},"spec":{"audiences":[`, `""`, `]}}`)),
		"owners":           at(json, list(`{"kind":"Namespace","apiVersion":"v1","metadata":{"uid":"y","ownerReferences":[`, "{}", `]}}`)),
		"keys":             at(json, list(`{"issuer":"https://x","keys":[`, "{}", `]}`)),
		"applied":          at(json, list(named("Role", "rbac.authorization.k8s.io/v1")+`"rules":[`, `{"a":1}`, `]}`)),
		"table":            at(json, list(named("Table", "meta.k8s.io/v1")+`"rows":[`, "{}", `]}`)),
		"arrays in arrays": at(json, []byte(strings.Repeat("[", million)+strings.Repeat("]", million))),
		"causes":           answer(http.StatusForbidden, json, list(`{"kind":"Status","apiVersion":"v1","status":"Failure","code":403,"details":{"causes":[`, "{}", `]}}`)[:60_000]),
		"short causes":     answer(http.StatusForbidden, json, []byte(`{"kind":"PodList","apiVersion":"v1","items":[`+strings.Repeat("{},", 20_000)+`{}]}`)),
		"protobuf":         at("application/vnd.kubernetes.protobuf", protobufList("batch/v1", "CronJobList")),
		"protobuf error":   answer(http.StatusForbidden, "application/vnd.kubernetes.protobuf", protobufList("v1", "PodList")[:60_000]),
		"yaml":             at("application/yaml", []byte("a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c]\ne: [*d,*d,*d,*d,*d,*d,*d]\n")),
		"cbor":             at("application/cbor", append([]byte("\xd9\xd9\xf7\x9a\x00\x1f\xff\x00"), bytes.Repeat([]byte("\xa0"), 2<<20-300)...)),
		"gzip": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			at(json, packed.Bytes())(w, r)
		},
		"a string": at(json, []byte(named("CronJob", "batch/v1")+`"a":"`+strings.Repeat(`\u0001`, 300_000)+`"}`)),
		"endless":  at(json, bytes.Repeat([]byte(" "), 8<<20)),
	}
}

// protobufList encodes a list of empty items (apimachinery's runtime.Unknown).
func protobufList(version, kind string) []byte {
	meta := fmt.Sprintf("\x0a%c%s\x12%c%s", len(version), version, len(kind), kind)
	raw := strings.Repeat("\x12\x00", 1<<20-100)
	size := len(raw)
	return fmt.Appendf(nil, "k8s\x00\x0a%c%s\x12%s%s", len(meta), meta, []byte{byte(size) | 0x80, byte(size>>7) | 0x80, byte(size >> 14)}, raw)
}

// Decoding a response to a setup request takes little memory, whatever the server sends.
func TestSetupAnswersAreBounded(t *testing.T) {
	requests := map[string]func(context.Context, *APIs) error{
		"uid":    func(ctx context.Context, a *APIs) error { _, err := a.ClusterUID(ctx); return err },
		"issuer": func(ctx context.Context, a *APIs) error { _, err := a.Issuer(ctx); return err },
		"apply": func(ctx context.Context, a *APIs) error {
			role := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": map[string]any{"name": "x"}}}
			_, err := a.Dynamic.Resource(schema.GroupVersionResource{Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "roles"}).
				Namespace("x").Apply(ctx, "x", role, metav1.ApplyOptions{FieldManager: "x"})
			return err
		},
	}
	for bomb, handler := range bombs() {
		server := httptest.NewServer(handler)
		t.Cleanup(server.Close)
		apis, err := NewAPIs(&rest.Config{Host: server.URL}, kube.Options{Timeout: 10 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(apis.Close)
		for name, request := range requests {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_ = request(t.Context(), apis) // some bombs are valid
			runtime.ReadMemStats(&after)
			if took := after.TotalAlloc - before.TotalAlloc; took > mostAllocated {
				t.Fatalf("%s to %s allocates %d MiB, want at most %d", bomb, name, took>>20, mostAllocated>>20)
			}
		}
	}
}

// Reading a list that never ends stops with an error.
func TestEndlessListIsGivenUp(t *testing.T) {
	server := httptest.NewServer(answer(http.StatusOK, "application/json", []byte(`{"kind":"JobList","apiVersion":"batch/v1","metadata":{"continue":"more"}}`)))
	t.Cleanup(server.Close)
	apis, err := NewAPIs(&rest.Config{Host: server.URL}, kube.Options{Timeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(apis.Close)
	var refusal *kube.Refusal
	if _, err := apis.Rotating(t.Context(), "x"); !errors.As(err, &refusal) {
		t.Errorf("error %v", err)
	}
}

// Errors about an issuer's documents name the cause. Redirects are refused, even to the same host.
func TestPublished(t *testing.T) {
	var server *httptest.Server
	documents := map[string]string{"/keys": `{"keys":[]}`}
	server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch text := documents[strings.TrimSuffix(r.URL.Path, DiscoveryPath)]; {
		case strings.HasPrefix(text, "/"), strings.HasPrefix(text, "http:"):
			http.Redirect(w, r, text, http.StatusFound)
		case text == "":
			http.NotFound(w, r)
		default:
			answer(http.StatusOK, "text/plain", []byte(strings.ReplaceAll(text, "SELF", server.URL)))(w, r)
		}
	}))
	t.Cleanup(server.Close)
	plain := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the redirect was followed") }))
	t.Cleanup(plain.Close)
	documents["/good"] = `{"issuer":"https://issuer","jwks_uri":"SELF/keys"}`
	documents["/long"] = `{"issuer":"https://issuer","jwks_uri":"SELF/keys","x":"` + strings.Repeat("x", maxDocument) + `"}`
	documents["/long-keys"] = `{"issuer":"https://issuer","jwks_uri":"SELF/long"}`
	documents["/http-keys"] = `{"issuer":"https://issuer","jwks_uri":"http://issuer/keys"}`
	documents["/nobody"] = `{}`
	documents["/moved"] = "/good" + DiscoveryPath
	documents["/moved-to-http"] = plain.URL
	documents["/moved-keys"] = `{"issuer":"https://issuer","jwks_uri":"SELF/moved-to-http"}`
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	for at, says := range map[string]string{
		server.URL + "/good":          "",
		server.URL + "/long":          "/long" + DiscoveryPath + " has more than 65536 bytes",
		server.URL + "/long-keys":     "/long has more than 65536 bytes",
		server.URL + "/http-keys":     "the discovery document's jwks_uri is not an https URL",
		server.URL + "/nobody":        "the discovery document names no issuer",
		server.URL + "/missing":       "the server responded to /missing" + DiscoveryPath + " with code 404",
		server.URL + "/moved":         "fernetcast follows no redirects",
		server.URL + "/moved-to-http": "fernetcast follows no redirects",
		server.URL + "/moved-keys":    "fernetcast follows no redirects",
		plain.URL:                     "the issuer is not an https URL",
	} {
		found, err := Published(t.Context(), at, ca, 10*time.Second)
		var refusal *kube.Refusal
		switch {
		case says == "" && (err != nil || found.URL != "https://issuer" || string(found.Keys) != documents["/keys"]):
			t.Errorf("%s: %+v, %v", at, found, err)
		case says != "" && (!errors.As(err, &refusal) || !strings.Contains(err.Error(), says)):
			t.Errorf("%s: error %v, want %s", at, err, says)
		}
	}
}
