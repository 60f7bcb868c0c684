package testenv

import (
	"math"
	"slices"
	"time"
)

// Percentile returns the p-th percentile of all by nearest rank, so the 100th is the maximum. It
// panics if all is empty.
func Percentile(all []time.Duration, p float64) time.Duration {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[int(math.Ceil(p/100*float64(len(sorted))))-1]
}
