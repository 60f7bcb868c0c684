package testenv

import (
	"math"
	"slices"
	"time"
)

// Percentile is the p-th of all, by nearest rank: one of them, the slowest for
// 100. There has to be one.
func Percentile(all []time.Duration, p float64) time.Duration {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[int(math.Ceil(p/100*float64(len(sorted))))-1]
}
