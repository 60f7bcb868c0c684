package prometheus

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/fernetcast/fernetcast/e2e/testenv"
)

// page holds the values of all series in /metrics except histograms, by name and labels.
type page map[string]float64

func metrics(ctx context.Context, address string) (page, string, error) {
	text, err := testenv.Get(ctx, "http://"+address+"/metrics")
	if err != nil {
		return nil, "", err
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(text))
	if err != nil {
		return nil, "", err
	}
	p := page{}
	for name, family := range families {
		for _, m := range family.Metric {
			series := model.Metric{model.MetricNameLabel: model.LabelValue(name)}
			for _, l := range m.Label {
				series[model.LabelName(l.GetName())] = model.LabelValue(l.GetValue())
			}
			switch {
			case m.Gauge != nil:
				p[series.String()] = m.Gauge.GetValue()
			case m.Counter != nil:
				p[series.String()] = m.Counter.GetValue()
			}
		}
	}
	return p, string(text), nil
}

// of returns a remote's metric, or nil if there is no such series.
func (p page) of(name, remote string) *float64 {
	if value, ok := p[fmt.Sprintf("%s{remote=%q}", name, remote)]; ok {
		return &value
	}
	return nil
}

// state returns the state of a remote, or "" if it has none or more than one.
func (p page) state(remote string) (state string) {
	for series, value := range p {
		rest, ok := strings.CutPrefix(series, fmt.Sprintf("fernetcast_remote_state{remote=%q, state=\"", remote))
		if !ok {
			continue
		}
		if state != "" || value != 1 {
			return ""
		}
		state = strings.TrimSuffix(rest, `"}`)
	}
	return state
}

// agrees waits until a replica's /metrics, its /statusz, and a live status show the same for each
// remote. They must agree while nothing changes.
func (f *fleet) agrees(r replica) {
	f.Helper()
	f.Until(func(ctx context.Context) error {
		live, _, err := r.Operator.Status(ctx)
		if err != nil {
			return err
		}
		before, err := testenv.Statusz(ctx, r.address)
		if err != nil {
			return err
		}
		shown, _, err := metrics(ctx, r.address)
		if err != nil {
			return err
		}
		// fernetcast caches both pages for up to a second. After this sleep, /statusz is newer than
		// /metrics.
		time.Sleep(time.Second)
		after, err := testenv.Statusz(ctx, r.address)
		if err != nil {
			return err
		}
		errs := []error{sameNumber("the primary index", before.Source.Primary, after.Source.Primary, value(shown, "fernetcast_source_primary_index"))}
		for name, state := range r.states {
			b, a, l := before.Remote(name), after.Remote(name), live.Remote(name)
			if b == nil || a == nil || l == nil {
				return errors.New(name + " is missing in at least one output")
			}
			if b.State != state || a.State != state || shown.state(name) != state {
				errs = append(errs, fmt.Errorf("%s: /statusz shows %s and %s, /metrics shows %s, want %s", name, b.State, a.State, shown.state(name), state))
			}
			if !sameLive(state, l.State) {
				errs = append(errs, fmt.Errorf("%s is %s in the live status, want %s", name, l.State, state))
			}
			errs = append(errs,
				sameNumber(name+" is behind", b.Behind, a.Behind, shown.of("fernetcast_remote_generations_behind", name)),
				sameTime(name+" expires", b.CredentialsExpire, a.CredentialsExpire, shown.of("fernetcast_remote_credentials_expiry_timestamp_seconds", name)),
				sameTime(name+" expires live", l.CredentialsExpire, l.CredentialsExpire, shown.of("fernetcast_remote_credentials_expiry_timestamp_seconds", name)),
				sameTime(name+" was synced", b.LastSynced, a.LastSynced, shown.of("fernetcast_remote_last_synced_timestamp_seconds", name)))
			// A command that can't read a remote can't show its keys.
			if l.Behind != nil {
				errs = append(errs, sameNumber(name+" is behind live", l.Behind, l.Behind, shown.of("fernetcast_remote_generations_behind", name)))
			}
		}
		return errors.Join(errs...)
	})
}

// sameLive reports whether a remote's live state agrees with the state that run shows. Only run can
// detect a contest. Then the live state is Behind or Synced, depending on the moment.
func sameLive(state, live string) bool {
	return live == state || state == "Contested" && (live == "Behind" || live == "Synced")
}

func value(p page, series string) *float64 {
	if v, ok := p[series]; ok {
		return &v
	}
	return nil
}

func sameNumber(what string, before, after *int, shown *float64) error {
	switch {
	case before == nil && after == nil && shown == nil:
		return nil
	case before == nil || after == nil || shown == nil:
		return fmt.Errorf("%s: known: %t, %t, and in /metrics %t", what, before != nil, after != nil, shown != nil)
	case float64(*before) != *shown || float64(*after) != *shown:
		return fmt.Errorf("%s: %d, %d, and in /metrics %v", what, *before, *after, *shown)
	}
	return nil
}

// sameTime returns an error unless the time shown is between before and after, to the millisecond.
func sameTime(what string, before, after *time.Time, shown *float64) error {
	switch {
	case before == nil && after == nil && shown == nil:
		return nil
	case before == nil || after == nil || shown == nil:
		return fmt.Errorf("%s: known: %t, %t, and in /metrics %t", what, before != nil, after != nil, shown != nil)
	}
	first, last := float64(before.UnixMilli())/1000, float64(after.UnixMilli())/1000
	if *shown < first-.0005 || *shown > last+.0005 || math.IsNaN(*shown) {
		return fmt.Errorf("%s: %v, %v, and in /metrics %v", what, first, last, *shown)
	}
	return nil
}
