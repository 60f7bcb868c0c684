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

// stage holds the setup of one part of the test.
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

// sh runs a script on the workstation and ends the test if it fails.
func (s *stage) sh(script string) string {
	s.Helper()
	out, err := shell(s.Ctx, script)
	s.Must(err)
	shared.env.Keys.NoLeaks(s, out)
	return out
}

// doors waits until all Keystones are Ready, and returns their doors.
func (s *stage) doors() []door {
	s.Helper()
	open, err := doors(s.Ctx)
	s.Must(err)
	return open
}

// secret returns the Secret with a region's keys.
func (s *stage) secret(client kubernetes.Interface, namespace string) *corev1.Secret {
	s.Helper()
	secret, err := client.CoreV1().Secrets(namespace).Get(s.Ctx, testenv.SecretName, metav1.GetOptions{})
	s.Must(err)
	return secret
}

// holds returns nil if a region's Secret has exactly these keys.
func holds(ctx context.Context, client kubernetes.Interface, namespace string, keys testenv.Repository) error {
	secret, err := client.CoreV1().Secrets(namespace).Get(ctx, testenv.SecretName, metav1.GetOptions{})
	if err == nil && !keys.Equal(secret.Data) {
		err = fmt.Errorf("namespace %s has primary %d, want %d", namespace, testenv.Repository(secret.Data).Primary(), keys.Primary())
	}
	return err
}

// rotate rotates the main region's keys. It returns the new keys, and the time when it sent them.
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

// primary returns the primary key of a key set.
func primary(keys testenv.Repository) string { return string(keys[strconv.Itoa(keys.Primary())]) }

// issue returns a new token from a Keystone.
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

// validate validates a token with a Keystone and returns the HTTP status.
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

// good checks that every Keystone accepts a token from each Keystone.
func (s *stage) good(open []door) {
	s.Helper()
	for _, from := range open {
		token, err := s.issue(s.Ctx, from)
		s.Must(err)
		for _, at := range open {
			if status, err := s.validate(s.Ctx, at, token); err != nil || status != http.StatusOK {
				s.Errorf("a token from %s (%s), validated at %s (%s): %d %v", from, from.Pod, at, at.Pod, status, err)
			}
		}
	}
}

// metrics parses a metrics page, and returns the values of metrics that have no labels.
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
