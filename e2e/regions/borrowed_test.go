package regions

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/fernetcast/fernetcast/e2e/testenv"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// showable is how many consecutive characters of a key output may contain.
const showable = 5

// TestNamedAfterKeys checks copies whose annotations, type, or field manager contain a key of the
// source or of the copy, or a part of such a key. Anyone who can write to a remote can set these
// fields. No output may contain more than five consecutive characters of a key, in uppercase or
// lowercase.
func TestNamedAfterKeys(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ours, theirs := plainKey("the source's"), plainKey("the copy's")
	keys := shared.Keys.NewRepository(8, 7)
	keys["7"] = []byte(ours)
	_, err := w.Home.Put(w.Ctx, w.NS, keys)
	w.Must(err)
	var borrowers []*borrower
	for _, b := range []*borrower{
		{name: "whole", text: bare(ours)},
		{name: "own", text: bare(theirs), own: true},
		{name: "lower", text: strings.ToLower(bare(ours))},
		{name: "piece", text: ours[8:20]},
		{name: "six", text: "r." + ours[30:36] + ".x"},
		{name: "six-of-its-own", text: "r." + theirs[12:18] + ".x", own: true},
		{name: "hex", text: hexOf(ours)[:40]},
	} {
		b.outpost = w.outpost(b.name, "dfw")
		b.keys = testenv.Repository{"0": []byte(shared.Keys.New()), "3": []byte(theirs)}
		b.put(b.keys, corev1.SecretTypeOpaque, b.owner("5"))
		borrowers = append(borrowers, b)
	}
	typed := &borrower{name: "typed", text: letters.FindString(strings.ToLower(bare(ours)))}
	typed.outpost = w.outpost(typed.name, "dfw")
	typed.put(nil, corev1.SecretType(typed.text), nil)
	w.impostor("words", "", nil, &impostor{first: all(func(rw http.ResponseWriter) {
		status(rw, http.StatusServiceUnavailable, metav1.Status{Message: "busy with " + typed.text})
	})})
	secrets := []string{bare(ours), bare(theirs), hexOf(ours)[:40]}

	plan := w.command("promote", mainRegion, "--yes")
	if !strings.Contains(plan.Stdout, ", term 5, primary 3") {
		t.Errorf("promote does not name the owners of the copies:\n%s", plan.Stdout)
	}
	w.hides(secrets, plan.Stdout, plan.Stderr)
	run := w.run("--resync", "1s")
	forced := w.command("promote", mainRegion, "--yes", "--force")
	w.hides(secrets, forced.Stdout, forced.Stderr)
	run.shows(typed.name, "Held", "has type")
	run.shows("words", "Unreachable", "busy with")
	for _, b := range borrowers {
		w.arrived(b.history, keys)
		// fernetcast overwrites a copy with a lower term and logs its owner.
		b.relabel("5", typed.text)
	}
	run.logs("lower than this main region's")
	run.shows(borrowers[0].name, "Synced", "")
	w.Must(borrowers[0].cluster.Edit(w.Ctx, borrowers[0].ns, typed.text, func(s *corev1.Secret) { s.Data["99"] = []byte(shared.Keys.New()) }))
	run.shows(borrowers[0].name, "Contested", " repeatedly changes its Secret")
	for _, b := range borrowers {
		if b != borrowers[0] {
			run.shows(b.name, "Synced", "")
		}
		b.relabel("99", typed.text)
	}
	for _, b := range borrowers {
		run.shows(b.name, "Held", "owned by ")
	}
	w.showNone(run, secrets, "term 99")

	// Make the source a copy with the same annotations.
	for _, b := range borrowers {
		if b.own { // this text is from the copy's own keys, which the source doesn't have
			continue
		}
		w.edit(w.Home, typed.text, func(s *corev1.Secret) { s.Annotations = b.owner("200") })
		run.source("Standby", "copy of ")
		w.showNone(run, secrets, "STANDBY")
	}
	w.hides(secrets, run.Stdout.String(), run.Stderr.String())
}

// showNone runs every command that reports on the copies, and reads /statusz. The status table must
// contain the text.
func (w *world) showNone(run *replica, secrets []string, text string) {
	w.Helper()
	table := w.command("status").Stdout
	if !strings.Contains(table, text) {
		w.Errorf("the table does not contain %q:\n%s", text, table)
	}
	w.hides(secrets, table)
	for _, args := range [][]string{
		{"status", "-o", "json"}, {"push"}, {"push", "--force"}, {"wait", "--settle", "0", "--timeout", "1s"}, {"promote", "elsewhere", "--yes", "--log-level", "debug"},
	} {
		if args[0] == "promote" && text != "term 99" { // a promotion would turn the standby into a main region
			continue
		}
		r := w.command(args...)
		w.hides(secrets, r.Stdout, r.Stderr)
	}
	body, err := testenv.Get(w.Ctx, "http://"+run.address+"/statusz")
	w.Must(err)
	w.hides(secrets, string(body))
}

// hides fails the test if an output shares more than showable consecutive characters with one of
// secrets, in uppercase or lowercase.
func (w *world) hides(secrets []string, outputs ...string) {
	w.Helper()
	for i, output := range outputs {
		folded := strings.ToLower(output)
		for _, secret := range secrets {
			secret = strings.ToLower(secret)
			for at := 0; at+showable < len(secret); at++ {
				if found := strings.Index(folded, secret[at:at+showable+1]); found >= 0 {
					line := output[strings.LastIndexByte(output[:found], '\n')+1 : found]
					w.Errorf("output %d contains part of a key, starting at character %d, after %q", i, at, line[max(0, len(line)-120):])
					break
				}
			}
		}
	}
}

// borrower is a remote whose copy is named after a key.
type borrower struct {
	*outpost
	name, text string
	keys       testenv.Repository
	own        bool // whether text comes from the copy's own keys instead of the source's
}

func (b *borrower) owner(term string) map[string]string {
	return map[string]string{"fernetcast/region": b.text, "fernetcast/term": term, "fernetcast/source-uid": b.text}
}

func (b *borrower) put(keys testenv.Repository, kind corev1.SecretType, annotations map[string]string) {
	b.w.Helper()
	_, err := b.cluster.Client().CoreV1().Secrets(b.ns).Create(b.w.Ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: testenv.SecretName, Annotations: annotations}, Type: kind, Data: keys,
	}, metav1.CreateOptions{})
	b.w.Must(err)
}

// relabel restores the copy's own keys and owner annotations, as the given writer.
func (b *borrower) relabel(term, writer string) {
	b.w.Helper()
	b.w.Until(func(ctx context.Context) error {
		return b.cluster.Edit(ctx, b.ns, writer, func(s *corev1.Secret) { s.Data, s.Annotations = b.keys, b.owner(term) })
	})
}

var letters = regexp.MustCompile(`[a-z]{6}`)

// plainKey derives a key from seed, because a random key could make the test fail by chance. The
// key contains only letters and digits, so that it can be a region's name, and has six consecutive
// letters.
func plainKey(seed string) string {
	for n := 0; ; n++ {
		raw := sha256.Sum256(fmt.Appendf(nil, "%s, %d", seed, n))
		key := base64.URLEncoding.EncodeToString(raw[:])
		if !strings.ContainsAny(key, "-_") && letters.MatchString(strings.ToLower(key)) {
			shared.Keys.Remember(key)
			return key
		}
	}
}

func bare(key string) string { return strings.TrimRight(key, "=") }

// hexOf decodes a key and returns its bytes in hex.
func hexOf(key string) string {
	// This can't fail, because plainKey returns only valid keys.
	raw, _ := base64.URLEncoding.DecodeString(key)
	return hex.EncodeToString(raw)
}
