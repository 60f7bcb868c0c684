package mirror

import (
	"fmt"
	"time"
)

// A Verdict is the outcome of showing a token to a region.
type Verdict string

// The verdicts.
const (
	Accepted    Verdict = "accepted"
	Refused     Verdict = "refused"     // Keystone answered that it doesn't know the token
	Unreachable Verdict = "unreachable" // there was no response
	Failed      Verdict = "failed"      // the response was neither of the two
	NoToken     Verdict = "no token"    // From issued no token, so To is ""
)

// A Probe describes one token in one region. Its text contains no tokens, and nothing that a server
// wrote.
type Probe struct {
	From    string  `json:"from"`
	To      string  `json:"to"`
	Verdict Verdict `json:"verdict"`
	Seconds float64 `json:"seconds"`
	Detail  string  `json:"detail"`
}

// Explain returns one sentence that explains a result with the states of both regions' Secrets, or
// "" if there is nothing to explain. home is the main region. states lacks a region if its Secret
// wasn't read.
func (p Probe) Explain(home string, states map[string]RemoteStatus) string {
	from, to := states[p.From], states[p.To]
	switch {
	case p.Verdict != Refused:
		return ""
	case p.To != home && to.State == "" || p.From != home && from.State == "":
		return "the Secret could not be compared: see fernetcast status"
	case p.To != home && to.State != StateSynced:
		return fmt.Sprintf("%s: the Secret is %s; see fernetcast status", p.To, to.State)
	case p.From != home && from.State != StateSynced:
		return fmt.Sprintf("%s: the Secret is %s; see fernetcast status", p.From, from.State)
	}
	culprit, state := p.To, to
	if p.From != home {
		culprit, state = p.From, from
	}
	if at := state.LastPushed; at != nil && time.Since(*at) < kubeletDelay {
		return fmt.Sprintf("%s: the Secret is Synced, but has changed within the last %.0f s, and the kubelet needs up to 90 s to show it to Keystone; probe again", culprit, kubeletDelay.Seconds())
	}
	if p.From != home {
		return fmt.Sprintf("%s: the Secret is Synced, but Keystone signs with another key: it rotates its own keys, or its pods don't read the Secret; compare ls in the pod with KEYS", culprit)
	}
	return fmt.Sprintf("%s: the Secret is Synced, but Keystone refuses the token: its pods don't read the Secret (mount, subPath, or a copy loop); compare ls in the pod with KEYS", culprit)
}

// kubeletDelay is how long after a push a Keystone may still have the old keys. It covers the
// delays of the kubelet and of Genestack's copy loop (docs/tokens.md).
const kubeletDelay = 2 * time.Minute
