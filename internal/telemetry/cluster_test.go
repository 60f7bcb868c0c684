package telemetry

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/fernetcast/fernetcast/internal/mirror"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/ptr"
)

// cluster is an API server that accepts each event name once.
type cluster struct {
	mu     sync.Mutex
	events map[string]*eventsv1.Event
	fail   error
	status mirror.Status
	looks  int // number of status calls
}

func (c *cluster) create(_ context.Context, e *eventsv1.Event) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fail != nil {
		return c.fail
	}
	if c.events[e.Name] != nil {
		return apierrors.NewAlreadyExists(schema.GroupResource{Resource: "events"}, e.Name)
	}
	if c.events == nil {
		c.events = map[string]*eventsv1.Event{}
	}
	c.events[e.Name] = e
	return nil
}

// take returns the events since the last call, as "Type Reason note".
func (c *cluster) take() []string {
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	var list []string
	for name, e := range c.events {
		list = append(list, e.Type+" "+e.Reason+" "+e.Note)
		c.events[name] = &eventsv1.Event{}
	}
	return without(list, "  ")
}

func without(list []string, text string) (kept []string) {
	for _, l := range list {
		if l != text {
			kept = append(kept, l)
		}
	}
	return kept
}

func (c *cluster) set(remotes ...mirror.RemoteStatus) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.status = mirror.Status{
		Source:  mirror.SourceStatus{Namespace: "openstack", Secret: "keystone-fernet-keys", UID: "home", State: mirror.SourceMain, Primary: ptr.To(9)},
		Remotes: remotes,
	}
}

func (c *cluster) seen() mirror.Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.looks++
	return c.status
}

// replica runs the events of one replica until the test ends.
func (c *cluster) replica(t *testing.T, name string, log *slog.Logger) *Events {
	e := NewEvents(EventsOptions{Status: c.seen, Create: c.create, Instance: name, Log: log})
	ctx, cancel := context.WithCancel(t.Context())
	var run sync.WaitGroup
	run.Go(func() { e.Run(ctx) })
	t.Cleanup(func() { cancel(); run.Wait() })
	return e
}

func (c *cluster) expect(t *testing.T, want ...string) {
	t.Helper()
	got := c.take()
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("events:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func pushed(reason mirror.Reason, detail string) mirror.Push {
	return mirror.Push{Decision: mirror.Decision{Reason: reason, Detail: detail, Secret: &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{mirror.StampVersion: "4711", mirror.StampKeys: "0=a,9=b"}},
	}}}
}
