package access

import (
	"testing"

	"k8s.io/client-go/tools/clientcmd"
)

// After a failover, a region that the new main region has never joined gets no keys. In the new
// main region, promote and status name that region. In that region, status doesn't report a healthy
// standby.
func TestRegionThatTheNewMainRegionDoesNotServe(t *testing.T) {
	s := newStage(t)
	keys := s.main("sjc")
	for _, remote := range []string{"dfw", "iad", "ord"} {
		s.join("sjc", remote, "--wait", "0")
	}
	s.exits(0, "push")
	for _, remote := range []string{"sjc", "iad"} {
		s.join("dfw", remote, "--from", "dfw", "--wait", "0")
	}
	s.join("ord", "iad", "--from", "ord", "--wait", "0")
	s.says(s.exits(0, "--context", "ord", "status").Stdout, "copy of sjc")

	s.says(s.exits(0, "--context", "dfw", "promote", "dfw", "--dry-run").Stdout, "ord: NOT A REMOTE of this cluster")
	const says = "the previous main region served ord, and this one does not; join them"
	s.says(s.exits(1, "--context", "dfw", "promote", "dfw", "--yes").Stdout, "2 Synced", says)
	s.says(s.exits(1, "--context", "dfw", "status").Stdout, says)
	s.says(s.exits(1, "--context", "ord", "status").Stdout, "copy of sjc, term 1, which is no longer the main region: iad is a copy of dfw, term 2")

	s.join("dfw", "ord", "--wait", "0")
	s.exits(0, "--context", "dfw", "push")
	s.says(s.exits(0, "--context", "dfw", "status").Stdout, "3 Synced")
	s.exits(0, "--context", "ord", "status")
	s.all(keys, "sjc", "dfw", "iad", "ord")

	// Without a context for the old main region, promote can't read the old main region's remotes.
	config, err := clientcmd.LoadFromFile(s.kubeconfig)
	s.Must(err)
	delete(config.Contexts, "dfw")
	s.Must(clientcmd.WriteToFile(*config, s.kubeconfig))
	s.says(s.exits(0, "--context", "iad", "promote", "iad", "--dry-run").Stdout, "Warning: the remotes of dfw are unknown: ")
}
