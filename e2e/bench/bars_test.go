package bench

import "time"

// These are the limits in docs/performance.md. A test fails if the program exceeds one.
const (
	// mostRatio limits the delay until the last remote is equal, relative to the baseline. For 3
	// remotes, it applies to p50 and p99. For many remotes, it applies to p50 if the baseline also
	// stamps and watches.
	mostRatio = 1.25
	// mostRatioMany limits the p50 delay until the last of 50, 300, or 1,000 remotes is equal,
	// relative to the baseline. fernetcast misses the goal of 1.25: if all API servers share one
	// machine, stamps and watches alone increase the delay 1.15 to 1.3 times. So this limit only
	// detects regressions.
	mostRatioMany = 1.75
	// mostBeside limits the p99 delay of the healthy half of the remotes, relative to that of the
	// same number of healthy remotes without an unreachable half.
	mostBeside = 1.25
	// mostFirstRatio limits the time of the first sync of 1,000 remotes, relative to the
	// baseline's. mostFirst limits the time for 3 remotes.
	mostFirstRatio = 1.5
	mostFirst      = 2 * time.Second
	// mostMemory limits resident memory with 3 remotes. Each additional remote raises the limit by
	// mostMemoryEach.
	mostMemory     = 40 << 20
	mostMemoryEach = 150 << 10
	// mostIdle limits CPU use with 1,000 idle remotes, as a share of one core.
	mostIdle = 0.02
	// mostGrowth limits the cost of one more remote between 300 and 1,000, relative to its cost
	// between 10 and 300. With linear growth, that is 1. The rest allows for noise.
	mostGrowth = 1.5
)

// sizes lists the numbers of remotes to measure, each with its number of rotations. There are more
// rotations with fewer remotes, because noise affects their p99 more.
var sizes = []struct {
	remotes, rotations int
	most               float64 // limit relative to the baseline; 0 means no limit
}{
	{3, 300, mostRatio},
	{10, 60, 0},
	{30, 50, 0},
	{50, 50, mostRatioMany},
	{100, 30, 0},
	{300, 20, mostRatioMany},
	{1000, 12, mostRatioMany},
}

// shares lists the numbers of remotes and rotations for TestShare.
var shares = []struct{ remotes, rotations int }{{50, 60}, {300, 25}}

// plotted lists the numbers of remotes in the plot.
var plotted = []int{10, 30, 100, 300, 1000}
