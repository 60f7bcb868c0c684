// Package telemetry shows what goes on: health, status and metrics
// over HTTP.
//
// It knows what to show only from who asks it to; it reads no cluster itself.
// Whoever reaches the pod can ask, so it bounds what all clients together cost.
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
	"golang.org/x/net/netutil"
	"k8s.io/apimachinery/pkg/util/wait"
)

const listenRetry = 5 * time.Second

// Server answers on /livez, /readyz, /metrics and, where there is a Status, /statusz.
// All its other exported fields are needed.
type Server struct {
	// Address to listen on, as host:port.
	Address string
	// Ready says whether what the process waits for at its start is there. It never
	// depends on a remote: Keystone's pod would go out of service with one. It has to
	// be cheap, and is called concurrently.
	Ready func() bool
	// Unready is the answer while Ready says no.
	Unready string
	// Status is the document of /statusz. It is called once a second at most.
	Status func() mirror.Status
	// Metrics is the document of /metrics, made as seldom.
	Metrics http.Handler
	Log     *slog.Logger

	retry  time.Duration // 0: listenRetry
	limits limits        // zero: defaultLimits
}

// Run serves until ctx is done. Where it cannot listen it says so, once for
// each reason, and tries again.
func (s Server) Run(ctx context.Context) {
	var trouble logonce.Text
	wait.UntilWithContext(ctx, func(ctx context.Context) {
		if err := s.serve(ctx); trouble.ErrorChanged(err) && err != nil {
			s.Log.Warn("health, status and metrics are not served; trying again", "address", s.Address, "error", err)
		}
	}, cmp.Or(s.retry, listenRetry))
}

func (s Server) serve(ctx context.Context) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", s.Address)
	if err != nil {
		return err
	}
	s.Log.Info("serving health, status and metrics", "address", listener.Addr().String())
	return s.serveOn(ctx, listener)
}

// serveOn serves until ctx is done, and closes the listener.
func (s Server) serveOn(ctx context.Context, listener net.Listener) error {
	s.limits = cmp.Or(s.limits, defaultLimits)
	server := s.limits.server(s.handler())
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(netutil.LimitListener(listener, s.limits.conns)); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// handler is what is served.
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
	// This fails where the client is gone: then nobody needs the answer.
	_, _ = w.Write([]byte(text))
}
