package testenv

//lint:file-ignore SA1019 only the deprecated server accepts a connection that isn't a *tls.Conn

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"io"
	"net/http"

	"golang.org/x/net/http2"
)

// serveFrames serves an HTTP/2 connection to a Gateway with Go's server. A handler can send its own
// SETTINGS frames: the server never sees the client's acknowledgments of these frames, which would
// make it close the connection.
func serveFrames(server *http.Server, conn *tls.Conn, handler http.Handler) {
	ctx := context.Background()
	if base, ok := handler.(interface{ BaseContext() context.Context }); ok {
		ctx = base.BaseContext()
	}
	(&http2.Server{}).ServeConn(&oneAcknowledgment{Conn: conn}, &http2.ServeConnOpts{Context: ctx, BaseConfig: server, Handler: handler})
}

// oneAcknowledgment is a connection from an HTTP/2 client. It passes on only the client's first
// acknowledgment of settings, and removes the others.
type oneAcknowledgment struct {
	*tls.Conn
	begun, acknowledged bool
	ready               []byte
}

// Read implements [net.Conn].
func (c *oneAcknowledgment) Read(p []byte) (int, error) {
	for len(c.ready) == 0 {
		if err := c.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, c.ready)
	c.ready = c.ready[n:]
	return n, nil
}

// next reads the client's preface or its next frame (RFC 9113, sections 3.4 and 4.1).
func (c *oneAcknowledgment) next() error {
	if !c.begun {
		c.begun, c.ready = true, make([]byte, len(http2.ClientPreface))
		_, err := io.ReadFull(c.Conn, c.ready)
		return err
	}
	var head [9]byte
	if _, err := io.ReadFull(c.Conn, head[:]); err != nil {
		return err
	}
	acknowledges := http2.FrameType(head[3]) == http2.FrameSettings && http2.Flags(head[4]).Has(http2.FlagSettingsAck)
	if acknowledges && c.acknowledged {
		return nil
	}
	c.acknowledged = c.acknowledged || acknowledges
	c.ready = append(head[:], make([]byte, binary.BigEndian.Uint32(head[:4])>>8)...)
	_, err := io.ReadFull(c.Conn, c.ready[len(head):])
	return err
}
