// Package telemetry serves health, status, and metrics over HTTP, and creates Kubernetes events.
//
// It doesn't read from clusters: callers provide the data. Anyone who can reach the pod can send
// requests, so the package limits the total cost of all clients.
package telemetry

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/fernetcast/fernetcast/internal/logonce"
	"github.com/fernetcast/fernetcast/internal/mirror"
	"k8s.io/apimachinery/pkg/util/wait"
)

const listenRetry = 5 * time.Second

// Server serves /livez, /readyz, /metrics, and, if Status is not nil, /statusz. All other
// exported fields are required.
type Server struct {
	// Address is the host:port to listen on.
	Address string
	// Ready reports whether the process has everything that it waits for at startup. It must not
	// depend on a remote, because that could take Keystone's pod out of service. It must be cheap
	// and safe for concurrent use.
	Ready func() bool
	// Unready is the response body while Ready returns false.
	Unready string
	// Status returns the document of /statusz. It is called at most once per second.
	Status func() mirror.Status
	// Metrics serves /metrics. It is called at most once per second.
	Metrics http.Handler
	Log     *slog.Logger

	retry  time.Duration // 0 means listenRetry
	limits limits        // the zero value means defaultLimits
}

// Run serves until ctx is done. If it cannot listen, it retries, and logs each error only
// when its text changes.
func (s Server) Run(ctx context.Context) {
	var trouble logonce.Text
	wait.UntilWithContext(ctx, func(ctx context.Context) {
		if err := s.serve(ctx); trouble.ErrorChanged(err) && err != nil {
			s.Log.Warn("cannot serve health, status, and metrics; retrying", "address", s.Address, "error", err)
		}
	}, cmp.Or(s.retry, listenRetry))
}

func (s Server) serve(ctx context.Context) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", s.Address)
	if err != nil {
		return err
	}
	s.Log.Info("serving health, status, and metrics", "address", listener.Addr().String())
	return s.serveOn(ctx, listener)
}

// serveOn serves until ctx is done and closes the listener.
func (s Server) serveOn(ctx context.Context, listener net.Listener) error {
	s.limits = cmp.Or(s.limits, defaultLimits)
	guarded, err := s.limits.guard(listener)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	server := s.limits.server(s.handler(), s.Log)
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(guarded); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// handler returns the handler of all paths.
func (s Server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, "ok\n") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if s.Ready() {
			answer(w, http.StatusOK, "ok\n")
			return
		}
		answer(w, http.StatusServiceUnavailable, s.Unready+"\n")
	})
	readers := make(chan struct{}, s.limits.conns/4)
	if s.Status != nil {
		mux.Handle("GET /statusz", &document{make: statusJSON(s.Status), readers: readers})
	}
	mux.Handle("GET /metrics", &document{make: s.Metrics, readers: readers})
	return mux
}

func answer(w http.ResponseWriter, code int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(code)
	// This fails only if the client is gone.
	_, _ = w.Write([]byte(text))
}
