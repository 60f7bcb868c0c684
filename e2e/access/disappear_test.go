package access

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/fernetcast/fernetcast/e2e/testenv"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// If the Secret with the kubeconfigs is deleted, the main region isn't healthy: commands exit with
// code 1, and an event names each remote that disappeared, except those that left. The next join
// deletes the entry that an earlier leave stored.
func TestRemotesDisappear(t *testing.T) {
	s := newStage(t)
	s.main("sjc")
	address := s.runs("sjc")
	for _, remote := range []string{"dfw", "iad", "ord"} {
		s.join("sjc", remote)
	}
	s.exits(0, "leave", "iad", "--yes")
	s.exits(0, "leave", "ord", "--yes")
	s.join("sjc", "ord")
	secrets := s.cluster("sjc").Client().CoreV1().Secrets(s.NS)
	secret, err := secrets.Get(s.Ctx, clustersSecret, metav1.GetOptions{})
	s.Must(err)
	if len(secret.Data) != 3 || secret.Data[".iad.left"] == nil {
		t.Errorf("%d entries are stored", len(secret.Data))
	}
	s.Until(func(ctx context.Context) error {
		status, err := testenv.Statusz(ctx, address)
		if err == nil && len(status.Remotes) != 2 {
			err = fmt.Errorf("run has %d remotes", len(status.Remotes))
		}
		return err
	})
	s.Must(secrets.Delete(s.Ctx, clustersSecret, metav1.DeleteOptions{}))
	removed := func(ctx context.Context) (notes []string, err error) {
		events, err := s.cluster("sjc").Client().EventsV1().Events(s.NS).List(ctx, metav1.ListOptions{})
		if err != nil {
			return nil, err
		}
		for _, event := range events.Items {
			if event.Reason == "Removed" {
				remote, _, _ := strings.Cut(event.Note, ":")
				notes = append(notes, event.Type+" "+remote)
			}
		}
		return notes, nil
	}
	s.Until(func(ctx context.Context) error {
		notes, err := removed(ctx)
		if text := strings.Join(notes, ", "); err == nil && (len(notes) < 2 || !strings.Contains(text, "Warning dfw") || !strings.Contains(text, "Warning ord")) {
			err = fmt.Errorf("the events are %s", text)
		}
		return err
	})
	if notes, err := removed(s.Ctx); err != nil || len(notes) != 2 {
		t.Errorf("the events are %v, %v", notes, err)
	}
	for _, command := range []string{"status", "push"} {
		s.says(s.exits(1, command).Stdout, "no remotes, so rotations are pushed nowhere", "restore the Secret")
	}
	s.says(s.exits(1, "check").Stdout, "There are no remotes")
	// Only a new main region may have no remotes.
	s.exits(0, "promote", "sjc", "--yes")
}
