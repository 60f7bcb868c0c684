package prometheus

import (
	"bytes"
	"cmp"
	"fmt"
	"image/color"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/plotutil"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// drawing describes one panel of the picture.
type drawing struct {
	panel string
	refs  []string
	// title replaces the dashboard panel's own title, unless it is empty. label describes the y
	// axis.
	title, label string
	points       bool
}

// drawn lists the dashboard panels in the picture, all of which change over time.
var drawn = [][]drawing{
	{
		{panel: "Is a token about to fail?", refs: []string{"Behind"}, title: "Is a token about to fail? Behind", label: "generations"},
		{panel: "Is a token about to fail?", refs: []string{"Equal"}, title: "Is a token about to fail? Seen equal, ago", label: "seconds"},
	}, {
		{panel: "How long a rotation takes to arrive", refs: []string{"p50", "p99"}, label: "seconds", points: true},
		{panel: "Pushes, by result", refs: []string{"A"}, label: "pushes in 5 s"},
	}, {
		{panel: "Drift repaired", refs: []string{"A"}, label: "repairs in 5 s"},
		{panel: "Requests, by code", refs: []string{"A"}, label: "requests a second"},
	},
}

// draw plots all recorded results of the queries in drawn, with a vertical line for each rotation.
func (p *server) draw(path string) error {
	d := readDashboard(p.s)
	rotations, err := p.recorded(d.annotation("Rotations"), "2s")
	if err != nil {
		return err
	}
	plots := make([][]*plot.Plot, len(drawn))
	for i, row := range drawn {
		for _, at := range row {
			one, err := p.plot(d, at, rotations)
			if err != nil {
				return err
			}
			plots[i] = append(plots[i], one)
		}
	}
	canvas := vgsvg.New(26*vg.Centimeter, 24*vg.Centimeter)
	whole := draw.New(canvas)
	whole.SetColor(color.White)
	whole.Fill(whole.Rectangle.Path())
	tiles := draw.Tiles{Rows: len(drawn), Cols: len(drawn[0]), PadX: vg.Centimeter, PadY: vg.Centimeter, PadTop: 10, PadBottom: 10, PadLeft: 10, PadRight: 10}
	for i, row := range plot.Align(plots, tiles, whole) {
		for j, tile := range row {
			plots[i][j].Draw(tile)
		}
	}
	var svg bytes.Buffer
	if _, err := canvas.WriteTo(&svg); err != nil {
		return err
	}
	// Most readers don't have this font, so add a fallback.
	return os.WriteFile(path, bytes.ReplaceAll(svg.Bytes(), []byte("Liberation Sans"), []byte("Liberation Sans, sans-serif")), 0o644)
}

// plot draws one panel of the picture.
func (p *server) plot(d dashboard, at drawing, rotations model.Matrix) (*plot.Plot, error) {
	one := plot.New()
	one.Title.Text, one.X.Label.Text, one.Y.Label.Text = cmp.Or(at.title, at.panel), "seconds", at.label
	one.Y.Min, one.Legend.Top = 0, true
	for _, text := range []*font.Font{
		&one.Title.TextStyle.Font, &one.Legend.TextStyle.Font,
		&one.X.Label.TextStyle.Font, &one.X.Tick.Label.Font, &one.Y.Label.TextStyle.Font, &one.Y.Tick.Label.Font,
	} {
		text.Variant = "Sans"
	}
	n := 0
	for _, ref := range at.refs {
		streams, err := p.recorded(d.panel(at.panel).query(ref), "5s")
		if err != nil {
			return nil, err
		}
		for _, stream := range streams {
			if err := p.add(one, stream, cmp.Or(name(stream.Metric), ref), n, at.points); err != nil {
				return nil, err
			}
			n++
		}
	}
	if n == 0 {
		return nil, fmt.Errorf("nothing was recorded for %s", at.panel)
	}
	// Leave room for the legend.
	one.X.Min, one.X.Max, one.Y.Max = 0, time.Since(p.started).Seconds(), one.Y.Max*1.5
	return one, p.mark(one, rotations)
}

// recorded returns all results of a dashboard query since the start, with the given rate window.
func (p *server) recorded(query, window string) (model.Matrix, error) {
	return p.since(p.s.Ctx, filled(strings.ReplaceAll(query, "$__rate_interval", window), mainRegion))
}

// name returns the label that distinguishes a series from other results of the same query.
func name(labels model.Metric) string {
	for _, label := range []model.LabelName{"remote", "result", "code"} {
		if value := labels[label]; value != "" {
			return string(value)
		}
	}
	return ""
}

// add draws a series, with gaps where samples are missing.
func (p *server) add(to *plot.Plot, stream *model.SampleStream, name string, n int, points bool) error {
	var all plotter.XYs
	for _, pair := range stream.Values {
		all = append(all, plotter.XY{X: p.second(pair), Y: float64(pair.Value)})
	}
	if points {
		scatter, err := plotter.NewScatter(all)
		if err != nil {
			return err
		}
		scatter.Color, scatter.Shape = plotutil.Color(n), draw.CircleGlyph{}
		to.Add(scatter)
		to.Legend.Add(name, scatter)
		return nil
	}
	for part := range slices.Values(unbroken(all)) {
		line, err := plotter.NewLine(part)
		if err != nil {
			return err
		}
		line.Color, line.Width, line.StepStyle = plotutil.Color(n), 1.5, plotter.PostStep
		to.Add(line)
		if part[0] == all[0] {
			to.Legend.Add(name, line)
		}
	}
	return nil
}

// unbroken splits a series wherever a sample is missing.
func unbroken(all plotter.XYs) (parts []plotter.XYs) {
	from := 0
	for i := 1; i <= len(all); i++ {
		if i == len(all) || all[i].X-all[i-1].X > 1.5 {
			parts = append(parts, all[from:i])
			from = i
		}
	}
	return parts
}

// mark draws a dashed line where each rotation was first seen.
func (p *server) mark(on *plot.Plot, rotations model.Matrix) error {
	for _, stream := range rotations {
		var all plotter.XYs
		for _, pair := range stream.Values {
			all = append(all, plotter.XY{X: p.second(pair)})
		}
		for _, rotation := range unbroken(all) {
			line, err := plotter.NewLine(plotter.XYs{rotation[0], {X: rotation[0].X, Y: on.Y.Max}})
			if err != nil {
				return err
			}
			line.Color, line.Dashes = color.Gray{Y: 150}, []vg.Length{3, 3}
			on.Add(line)
		}
	}
	return nil
}

func (p *server) second(pair model.SamplePair) float64 {
	return pair.Timestamp.Time().Sub(p.started).Seconds()
}
