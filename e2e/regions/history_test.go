package regions

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/fernetcast/fernetcast/e2e/testenv"
)

// history records the versions of one region's Secret.
type history struct {
	*testenv.History
	w      *world
	region string
	// initial is the number of versions that already existed at the start. since skips them.
	initial int
}

// follow starts a history for each region, and returns them by region.
func (w *world) follow(regions ...string) map[string]*history {
	w.Helper()
	all := map[string]*history{}
	for _, region := range regions {
		h, err := shared.Cluster(region).Follow(w.Ctx, w.NS)
		w.Must(err)
		w.Cleanup(h.Stop)
		all[region] = &history{h, w, region, len(h.Versions())}
	}
	return all
}

// since returns the versions that were added after the history started.
func (h *history) since() []testenv.Version {
	h.w.Helper()
	h.w.Must(h.CatchUp(h.w.Ctx))
	return h.Versions()[h.initial:]
}

// untouched fails the test if the Secret has changed.
func (h *history) untouched() {
	h.w.Helper()
	if versions := h.since(); len(versions) > 0 {
		h.w.Fatalf("%s was changed %d times: %v", h.region, len(versions), describe(versions))
	}
}

// untouched fails the test if any region's Secret has changed.
func (w *world) untouched(all map[string]*history) {
	w.Helper()
	for _, h := range all {
		h.untouched()
	}
}

// only fails the test unless the versions since the start have exactly these keys, in this order.
func (h *history) only(keys ...testenv.Repository) {
	h.w.Helper()
	versions := h.since()
	same := slices.EqualFunc(versions, keys, func(v testenv.Version, r testenv.Repository) bool {
		return !v.Deleted && r.Equal(v.Secret.Data)
	})
	if !same {
		h.w.Fatalf("%s has %d versions, want %d: %v", h.region, len(versions), len(keys), describe(versions))
	}
}

// neverBack fails the test unless each version's keys are one of the key sets in line, and never an
// earlier set than that of a previous version. This also applies across a deletion.
func (h *history) neverBack(line ...testenv.Repository) {
	h.w.Helper()
	h.w.Must(h.CatchUp(h.w.Ctx))
	newest := -1
	for _, v := range h.Versions() {
		if v.Deleted {
			continue
		}
		at := slices.IndexFunc(line, func(r testenv.Repository) bool { return r.Equal(v.Secret.Data) })
		if at < 0 {
			h.w.Fatalf("%s had keys that no test wrote: %v", h.region, describe([]testenv.Version{v}))
		}
		if at < newest {
			h.w.Fatalf("%s went back from key set %d to %d: %v", h.region, newest, at, describe(h.Versions()))
		}
		newest = at
	}
}

// fenced fails the test if a term decreased or had two owners.
func (h *history) fenced() {
	h.w.Helper()
	h.w.Must(h.CatchUp(h.w.Ctx))
	term, owner := 0, ""
	for _, v := range h.Versions() {
		n, by := ownerOf(v)
		if v.Deleted || n == 0 {
			continue
		}
		if n < term || n == term && by != owner {
			h.w.Fatalf("%s went from %s, term %d, to %s, term %d: %v", h.region, owner, term, by, n, describe(h.Versions()))
		}
		term, owner = n, by
	}
}

// ownerOf returns the term and the region of a version's owner, or of its mark if that has a higher
// term.
func ownerOf(v testenv.Version) (term int, region string) {
	for _, prefix := range []string{"fernetcast/", "fernetcast/main-"} {
		var n int
		// An error means that the annotation is missing. Then n stays 0.
		_, _ = fmt.Sscan(v.Secret.Annotations[prefix+"term"], &n)
		if n > term {
			term, region = n, v.Secret.Annotations[prefix+"region"]
			if prefix != "fernetcast/" {
				region = v.Secret.Annotations["fernetcast/main"]
			}
		}
	}
	return term, region
}

// describe returns a line about each version, without its keys.
func describe(versions []testenv.Version) []string {
	var lines []string
	for _, v := range versions {
		term, owner := ownerOf(v)
		line := fmt.Sprintf("%s: primary %d, %d keys, of %q term %d", v.Secret.ResourceVersion, v.Keys().Primary(), len(v.Keys()), owner, term)
		if v.Deleted {
			line = v.Secret.ResourceVersion + ": deleted"
		}
		lines = append(lines, line)
	}
	return lines
}

// source waits until /statusz shows the source in the given state, with text in its detail.
func (r *replica) source(state, text string) {
	r.w.Helper()
	r.w.Until(func(ctx context.Context) error {
		st, err := r.status(ctx)
		if err != nil {
			return err
		}
		if s := st.Source; s.State != state || !strings.Contains(s.Detail, text) {
			return fmt.Errorf("the source is %s (%s), want %s with %q", s.State, s.Detail, state, text)
		}
		return nil
	})
}

// sees waits until fernetcast has seen the given version of the source.
func (r *replica) sees(resourceVersion string) {
	r.w.Helper()
	r.w.Until(func(ctx context.Context) error {
		st, err := r.status(ctx)
		if err == nil && st.Source.ResourceVersion != resourceVersion {
			err = fmt.Errorf("run has version %s, want %s", st.Source.ResourceVersion, resourceVersion)
		}
		return err
	})
}

// allShow waits until /statusz shows each of the remotes in the given state, with text in its
// reason or detail.
func (r *replica) allShow(state, text string, remotes ...string) {
	r.w.Helper()
	for _, remote := range remotes {
		r.shows(remote, state, text)
	}
}

// stays fails the test unless run is still running and responds.
func (r *replica) stays() {
	r.w.Helper()
	if !r.Running() {
		r.w.Fatal("run has exited")
	}
	if _, err := testenv.Get(r.w.Ctx, "http://"+r.address+"/livez"); err != nil {
		r.w.Fatal(err)
	}
}
