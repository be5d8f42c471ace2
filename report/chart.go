package report

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/redoubt-ml/redoubt"
)

// chart is robust accuracy against the radius for one norm. Norms have radii
// of different scales, so each has a chart of its own.
type chart struct {
	Norm    string
	Desc    string // what the picture shows, for those who do not see it
	W, H    float64
	Band    string // the 95 % intervals, as a path
	Line    string // the series, as a path
	Points  []chartPoint
	XTicks  []tick
	YTicks  []tick
	CleanY  float64
	Clean   string
	L, R    float64 // left and right edge of the plot
	T, B    float64 // top and bottom edge
	LabelAt float64 // the height at which the clean accuracy is written
}

type chartPoint struct {
	X, Y, Lo, Hi float64
	Title        string
	Tone         string
}

type tick struct {
	At    float64
	Label string
}

// The size of a chart in SVG units, and its margins.
const (
	chartW, chartH = 440, 280
	chartL, chartR = 52, 12
	chartT, chartB = 24, 44
)

// charts draws each norm of the assessment, in the order of the threat models.
// What is no ball around a sample has no radius to draw it against.
func charts(a *redoubt.Assessment) []chart {
	var order []string
	byNorm := map[string][]redoubt.ThreatResult{}
	for _, t := range a.Threats {
		if t.Bound != "" {
			continue
		}
		if byNorm[t.Norm] == nil {
			order = append(order, t.Norm)
		}
		byNorm[t.Norm] = append(byNorm[t.Norm], t)
	}
	var out []chart
	for _, norm := range order {
		out = append(out, draw(norm, byNorm[norm], a.CleanAccuracy))
	}
	return out
}

func draw(norm string, series []redoubt.ThreatResult, clean float64) chart {
	slices.SortFunc(series, func(x, y redoubt.ThreatResult) int { return cmp.Compare(x.Eps, y.Eps) })
	step, end := axis(series[len(series)-1].Eps)
	c := chart{Norm: normName(norm), W: chartW, H: chartH, L: chartL, R: chartW - chartR, T: chartT, B: chartH - chartB, Clean: pct(clean)}
	x := func(eps float64) float64 { return round(c.L + (c.R-c.L)*eps/end) }
	y := func(share float64) float64 { return round(c.B - (c.B-c.T)*min(max(share, 0), 1)) }
	c.CleanY = y(clean)
	c.LabelAt = c.CleanY - 6 // above the line, where the series never comes
	c.Desc = fmt.Sprintf("Robust accuracy against the radius in %s. Without an attack %s.", c.Norm, pct(clean))
	c.Line = fmt.Sprintf("M%v %v", x(0), c.CleanY)
	upper, lower := "", ""
	for i, t := range series {
		p := chartPoint{X: x(t.Eps), Y: y(t.RobustAccuracy), Lo: y(t.CI95[0]), Hi: y(t.CI95[1]), Tone: gradeTone(t.Reliability.Verdict)}
		p.Title = fmt.Sprintf("%s: %s, 95 %% interval %s, %s", threatName(&t), pct(t.RobustAccuracy), span(t.CI95), t.Reliability.Verdict)
		c.Desc += " " + p.Title + "."
		c.Points = append(c.Points, p)
		c.Line += fmt.Sprintf("L%v %v", p.X, p.Y)
		move := "L"
		if i == 0 {
			move = "M"
		}
		upper += fmt.Sprintf("%s%v %v", move, p.X, p.Hi)
		lower = fmt.Sprintf("L%v %v", p.X, p.Lo) + lower
	}
	if len(series) > 1 {
		c.Band = upper + lower + "Z"
	}
	for i := range 6 {
		c.YTicks = append(c.YTicks, tick{y(float64(i) / 5), fmt.Sprintf("%d %%", 20*i)})
	}
	for i := 0; float64(i)*step <= end*(1+1e-9); i++ {
		c.XTicks = append(c.XTicks, tick{x(float64(i) * step), num(float64(i) * step)})
	}
	return c
}

// axis is a step of 1, 2 or 5 times a power of ten that makes four to eight
// parts of [0, largest], and the end of the axis.
func axis(largest float64) (step, end float64) {
	if !(largest > 0) || math.IsInf(largest, 0) {
		return 1, 1
	}
	step = math.Pow(10, math.Floor(math.Log10(largest/4)))
	for _, f := range []float64{5, 2} {
		if largest/(step*f) >= 4 {
			step *= f
			break
		}
	}
	return step, step * math.Ceil(largest/step*(1-1e-9))
}

func round(v float64) float64 { return math.Round(v*10) / 10 }
