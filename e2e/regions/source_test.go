package regions

import (
	"maps"
	"strings"
	"testing"

	"github.com/fernetcast/fernetcast/e2e/testenv"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// synced returns a world whose remotes all have the keys, and a replica of run in it.
func synced(t *testing.T) (*world, *replica, testenv.Repository) {
	t.Helper()
	w := newWorld(t)
	keys := w.keys()
	w.join(remotes...)
	w.promote()
	run := w.run("--resync", "2s")
	w.equal(testenv.Soon, keys, remotes...)
	run.allShow("Synced", "", remotes...)
	return w, run, keys
}

// says fails the test unless a command exits with the code and its output contains every text.
func (w *world) says(code int, texts []string, args ...string) {
	w.Helper()
	output := w.exits(code, args...)
	for _, text := range texts {
		if !strings.Contains(output, text) {
			w.Errorf("the output of %v does not contain %q:\n%s", args, text, output)
		}
	}
}

// TestSourceMalformed checks that fernetcast doesn't push a key set that Keystone can't use, and
// that the status shows what is wrong with the set. When the source is valid again, pushes must
// continue. TestParseRefuses in internal/keyset has a table of all flaws.
func TestSourceMalformed(t *testing.T) {
	t.Parallel()
	w, run, keys := synced(t)
	histories := w.follow(remotes...)
	key := shared.Keys.New()
	for _, d := range []struct{ index, value, says string }{
		{"01", key, `"01"`}, {"7", "", "key 7 is empty"}, {"7", key[:43], "key 7 is not"}, {"0", key + "\n\n", "key 0 has a line break"},
	} {
		shared.Keys.Remember(d.value)
		bad := maps.Clone(keys)
		bad[d.index] = []byte(d.value)
		run.refuses(bad, d.says)
	}
	run.refuses(testenv.Repository{}, "it has no keys")
	run.refuses(testenv.Repository{"0": keys["0"]}, "no primary key")
	w.says(1, []string{"REFUSED", "source: ", "no primary key", "nothing was changed", "dfw", "iad", "ord"}, "status")
	w.says(1, []string{"no primary key"}, "push", "--force")
	w.says(1, []string{"no primary key", "nothing was changed"}, "promote", mainRegion, "--yes", "--force")
	w.untouched(histories)

	// If a copy is deleted now, fernetcast must not recreate it from the malformed source.
	w.Must(shared.Cluster("ord").Delete(w.Ctx, w.NS))
	run.refuses(testenv.Repository{"0": keys["0"], "x": keys["8"]}, `"x"`)
	run.stays()

	good := shared.Keys.Rotated(keys, 7)
	_, err := w.Home.Put(w.Ctx, w.NS, good)
	w.Must(err)
	w.equal(testenv.Soon, good, remotes...)
	run.allShow("Synced", "", remotes...)
	histories["dfw"].only(good)
	histories["iad"].only(good)
	if versions := histories["ord"].since(); len(versions) != 2 || !versions[0].Deleted {
		t.Errorf("ord has the versions %v, want the deletion and the good keys", describe(versions))
	}
	w.exits(0, "status")
}

// refuses writes a malformed key set to the source, and waits until all remotes are Held because of
// it.
func (r *replica) refuses(bad testenv.Repository, why string) {
	r.w.Helper()
	secret, err := r.w.Home.Put(r.w.Ctx, r.w.NS, bad)
	r.w.Must(err)
	r.sees(secret.ResourceVersion)
	r.source("Refused", why)
	r.allShow("Held", why, remotes...)
	r.allShow("Held", "SourceRefused", remotes...)
}

// TestSourceRecreated deletes the source, recreates it empty, and fills it with new keys. These
// rotate until their indices exceed those of the old keys. The remotes must keep their keys until
// an operator decides.
func TestSourceRecreated(t *testing.T) {
	t.Parallel()
	w, run, _ := synced(t)
	histories := w.follow(remotes...)
	w.Must(w.Home.Delete(w.Ctx, w.NS))
	run.source("Absent", "fernetcast recover --from dfw")
	run.allShow("Held", "SourceAbsent", remotes...)
	w.says(1, []string{"ABSENT", "does not exist", "nothing was changed", " recover --from dfw"}, "status")
	run.refuses(testenv.Repository{}, "it has no keys")

	_, err := w.Home.Put(w.Ctx, w.NS, shared.Keys.NewRepository(1, 2))
	w.Must(err)
	run.source("Unpromoted", "if this cluster was the main region: fernetcast recover --from dfw; if it should become the main region: fernetcast promote REGION")
	run.allShow("Held", "NotPromoted", remotes...)
	var last testenv.Rotation
	for range 12 { // rotate until the primary's index exceeds the remotes' index
		last = w.rotate()
	}
	run.sees(last.ResourceVersion)
	run.allShow("Held", "fernetcast promote", remotes...)
	w.says(1, []string{"UNPROMOTED", "not promoted", "nothing was changed", " promote REGION"}, "status")
	w.says(1, []string{"not promoted"}, "push", "--force")
	w.says(1, []string{"nothing was changed", "dfw, iad, ord", " recover --from dfw; otherwise", "--force makes all tokens invalid"}, "promote", mainRegion, "--yes")
	if secret, err := w.Home.Secret(w.Ctx, w.NS); err != nil || secret.ResourceVersion != last.ResourceVersion {
		t.Errorf("a refused promotion changed the source: %v", err)
	}
	w.untouched(histories)
	run.stays()

	w.promote("--force")
	w.equal(testenv.Soon, last.Keys, remotes...)
	next := w.rotate()
	w.equal(testenv.Soon, next.Keys, remotes...)
	run.allShow("Synced", "", remotes...)
	for _, h := range histories {
		h.only(last.Keys, next.Keys)
		h.fenced()
	}
}

// TestSourceRestored restores the source from a backup that includes its mark. The mark has the UID
// of the previous object, so it doesn't count. The keys are related, so promote doesn't need
// --force.
func TestSourceRestored(t *testing.T) {
	t.Parallel()
	w, run, keys := synced(t)
	histories := w.follow(remotes...)
	backup, err := w.Home.Secret(w.Ctx, w.NS)
	w.Must(err)
	w.Must(w.Home.Delete(w.Ctx, w.NS))
	run.source("Absent", "")
	_, err = w.Home.Client().CoreV1().Secrets(w.NS).Create(w.Ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: backup.Name, Annotations: backup.Annotations}, Data: backup.Data,
	}, metav1.CreateOptions{})
	w.Must(err)
	run.source("Unpromoted", "its mark belongs to another object")
	run.allShow("Held", "NotPromoted", remotes...)
	lost := w.rotate()
	run.sees(lost.ResourceVersion)
	w.exits(1, "push", "--force")
	w.untouched(histories)

	w.promote()
	w.equal(testenv.Soon, lost.Keys, remotes...)
	run.allShow("Synced", "", remotes...)
	for _, h := range histories {
		h.neverBack(keys, lost.Keys)
		h.fenced()
	}
	if st, _, err := w.Operator.Status(w.Ctx); err != nil || st.Source.Term == nil || *st.Source.Term != 2 {
		t.Errorf("the term after the second promotion: %+v, %v", st, err)
	}
}

// TestRekey replaces the keys in the source without recreating the Secret. However often the new
// keys rotate, they don't continue the keys in the copies. Only --force pushes them.
func TestRekey(t *testing.T) {
	t.Parallel()
	w, run, _ := synced(t)
	histories := w.follow(remotes...)
	_, err := w.Home.Put(w.Ctx, w.NS, shared.Keys.NewRepository(8, 7)) // the new keys have the same indices
	w.Must(err)
	run.allShow("Held", "keys (primary 8) do not continue", remotes...)
	_, err = w.Home.Put(w.Ctx, w.NS, shared.Keys.NewRepository(1, 2))
	w.Must(err)
	run.allShow("Held", "keys (primary 1) do not continue", remotes...)
	var last testenv.Rotation
	for range 12 {
		last = w.rotate()
	}
	run.allShow("Held", "keys (primary 13) do not continue", remotes...)
	run.allShow("Held", "Discontinuous", remotes...)
	w.says(1, []string{"MAIN", "discontinuous", "nothing was changed", " push dfw --force", "?"}, "status")
	w.says(1, []string{"discontinuous"}, "push")
	w.untouched(histories)
	run.stays()

	w.exits(0, "push", "dfw", "--force")
	histories["dfw"].only(last.Keys)
	histories["iad"].untouched()
	histories["ord"].untouched()
	w.exits(0, "push", "--force")
	run.allShow("Synced", "", remotes...)
	next := w.rotate()
	w.equal(testenv.Soon, next.Keys, remotes...)
	for _, h := range histories {
		h.only(last.Keys, next.Keys)
	}
}
