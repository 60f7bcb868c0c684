package mirror

import (
	"fmt"
	"strconv"

	corev1 "k8s.io/api/core/v1"
)

// HighestTerm is the highest term that is written on it, by whomever; 0 for none.
func (s Source) HighestTerm() int { return s.claims.highestTerm() }

// SameClaims says whether mark and stamp are still what they were in other.
func (s Source) SameClaims(other Source) bool {
	return s.claims.mark == other.claims.mark && s.claims.stamp == other.claims.stamp &&
		len(s.claims.unreadable) == len(other.claims.unreadable)
}

// Unreadable names the annotations of a mark or an owner that cannot be read.
func (s Source) Unreadable() []string { return s.claims.unreadable }

// Marked is the Secret with the mark of a main and without a stamp, to be
// written over this source by compare-and-swap. Only promote does.
func (s Source) Marked(region string, term int) *corev1.Secret {
	marked := s.secret.DeepCopy()
	marked.ManagedFields = nil // the server keeps its own record
	setClaims(marked, map[string]string{
		MarkRegion: region, MarkTerm: strconv.Itoa(term), MarkUID: string(s.secret.UID),
	})
	return marked
}

// HighestTerm is the highest term that is written on it, by whomever; 0 for none.
func (c Copy) HighestTerm() int { return c.claims.highestTerm() }

// Read says whether the remote was read; it may have no Secret all the same.
func (c Copy) Read() bool { return c.read }

// Is says whether the copy is the very source.
func (c Copy) Is(src Source) bool { return c.secret != nil && c.secret.UID == src.UID() }

// SameKeys says whether the copy's data is the source's, whoever wrote it.
func (c Copy) SameKeys(src Source) bool {
	return c.secret != nil && src.set.SameData(c.secret.Data)
}

// IsMain says whether the copy bears the valid mark of a main.
func (c Copy) IsMain() bool { return c.claims.main != Owner{} }

// Rival is an owner other than src's whose term src's does not outrank, in the
// copy's mark or in its stamp; nobody where there is none.
func (c Copy) Rival(src Source) Owner {
	var rival Owner
	for _, other := range []Owner{c.claims.main, c.claims.stamp} {
		if other != src.owner && other.Term >= src.owner.Term && other.Term > rival.Term {
			rival = other
		}
	}
	return rival
}

// Nobodys is what Whose says of a Secret with neither mark nor stamp.
const Nobodys = "nobody's"

// Whose says in a few words whose Secret the copy is, as it may be shown beside src.
func (c Copy) Whose(src Source) string {
	mark, stamp := c.claims.main, c.claims.stamp
	switch {
	case c.secret == nil:
		return "absent"
	case len(c.claims.unreadable) > 0:
		return "of an owner that cannot be read"
	case mark != Owner{} && mark.Term > stamp.Term:
		return fmt.Sprintf("the main %s, term %d", c.redact(src, mark.Region), mark.Term)
	case stamp != Owner{}:
		return fmt.Sprintf("a copy of %s, term %d", c.redact(src, stamp.Region), stamp.Term)
	}
	return Nobodys
}

// Promotable says whether src can become the main without losing keys that
// this copy holds: it bears no stamp and no mark, or src continues its keys.
func (c Copy) Promotable(src Source) bool {
	holds := c.prints // a main's own
	switch {
	case c.claims.mark == Owner{} && c.claims.stamp == Owner{}:
		return true
	case c.claims.mark == Owner{}:
		holds = c.stamped()
	}
	// One without a primary holds nothing to be lost.
	return holds.Primary() == 0 || src.set.Fingerprints().Continues(holds)
}
