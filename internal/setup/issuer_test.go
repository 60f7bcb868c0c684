package setup

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

// A new key may be unknown for as long as the documents are cached.
func TestKeptFor(t *testing.T) {
	now := time.Now()
	for text, want := range map[string]time.Duration{
		"Cache-Control: public, max-age=3600":                                           time.Hour,
		"Cache-Control: max-age=0":                                                      0,
		"Cache-Control: max-age=60, s-maxage=120":                                       2 * time.Minute,
		"Last-Modified: " + now.Add(-100*time.Hour).UTC().Format(http.TimeFormat):       10 * time.Hour,
		"Last-Modified: " + now.Add(-10*24*time.Hour*100).UTC().Format(http.TimeFormat): 24 * time.Hour,
		"Last-Modified: " + now.Add(time.Hour).UTC().Format(http.TimeFormat):            0,
		"X: y": 0,
	} {
		name, value, _ := strings.Cut(text, ": ")
		header := http.Header{}
		header.Set(name, value)
		if got := keptFor(header, now); got.Round(time.Minute) != want {
			t.Errorf("%s: %v, want %v", text, got, want)
		}
	}
}
