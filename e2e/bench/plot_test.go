package bench

import (
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"text/template"
)

// All sizes are in pixels. The panels, one for each measure, are side by side.
const (
	panelWidth, panelHeight = 230, 180
	panelGap, margin        = 60, 50
)

// panel is the template's data for one measure.
type panel struct {
	Left        int
	Title, Most string
	Ours, Least []point
}

type point struct {
	X, Y    float64
	Remotes int
}

// Line formats points for a polyline.
func (p panel) Line(points []point) string {
	var out strings.Builder
	for _, at := range points {
		fmt.Fprintf(&out, "%.1f,%.1f ", at.X, at.Y)
	}
	return strings.TrimSpace(out.String())
}

var drawing = template.Must(template.New("").Parse(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {{.Width}} {{.Height}}" font-family="sans-serif" font-size="12">
<title>Delay, memory, and goroutines by number of remotes</title>
<rect width="100%" height="100%" fill="white"/>
{{- range .Panels}}
<g transform="translate({{.Left}},{{$.Margin}})">
<text y="-14" font-weight="bold">{{.Title}}</text>
<path d="M0,0 V{{$.PanelHeight}} H{{$.PanelWidth}}" fill="none" stroke="gray"/>
<text x="-6" y="4" text-anchor="end">{{.Most}}</text><text x="-6" y="{{$.PanelHeight}}" text-anchor="end">0</text>
<polyline points="{{.Line .Least}}" fill="none" stroke="gray" stroke-width="2" stroke-dasharray="5,4"/>
<polyline points="{{.Line .Ours}}" fill="none" stroke="#0b6e99" stroke-width="2"/>
{{- range .Least}}
<circle cx="{{printf "%.1f" .X}}" cy="{{printf "%.1f" .Y}}" r="3" fill="gray"/>
{{- end}}
{{- range .Ours}}
<circle cx="{{printf "%.1f" .X}}" cy="{{printf "%.1f" .Y}}" r="3" fill="#0b6e99"/>
{{- if ge .Remotes 100}}
<text x="{{printf "%.1f" .X}}" y="{{$.AxisText}}" text-anchor="middle">{{.Remotes}}</text>
{{- end}}
{{- end}}
</g>
{{- end}}
<text x="{{.Margin}}" y="{{.LegendText}}">Remotes, linear scale: 10, 30, 100, 300, 1,000.
<tspan fill="#0b6e99" font-weight="bold">fernetcast</tspan> (solid) and <tspan fill="gray" font-weight="bold">baseline</tspan> (dashed)</text>
</svg>
`))

// plot draws the costs of the plotted sizes into a file.
func plot(path string, ours, baseline []cost) error {
	titles := [][2]string{
		{"milliseconds", "last remote, p50, ms"}, {"MiB", "resident memory, MiB"}, {"goroutines", "goroutines"},
	}
	var panels []panel
	for i, title := range titles {
		of := measures[title[0]]
		most := 0.0
		for _, c := range slices.Concat(ours, baseline) {
			most = max(most, of(c))
		}
		most = roundUp(most)
		panels = append(panels, panel{
			Left: margin + i*(panelWidth+panelGap), Title: title[1], Most: fmt.Sprint(most),
			Ours: points(ours, of, most), Least: points(baseline, of, most),
		})
	}
	var out strings.Builder
	err := drawing.Execute(&out, map[string]any{
		"Panels": panels, "PanelWidth": panelWidth, "PanelHeight": panelHeight, "Margin": margin,
		"Width": 2*margin + len(panels)*panelWidth + (len(panels)-1)*panelGap, "Height": 2*margin + panelHeight,
		"AxisText": panelHeight + 16, "LegendText": 2*margin + panelHeight - 12,
	})
	if err != nil {
		return fmt.Errorf("drawing: %w", err)
	}
	return os.WriteFile(path, []byte(out.String()), 0o644)
}

func points(costs []cost, of func(cost) float64, most float64) []point {
	var all []point
	for _, c := range costs {
		if slices.Contains(plotted, c.remotes) {
			x := float64(c.remotes) / float64(slices.Max(plotted)) * panelWidth
			all = append(all, point{x, panelHeight * (1 - of(c)/most), c.remotes})
		}
	}
	return all
}

// roundUp rounds x up to a number with few digits, for the end of an axis.
func roundUp(x float64) float64 {
	step := math.Pow(10, math.Floor(math.Log10(x))) / 2
	return math.Ceil(x/step) * step
}
