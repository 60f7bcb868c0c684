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
	// eventsAtOnce are made at once after a pause, and as many in each minute: no
	// minute has more than 20, whatever happens.
	eventsAtOnce = 10
	// eventEvery is how often there is an event of one reason for one remote.
	eventEvery = 10 * time.Minute
	// maxName bounds the part of an event's name that is the Secret's, in bytes.
	maxName = 200
	// maxNote bounds an event's text, in bytes (k8s.io/api/events/v1).
	maxNote = 1024
	// maxInstance bounds the name of who reports, in bytes (likewise).
	maxInstance = 128
)

// The reasons of events.
const (
	EventKeysPushed        = "KeysPushed"
	EventDriftRepaired     = "DriftRepaired"
	EventAdopted           = "Adopted"
	EventHeld              = "Held"
	EventContested         = "Contested"
	EventDenied            = "Denied"
	EventCredentialsExpire = "CredentialsExpire"
)

// Events makes Kubernetes events about the source Secret. Nothing waits for them,
// and an event that cannot be made is lost. Pushed and StateChanged may be called
// concurrently, before and while Run runs.
//
// They are created directly: client-go's recorder would count those of different
// remotes as one series. All replicas give an event of the same thing the same
// name, so the API server takes one of them.
type Events struct {
	opts    EventsOptions
	waiting chan event
	rotated chan rotation // those that this replica has pushed
	trouble logonce.Text  // why the last event could not be made; Run's

	mu      sync.Mutex
	limiter *rate.Limiter
	told    *cache.Expiring // the events of which there is no other one like it yet
	pushed  string          // the keys of the last rotation in rotated
}

// EventsOptions are an [Events]'. All are needed.
type EventsOptions struct {
	// Status tells of source and remotes.
	Status func() mirror.Status
	// Create sends an event to the source's cluster.
	Create func(ctx context.Context, e *eventsv1.Event) error
	// Instance names this replica.
	Instance string
	Log      *slog.Logger
}

// event is one that is to be made.
type event struct {
	reason  string
	remote  string // "" where it is about the source, or about all of them
	push    string // the keys of a rotation, and who pushed them; else ""
	note    string
	warning bool
	every   time.Duration // 0: eventEvery
}

// NewEvents makes one that sends nothing before Run.
func NewEvents(opts EventsOptions) *Events {
	opts.Instance = opts.Instance[:min(len(opts.Instance), maxInstance)]
	return &Events{
		opts: opts, waiting: make(chan event, eventsAtOnce), rotated: make(chan rotation, eventsAtOnce),
		limiter: rate.NewLimiter(rate.Every(time.Minute/eventsAtOnce), eventsAtOnce), told: cache.NewExpiring(),
	}
}

// Pushed tells of a write: of a drift that it repaired, or a region that it
// joined. A rotation is told of once for all remotes.
func (e *Events) Pushed(remote string, p mirror.Push) {
	d := p.Decision
	switch {
	case p.Repair:
		e.add(event{reason: EventDriftRepaired, remote: remote, note: d.Detail + "; the source's keys were put back", warning: true})
	case d.Reason == mirror.ReasonAbsent:
		e.add(event{reason: EventAdopted, remote: remote, note: "it had no such Secret and has the source's keys now"})
	case d.Reason == mirror.ReasonUnstamped || d.Reason == mirror.ReasonSuperseded:
		e.add(event{reason: EventAdopted, remote: remote, note: d.Detail + "; its keys were replaced by the source's", warning: true})
	}
	if p.Rotation || d.Reason == mirror.ReasonSuperseded { // after a failover all remotes are
		e.rotate(d.Secret.Annotations[mirror.StampKeys])
	}
}

// rotate hands a rotation to Run, at its first push.
func (e *Events) rotate(keys string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if keys == e.pushed {
		return
	}
	select {
	case e.rotated <- rotation{keys, time.Now()}:
		e.pushed = keys
	default: // the next push tells of it
	}
}

// StateChanged tells of a remote that needs a person.
func (e *Events) StateChanged(remote string, d mirror.Decision) {
	reasons := map[mirror.State]string{mirror.StateHeld: EventHeld, mirror.StateContested: EventContested, mirror.StateDenied: EventDenied}
	reason, ok := reasons[d.State]
	if !ok {
		return
	}
	switch d.Reason {
	case mirror.ReasonSourceAbsent, mirror.ReasonSourceRefused, mirror.ReasonNotPromoted: // all remotes are held for it
		remote = ""
	}
	e.add(event{reason: reason, remote: remote, note: d.Detail, warning: true})
}

// add hands an event to Run, unless there was one like it within its interval, or
// too many others. It says whether it did. One that it did not may be added later.
func (e *Events) add(ev event) bool {
	ev.every = cmp.Or(ev.every, eventEvery)
	like, now := ev.like(), time.Now()
	e.mu.Lock()
	defer e.mu.Unlock()
	_, told := e.told.Get(like)
	// The others leave one for a rotation: it tells of all remotes.
	if told || ev.push == "" && e.limiter.TokensAt(now) < 2 || !e.limiter.AllowN(now, 1) {
		return false
	}
	select {
	case e.waiting <- ev:
		e.told.Set(like, true, ev.every)
		return true
	default: // too many wait
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
			if st.Source.State != mirror.SourceMain || st.Source.Primary == nil { // it pushes no more
				pushed = rotation{}
			} else if ev, done := pushed.event(st, time.Now()); done {
				pushed = rotation{}
				ev.push += "/" + e.opts.Instance // each replica that pushes it tells of it
				e.add(ev)
			}
		case <-minutes.C:
			e.credentials()
		}
	}
}

// like is what events have in common of which there is one within an interval.
func (ev event) like() string { return ev.reason + "/" + ev.remote + "/" + ev.push }

// send makes an event.
func (e *Events) send(ctx context.Context, ev event) {
	src := e.opts.Status().Source
	err := e.opts.Create(ctx, ev.object(src, e.opts.Instance, time.Now()))
	if apierrors.IsAlreadyExists(err) { // another replica was first
		err = nil
	}
	trouble := ""
	if err != nil && !errors.Is(err, context.Canceled) {
		trouble = mirror.Explain(err)
		e.told.Delete(ev.like())
	}
	if e.trouble.Changed(trouble) && trouble != "" {
		e.opts.Log.Warn("events about the source cannot be made; keys are pushed all the same", "error", trouble)
	}
}

// object is the event as Kubernetes has it. Its name is the same for all replicas
// within an interval.
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
