package regions

import (
	"encoding/binary"
	"net"
	"net/http"
	"sync"

	"github.com/fernetcast/fernetcast/e2e/testenv"
	"golang.org/x/net/http2"
)

// unknownFrame is a frame type that HTTP/2 doesn't define.
const unknownFrame = http2.FrameType(0xfa)

// frame encodes an HTTP/2 frame without flags.
func frame(kind http2.FrameType, stream uint32, payload string) []byte {
	text := binary.BigEndian.AppendUint32(nil, uint32(len(payload))<<8|uint32(kind))
	return append(binary.BigEndian.AppendUint32(append(text, 0), stream), payload...)
}

// costlyFrames returns kinds that answer honestly, but also send HTTP/2 frames. The client's HTTP/2
// library handles these frames without passing them to fernetcast.
func costlyFrames() []kind {
	settings := frame(http2.FrameSettings, 0, "")
	return []kind{
		{name: "settings", also: floodOf(settings, 0), thrice: true, first: true},
		{name: "settings-then-close", also: floodOf(settings, 4<<20), thrice: true},
		{name: "unknown-frames", also: floodOf(frame(unknownFrame, 0, ""), 0), thrice: true},
		{name: "pings", also: floodOf(frame(http2.FramePing, 0, "12345678"), 0)},
		{name: "priorities", also: floodOf(frame(http2.FramePriority, 1, "\x00\x00\x00\x00\x01"), 0)},
		{name: "resets", also: floodOf(frame(http2.FrameRSTStream, 1, "\x00\x00\x00\x08"), 0)},
		{name: "window-updates", also: floodOf(frame(http2.FrameWindowUpdate, 0, "\x00\x00\x00\x01"), 0)},
		{name: "empty-data", also: floodOf(frame(http2.FrameData, 1, ""), 0)},
		{name: "goaways", also: floodOf(frame(http2.FrameGoAway, 0, "\x7f\xff\xff\xff\x00\x00\x00\x00"), 0)},
		{name: "goaway-on-each", also: floodOf(frame(http2.FrameGoAway, 0, "\x00\x00\x00\x00\x00\x00\x00\x00"), 1)},
		{name: "one-request-each", also: floodOf(frame(http2.FrameSettings, 0, "\x00\x03\x00\x00\x00\x00"), 1)},
		{name: "large-frames", also: floodOf(frame(unknownFrame, 0, string(make([]byte, 16<<10))), 0)},
		{name: "closed-at-once", also: func(conn net.Conn) { _ = conn.Close() }},
	}
}

// floodOf returns a function that repeats a frame until the connection ends or it has sent the
// given number of bytes. Then it closes the connection, unless it sent only a single frame.
func floodOf(frame []byte, bytes int) func(net.Conn) {
	frames := frame
	for len(frames) < 16<<10 && bytes != 1 {
		frames = append(frames, frame...)
	}
	return func(conn net.Conn) {
		for sent := 0; bytes == 0 || sent < bytes; sent += len(frames) {
			if _, err := conn.Write(frames); err != nil {
				return
			}
		}
		if bytes > 1 {
			_ = conn.Close()
		}
	}
}

// spoilConnections returns a handler that forwards all requests to honest, but also calls also once
// for each connection, at its first request.
func spoilConnections(honest http.Handler, also func(net.Conn)) http.Handler {
	var seen sync.Map
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn := testenv.Connection(r)
		if _, again := seen.LoadOrStore(conn, nil); !again {
			go also(conn)
		}
		honest.ServeHTTP(w, r)
	})
}
