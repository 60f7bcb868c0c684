package regions

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/fernetcast/fernetcast/e2e/testenv"
)

// TestUnpromoted checks that fernetcast in a cluster that was never promoted changes no remote,
// whatever the remotes' Secrets contain, and suggests what to do.
func TestUnpromoted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.keys()
	_, err := shared.Cluster("iad").Put(w.Ctx, w.NS, shared.Keys.NewRepository(3, 3))
	w.Must(err)
	w.join(remotes...)
	histories := w.follow(remotes...)
	run := w.run("--resync", "1s")
	run.source("Unpromoted", "fernetcast promote REGION")
	run.allShow("Held", "NotPromoted", remotes...)
	run.allShow("Held", "fernetcast promote REGION", remotes...)
	rotation := w.rotate()
	run.sees(rotation.ResourceVersion)
	w.says(1, []string{"UNPROMOTED", "not promoted", "nothing was changed", " promote REGION"}, "status")
	w.says(1, []string{"not promoted"}, "push", "--force")
	w.untouched(histories)

	w.promote()
	w.equal(testenv.Soon, rotation.Keys, remotes...)
	for _, h := range histories {
		for _, v := range h.since() {
			if term, owner := ownerOf(v); term != 1 || owner != mainRegion || !rotation.Keys.Equal(v.Secret.Data) {
				t.Errorf("%s was changed before the promotion, or has other keys: %v", h.region, describe(h.since()))
			}
		}
	}
}

// twoMains returns two regions, sjc and dfw, that can both become the main region. Each of them
// gets the given remotes.
func twoMains(t *testing.T, lists ...string) (sjc, dfw *world) {
	t.Helper()
	sjc = newWorld(t)
	dfw = newMain(sjc.Stage, "dfw")
	sjc.join(lists...)
	dfw.join(lists...)
	return sjc, dfw
}

// TestStandby checks two regions that are each other's remote. The promoted region must push, and
// the other must be a standby.
func TestStandby(t *testing.T) {
	t.Parallel()
	sjc, dfw := twoMains(t, "sjc", "dfw", "iad")
	keys := sjc.keys()
	_, err := dfw.Home.Put(dfw.Ctx, dfw.NS, shared.Keys.NewRepository(3, 3))
	dfw.Must(err)
	a, b := sjc.run(), dfw.run("--resync", "1s")
	a.source("Unpromoted", "")
	b.source("Unpromoted", "")
	sjc.promote()
	home := sjc.follow("sjc")["sjc"]
	sjc.equal(testenv.Soon, keys, "dfw", "iad")
	a.allShow("Synced", "", "dfw", "iad")
	a.shows("sjc", "Self", "")
	b.source("Standby", "copy of sjc")
	b.allShow("Standby", "copy of sjc", "sjc", "dfw", "iad")

	others := sjc.follow("dfw", "iad")
	first, second := sjc.rotate(), sjc.rotate()
	sjc.equal(testenv.Soon, second.Keys, "dfw", "iad")
	a.allShow("Synced", "", "dfw", "iad")
	b.source("Standby", "copy of sjc")
	dfw.says(0, []string{"STANDBY", "copy of sjc (term 1)"}, "status")
	dfw.says(0, []string{"STANDBY"}, "push", "--force")
	home.only(first.Keys, second.Keys)
	for _, h := range others {
		h.neverBack(keys, first.Keys, second.Keys)
		h.fenced()
	}
	// A standby must not repair copies, either. Only the main region may.
	sjc.Must(a.Freeze())
	sjc.Must(shared.Cluster("iad").Delete(sjc.Ctx, sjc.NS))
	dfw.exits(0, "push", "--force")
	b.shows("iad", "Standby", "")
	if versions := others["iad"].since(); !versions[len(versions)-1].Deleted {
		t.Errorf("the standby wrote to iad: %v", describe(versions))
	}
	sjc.Must(a.Thaw())
	sjc.equal(testenv.Soon, second.Keys, "iad")
}

// TestSelf checks that a kubeconfig that points to the source itself does no harm.
func TestSelf(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	keys := w.keys()
	w.join("sjc", "dfw")
	w.promote()
	home := w.follow("sjc")["sjc"]
	run := w.run("--resync", "1s")
	w.equal(testenv.Soon, keys, "dfw")
	run.shows("sjc", "Self", "points to the source itself")
	rotation := w.rotate()
	w.equal(testenv.Soon, rotation.Keys, "dfw")
	run.sees(rotation.ResourceVersion)
	run.shows("sjc", "Self", "")
	w.exits(0, "push", "--force")
	w.exits(0, "push", "sjc", "--force")
	w.says(0, []string{"Self"}, "status")
	// When the second repair is done, fernetcast has checked every remote again.
	for range 2 {
		w.Must(shared.Cluster("dfw").Delete(w.Ctx, w.NS))
		w.equal(testenv.Soon, rotation.Keys, "dfw")
	}
	home.only(rotation.Keys)
	secret, err := w.Home.Secret(w.Ctx, w.NS)
	w.Must(err)
	if secret.ResourceVersion != rotation.ResourceVersion {
		t.Errorf("the source's resourceVersion changed from %s to %s", rotation.ResourceVersion, secret.ResourceVersion)
	}
}

// TestTwoPromotionsAtOnce promotes two regions at the same time. Whether or not one of them wins,
// they must not overwrite each other's copies, and one more promotion must resolve the conflict.
func TestTwoPromotionsAtOnce(t *testing.T) {
	t.Parallel()
	sjc, dfw := twoMains(t, "sjc", "dfw", "iad", "ord")
	sjc.keys()
	dfw.keys()
	histories := sjc.follow("sjc", "dfw", "iad", "ord")
	a, b := sjc.run("--resync", "1s"), dfw.run("--resync", "1s")
	a.source("Unpromoted", "")
	b.source("Unpromoted", "")
	var both sync.WaitGroup
	for _, w := range []*world{sjc, dfw} {
		both.Go(func() { w.tryPromote() })
	}
	both.Wait()
	for _, r := range []*replica{a, b} {
		r.settled()
	}
	dfw.promote("--force")
	secret, err := dfw.Home.Secret(dfw.Ctx, dfw.NS)
	dfw.Must(err)
	dfw.equal(testenv.Soon, secret.Data, "sjc", "iad", "ord")
	a.source("Standby", "copy of dfw")
	b.allShow("Synced", "", "sjc", "iad", "ord")
	for _, h := range histories {
		h.fenced()
	}
}

// tryPromote runs promote, which may fail because another promotion was faster.
func (w *world) tryPromote() {
	r, err := w.Operator.Run(w.Ctx, "promote", w.Home.Name, "--yes", "--force")
	if err != nil || r.Code > 1 {
		w.Errorf("promoting %s: exit %d, %v\n%s%s", w.Home.Name, r.Code, err, r.Stdout, r.Stderr)
	}
	w.noLeaks(r.Stdout, r.Stderr)
}

// TestTwoMains promotes two regions while neither can reach the other. Each must report the other's
// copies as Held and leave them alone, until one of the regions is promoted again.
func TestTwoMains(t *testing.T) {
	t.Parallel()
	sjc := newWorld(t)
	dfw := newMain(sjc.Stage, "dfw")
	var walls []*testenv.Proxy
	for from, to := range map[*world]*world{sjc: dfw, dfw: sjc} {
		wall, err := to.Home.Proxy()
		from.Must(err)
		t.Cleanup(wall.Close)
		from.Must(wall.Set(testenv.Refuse))
		from.joinAs(to.Home.Name, testenv.Access{Role: testenv.RemoteRole, Server: wall.URL()})
		walls = append(walls, wall)
	}
	sjc.join("iad")
	dfw.join("ord")
	mine, theirs := sjc.keys(), dfw.keys()
	a, b := sjc.run("--resync", "1s"), dfw.run("--resync", "1s")
	sjc.says(1, []string{"dfw: NOT REACHED", "Marked"}, "promote", "sjc", "--yes")
	dfw.says(1, []string{"sjc: NOT REACHED", "Marked"}, "promote", "dfw", "--yes")
	sjc.equal(testenv.Soon, mine, "iad")
	dfw.equal(testenv.Soon, theirs, "ord")
	a.shows("dfw", "Unreachable", "")
	b.shows("sjc", "Unreachable", "")

	histories := sjc.follow("sjc", "dfw", "iad", "ord")
	for _, wall := range walls {
		sjc.Must(wall.Set(testenv.Pass))
	}
	sjc.join("ord")
	dfw.join("iad")
	a.allShow("Held", "owned by dfw, term 1", "dfw", "ord")
	b.allShow("Held", "owned by sjc, term 1", "sjc", "iad")
	mineNext, theirsNext := sjc.rotate(), dfw.rotate()
	sjc.equal(testenv.Soon, mineNext.Keys, "iad")
	dfw.equal(testenv.Soon, theirsNext.Keys, "ord")
	a.sees(mineNext.ResourceVersion)
	b.sees(theirsNext.ResourceVersion)
	sjc.says(1, []string{"owned by dfw, term 1", "nothing was changed", " promote sjc"}, "status")
	dfw.says(1, []string{"owned by sjc, term 1"}, "push", "--force")
	for region, keys := range map[string]testenv.Rotation{"sjc": mineNext, "iad": mineNext, "dfw": theirsNext, "ord": theirsNext} {
		histories[region].only(keys.Keys)
	}

	// Because the key sets are unrelated, a promotion makes the other region's tokens invalid. So
	// it requires --force.
	sjc.says(1, []string{"dfw", "nothing was changed", "--force"}, "promote", "sjc", "--yes")
	histories["sjc"].only(mineNext.Keys)
	sjc.promote("--force")
	sjc.equal(testenv.Soon, mineNext.Keys, "dfw", "iad", "ord")
	b.source("Standby", "copy of sjc")
	a.allShow("Synced", "", "dfw", "iad", "ord")
	for _, h := range histories {
		h.fenced()
	}
	sjc.exits(0, "status")
}

// settled waits until fernetcast has seen the newest version of the source and has nothing left to
// do. Every remote must be healthy, or Held because of an owner that this main region doesn't
// outrank.
func (r *replica) settled() {
	r.w.Helper()
	r.w.Until(func(ctx context.Context) error {
		st, err := r.status(ctx)
		if err != nil {
			return err
		}
		secret, err := r.w.Home.Secret(ctx, r.w.NS)
		if err != nil {
			return err
		}
		if secret.ResourceVersion != st.Source.ResourceVersion {
			return errors.New("run has not seen the newest source yet")
		}
		for _, remote := range st.Remotes {
			switch remote.State {
			case "Synced", "Self", "Standby":
			case "Held":
				if remote.Reason != "Owned" || !strings.Contains(remote.Detail, "fernetcast promote") {
					return fmt.Errorf("%s is held: %s: %s", remote.Name, remote.Reason, remote.Detail)
				}
			default:
				return fmt.Errorf("%s is %s: %s", remote.Name, remote.State, remote.Detail)
			}
		}
		return nil
	})
}
