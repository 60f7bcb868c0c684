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
	// flooders are the clients of a flood, each with a connection.
	flooders = 300
	// roomInFlood is the memory that the program may have in any flood: without
	// one it has 27 MiB.
	roomInFlood = 60 << 20
	// shareInFlood is the share of a core that it may use, its rotations included:
	// a tenth on a quiet machine.
	shareInFlood = 0.25
	// probeTime is how long /livez may take in a flood on a busy machine: the
	// Deployment's probe waits 5 s, and gives up after six such failures.
	probeTime = 15 * time.Second
	// inFlood are the rotations of a flood, and floodPause is the time between two.
	inFlood, floodPause = 8, 500 * time.Millisecond
)

// floods are what one client does with its connection. They return when the
// connection has ended.
//
// The short test has one that sends, one that waits, and one that asks.
func floods() (short, long map[string]func(net.Conn)) {
	const head = "GET /livez HTTP/1.1\r\nHost: pod\r\n"
	var lines strings.Builder
	for i := 0; lines.Len() < 32<<10; i++ {
		lines.WriteString(strconv.FormatInt(int64(i), 36) + ":\n") // each a header of its own
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
			"header lines, then nothing": held(head + lines.String()[:4900]), // just less than is refused
			"the metrics, all the time":  func(conn net.Conn) { askFor(conn, "/metrics") },
		}, map[string]func(net.Conn){
			"a header without end":     endless(head+"X: ", strings.Repeat("x", 32<<10), 50*time.Millisecond),
			"a body that drips":        endless(head+"Content-Length: 1000000\r\n\r\n", "x", 100*time.Millisecond),
			"nothing at all":           held(""),
			"the status, all the time": func(conn net.Conn) { askFor(conn, "/statusz") },
		}
}

// askFor asks as fast as it is answered, over one connection where that stays open.
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
		time.Sleep(10 * time.Millisecond) // the machine is the program's as well
	}
}

// Whoever reaches the pod can flood --listen. Rotations arrive as they do
// without that, memory and processor time stay bounded, and probes are answered.
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
	w, run, _ := everywhere(t, func(w *world) *replica { return w.runShipped("--resync", "1h") })
	seen := w.follow(remotes...)
	quiet := w.rotations(seen)
	now, _, err := run.Memory()
	w.Must(err)
	t.Logf("without a flood: rotations took %v at the median, %d MiB", quiet, now>>20)
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
			t.Errorf("%s: rotations took %v at the median, wanted %v at most", name, took, most)
		}
		if peak > roomInFlood {
			t.Errorf("%s: %d MiB at most, wanted less than %d", name, peak>>20, roomInFlood>>20)
		}
		if share > shareInFlood {
			t.Errorf("%s: it used %.1f %% of a core, wanted %.0f %% at most", name, 100*share, 100*shareInFlood)
		}
		run.allShow("Synced", "", remotes...)
	}
}

// rotations rotates some times, and returns the median of the times until the
// last remote had the keys.
func (w *world) rotations(seen map[string]*history) time.Duration {
	w.Helper()
	var all []time.Duration
	for range inFlood {
		w.pass(time.Now().Add(floodPause))
		rotation := w.rotate()
		var last time.Duration
		for _, h := range seen {
			last = max(last, w.arrived(h, rotation.Keys).Sub(rotation.Committed))
		}
		all = append(all, last)
	}
	return testenv.Percentile(all, 50)
}

// flood has all clients at it, each with one connection after the other, until
// stop, which returns how many connections there were.
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
				time.Sleep(50 * time.Millisecond) // the machine is the program's as well
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

// probe asks for /livez until done, which returns the longest time that it
// took. Each answer has to come in probeTime.
func (r *replica) probe() (done func() time.Duration) {
	var longest time.Duration
	var probing sync.WaitGroup
	ended := make(chan struct{})
	probing.Go(func() {
		for {
			began := time.Now()
			ctx, cancel := context.WithTimeout(r.w.Ctx, probeTime)
			// More than once: on a busy machine a client, too, can miss a deadline.
			if err := testenv.Until(ctx, testenv.Often, r.lives); err != nil {
				r.w.Errorf("/livez in a flood: %v", err)
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
