package report

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"strings"
)

// The plot is a grid of panels, one per scenario, each with a horizontal bar per contestant. Lengths are in pixels.
const (
	columns     = 3
	panelWidth  = 330
	panelGap    = 16
	headHeight  = 44
	titleHeight = 26
	barHeight   = 15
	barStep     = 19
	labelWidth  = 56  // contestants' names, left of the bars, and
	letterWidth = 6   // what each letter takes of a name that needs more
	valueWidth  = 104 // numbers, right of the bars: the ratio, then the rate
	ratioWidth  = 34
)

const plotHead = `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" ` +
	`font-family="-apple-system, 'Segoe UI', 'DejaVu Sans', Helvetica, Arial, sans-serif" font-size="11">
<title>%s</title>
<style>
.page { fill: #ffffff } .head { font-size: 15px; font-weight: 600 } .title { font-size: 12px; font-weight: 600 }
text { fill: #1f2328 } .value { fill: #59636e } .baseline { stroke: #59636e; stroke-dasharray: 2 2 }
.other { fill: #b6bec8 } .gin { fill: #7d8794 } .link { fill: #1f6feb } .http1 { fill: #8ab8f7 }
</style>
<rect class="page" width="100%%" height="100%%" rx="6"/>
<text class="head" x="%d" y="26">%s</text>
`

// plot draws docs/benchmarks.svg.
func (r *Result) plot() []byte {
	var svg bytes.Buffer
	panel := titleHeight + r.mostRows()*barStep + panelGap
	lines := (len(r.Scenarios) + columns - 1) / columns
	width, height := panelGap+columns*(panelWidth+panelGap), headHeight+lines*panel+panelGap
	const heading = "Ratio to gin (with data: to gin and GORM) in its own process, and requests per second"
	fmt.Fprintf(&svg, plotHead, width, height, width, height, heading, panelGap, heading)
	for i := range r.Scenarios {
		x, y := panelGap+i%columns*(panelWidth+panelGap), headHeight+i/columns*panel
		fmt.Fprintf(&svg, "<g transform=\"translate(%d %d)\">\n", x, y)
		r.Scenarios[i].panel(&svg)
		fmt.Fprintln(&svg, "</g>")
	}
	fmt.Fprintln(&svg, "</svg>")
	return svg.Bytes()
}

func (r *Result) mostRows() (most int) {
	for i := range r.Scenarios {
		most = max(most, len(r.Scenarios[i].Rows))
	}
	return most
}

func (s *Scenario) panel(w io.Writer) {
	fmt.Fprintf(w, "<text class=\"title\" y=\"16\">%s</text>\n", escape(s.Title))
	fastest, label := 1.0, labelWidth
	for i := range s.Rows {
		fastest = max(fastest, s.Rows[i].PerSecond)
		label = max(label, len(s.Rows[i].Contestant)*letterWidth+letterWidth)
	}
	pixels := func(perSecond float64) float64 {
		return perSecond / fastest * float64(panelWidth-label-valueWidth)
	}
	for i := range s.Rows {
		row := &s.Rows[i]
		row.bar(w, label, titleHeight+i*barStep, pixels(row.PerSecond))
		if base := s.perSecond(row.Against); base > 0 { // the pieces of one baseline's rows meet
			x, y := float64(label)+pixels(base), titleHeight+i*barStep-3
			fmt.Fprintf(w, "<line class=\"baseline\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%d\" y2=\"%d\"/>\n", x, x, y, y+barStep)
		}
	}
}

func (r *Row) bar(w io.Writer, label, y int, length float64) {
	text := y + barHeight - 4
	fmt.Fprintf(w, "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">%s</text>", label-6, text, escape(r.Contestant))
	perSecond := absent
	if r.Measured() {
		fmt.Fprintf(w, "<rect class=\"%s\" x=\"%d\" y=\"%d\" width=\"%.1f\" height=\"%d\"/>",
			r.class(), label, y, length, barHeight)
		perSecond = number(r.PerSecond) + "/s"
	}
	fmt.Fprintf(w, "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">%s</text>", panelWidth-valueWidth+ratioWidth, text, r.ratio())
	fmt.Fprintf(w, "<text class=\"value\" x=\"%d\" y=\"%d\" text-anchor=\"end\">%s</text>\n", panelWidth, text, perSecond)
}

// class is the bar's in the style sheet: ours and the baselines stand out.
func (r *Row) class() string {
	switch {
	case r.Contestant == r.Against:
		return "gin"
	case r.Contestant == "link" || strings.HasPrefix(r.Contestant, "blog-"):
		return "link"
	case r.Contestant == "http1":
		return "http1"
	}
	return "other"
}

func escape(text string) string {
	var escaped bytes.Buffer
	if err := xml.EscapeText(&escaped, []byte(text)); err != nil {
		return "" // a buffer takes everything
	}
	return escaped.String()
}
