package regions

import (
	"context"
	"fmt"
	"testing"

	"github.com/fernetcast/fernetcast/e2e/testenv"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// noStamp is a patch that removes the whole stamp, and noKeys one that removes only the list of
// pushed keys.
const (
	noStamp = `{"metadata":{"annotations":{"fernetcast/region":null,"fernetcast/term":null,"fernetcast/source-uid":null,` +
		`"fernetcast/source-resource-version":null,"fernetcast/keys":null}}}`
	noKeys = `{"metadata":{"annotations":{"fernetcast/keys":null}}}`
)

// patch changes a remote's copy, as a local user would.
func (w *world) patch(region, patch string) {
	w.Helper()
	_, err := shared.Cluster(region).Client().CoreV1().Secrets(w.NS).
		Patch(w.Ctx, testenv.SecretName, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
	w.Must(err)
}

// breakCopies deletes one copy, and removes all or part of the stamps of two others.
func (w *world) breakCopies() {
	w.Helper()
	w.Must(shared.Cluster("dfw").Delete(w.Ctx, w.NS))
	w.patch("iad", noStamp)
	w.patch("ord", noKeys)
}

// mended waits until every copy has the keys and a stamp.
func (w *world) mended(keys testenv.Repository) {
	w.Helper()
	w.equal(testenv.Soon, keys, remotes...)
	w.Until(func(ctx context.Context) error {
		for _, region := range remotes {
			secret, err := shared.Cluster(region).Secret(ctx, w.NS)
			if err != nil {
				return err
			}
			if secret.Annotations["fernetcast/region"] != mainRegion || secret.Annotations["fernetcast/keys"] == "" {
				return fmt.Errorf("%s is not stamped", region)
			}
		}
		return nil
	})
}

// TestReplicas freezes a replica during two rotations. When it resumes, it has an outdated key set,
// which it must never write, even if the copy was deleted or has no stamp, or if another replica
// makes the same repairs at the same time.
func TestReplicas(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	line := []testenv.Repository{w.keys()}
	w.join(remotes...)
	w.promote()
	histories := w.follow(remotes...)
	stopped, other := w.run("--backoff-max", "1s"), w.run("--backoff-max", "1s")
	for _, run := range []*replica{stopped, other} {
		run.allShow("Synced", "", remotes...)
	}
	for round := range 6 {
		w.Must(stopped.Freeze())
		for range 2 {
			line = append(line, w.rotate().Keys)
			w.equal(testenv.Soon, line[len(line)-1], remotes...)
		}
		alone := round%2 == 0
		if alone { // the outdated replica must make the repairs alone
			w.Must(other.Freeze())
		}
		w.breakCopies()
		w.Must(stopped.Thaw())
		w.mended(line[len(line)-1])
		if alone {
			w.Must(other.Thaw())
		}
		// When both replicas have finished, they must agree.
		for _, run := range []*replica{stopped, other} {
			run.allShow("Synced", "", remotes...)
		}
		stopped, other = other, stopped
	}
	for _, h := range histories {
		h.neverBack(line...)
		h.fenced()
	}
}

// TestStaleSource checks a replica whose view of the source is outdated because it can't reach the
// main region. It must not write to any remote before it has read the source again.
func TestStaleSource(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	line := []testenv.Repository{w.keys()}
	w.join(remotes...)
	w.promote()
	wall, err := w.Home.Proxy()
	w.Must(err)
	t.Cleanup(wall.Close)
	built := w.Raced()
	histories := w.follow(remotes...)
	run := w.runProgram(built.With(w.flagsVia(wall.URL())...), "--request-timeout", "2s")
	w.equal(testenv.Soon, line[0], remotes...)
	run.allShow("Synced", "", remotes...)

	w.Must(wall.Set(testenv.Hold))
	for range 2 {
		line = append(line, w.rotate().Keys)
		w.exits(0, "push")
	}
	w.breakCopies()
	run.shows("dfw", "Behind", "the source cannot be read")
	run.shows("iad", "Behind", "the source cannot be read")
	run.shows("ord", "Behind", "the source cannot be read")
	for _, h := range histories {
		h.neverBack(line...)
	}
	w.Must(wall.Set(testenv.Pass))
	w.mended(line[2])
	run.allShow("Synced", "", remotes...)
	for _, h := range histories {
		h.neverBack(line...)
		h.fenced()
	}
}

// flagsVia returns the sidecar's flags, with the address server for the source's API server.
func (w *world) flagsVia(server string) []string {
	w.Helper()
	flags, err := w.Flags(w.Ctx, testenv.Access{Role: testenv.SidecarRole, Server: server})
	w.Must(err)
	return flags
}
