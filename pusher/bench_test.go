package pusher

import (
	"context"
	"testing"
	"time"

	"github.com/fernetcast/fernetcast/internal/mirror"
)

// BenchmarkPlainPush measures our own cost per remote and rotation, without the request.
func BenchmarkPlainPush(b *testing.B) {
	src, dfw := &source{}, &remote{}
	s := Sync{Source: src}
	before := s.Run(b.Context(), dfw, true).Copy
	src.rotate()
	seen, _ := src.Seen()
	s = Sync{Source: constant{seen}, Known: "far"}
	after := s.Run(b.Context(), dfw, true).Copy
	b.ReportAllocs()
	for b.Loop() {
		if o := s.Run(b.Context(), &plain{before, after}, false); o.Decision.State != mirror.StateSynced || len(o.Writes) != 1 {
			b.Fatal(o.Decision)
		}
	}
}

// constant is a source that never changes.
type constant struct{ seen mirror.Source }

func (c constant) Seen() (mirror.Source, bool) { return c.seen, true }

func (c constant) Get(context.Context) (mirror.Source, error) { return c.seen, nil }

// plain is a remote whose copy changes from now to written at the first write.
type plain struct{ now, written mirror.Copy }

func (p *plain) Copy() (mirror.Copy, time.Time) { return p.now, time.Now() }

func (p *plain) Look(context.Context) (mirror.Copy, error) { return p.now, nil }

func (p *plain) Write(context.Context, mirror.Decision) (mirror.Copy, error) {
	p.now = p.written
	return p.now, nil
}
