package testenv

import (
	"math"
	"slices"
	"time"
)

// Percentile returns the p-th percentile by nearest rank, so 100 is the maximum. It panics if all
// is empty.
func Percentile(all []time.Duration, p float64) time.Duration {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[int(math.Ceil(p/100*float64(len(sorted))))-1]
}
