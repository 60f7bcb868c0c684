package repository

import (
	"time"

	"github.com/fernetcast/fernetcast/internal/keyset"
	"github.com/fernetcast/fernetcast/internal/mirror"
)

// choose takes up the newest usable set: the API's; for the first fill, or where the
// API is silent, the mounted Secret's. It returns the set that the API shows now; the
// zero Set where it shows none.
func (k *Keeper) choose(held keyset.Fingerprints) keyset.Set {
	now := time.Now()
	read, failed := k.opts.Source.Read(), k.opts.Source.Err()
	if read && failed == nil {
		k.answered = now
	}
	src, _ := k.opts.Source.Seen()
	k.say("source", unusable(src), func(reason string) {
		if reason == "" {
			k.opts.Log.Info("the Secret's keys can be used again")
			return
		}
		k.opts.Log.Warn("the Secret's keys cannot be used, so the key repository stays as it is", "reason", reason)
	})
	usable, silent := len(src.Keys().Fingerprints()) > 0, k.silent()
	known := k.want.Fingerprints()
	if len(known) == 0 {
		known = held
	}
	switch {
	case usable && !silent:
		k.want = src.Keys()
		k.say("mount", "", func(string) { k.opts.Log.Info("the keys come from the API again") })
	case known.Primary() == 0 && now.Sub(k.started) >= fillFrom:
		k.mounted(func(keyset.Set) bool { return true })
	case silent:
		k.mounted(func(set keyset.Set) bool { return set.Fingerprints().Continues(known) })
	}
	if !usable || failed != nil {
		return keyset.Set{}
	}
	return src.Keys()
}

// silent says whether the API has not answered for so long that the mounted Secret
// counts.
func (k *Keeper) silent() bool { return time.Since(k.answered) >= silentFor }

// unusable is why the Secret's keys cannot be used; "" where they can, or nobody knows.
func unusable(src mirror.Source) string {
	if state := src.State(); state == mirror.SourceAbsent || state == mirror.SourceRefused {
		return src.Detail()
	}
	return ""
}

// mounted takes up the mounted Secret's set, if it is to be taken.
func (k *Keeper) mounted(take func(keyset.Set) bool) {
	if k.opts.Mount == "" {
		return
	}
	set, err := readMount(k.opts.Mount)
	text := "its keys are taken"
	switch {
	case err != nil:
		text = err.Error()
	case take(set):
		k.want = set
	default:
		text = "the mounted Secret does not continue the keys that are there"
	}
	k.say("mount", text, func(string) {
		k.opts.Log.Warn("the API shows no usable keys, so the mounted Secret was looked at", "mount", k.opts.Mount, "outcome", text)
	})
}
