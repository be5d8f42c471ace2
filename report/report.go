// Package report renders a [redoubt.Assessment] for people and for other
// programs.
//
//	err := report.HTML(w, assessment)
//	err := report.Text(os.Stdout, assessment, report.TextOptions{Colour: isTerminal})
//
// Every rendering is a function of the assessment alone: the same assessment
// gives the same bytes. [Formats] lists what a command line can offer.
//
// All say first what the assessment comes to, in one of five words. The rule
// behind them: attacks only ever find an upper bound of robust accuracy, so
// doubt about an attack can undo a pass but never a failure.
//
// Names in an assessment come from files and may be hostile. They are escaped
// in every format; for the terminal, control characters are replaced.
package report

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/redoubt-ml/redoubt"
)

// Format is one way of writing an assessment down.
type Format struct {
	Name string // the name of its flag and of its ending: "json", "html"
	Doc  string // one line for help
	// Render writes the assessment. A failed write may leave part of it behind;
	// write beside and rename.
	Render func(w io.Writer, a *redoubt.Assessment) error
}

// Formats are all formats that go to a file. Not here: PDF (print the HTML) and
// Markdown (the text is as readable and the JSON more useful).
var Formats = [...]Format{
	{"json", "the document redoubt.assess/v1, complete", JSON},
	{"html", "one self-contained page for people, to read and print", HTML},
	{"sarif", "SARIF 2.1.0, for code scanning", SARIF},
	{"junit", "JUnit XML, for build servers: a test case a gate and a threat model", JUnit},
	{"txt", "plain text in 80 columns", func(w io.Writer, a *redoubt.Assessment) error { return Text(w, a, TextOptions{}) }},
}

// verdict is what an assessment comes to.
type verdict struct {
	Word string // one of the five words
	Tone string // "good", "bad" or "doubt"
	Line string // the reason in a sentence
}

// judge finds the verdict: Failed if a gate is not met; Doubtful if it or a
// robustness of over 80 % rests on numbers that cannot be believed; Passed if
// there are gates; else Robust or Vulnerable by the seed's rule of 80 %.
func judge(a *redoubt.Assessment) verdict {
	if failed := failedGates(a); len(failed) > 0 {
		return verdict{"Failed", "bad", fmt.Sprintf("%d of %s not met: %s, measured %s.",
			len(failed), count(len(a.Gates), "gate"), failed[0].Expr, num(failed[0].Value))}
	}
	worst := worstThreat(a)
	if worst == nil {
		return verdict{"Doubtful", "doubt", "No threat model was assessed."}
	}
	secure := true
	for i := range a.Threats {
		secure = secure && a.Threats[i].Secure
	}
	measured := fmt.Sprintf("at least %s of the samples that the model gets right can be turned (%s).",
		pct(worst.AttackSuccessRate), threatName(worst))
	if doubted := doubtedThreat(a); doubted != nil && (len(a.Gates) > 0 || secure) {
		return verdict{"Doubtful", "doubt", fmt.Sprintf("The measurement for %s is %s, so the good result is not proven.",
			threatName(doubted), doubted.Reliability.Verdict)}
	}
	switch {
	case len(a.Gates) > 0:
		return verdict{"Passed", "good", fmt.Sprintf("%s met, none missed; %s", count(len(a.Gates), "gate"), measured)}
	case secure:
		return verdict{"Robust", "good", "No gate was set; " + measured}
	}
	return verdict{"Vulnerable", "bad", "No gate was set; " + measured}
}

func failedGates(a *redoubt.Assessment) []redoubt.GateResult {
	var failed []redoubt.GateResult
	for _, g := range a.Gates {
		if !g.Pass {
			failed = append(failed, g)
		}
	}
	return failed
}

// worstThreat is the threat model with the lowest robust accuracy, nil if none.
func worstThreat(a *redoubt.Assessment) *redoubt.ThreatResult {
	var worst *redoubt.ThreatResult
	for i := range a.Threats {
		if worst == nil || a.Threats[i].RobustAccuracy < worst.RobustAccuracy {
			worst = &a.Threats[i]
		}
	}
	return worst
}

// doubtedThreat is the first threat model with an invalid number, else the
// first with a suspect one, else nil.
func doubtedThreat(a *redoubt.Assessment) *redoubt.ThreatResult {
	for _, grade := range []string{redoubt.Invalid, redoubt.Suspect} {
		for i := range a.Threats {
			if a.Threats[i].Reliability.Verdict == grade {
				return &a.Threats[i]
			}
		}
	}
	return nil
}

// norms spells the norms as the field writes them.
var norms = map[string]string{"linf": "L∞", "l2": "L2", "l1": "L1", "l0": "L0", "universal-linf": "universal L∞", "universal-l2": "universal L2"}

func normName(norm string) string {
	if name, ok := norms[norm]; ok {
		return name
	}
	return norm
}

func threatName(t *redoubt.ThreatResult) string { return boundName(t.Norm, t.Eps) }

// boundName is a threat model's main bound in its unit.
func boundName(norm string, eps float64) string {
	bound := num(eps)
	switch norm {
	case "spatial":
		bound += "°"
	case "patch":
		bound = num(100*eps) + " %"
	}
	return normName(norm) + " ≤ " + bound
}

// className names a class: its number, and its name where the data has one.
func className(a *redoubt.Assessment, class int) string {
	number := strconv.Itoa(class)
	if class >= 0 && class < len(a.Data.Classes) && a.Data.Classes[class] != number {
		return a.Data.Classes[class]
	}
	return number
}

// pct is a share in per cent with one decimal. Rounding never makes 100 of
// what is less, nor 0 of what is more.
func pct(share float64) string {
	switch {
	case share > 0 && share < 0.0005:
		return "< 0.1 %"
	case share < 1 && share >= 0.9995:
		return "> 99.9 %"
	}
	return strconv.FormatFloat(100*share, 'f', 1, 64) + " %"
}

// span is an interval of shares in per cent.
func span(ci [2]float64) string {
	return fmt.Sprintf("%.1f – %.1f %%", 100*ci[0], 100*ci[1])
}

// num is a number to four significant digits, as short as possible.
func num(v float64) string {
	if v != 0 && (math.Abs(v) >= 1e6 || math.Abs(v) < 1e-4) {
		return strconv.FormatFloat(v, 'g', 4, 64)
	}
	s := strconv.FormatFloat(v, 'f', max(0, 4-int(math.Ceil(math.Log10(math.Max(math.Abs(v), 1e-4)+1e-12)))), 64)
	if strings.Contains(s, ".") {
		s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	}
	return s
}

// whole groups a whole number's digits in threes.
func whole(n int64) string {
	s := strconv.FormatInt(n, 10)
	start := len(s)%3 + 3*b2i(len(s)%3 == 0)
	if n < 0 {
		return "-" + whole(-n)
	}
	out := s[:min(start, len(s))]
	for i := start; i < len(s); i += 3 {
		out += "," + s[i:i+3]
	}
	return out
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// count is "1 gate" or "3 gates".
func count(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return whole(int64(n)) + " " + noun
}

// hasCertificate reports whether proofs were asked for.
func hasCertificate(a *redoubt.Assessment) bool {
	return slices.ContainsFunc(a.Threats, func(t redoubt.ThreatResult) bool { return t.CertifiedAccuracy != nil })
}

func certified(t *redoubt.ThreatResult) string {
	if t.CertifiedAccuracy == nil {
		return "–"
	}
	return pct(*t.CertifiedAccuracy)
}
