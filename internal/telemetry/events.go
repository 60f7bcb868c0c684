package telemetry

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/fernetcast/fernetcast/internal/logonce"
	"github.com/fernetcast/fernetcast/internal/mirror"
	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/cache"
)

const (
	// eventsAtOnce is the burst of events, and also the number per minute. So no minute has
	// more than 20 events.
	eventsAtOnce = 10
	// eventEvery is the minimum interval between events with the same reason and remote.
	eventEvery = 10 * time.Minute
	// maxName limits the Secret's part of an event's name, in bytes.
	maxName = 200
	// maxNote limits an event's text, in bytes (k8s.io/api/events/v1).
	maxNote = 1024
	// maxInstance limits the name of the reporting instance, in bytes
	// (k8s.io/api/events/v1).
	maxInstance = 128
)

// Reasons of events.
const (
	EventKeysPushed        = "KeysPushed"
	EventDriftRepaired     = "DriftRepaired"
	EventAdopted           = "Adopted"
	EventHeld              = "Held"
	EventContested         = "Contested"
	EventDenied            = "Denied"
	EventRemoved           = "Removed"
	EventCredentialsExpire = "CredentialsExpire"
)

// Events creates Kubernetes events about the source Secret. Callers never wait for them. An
// event that cannot be created is dropped. Pushed and StateChanged are safe for concurrent
// use, before and during Run.
//
// Events are created directly, because client-go's recorder would merge those of different
// remotes into one series. All replicas use the same name for the same event, so the API
// server accepts only one of them.
type Events struct {
	opts    EventsOptions
	waiting chan event
	rotated chan rotation // rotations pushed by this replica
	trouble logonce.Text  // why the last event could not be created; used only by Run

	mu      sync.Mutex
	limiter *rate.Limiter
	recent  *cache.Expiring // events that must not repeat yet
	pushed  string          // fingerprints of the last rotation sent to rotated
}

// EventsOptions configures [Events]. All fields are required.
type EventsOptions struct {
	// Status returns the current status of the source and the remotes.
	Status func() mirror.Status
	// Create sends an event to the source's cluster.
	Create func(ctx context.Context, e *eventsv1.Event) error
	// Instance is the name of this replica.
	Instance string
	Log      *slog.Logger
}

// event is an event to create.
type event struct {
	reason  string
	remote  string // "" if the event concerns the source or all remotes
	push    string // for a rotation, its fingerprints and the replica that pushed it; otherwise ""
	note    string
	warning bool
	every   time.Duration // the interval until a similar event; 0 means eventEvery
}

// NewEvents returns an Events. Call Run to start sending.
func NewEvents(opts EventsOptions) *Events {
	opts.Instance = opts.Instance[:min(len(opts.Instance), maxInstance)]
	return &Events{
		opts: opts, waiting: make(chan event, eventsAtOnce), rotated: make(chan rotation, eventsAtOnce),
		limiter: rate.NewLimiter(rate.Every(time.Minute/eventsAtOnce), eventsAtOnce), recent: cache.NewExpiring(),
	}
}

// Pushed reports a write: a repaired drift or a remote that joined. For a rotation, there
// is one event for all remotes.
func (e *Events) Pushed(remote string, p mirror.Push) {
	d := p.Decision
	switch {
	case p.Repair:
		e.add(event{reason: EventDriftRepaired, remote: remote, note: d.Detail + "; the source's keys were restored", warning: true})
	case d.Reason == mirror.ReasonAbsent:
		e.add(event{reason: EventAdopted, remote: remote, note: "the Secret was missing and was created with the source's keys"})
	case d.Reason == mirror.ReasonUnstamped || d.Reason == mirror.ReasonSuperseded:
		e.add(event{reason: EventAdopted, remote: remote, note: d.Detail + "; its keys were replaced by the source's", warning: true})
	}
	if p.Rotation || d.Reason == mirror.ReasonSuperseded { // after a failover, all remotes are superseded
		e.rotate(d.Secret.Annotations[mirror.StampKeys])
	}
}

// rotate passes a rotation to Run when it is first pushed.
func (e *Events) rotate(keys string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if keys == e.pushed {
		return
	}
	select {
	case e.rotated <- rotation{keys, time.Now()}:
		e.pushed = keys
	default: // the next push reports it
	}
}

// StateChanged reports a remote that needs attention from an operator.
func (e *Events) StateChanged(remote string, d mirror.Decision) {
	reasons := map[mirror.State]string{mirror.StateHeld: EventHeld, mirror.StateContested: EventContested, mirror.StateDenied: EventDenied}
	reason, ok := reasons[d.State]
	if !ok {
		return
	}
	switch d.Reason {
	case mirror.ReasonSourceAbsent, mirror.ReasonSourceRefused, mirror.ReasonNotPromoted: // such a problem holds all remotes
		remote = ""
	}
	e.add(event{reason: reason, remote: remote, note: d.Detail, warning: true})
}

// Removed reports a remote whose kubeconfig disappeared without leave.
func (e *Events) Removed(remote string) {
	e.add(event{reason: EventRemoved, remote: remote, note: "its kubeconfig disappeared, and leave did not remove it, so it gets no new keys; restore the kubeconfig, or join the remote again", warning: true})
}

// add queues an event for Run. It drops the event if a similar one was added within its
// interval or if there are too many. It reports whether it queued the event. The caller can
// add a dropped event later.
func (e *Events) add(ev event) bool {
	ev.every = cmp.Or(ev.every, eventEvery)
	key, now := ev.key(), time.Now()
	e.mu.Lock()
	defer e.mu.Unlock()
	_, repeated := e.recent.Get(key)
	// Reserve a token for a rotation, because its event covers all remotes.
	if repeated || ev.push == "" && e.limiter.TokensAt(now) < 2 || !e.limiter.AllowN(now, 1) {
		return false
	}
	select {
	case e.waiting <- ev:
		e.recent.Set(key, true, ev.every)
		return true
	default: // the queue is full
		return false
	}
}

// Run sends events until ctx is done.
func (e *Events) Run(ctx context.Context) {
	minutes := time.NewTicker(time.Minute)
	defer minutes.Stop()
	var pushed rotation
	for {
		select {
		case <-ctx.Done():
			return
		case ev := <-e.waiting:
			e.send(ctx, ev)
		case pushed = <-e.rotated:
		case <-pushed.next():
			st := e.opts.Status()
			if st.Source.State != mirror.SourceMain || st.Source.Primary == nil { // no longer a main region that pushes
				pushed = rotation{}
			} else if ev, done := pushed.event(st, time.Now()); done {
				pushed = rotation{}
				ev.push += "/" + e.opts.Instance // each replica that pushes it reports it
				e.add(ev)
			}
		case <-minutes.C:
			e.credentials()
		}
	}
}

// key returns a key that is equal for similar events.
func (ev event) key() string { return ev.reason + "/" + ev.remote + "/" + ev.push }

// send creates an event in the source's cluster.
func (e *Events) send(ctx context.Context, ev event) {
	src := e.opts.Status().Source
	err := e.opts.Create(ctx, ev.object(src, e.opts.Instance, time.Now()))
	if apierrors.IsAlreadyExists(err) { // another replica was faster
		err = nil
	}
	trouble := ""
	if err != nil && !errors.Is(err, context.Canceled) {
		trouble = mirror.Explain(err)
		e.recent.Delete(ev.key())
	}
	if e.trouble.Changed(trouble) && trouble != "" {
		e.opts.Log.Warn("cannot create events; pushing continues", "error", trouble)
	}
}

// object returns the Kubernetes event. Within an interval, all replicas give it the same
// name.
func (ev event) object(src mirror.SourceStatus, instance string, now time.Time) *eventsv1.Event {
	hash := sha256.Sum256(fmt.Appendln(nil, src.UID, ev.reason, ev.remote, ev.push, now.UnixNano()/int64(ev.every)))
	name := strings.TrimRight(src.Secret[:min(len(src.Secret), maxName)], ".-")
	kind, note := corev1.EventTypeNormal, ev.note
	if ev.warning {
		kind = corev1.EventTypeWarning
	}
	if ev.remote != "" {
		note = ev.remote + ": " + note
	}
	return &eventsv1.Event{
		ObjectMeta: metav1.ObjectMeta{Name: name + "." + hex.EncodeToString(hash[:8]), Namespace: src.Namespace},
		EventTime:  metav1.NewMicroTime(now), ReportingController: "fernetcast", ReportingInstance: instance,
		Action: "Push", Reason: ev.reason, Type: kind, Note: cut(note),
		Regarding: corev1.ObjectReference{APIVersion: "v1", Kind: "Secret", Namespace: src.Namespace, Name: src.Secret, UID: src.UID},
	}
}
