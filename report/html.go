package report

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"path"
	"strings"

	"github.com/redoubt-ml/redoubt"
)

//go:embed page.html
var pageText string

//go:embed page.css
var pageStyle string

// page is what the template sees.
type page struct {
	*redoubt.Assessment
	Style     template.CSS
	Verdict   verdict
	Worst     *redoubt.ThreatResult
	Certified bool
	Charts    []chart
	Strips    []strip
	Changes   []change
	Left      int // examples not shown
	Facts     [][2]string
	Findings  []redoubt.Finding
	Doubts    []doubt
	Attacks   bool
}

// doubt is a flag and the threat models that raised it with these words.
type doubt struct {
	redoubt.Flag
	Threats string
}

// HTML writes one page that needs nothing else: no scripts, no fonts, no
// requests, which its content security policy also forbids. It stays under two
// megabytes whatever the examples, follows the reader's light or dark setting,
// and prints.
func HTML(w io.Writer, a *redoubt.Assessment) error {
	t, err := template.New("page").Funcs(template.FuncMap{
		"pct": pct, "span": span, "num": num, "base": path.Base, "norm": normName, "tone": gradeTone,
		"whole": func(n any) string { return whole(asInt64(n)) }, "threat": func(t redoubt.ThreatResult) string { return threatName(&t) },
		"distortion": distortion, "certified": func(t redoubt.ThreatResult) string { return certified(&t) }, "changed": changed, "asked": asked, "fallen": func(t redoubt.ThreatResult) int { return t.Correct - t.Robust },
		"class": func(c redoubt.ClassResult) string { return classLabel(a, c) },
		"falls": func(c redoubt.ClassResult) string { return falls(a, c) },
		"secs":  func(v float64) string { return fmt.Sprintf("%.1f", v) },
		"shape": shapeText, "width": func(share float64) string { return fmt.Sprintf("%.1f", 100*min(max(share, 0), 1)) },
		"count": count, "symbol": func(tone string) string { return map[string]string{"good": "✓", "bad": "✕", "doubt": "!"}[tone] },
	}).Parse(pageText)
	if err != nil {
		return fmt.Errorf("parse report page: %w", err)
	}
	p := page{Assessment: a, Style: template.CSS(pageStyle), Verdict: judge(a), Worst: worstThreat(a), Certified: hasCertificate(a), Charts: charts(a),
		Facts: facts(a.Model.Characteristics), Findings: bySeverity(a.Findings), Doubts: doubts(a)}
	if a.Model.Remote != nil {
		p.Facts = nil // nobody has looked inside
	}
	p.Strips, p.Changes, p.Left = examples(a)
	for i := range a.Threats {
		p.Attacks = p.Attacks || len(a.Threats[i].Attacks) > 0
	}
	var b bytes.Buffer // whole or not at all
	if err := t.Execute(&b, p); err != nil {
		return fmt.Errorf("render report page: %w", err)
	}
	if _, err := w.Write(b.Bytes()); err != nil {
		return fmt.Errorf("write report as HTML: %w", err)
	}
	return nil
}

func asInt64(n any) int64 {
	switch n := n.(type) {
	case int:
		return int64(n)
	case int64:
		return n
	}
	return 0
}

// doubts gathers the flags, those with the same words of several threat models
// in one.
func doubts(a *redoubt.Assessment) []doubt {
	var out []doubt
	at := map[redoubt.Flag]int{}
	for i := range a.Threats {
		for _, f := range a.Threats[i].Reliability.Flags {
			if j, ok := at[f]; ok {
				out[j].Threats += ", " + threatName(&a.Threats[i])
				continue
			}
			at[f] = len(out)
			out = append(out, doubt{f, threatName(&a.Threats[i])})
		}
	}
	return out
}

func shapeText(shape []int) string {
	return strings.Trim(strings.ReplaceAll(fmt.Sprint(shape), " ", " × "), "[]")
}
