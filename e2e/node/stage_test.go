//go:build linux

package node_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/fernetcast/fernetcast/e2e/keystone"
	"github.com/fernetcast/fernetcast/e2e/testenv"
)

// stage is what one part of the test works with.
type stage struct {
	*testenv.Stage
	main *kubernetes.Clientset
	http *http.Client
}

func newStage(ctx context.Context, t *testing.T) *stage {
	t.Helper()
	s := &stage{Stage: &testenv.Stage{T: t, Env: shared.env, Ctx: ctx}, http: shared.node.HTTP()}
	s.main = s.client(mainRegion)
	t.Cleanup(s.http.CloseIdleConnections)
	return s
}

func (s *stage) client(region string) *kubernetes.Clientset {
	s.Helper()
	client, err := shared.node.Client(region)
	s.Must(err)
	return client
}

// sh runs a script on the workstation, and fails where it does.
func (s *stage) sh(script string) string {
	s.Helper()
	out, err := shell(s.Ctx, script)
	s.Must(err)
	shared.env.Keys.NoLeaks(s, out)
	return out
}

// doors are the Keystones, once all are Ready.
func (s *stage) doors() []door {
	s.Helper()
	open, err := doors(s.Ctx)
	s.Must(err)
	return open
}

// secret is a region's.
func (s *stage) secret(client kubernetes.Interface, namespace string) *corev1.Secret {
	s.Helper()
	secret, err := client.CoreV1().Secrets(namespace).Get(s.Ctx, testenv.SecretName, metav1.GetOptions{})
	s.Must(err)
	return secret
}

// holds is nil once a region's Secret has just these keys.
func holds(ctx context.Context, client kubernetes.Interface, namespace string, keys testenv.Repository) error {
	secret, err := client.CoreV1().Secrets(namespace).Get(ctx, testenv.SecretName, metav1.GetOptions{})
	if err == nil && !keys.Equal(secret.Data) {
		err = fmt.Errorf("namespace %s has primary %d, not %d", namespace, testenv.Repository(secret.Data).Primary(), keys.Primary())
	}
	return err
}

// rotate puts the keys of one rotation on, and returns them and when they were put.
func (s *stage) rotate(maxActive int) (testenv.Repository, time.Time) {
	s.Helper()
	secret := s.secret(s.main, namespace)
	keys := shared.env.Keys.Rotated(secret.Data, maxActive)
	secret.Data = keys
	sent := time.Now()
	_, err := s.main.CoreV1().Secrets(namespace).Update(s.Ctx, secret, metav1.UpdateOptions{})
	s.Must(err)
	return keys, sent
}

// primary is the key that a set is signed with.
func primary(keys testenv.Repository) string { return string(keys[strconv.Itoa(keys.Primary())]) }

// issue has a Keystone sign a token.
func (s *stage) issue(ctx context.Context, d door) (string, error) {
	request, err := keystone.IssueRequest(ctx, d.URL)
	if err != nil {
		return "", err
	}
	response, err := keystone.Send(s.http, request)
	if err != nil {
		return "", err
	}
	if response.StatusCode != http.StatusCreated {
		return "", fmt.Errorf("%s: issuing a token: %s", d, response.Status)
	}
	return response.Header.Get("X-Subject-Token"), nil
}

// validate shows a token to a Keystone, and returns the status.
func (s *stage) validate(ctx context.Context, d door, token string) (int, error) {
	request, err := keystone.ValidateRequest(ctx, d.URL, token)
	if err != nil {
		return 0, err
	}
	response, err := keystone.Send(s.http, request)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", d, err)
	}
	return response.StatusCode, nil
}

// good wants a token of each Keystone to be good at all of them.
func (s *stage) good(open []door) {
	s.Helper()
	for _, from := range open {
		token, err := s.issue(s.Ctx, from)
		s.Must(err)
		for _, at := range open {
			if status, err := s.validate(s.Ctx, at, token); err != nil || status != http.StatusOK {
				s.Errorf("a token of %s (%s) at %s (%s): %d %v", from, from.Pod, at, at.Pod, status, err)
			}
		}
	}
}

// metrics are the values of those without labels.
func metrics(text io.Reader) (map[string]float64, error) {
	values := map[string]float64{}
	lines := bufio.NewScanner(text)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), " ")
		if number, err := strconv.ParseFloat(value, 64); err == nil {
			values[name] = number
		}
	}
	return values, lines.Err()
}
