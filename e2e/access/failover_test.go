package access

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fernetcast/fernetcast/e2e/testenv"
	"github.com/fernetcast/fernetcast/e2e/testenv/kustomize"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// applies applies a kustomization of manifests/ in this test's namespace.
func (s *stage) applies(region, dir string) {
	s.Helper()
	resources, err := kustomize.Build(filepath.Join("../../manifests", dir))
	s.Must(err)
	for _, resource := range resources.Resources() {
		text, err := resource.MarshalJSON()
		s.Must(err)
		object := &unstructured.Unstructured{}
		s.Must(object.UnmarshalJSON(bytes.ReplaceAll(text, []byte(`"namespace":"openstack"`), fmt.Appendf(nil, `"namespace":%q`, s.NS))))
		s.Must(testenv.Apply(s.Ctx, s.cluster(region).Config(), s.NS, object))
	}
}

// renewsSelf runs `renew --self` in a region like the CronJob of manifests/renew: with its account
// and with the Secrets mounted.
func (s *stage) renewsSelf(region string, args ...string) testenv.Result {
	s.Helper()
	token, err := s.cluster(region).Request(s.Ctx, metav1.ObjectMeta{Namespace: s.NS, Name: "fernetcast-renew"}, time.Hour)
	s.Must(err)
	kubeconfig, err := s.cluster(region).TokenKubeconfig(s.NS, "fernetcast-renew", token)
	s.Must(err)
	dir := s.TempDir()
	s.Must(testenv.WriteFile(dir, "kubeconfig", kubeconfig))
	clusters, tokens := s.TempDir(), s.TempDir()
	for name, to := range map[string]string{clustersSecret: clusters, "fernetcast-tokens": tokens} {
		secret, err := s.cluster(region).Client().CoreV1().Secrets(s.NS).Get(s.Ctx, name, metav1.GetOptions{})
		s.Must(err)
		for entry, data := range secret.Data {
			s.Must(os.WriteFile(filepath.Join(to, entry), data, 0o600))
		}
	}
	return s.exits(0, append([]string{"--kubeconfig", filepath.Join(dir, "kubeconfig"), "renew", "--self", "--clusters", clusters, "--tokens", tokens}, args...)...)
}

// TestPreparedFailover prepares a failover as docs/install.md describes it, with two main regions
// and two remotes, fails over, and then renews the tokens in both main regions, of which each is
// also a remote.
func TestPreparedFailover(t *testing.T) {
	s := newStage(t)
	s.main("sjc")
	for _, region := range []string{"sjc", "ord"} {
		s.applies(region, "renew")
		s.runs(region)
	}
	for _, remote := range []string{"ord", "dfw", "iad"} {
		s.says(s.join("sjc", remote, "--self-renew").Stdout, remote+" is Synced")
	}
	for _, remote := range []string{"sjc", "dfw", "iad"} {
		s.says(s.join("ord", remote, "--self-renew", "--from", "ord").Stderr, "This region is a standby")
	}
	renewed := func(main string, remotes ...string) {
		t.Helper()
		text := s.renewsSelf(main, "--all").Stdout
		for _, remote := range remotes {
			s.says(text, remote+": renewed")
		}
	}
	renewed("sjc", "ord", "dfw", "iad")
	renewed("ord", "sjc", "dfw", "iad")

	s.exits(0, "--context", "ord", "promote", "ord", "--yes")
	rotation, err := s.cluster("ord").Rotate(s.Ctx, s.NS, 7)
	s.Must(err)
	for _, remote := range []string{"sjc", "dfw", "iad"} {
		s.Until(func(ctx context.Context) error { return s.cluster(remote).Holds(ctx, s.NS, rotation.Keys) })
	}
	s.Until(func(context.Context) error {
		r, err := s.fernetcast.Run(s.Ctx, "--context", "ord", "status")
		if err == nil && (r.Code != 0 || !strings.Contains(r.Stdout, "3 Synced")) {
			err = errors.New(r.Stdout)
		}
		return err
	})
	renewed("ord", "sjc", "dfw", "iad")
	renewed("sjc", "ord", "dfw", "iad")
	s.says(s.exits(0, "--context", "ord", "renew", "--all").Stdout, "sjc: renewed", "dfw: renewed", "iad: renewed")
	s.says(s.exits(0, "--context", "sjc", "renew", "--all", "--from", "sjc").Stdout, "ord: renewed", "dfw: renewed", "iad: renewed")
	s.says(s.exits(0, "--context", "ord", "status").Stdout, "3 Synced")
	last, err := s.cluster("ord").Rotate(s.Ctx, s.NS, 7)
	s.Must(err)
	for _, remote := range []string{"sjc", "dfw", "iad"} {
		s.Until(func(ctx context.Context) error { return s.cluster(remote).Holds(ctx, s.NS, last.Keys) })
	}
}
