package kube

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/client-go/rest"
)

// A fountain is a connection that always has bytes to read.
type fountain struct{ net.Conn }

func (fountain) Read(p []byte) (int, error) { return len(p), nil }
func (fountain) Close() error               { return nil }

// The work that a remote can cause is limited, no matter how it spreads its input over connections,
// reads, and bytes. The test works by sleeping in a synctest bubble.
func TestWorkIsLimited(t *testing.T) {
	const lasts = time.Minute
	for name, tc := range map[string]struct {
		conns, reads, bytes int // reads of each connection before the next one; 0 means no end
		work                time.Duration
		most                time.Duration // the most work in a minute
		least               int           // the fewest bytes in a minute
	}{
		"costly frames":           {1, 0, 16 << 10, 20 * time.Millisecond, 2 * time.Second, 1 << 20},
		"many connections":        {8, 0, 16 << 10, 20 * time.Millisecond, 2*time.Second + 8*mostWork, 1 << 20},
		"a new one for each":      {1, 1, 16 << 10, 20 * time.Millisecond, 2 * time.Second, 512 << 10},
		"costly handshakes":       {1, 1, 1, mostWork, 2 * time.Second, 0},
		"single bytes":            {1, 0, 1, time.Microsecond, 2 * time.Second, 50_000},
		"a body":                  {1, 0, 16 << 10, 50 * time.Microsecond, 2 * time.Second, 30 << 20},
		"a reader that was slow":  {1, 0, 1, time.Second, lasts, 20},
		"a connection, then none": {1, 2, 100, time.Millisecond, 2 * time.Second, 20_000},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPace(remoteWork)
				ctx, cancel := context.WithTimeout(t.Context(), lasts)
				defer cancel()
				var work, bytes atomic.Int64
				for range tc.conns {
					go func() {
						worked, read := busy(ctx, p, tc.reads, tc.bytes, tc.work)
						work.Add(int64(worked))
						bytes.Add(int64(read))
					}()
				}
				<-ctx.Done()
				time.Sleep(lasts)
				synctest.Wait()
				if work, bytes := time.Duration(work.Load()), int(bytes.Load()); work > tc.most || bytes < tc.least {
					t.Errorf("%v of work and %d bytes, want at most %v and at least %d bytes", work, bytes, tc.most, tc.least)
				}
			})
		})
	}
}

// busy reads from one connection after another, and works after each read. 0 reads means no end.
func busy(ctx context.Context, p *pace, reads, bytes int, work time.Duration) (worked time.Duration, read int) {
	for ctx.Err() == nil && p.work.WaitN(ctx, int(dialWork)) == nil {
		conn := p.wrap(fountain{})
		for n := 0; (reads == 0 || n < reads) && ctx.Err() == nil; n++ {
			got, _ := conn.Read(make([]byte, bytes))
			time.Sleep(work)
			worked, read = worked+work, read+got
		}
		_ = conn.Close()
	}
	return worked, read
}

// Close ends a read that waits for its turn.
func TestCloseEndsAWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPace(remoteWork)
		conn := p.wrap(fountain{})
		for range 2 { // the second read must wait until the pace allows it
			p.work.ReserveN(time.Now(), workAtOnce*int(remoteWork))
		}
		time.AfterFunc(time.Millisecond, func() { _ = conn.Close() })
		time.Sleep(time.Microsecond)
		began := time.Now()
		if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
		if took := time.Since(began); took > 2*time.Millisecond {
			t.Errorf("the read took %v", took)
		}
	})
}

// If a remote's connections cost too much or if too many are open, the client opens no more.
func TestDialsAreLimited(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(server.Close)
	for name, spoil := range map[string]func(*pace){
		"busy": func(p *pace) {
			p.work.ReserveN(time.Now(), workAtOnce*int(remoteWork))
			p.work.ReserveN(time.Now(), workAtOnce*int(remoteWork))
		},
		"many open": func(p *pace) { p.open.Store(maxConns) },
		"none":      func(*pace) {},
	} {
		p := newPace(remoteWork)
		spoil(p)
		conn, err := p.dial(t.Context(), "tcp", server.Listener.Addr().String())
		if (name != "none") != errors.Is(err, errBusy) {
			t.Errorf("%s: error %v", name, err)
		}
		if conn == nil {
			continue
		}
		if p.open.Load() != 1 {
			t.Errorf("%d connections are open", p.open.Load())
		}
		for range 2 {
			_ = conn.Close()
		}
		if p.open.Load() != 0 {
			t.Errorf("%d connections are open after Close", p.open.Load())
		}
	}
}

// The reads of each client's connections are paced, and a remote's pace is slower than the
// source's.
func TestConnectionsArePaced(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(server.Close)
	for remote, want := range map[bool]time.Duration{true: remoteWork, false: homeWork} {
		client, err := New(&rest.Config{Host: server.URL}, Options{Timeout: time.Minute, Remote: remote})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := client.Secrets(namespace).Get(t.Context(), name); err == nil {
			t.Error("no error")
		}
		if got := time.Duration(client.pace.work.Limit()); got != want || client.pace.open.Load() == 0 {
			t.Errorf("remote %v: %v of work, %d connections", remote, got, client.pace.open.Load())
		}
		client.Close()
	}
}
