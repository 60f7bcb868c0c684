package kubeconfig

import (
	"time"

	"github.com/fernetcast/fernetcast/internal/kube"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/cert"
)

// usualLife is the assumed lifetime of credentials that contain only their expiry.
const usualLife = 90 * 24 * time.Hour

// A Lifetime is when credentials are due for renewal, and when they expire.
type Lifetime struct{ Due, Expires time.Time }

// LifetimeOf returns the lifetime of those credentials of a kubeconfig that expire first, or nil if
// none of them contains an expiry. They are due when a third of their lifetime is left. LifetimeOf
// does not verify them: only the API server decides whether to accept them.
func LifetimeOf(cfg *rest.Config) *Lifetime {
	token := kube.ReadToken(cfg.BearerToken)
	issued, expires := token.Issued, token.Expires
	// The first certificate is the client's own. The others belong to issuers.
	if chain, err := cert.ParseCertsPEM(cfg.CertData); err == nil {
		at := chain[0].NotAfter.UTC()
		if at.Unix() < kube.Never && (expires.IsZero() || at.Before(expires)) {
			issued, expires = chain[0].NotBefore, at
		}
	}
	if expires.IsZero() {
		return nil
	}
	if issued.IsZero() || issued.After(expires) {
		issued = expires.Add(-usualLife)
	}
	return &Lifetime{expires.Add(-expires.Sub(issued) / 3), expires}
}

// WeeklyRenewal is the schedule of manifests/renew.
const WeeklyRenewal = "17 3 * * 1"

// schedules are cron schedules for renew, the rarest first.
var schedules = []struct {
	cron  string
	every time.Duration
}{{WeeklyRenewal, 7 * 24 * time.Hour}, {"17 3 * * *", 24 * time.Hour}, {"17 * * * *", time.Hour}, {"* * * * *", time.Minute}}

// Schedule returns the rarest of our schedules that renews the credentials in time.
func (l Lifetime) Schedule() string {
	for _, s := range schedules {
		if l.Fits(s.cron) {
			return s.cron
		}
	}
	return schedules[len(schedules)-1].cron
}

// Fits reports whether a schedule renews the credentials in the first half of the time between due
// and expiry, so that a failed renewal can be repeated. It returns true for a schedule that isn't
// ours.
func (l Lifetime) Fits(schedule string) bool {
	for _, s := range schedules {
		if s.cron == schedule {
			return l.Expires.Sub(l.Due) >= 2*s.every
		}
	}
	return true
}
