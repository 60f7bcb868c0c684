package keystone_test

import (
	"context"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/fernetcast/fernetcast/e2e/keystone"
	"github.com/fernetcast/fernetcast/e2e/testenv"
)

// pace is the interval between two new tokens in a region. Keystone takes about 15 ms of CPU time
// to issue a token, and again for each region that validates it. At a shorter interval, nothing
// else would get enough CPU time on a small machine.
const pace = 500 * time.Millisecond

func TestEveryTokenIsGoodEverywhere(t *testing.T) { goodEverywhere(t, 6, 3) }

func TestLongEveryTokenIsGoodEverywhere(t *testing.T) {
	testenv.Long(t)
	goodEverywhere(t, 12, 7)
}

// Every region accepts the tokens of all regions until the main region drops the key that signed
// them. This must hold through many rotations, even if some pods see their keys later than others.
func goodEverywhere(t *testing.T, rotations, maxActive int) {
	s := newStage(t, maxActive)
	s.regions["dfw"].Delay(300 * time.Millisecond)
	s.regions["iad"].Delay(time.Second)
	traffic := s.traffic()
	for range rotations {
		// The next rotation removes the oldest key, so its tokens must be valid before and invalid
		// afterward.
		oldest := s.keys.Primary() - (maxActive - 2)
		ending := traffic.of(oldest)
		for _, token := range ending {
			s.is(good, token, all...)
		}
		s.sees(s.rotate(), all...)
		for _, token := range ending {
			s.is(refused, token, all...)
		}
	}
	issued := traffic.end()
	t.Logf("%d tokens, each immediately valid in %d regions", issued, len(all))
}

// traffic issues tokens in every region, as fast as pace and the machine allow, and immediately
// validates each token in all regions.
type traffic struct {
	s    *stage
	stop context.CancelFunc
	busy sync.WaitGroup

	mu     sync.Mutex
	issued int
	// kept holds the last token by key index and region.
	kept map[int]map[string]keystone.Token
}

func (s *stage) traffic() *traffic {
	ctx, stop := context.WithCancel(s.Ctx)
	f := &traffic{s: s, stop: stop, kept: map[int]map[string]keystone.Token{}}
	s.Cleanup(func() { f.end() })
	for _, name := range all {
		f.busy.Go(func() { f.issue(ctx, name) })
	}
	return f
}

func (f *traffic) issue(ctx context.Context, region string) {
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for ctx.Err() == nil {
		token, err := f.s.regions[region].Issue(f.s.Ctx)
		if err != nil {
			f.s.Error(err)
			return
		}
		for _, name := range all {
			answer, err := f.s.regions[name].Validate(f.s.Ctx, token)
			if err != nil {
				f.s.Error(err)
				return
			}
			// If the region has already dropped the token's key, the validation came too late, and
			// the region isn't behind.
			late := answer.Keys.Primary() >= token.Index+f.s.maxActive-1
			if answer.Status != good && !(late && answer.Status == refused) {
				f.s.Errorf("a token from %s with key %d got %d in %s, which has primary %d", region, token.Index, answer.Status, name, answer.Keys.Primary())
			}
		}
		f.keep(token)
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

func (f *traffic) keep(token keystone.Token) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.issued++
	if f.kept[token.Index] == nil {
		f.kept[token.Index] = map[string]keystone.Token{}
	}
	f.kept[token.Index][token.Region] = token
}

// of returns the tokens that were kept for a key.
func (f *traffic) of(index int) []keystone.Token {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Collect(maps.Values(f.kept[index]))
}

// end stops the traffic and returns the number of issued tokens.
func (f *traffic) end() int {
	f.stop()
	f.busy.Wait()
	return f.issued
}
