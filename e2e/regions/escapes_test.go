package regions

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/fernetcast/fernetcast/e2e/testenv"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// screen is text that clears a terminal and draws a green table.
const screen = "\x1b[2J\x1b[H\x1b[32mREMOTE  STATE\nhostile  Synced\r\n\x07\x7f"

// TestNothingForTerminals checks that nothing from a server, from its certificate to its Secret,
// can draw on the operator's terminal. The name of a kubeconfig file can't, either. All output must
// consist of printable characters, and servers must not be able to add lines to it.
func TestNothingForTerminals(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.keys()
	w.promote()
	named, err := certify(w.NS, screen, pkix.Name{CommonName: "a server"}, nil)
	w.Must(err)
	issued, err := certify(w.NS, "kubernetes", pkix.Name{CommonName: screen, Organization: []string{screen}}, nil)
	w.Must(err)
	other, err := certify(w.NS, "kubernetes", pkix.Name{CommonName: screen, Organization: []string{screen}}, nil)
	w.Must(err)
	limited, err := certify(w.NS, screen+".example", pkix.Name{CommonName: "a server"}, []string{"elsewhere.example"})
	w.Must(err)
	// The leaf certificate is from one CA, but the chain contains another CA with the same name.
	issued.Certificate[1] = other.Certificate[1]

	servers := map[string]struct {
		serverName  string
		certificate *tls.Certificate
		answers     *impostor
		says        string // text that the remote's detail must contain
	}{
		"names":   {"kubernetes", named, &impostor{}, "x509"},
		"issuer":  {"kubernetes", issued, &impostor{}, "x509"},
		"limited": {"kubernetes", limited, &impostor{}, "x509"},
		"message": {"", nil, &impostor{first: all(func(rw http.ResponseWriter) {
			status(rw, http.StatusServiceUnavailable, metav1.Status{Message: "wait " + screen + " \u202e\u009b2J"})
		})}, "503"},
		"plain": {"", nil, &impostor{first: all(func(rw http.ResponseWriter) {
			rw.Header().Set("Content-Type", "text/plain")
			rw.WriteHeader(http.StatusTeapot)
			_, _ = io.WriteString(rw, screen)
		})}, "418"},
		"status-line": {"", nil, &impostor{first: raw("HTTP/1.1 503 \x1b[2J\x1b[H green\r\nContent-Length: 0\r\n\r\n")}, "503"},
		"version":     {"", nil, &impostor{first: raw("\x1b[2J\x1b[H HTTP/9 200 OK\r\n\r\n")}, ""},
		"header":      {"", nil, &impostor{first: raw("HTTP/1.1 200 OK\r\nContent-Type: \x1b[2J/\x1b[H\r\nContent-Length: 1\r\n\r\nx")}, "malformed"},
		"location":    {"", nil, &impostor{first: raw("HTTP/1.1 307 \x1b[2J\r\nLocation: https://\x1b[2J.example/\r\nContent-Length: 0\r\n\r\n")}, ""},
		"secret": {"", nil, &impostor{reads: &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{
				Name: testenv.SecretName, Namespace: w.NS, UID: "a-uid\x1b[2J", ResourceVersion: "7",
				Annotations:   map[string]string{"fernetcast/keys": screen, "note": screen},
				ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "helm" + screen, Time: &metav1.Time{Time: time.Now()}}},
			},
			Type: corev1.SecretType("some" + screen), Data: map[string][]byte{"3" + screen: []byte(shared.Keys.New()), "3": []byte(shared.Keys.New())},
		}}, "has type"},
	}
	for name, s := range servers {
		w.impostor(name, s.serverName, s.certificate, s.answers)
	}
	w.Must(testenv.WriteFile(w.Clusters, "\x1b[2J.yaml", nil))
	for _, format := range []string{"json", "text"} {
		run := w.run("--log-format", format, "--backoff-max", "1s", "--resync", "1s")
		for name, s := range servers {
			run.detail(name, s.says)
		}
		body, err := testenv.Get(w.Ctx, "http://"+run.address+"/statusz")
		w.Must(err)
		w.printable("/statusz", string(body))
		w.printable("the log in "+format, run.Stderr.String())
	}
	table := w.exits(1, "status")
	w.printable("the table", table)
	if lines := strings.Count(table, "\n"); lines != 4+len(servers) {
		t.Errorf("the table has %d lines, want %d:\n%q", lines, 4+len(servers), table)
	}
	for _, output := range []string{"wide", "json", "yaml"} {
		w.printable(output, w.exits(1, "status", "-o", output))
	}
	w.printable("push", w.exits(1, "push", "--log-format", "text", "--log-level", "debug"))
	plan := w.exits(1, "promote", mainRegion, "--yes")
	w.printable("promote", plan)
	for name := range servers {
		if name != "secret" && !strings.Contains(plan, "\n  "+name+": NOT REACHED (") {
			t.Errorf("promote does not report that %s could not be reached:\n%s", name, plan)
		}
	}
}

// detail waits until /statusz shows the remote with text in its detail, whatever its state, and
// returns the detail.
func (r *replica) detail(remote, text string) (shown string) {
	r.w.Helper()
	r.w.Until(func(ctx context.Context) error {
		st, err := r.status(ctx)
		if err != nil {
			return err
		}
		s := st.Remote(remote)
		if s == nil || s.State == "Pending" || !strings.Contains(s.Detail, text) {
			return fmt.Errorf("%s is %+v, want %q in its detail", remote, s, text)
		}
		shown = s.Detail
		return nil
	})
	return shown
}

// printable fails the test if output contains an unprintable character. what names the output.
func (w *world) printable(what, output string) {
	w.Helper()
	for _, escaped := range []string{`\u001b`, `\u202e`, `\u009b`, `\u0007`, `\u007f`} {
		if strings.Contains(output, escaped) {
			w.Errorf("%s has %s", what, escaped)
		}
	}
	for line := range strings.Lines(output) {
		if at := strings.IndexFunc(strings.TrimSuffix(line, "\n"), func(r rune) bool { return !unicode.IsPrint(r) }); at >= 0 {
			w.Errorf("%s: character %d is not printable: %q", what, at, line)
			return
		}
	}
}

func all(answer func(http.ResponseWriter)) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, _ *http.Request) bool { answer(w); return true }
}

// raw returns a handler that writes text to the connection and closes it.
func raw(text string) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, _ *http.Request) bool {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return true
		}
		_, _ = io.WriteString(conn, text)
		_ = conn.Close()
		return true
	}
}

// certify creates a server certificate for a DNS name, and a new CA that signs it. The result is
// the chain of both certificates. If permitted isn't nil, the CA may sign only for the names in it.
func certify(serial, name string, ca pkix.Name, permitted []string) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("creating a key: %w", err)
	}
	root := &x509.Certificate{
		SerialNumber: new(big.Int).SetBytes([]byte(serial)), Subject: ca, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), PermittedDNSDomains: permitted, PermittedDNSDomainsCritical: permitted != nil,
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: screen, Organization: []string{screen}}, DNSNames: []string{name},
		NotBefore: root.NotBefore, NotAfter: root.NotAfter, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	signed, err := x509.CreateCertificate(rand.Reader, root, root, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("creating a CA: %w", err)
	}
	raw, err := x509.CreateCertificate(rand.Reader, leaf, root, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("creating a certificate: %w", err)
	}
	return &tls.Certificate{Certificate: [][]byte{raw, signed}, PrivateKey: key}, nil
}
