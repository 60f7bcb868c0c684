package cli

import (
	"bytes"
	stdlog "log"
	"log/slog"
	"strings"
	"testing"

	"k8s.io/klog/v2"
)

// TestPrintedByLibraries checks that a library's message is logged without the server's bytes.
func TestPrintedByLibraries(t *testing.T) {
	const key = "VGhpcy1pcy1hLWtleS1vZi0zMi1ieXRlcy1leGFjdGx5"
	var out bytes.Buffer
	root := newRoot("fernetcast")
	root.SetErr(&out)
	(&options{logLevel: "debug", logFormat: "json"}).logger(root)
	t.Cleanup(func() { capture(slog.New(slog.DiscardHandler)) })
	// The first text is from net/http's persistConn.readLoopPeekFailLocked. The second has no
	// quotation marks.
	stdlog.Printf("Unsolicited response received on idle HTTP channel starting with %q; err=%v", "HTTP/1.1 200 secret words "+key, nil)
	(&options{logLevel: "debug", logFormat: "json"}).logger(root) // a new logger, so a new minute starts
	stdlog.Print("panic: " + strings.Repeat(key+" ", 1000))
	shown := out.String()
	if !strings.Contains(shown, "Unsolicited response received on idle") || !strings.Contains(shown, "panic:") {
		t.Errorf("the message was not logged: %s", shown)
	}
	if strings.Contains(shown, key[:6]) || strings.Contains(shown, "secret words") || len(shown) > 1000 {
		t.Errorf("a server's bytes are logged: %s", shown)
	}
}

// TestLibrariesPrintOncePerMinute checks that net/http and client-go each log at most one line per
// minute, no matter how many a remote causes.
func TestLibrariesPrintOncePerMinute(t *testing.T) {
	var out bytes.Buffer
	capture(slog.New(slog.NewJSONHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug})))
	t.Cleanup(func() { capture(slog.New(slog.DiscardHandler)) })
	for range 1000 {
		stdlog.Print("http2: Transport: unhandled response frame type *http2.UnknownFrame")
		klog.Error("a remote caused this")
	}
	if lines := strings.Count(out.String(), "\n"); lines != 2 {
		t.Errorf("%d lines, want one from each logger", lines)
	}
}
