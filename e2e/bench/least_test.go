package bench

import (
	"context"
	"fmt"
	"sync"

	"github.com/fernetcast/fernetcast/e2e/ground"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/kubernetes"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
)

// startLeast starts the least that mirrors anything: at the source's event one
// PUT per remote, all at once, on warm connections, with the resourceVersion
// known from the answer to the PUT before. It judges nothing, and any error is
// the test's.
func (s *stand) startLeast() {
	s.Helper()
	var copies []*copyOf
	for _, name := range remotes {
		secrets := s.secrets(shared.Cluster(name))
		// The GET warms the connection.
		_, err := secrets.Create(s.ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: ground.SecretName}, Data: s.keys}, metav1.CreateOptions{})
		s.must(err)
		secret, err := secrets.Get(s.ctx, ground.SecretName, metav1.GetOptions{})
		s.must(err)
		copies = append(copies, &copyOf{secrets, secret})
	}
	source := s.secrets(s.main)
	now, err := source.Get(s.ctx, ground.SecretName, metav1.GetOptions{})
	s.must(err)
	events, err := source.Watch(s.ctx, metav1.ListOptions{
		ResourceVersion: now.ResourceVersion,
		FieldSelector:   fields.OneTermEqualSelector(metav1.ObjectNameField, ground.SecretName).String(),
	})
	s.must(err)
	var watching sync.WaitGroup
	s.Cleanup(func() { events.Stop(); watching.Wait() })
	watching.Go(func() {
		for event := range events.ResultChan() {
			if secret, ok := event.Object.(*corev1.Secret); ok {
				s.putAll(copies, secret.Data)
			}
		}
	})
}

func (s *stand) putAll(copies []*copyOf, keys ground.Repository) {
	var all sync.WaitGroup
	for _, c := range copies {
		all.Go(func() {
			if err := c.put(s.ctx, keys); err != nil {
				s.Errorf("the least possible: %v", err)
			}
		})
	}
	all.Wait()
}

// copyOf is a remote's Secret as the last answer showed it.
type copyOf struct {
	secrets corev1client.SecretInterface
	secret  *corev1.Secret
}

func (c *copyOf) put(ctx context.Context, keys ground.Repository) error {
	c.secret.Data = keys
	written, err := c.secrets.Update(ctx, c.secret, metav1.UpdateOptions{})
	if err != nil {
		return fmt.Errorf("writing a copy: %w", err)
	}
	c.secret = written
	return nil
}

// secrets is a client on a connection of its own, in the fastest encoding there is.
func (s *stand) secrets(c *ground.Cluster) corev1client.SecretInterface {
	s.Helper()
	config := c.Config()
	config.UserAgent = "least"
	config.ContentType = "application/vnd.kubernetes.protobuf"
	config.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"
	client, err := kubernetes.NewForConfig(config)
	s.must(err)
	return client.CoreV1().Secrets(s.ns)
}
