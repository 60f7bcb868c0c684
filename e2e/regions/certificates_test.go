package regions

import (
	"context"
	"testing"
	"time"

	"github.com/fernetcast/fernetcast/e2e/testenv"
)

// TestCredentialsExpire checks remotes with an expired token and an expired client certificate.
// Both must be Denied and get no keys, and their status must name what to renew, while other
// remotes continue. After the kubeconfigs are renewed, both must catch up without a restart.
func TestCredentialsExpire(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	keys := w.keys()
	w.promote()
	w.join("dfw")
	// Starting on a slow machine takes less than this.
	end := time.Now().Add(20 * time.Second)
	const allowed = time.Minute // API servers tolerate this clock skew
	w.joinAs("iad", testenv.Access{Role: testenv.RemoteRole, Expires: end.Add(-allowed)})
	certificate, err := shared.Cluster("ord").CertificateKubeconfig(w.NS, end)
	w.Must(err)
	w.Must(testenv.WriteFile(w.Clusters, "ord.yaml", certificate))
	run := w.run("--resync", "2s")
	w.equal(testenv.Soon, keys, remotes...)
	run.allShow("Synced", "", remotes...)
	seen := w.follow(remotes...)

	w.sleepUntil(end)
	run.allShow("Denied", "renew the token or the certificate in its kubeconfig", "iad", "ord")
	last := w.rotate().Keys
	w.equal(testenv.Soon, last, "dfw")
	run.stays()
	seen["iad"].untouched()
	seen["ord"].untouched()
	w.says(1, []string{"Denied", "renew the token or the certificate"}, "status")

	w.join("iad")
	certificate, err = shared.Cluster("ord").CertificateKubeconfig(w.NS, time.Now().Add(time.Hour))
	w.Must(err)
	w.Must(testenv.WriteFile(w.Clusters, "ord.yaml", certificate))
	w.equal(testenv.Soon, last, remotes...)
	run.allShow("Synced", "", remotes...)
	for _, h := range seen {
		h.only(last)
	}
}

// TestServingCertificate checks a remote's API server whose certificate has expired or comes from a
// new CA. The remote must be Unreachable, with the reason in its status, and get no keys. After the
// certificate or the kubeconfig is renewed, the remote must catch up without a restart.
func TestServingCertificate(t *testing.T) {
	w, names := newApart(t)
	line := []testenv.Repository{w.keys()}
	w.promote()
	w.join(names...)
	remote := shared.Cluster(apartRemote)
	t.Cleanup(func() {
		if err := remote.Recertify(context.Background(), time.Now().Add(24*time.Hour)); err != nil {
			t.Error(err)
		}
	})
	run := w.run("--resync", "2s")
	w.equal(testenv.Soon, line[0], names...)
	run.allShow("Synced", "", names...)
	seen := w.follow(names...)
	for _, change := range []struct {
		says         string
		spoil, renew func()
	}{
		{"certificate has expired",
			func() { w.Must(remote.Recertify(w.Ctx, time.Now().Add(-time.Minute))) },
			func() { w.Must(remote.Recertify(w.Ctx, time.Now().Add(24*time.Hour))) }},
		{"certificate signed by unknown authority",
			func() { w.Must(remote.ReplaceCA(w.Ctx)) },
			func() { w.join(apartRemote) }},
	} {
		before := len(seen[apartRemote].since())
		change.spoil()
		next := w.rotate().Keys
		w.equal(testenv.Soon, next, "dfw")
		run.shows(apartRemote, "Unreachable", change.says)
		w.says(1, []string{"Unreachable", change.says}, "status")
		if now := seen[apartRemote].since(); len(now) != before {
			t.Errorf("%s was written despite a bad certificate: %v", apartRemote, describe(now))
		}
		change.renew()
		w.equal(testenv.Soon, next, names...)
		run.allShow("Synced", "", names...)
		run.stays()
		line = append(line, next)
	}
	for _, h := range seen {
		h.only(line[1:]...)
	}
}
