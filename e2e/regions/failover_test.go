package regions

import (
	"context"
	"testing"
	"time"

	"github.com/fernetcast/fernetcast/e2e/testenv"
)

// TestFailover tests a complete failover and failback. sjc goes down, dfw is promoted and rotates,
// and sjc returns with its rotation job still enabled. ord, which was unreachable all the time,
// catches up by itself.
func TestFailover(t *testing.T) {
	sjc := newWorld(t)
	dfw := newMain(sjc.Stage, "dfw")
	ord, err := shared.Cluster("ord").Proxy()
	sjc.Must(err)
	t.Cleanup(ord.Close)
	for _, w := range []*world{sjc, dfw} {
		w.join("sjc", "dfw", "iad")
		w.joinAs("ord", testenv.Access{Role: testenv.RemoteRole, Server: ord.URL()})
	}
	first := sjc.keys()
	a, b := sjc.run(), dfw.run()
	sjc.promote()
	second := sjc.rotate()
	sjc.equal(testenv.Soon, second.Keys, "dfw", "iad", "ord")
	b.source("Standby", "copy of sjc")

	sjc.Must(ord.Set(testenv.Refuse))
	sjc.down()
	dfw.says(1, []string{"sjc: NOT REACHED", "ord: NOT REACHED", "iad: gets these keys", "Marked", "CronJob"}, "promote", "dfw", "--yes")
	home := dfw.follow("dfw")["dfw"]
	others := dfw.follow("iad", "ord")
	third, fourth := dfw.rotate(), dfw.rotate()
	dfw.equal(testenv.Soon, fourth.Keys, "iad")
	b.shows("sjc", "Unreachable", "")
	b.shows("ord", "Unreachable", "")

	// sjc returns while dfw's fernetcast is frozen. sjc still considers itself the main region, and
	// must notice that the remotes have a newer owner.
	sjc.Must(b.Freeze())
	sjc.Must(sjc.Home.Restart(sjc.Ctx))
	rogue := sjc.rotate()
	a.sees(rogue.ResourceVersion)
	a.source("Main", "")
	a.shows("iad", "Held", "owned by dfw, term 2")
	a.shows("dfw", "Held", "owned by dfw, term 2")
	sjc.says(1, []string{"owned by dfw, term 2", "nothing was changed"}, "push", "dfw", "iad", "--force")
	sjc.Must(b.Thaw())
	dfw.equal(testenv.Soon, fourth.Keys, "sjc")
	a.source("Standby", "copy of dfw")

	// sjc's CronJob rotates until someone suspends it.
	sjc.rotate()
	dfw.equal(testenv.Soon, fourth.Keys, "sjc")
	fifth := dfw.rotate()
	dfw.equal(time.Minute, fifth.Keys, "sjc", "iad")
	sjc.Must(ord.Set(testenv.Pass))
	dfw.equal(testenv.Soon, fifth.Keys, "ord")
	b.shows("ord", "Synced", "")
	home.only(third.Keys, fourth.Keys, fifth.Keys)
	others["iad"].neverBack(second.Keys, third.Keys, fourth.Keys, fifth.Keys)
	others["ord"].only(fifth.Keys)

	// Fail back.
	sjc.says(0, []string{"Marked", "term 3"}, "promote", "sjc", "--yes")
	b.source("Standby", "copy of sjc")
	sixth := sjc.rotate()
	sjc.equal(testenv.Soon, sixth.Keys, "dfw", "iad", "ord")
	a.allShow("Synced", "", "dfw", "iad", "ord")
	b.allShow("Standby", "copy of sjc", "sjc", "iad", "ord")
	for _, h := range []*history{home, others["iad"], others["ord"]} {
		h.neverBack(first, second.Keys, third.Keys, fourth.Keys, fifth.Keys, sixth.Keys)
		h.fenced()
	}
	sjc.exits(0, "status")
	dfw.exits(0, "status")
}

// down kills the main region's API server. At the end of the test, it is restarted if necessary.
func (w *world) down() {
	w.Home.Kill()
	w.Cleanup(func() {
		if w.Home.Process().Running() {
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := w.Home.Restart(ctx); err != nil {
			w.Error(err)
		}
	})
}
