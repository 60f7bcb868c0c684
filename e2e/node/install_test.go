//go:build linux

package node_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// pageScript returns the commands in a section of docs/install.md. It adds --yes to those that ask
// for confirmation.
func (s *stage) pageScript(heading string) string {
	s.Helper()
	page, err := os.ReadFile(filepath.Join(shared.env.Repository(), "docs/install.md"))
	s.Must(err)
	_, after, found := strings.Cut(string(page), "\n## "+heading)
	if !found {
		s.Fatalf("docs/install.md has no section %s", heading)
	}
	chapter, _, _ := strings.Cut(after, "\n## ")
	block := regexp.MustCompile("(?s)```sh\n(.*?)```").FindStringSubmatch(chapter)
	if block == nil {
		s.Fatalf("docs/install.md has no commands in %s", heading)
	}
	return regexp.MustCompile(`(?m)^(fernetcast .*\b(promote|join)\b.*)$`).ReplaceAllString(block[1], "$1 --yes")
}

// install follows docs/install.md exactly, with the components sidecar and files, in a namespace
// with the Pod Security level restricted. All pods become Ready. A new region and a renewed token
// take effect after the kubelet's sync, without a restart. Every token is valid everywhere.
func (s *stage) install() {
	open := s.doors()
	s.Logf("%d Keystones are Ready", len(open))
	before := s.restarts()
	s.sh(s.pageScript("2. Promote the main region"))
	// Give phx a new token right before the joins, so that the kubelet delivers all changes
	// together.
	began := time.Now()
	kubeconfig, err := mint(s.Ctx, s.main)
	s.Must(err)
	renewed, err := json.Marshal(corev1.Secret{Data: map[string][]byte{phx + ".yaml": kubeconfig}})
	s.Must(err)
	_, err = s.main.CoreV1().Secrets(namespace).Patch(s.Ctx, remotesSecret, types.MergePatchType, renewed, metav1.PatchOptions{})
	s.Must(err)
	said := s.sh(s.pageScript("3. Join the remotes"))
	s.Logf("both regions joined and Synced after %.0f s", time.Since(began).Seconds())
	if strings.Count(said, "Joined ") < 2 {
		s.Errorf("join printed:\n%s", said)
	}
	if out, err := shell(s.Ctx, "fernetcast --context sjc status"); err != nil {
		s.Errorf("status: %v\n%s", err, out)
	}
	keys, _ := s.rotate(7)
	s.everywhere(keys)
	added := regexp.MustCompile(`(?m)^.*"msg":"remote (added|changed)".*$`)
	for _, pod := range s.pods() {
		s.Within(soon, func(ctx context.Context) error {
			out, err := shell(ctx, "kubectl --context sjc --namespace openstack logs "+pod.Name+" -c fernetcast")
			if err != nil {
				return err
			}
			lines := added.FindAllString(out, -1)
			if n := strings.Count(strings.Join(lines, "\n"), `"remote":"phx"`); n < 2 {
				return fmt.Errorf("%s loaded phx %d times:\n%s", pod.Name, n, out)
			}
			return nil
		})
	}
	s.Logf("both pods loaded a new token of phx after %.0f s", time.Since(began).Seconds())
	s.Within(soon, func(ctx context.Context) error {
		for _, d := range open {
			if _, err := s.issue(ctx, d); err != nil {
				return err
			}
		}
		return nil
	})
	// This takes a while, because Keystones without fernetcast must wait until the kubelet delivers
	// the keys.
	s.Within(soon, func(context.Context) error { return s.allGood(open) })
	s.good(open)
	if after := s.restarts(); after != before {
		s.Errorf("containers were restarted: %d restarts, %d before", after, before)
	}
}

// allGood returns nil if each Keystone accepts a new token from the main region.
func (s *stage) allGood(open []door) error {
	for _, from := range open {
		if from.Region != mainRegion || from.way != "files" {
			continue
		}
		token, err := s.issue(s.Ctx, from)
		if err != nil {
			return err
		}
		for _, at := range open {
			if status, err := s.validate(s.Ctx, at, token); err != nil || status != 200 {
				return errors.Join(err, fmt.Errorf("%s returned %d", at, status))
			}
		}
		return nil
	}
	return errors.New("there is no Keystone in the main region")
}

// restarts returns the number of container restarts in the Keystone pods with fernetcast.
func (s *stage) restarts() (n int32) {
	s.Helper()
	for _, pod := range s.pods() {
		for _, c := range append(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses...) {
			n += c.RestartCount
		}
	}
	return n
}
