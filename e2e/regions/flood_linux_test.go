package regions

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fernetcast/fernetcast/e2e/testenv"
)

const (
	// flooders is the number of clients in a flood. Each has one connection at a time.
	flooders = 300
	// roomInFlood limits memory in any flood. Without a flood, fernetcast uses 27 MiB.
	roomInFlood = 60 << 20
	// shareInFlood limits CPU use in a flood, including rotations, as a share of one core. On a
	// quiet machine, fernetcast uses up to a quarter of a core.
	shareInFlood = 0.35
	// probeTime limits how long a request for /livez takes in a flood on a busy machine. On a quiet
	// machine, it takes a tenth of a second.
	probeTime = 2 * time.Second
	// inFlood is the number of rotations during a flood, and floodPause is the pause between two of
	// them.
	inFlood, floodPause = 8, 500 * time.Millisecond
)

// floods returns the behaviors of a client by name. Each function returns when its connection has
// ended.
//
// The short test has one client of each kind: they send endlessly, wait, make requests, or reset
// connections.
func floods() (short, long map[string]func(net.Conn)) {
	const head = "GET /livez HTTP/1.1\r\nHost: pod\r\n"
	var lines strings.Builder
	for i := 0; lines.Len() < 32<<10; i++ {
		lines.WriteString(strconv.FormatInt(int64(i), 36) + ":\n") // each line is a different header
	}
	endless := func(begin, goOn string, pause time.Duration) func(net.Conn) {
		return func(conn net.Conn) {
			_, err := io.WriteString(conn, begin)
			for err == nil {
				time.Sleep(pause)
				_, err = io.WriteString(conn, goOn)
			}
		}
	}
	held := func(text string) func(net.Conn) {
		return func(conn net.Conn) {
			_, _ = io.WriteString(conn, text)
			_, _ = io.Copy(io.Discard, conn)
		}
	}
	return map[string]func(net.Conn){
			"header lines without end":   endless(head, lines.String(), 50*time.Millisecond),
			"header lines, then nothing": held(head + lines.String()[:4900]), // the header is just below the limit
			"the metrics, all the time":  func(conn net.Conn) { askFor(conn, "/metrics") },
			"opened and reset":           func(conn net.Conn) { _ = conn.(*net.TCPConn).SetLinger(0) },
			"asked and reset": func(conn net.Conn) {
				_, _ = io.WriteString(conn, head+"\r\n")
				_ = conn.(*net.TCPConn).SetLinger(0)
			},
		}, map[string]func(net.Conn){
			"a header without end":     endless(head+"X: ", strings.Repeat("x", 32<<10), 50*time.Millisecond),
			"a body that drips":        endless(head+"Content-Length: 1000000\r\n\r\n", "x", 100*time.Millisecond),
			"nothing at all":           held(""),
			"the status, all the time": func(conn net.Conn) { askFor(conn, "/statusz") },
		}
}

// askFor requests path in a loop over one connection, until that closes.
func askFor(conn net.Conn, path string) {
	answers := bufio.NewReader(conn)
	for {
		if _, err := io.WriteString(conn, "GET "+path+" HTTP/1.1\r\nHost: pod\r\n\r\n"); err != nil {
			return
		}
		answer, err := http.ReadResponse(answers, nil)
		if err != nil {
			return
		}
		_, err = io.Copy(io.Discard, answer.Body)
		if errors.Join(err, answer.Body.Close()) != nil || answer.Close {
			return
		}
		time.Sleep(10 * time.Millisecond) // leave CPU time for fernetcast
	}
}

// TestFlood floods the port that --listen opens, just as anyone who can reach the pod could. Rotations
// must arrive as usual, memory and CPU use must stay bounded, and probes must succeed.
func TestFlood(t *testing.T) {
	short, _ := floods()
	flooded(t, short)
}

func TestLongFlood(t *testing.T) {
	testenv.Long(t)
	_, long := floods()
	flooded(t, long)
}

func flooded(t *testing.T, floods map[string]func(net.Conn)) {
	w, run, _ := newSynced(t, func(w *world) *replica { return w.runShipped("--resync", "1h") })
	seen := w.follow(remotes...)
	quiet := w.rotations(seen)
	now, _, err := run.Memory()
	w.Must(err)
	t.Logf("without a flood: rotations took a median of %v, %d MiB", quiet, now>>20)
	for name, client := range floods {
		before, err := run.CPU()
		w.Must(err)
		began := time.Now()
		stop := w.flood(run.address, client)
		probed := run.probe()
		took := w.rotations(seen)
		longest := probed()
		after, err := run.CPU()
		w.Must(err)
		share := (after - before).Seconds() / time.Since(began).Seconds()
		connections := stop()
		now, peak, err := run.Memory()
		w.Must(err)
		t.Logf("%s, %d connections: rotations took %v, /livez %v at most, %.1f %% of a core, %d MiB, %d MiB at most so far",
			name, connections, took, longest, 100*share, now>>20, peak>>20)
		if most := max(atOnce, 3*quiet); took > most {
			t.Errorf("%s: rotations took a median of %v, want at most %v", name, took, most)
		}
		if peak > roomInFlood {
			t.Errorf("%s: peak memory %d MiB, want at most %d", name, peak>>20, roomInFlood>>20)
		}
		if share > shareInFlood {
			t.Errorf("%s: fernetcast used %.1f %% of a core, want at most %.0f %%", name, 100*share, 100*shareInFlood)
		}
		run.allShow("Synced", "", remotes...)
	}
}

// rotations rotates inFlood times, and returns the median of the delays until the last remote had
// the keys.
func (w *world) rotations(seen map[string]*history) time.Duration {
	w.Helper()
	var all []time.Duration
	for range inFlood {
		w.sleepUntil(time.Now().Add(floodPause))
		rotation := w.rotate()
		var last time.Duration
		for _, h := range seen {
			last = max(last, w.arrived(h, rotation.Keys).Sub(rotation.Committed))
		}
		all = append(all, last)
	}
	return testenv.Percentile(all, 50)
}

// flood starts all clients. Each client opens one connection after another. stop ends the flood and
// returns the number of connections.
func (w *world) flood(address string, client func(net.Conn)) (stop func() int64) {
	w.Helper()
	ctx, cancel := context.WithCancel(w.Ctx)
	w.Cleanup(cancel)
	var clients sync.WaitGroup
	var connections atomic.Int64
	for range flooders {
		clients.Go(func() {
			for ctx.Err() == nil {
				conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
				if err == nil {
					connections.Add(1)
					_ = conn.(*net.TCPConn).SetWriteBuffer(64 << 10)
					closed := context.AfterFunc(ctx, func() { _ = conn.Close() })
					client(conn)
					closed()
					_ = conn.Close()
				}
				time.Sleep(50 * time.Millisecond) // leave CPU time for fernetcast
			}
		})
	}
	w.Until(func(context.Context) error {
		if n := connections.Load(); n < flooders {
			return fmt.Errorf("%d connections", n)
		}
		return nil
	})
	return func() int64 {
		cancel()
		clients.Wait()
		return connections.Load()
	}
}

// probe requests /livez repeatedly until done is called. done returns the longest time that a
// request took. Each request must succeed within probeTime.
func (r *replica) probe() (done func() time.Duration) {
	var longest time.Duration
	var probing sync.WaitGroup
	ended := make(chan struct{})
	probing.Go(func() {
		for {
			began := time.Now()
			ctx, cancel := context.WithTimeout(r.w.Ctx, probeTime)
			// Retry, because on a busy machine the client can miss a deadline, too.
			if err := testenv.Until(ctx, testenv.Often, r.lives); err != nil {
				r.w.Errorf("/livez during a flood: %v", err)
			}
			cancel()
			longest = max(longest, time.Since(began))
			select {
			case <-ended:
				return
			case <-time.After(testenv.Often):
			}
		}
	})
	return func() time.Duration {
		close(ended)
		probing.Wait()
		return longest
	}
}

func (r *replica) lives(ctx context.Context) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+r.address+"/livez", nil)
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(request)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = errors.New(answer.Status)
	}
	if answer != nil {
		err = errors.Join(err, answer.Body.Close())
	}
	return err
}
