package mirror

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
)

// HighestTerm returns the highest term in the mark and the stamp, whoever set it; 0 if
// there is none.
func (s Source) HighestTerm() int { return s.claims.highestTerm() }

// SameClaims reports whether the mark and the stamp are the same as in other.
func (s Source) SameClaims(other Source) bool {
	return s.claims.mark == other.claims.mark && s.claims.stamp == other.claims.stamp &&
		len(s.claims.unreadable) == len(other.claims.unreadable)
}

// Unreadable returns the names of the annotations of a mark or stamp that cannot be parsed.
func (s Source) Unreadable() []string { return s.claims.unreadable }

// Marked returns the Secret that a promotion must write by compare-and-swap: with the mark of a
// main region, and without a stamp. cluster is the UID of the source's cluster, or "" if it isn't
// known. unserved are the previous main region's remotes that this one doesn't have.
func (s Source) Marked(region string, term int, cluster string, unserved []string) *corev1.Secret {
	marked := s.secret.DeepCopy()
	marked.ManagedFields = nil // the API server keeps its own
	claims := map[string]string{MarkRegion: region, MarkTerm: strconv.Itoa(term), MarkUID: string(s.secret.UID)}
	if cluster != "" {
		claims[MarkCluster] = cluster
	}
	if len(unserved) > 0 {
		claims[MarkUnserved] = strings.Join(unserved, ",")
	}
	setClaims(marked, claims)
	return marked
}

// HighestTerm returns the highest term in the mark and the stamp, whoever set it; 0 if
// there is none.
func (c Copy) HighestTerm() int { return c.claims.highestTerm() }

// Read reports whether the remote was read. It may still have no Secret.
func (c Copy) Read() bool { return c.read }

// Is reports whether the copy is the source itself: it has the source's UID, and the kubeconfig
// doesn't store another cluster's UID than the mark.
func (c Copy) Is(src Source) bool {
	there, here := c.place.Cluster, src.claims.cluster
	return c.secret != nil && c.secret.UID == src.UID() && (there == "" || here == "" || there == here)
}

// SameKeys reports whether the copy's data equals the source's, whoever wrote it.
func (c Copy) SameKeys(src Source) bool {
	return c.secret != nil && src.set.SameData(c.secret.Data)
}

// Main returns the owner in the copy's valid mark, or the zero Owner if it has none.
func (c Copy) Main() Owner { return c.claims.main }

// Rival returns the owner in the copy's mark or stamp that differs from src's owner and that src's
// term does not outrank. If both do, it returns the one with the higher term. If neither does, it
// returns the zero Owner.
func (c Copy) Rival(src Source) Owner {
	var rival Owner
	for _, other := range []Owner{c.claims.main, c.claims.stamp} {
		if other != src.owner && other.Term >= src.owner.Term && other.Term > rival.Term {
			rival = other
		}
	}
	return rival
}

// Unowned is the result of Whose for a Secret with neither a mark nor a stamp.
const Unowned = "unowned"

// Whose describes the owner of the copy in a few words. The description contains no part of
// a key of src or of the copy.
func (c Copy) Whose(src Source) string {
	mark, stamp := c.claims.main, c.claims.stamp
	switch {
	case c.secret == nil:
		return "absent"
	case len(c.claims.unreadable) > 0:
		return "a copy with an unknown owner"
	case mark != Owner{} && mark.Term > stamp.Term:
		return fmt.Sprintf("main region %s, term %d", c.redact(src, mark.Region), mark.Term)
	case stamp != Owner{}:
		return fmt.Sprintf("a copy of %s, term %d", c.redact(src, stamp.Region), stamp.Term)
	}
	return Unowned
}

// Promotable reports whether src can become the main region's Secret without losing keys that this
// copy holds. It can if the copy has neither a mark nor a stamp, or if src continues the copy's
// keys.
func (c Copy) Promotable(src Source) bool {
	holds := c.prints // if the copy has a mark, its current keys count
	switch {
	case c.claims.mark == Owner{} && c.claims.stamp == Owner{}:
		return true
	case c.claims.mark == Owner{}:
		holds = c.stamped()
	}
	// Without a primary, there are no keys to lose.
	return holds.Primary() == 0 || src.set.Fingerprints().Continues(holds)
}

// Unserved explains which region gets no keys although a main region served it: this standby, if a
// remote shows a newer main region, or former remotes that the mark lists. It returns "" if there is
// none.
func (s Source) Unserved(remotes []RemoteStatus) (text string) {
	newest := s.owner.Term
	for _, r := range remotes {
		if term := max(r.Copy.Main().Term, r.Copy.Owner().Term); s.State() == SourceStandby && term > newest {
			newest = term
			text = fmt.Sprintf("%s, term %d, which is no longer the main region: %s is %s; this region gets no keys until it joins the new main region", s.detail, s.owner.Term, r.Name, r.Copy.Whose(s))
		}
	}
	if s.State() != SourceMain {
		return text
	}
	listed := strings.Split(orEmpty(s.secret).Annotations[MarkUnserved], ",")
	listed = slices.DeleteFunc(listed, func(name string) bool {
		return validation.IsDNS1123Label(name) != nil || slices.ContainsFunc(remotes, func(r RemoteStatus) bool { return r.Name == name })
	})
	if len(listed) == 0 {
		return ""
	}
	return s.redact("the previous main region served " + strings.Join(listed, ", ") + ", and this one does not; join them, or promote again if they are gone")
}
