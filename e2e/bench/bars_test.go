package bench

import "time"

// These are the limits in docs/performance.md. A test fails if the program exceeds one.
const (
	// mostRatio limits the delay to the last remote, relative to the baseline: for 3 remotes at p50
	// and p99. It also limits that to the last of many remotes at p50, relative to a baseline that
	// stamps and watches.
	mostRatio = 1.25
	// mostRatioMany limits the delay to the last of 50, 300, and 1,000 remotes at p50, relative to
	// the baseline. The goal of 1.25 is missed: stamps and watches alone cost 1.15 to 1.3 if all
	// API servers share one machine. This limit only detects regressions.
	mostRatioMany = 1.75
	// mostBeside limits the healthy half's p99, relative to that of as many healthy remotes alone.
	mostBeside = 1.25
	// mostFirstRatio limits the first sync of 1,000 remotes, relative to the baseline's. mostFirst
	// limits that of 3.
	mostFirstRatio = 1.5
	mostFirst      = 2 * time.Second
	// mostMemory limits resident memory with 3 remotes. With more, each adds mostMemoryEach.
	mostMemory     = 40 << 20
	mostMemoryEach = 150 << 10
	// mostIdle limits CPU use with 1,000 idle remotes, as a share of one core.
	mostIdle = 0.02
	// mostGrowth limits what one more remote costs between 300 and 1,000, relative to one between
	// 10 and 300. Linear growth is 1. The rest is for noise.
	mostGrowth = 1.5
)

// sizes are the numbers of remotes to measure, with the number of rotations. With fewer remotes,
// noise affects p99 more, so there are more rotations.
var sizes = []struct {
	remotes, rotations int
	most               float64 // relative to the baseline; 0 means no limit
}{
	{3, 300, mostRatio},
	{10, 60, 0},
	{30, 50, 0},
	{50, 50, mostRatioMany},
	{100, 30, 0},
	{300, 20, mostRatioMany},
	{1000, 12, mostRatioMany},
}

// shares are the numbers of remotes and rotations for TestShare.
var shares = []struct{ remotes, rotations int }{{50, 60}, {300, 25}}

// plotted are the sizes in the plot.
var plotted = []int{10, 30, 100, 300, 1000}
