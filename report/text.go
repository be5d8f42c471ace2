package report

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/redoubt-ml/redoubt"
)

// TextOptions says how text is to look. The zero value is plain.
type TextOptions struct {
	// Colour adds ANSI colours, for a terminal.
	Colour bool
}

// textWidth is the width of running text; tables keep within it unless a name
// is long.
const textWidth = 80

// Text writes the assessment for a terminal: the verdict, the gates, the threat
// models, each attack, the doubts and the findings.
func Text(w io.Writer, a *redoubt.Assessment, opt TextOptions) error {
	t := &text{colour: opt.Colour}
	t.verdict(a)
	t.subject(a)
	t.gates(a)
	t.threats(a)
	t.attacks(a)
	t.features(a)
	t.flags(a)
	t.findings(a)
	t.classes(a)
	t.notTested(a)
	if _, err := io.WriteString(w, t.String()); err != nil {
		return fmt.Errorf("write report as text: %w", err)
	}
	return nil
}

type text struct {
	strings.Builder
	colour bool
}

// ansi are the colours of the tones, and bold.
var ansi = map[string]string{"good": "\x1b[1;32m", "bad": "\x1b[1;31m", "doubt": "\x1b[1;33m", "bold": "\x1b[1m"}

func (t *text) paint(style, s string) string {
	if !t.colour || ansi[style] == "" {
		return s
	}
	return ansi[style] + s + "\x1b[0m"
}

func (t *text) heading(s string) { fmt.Fprintf(t, "\n%s\n", t.paint("bold", plain(s))) }

// para writes running text, wrapped, with the first line behind lead and the
// others below it.
func (t *text) para(lead, s string) {
	indent := strings.Repeat(" ", utf8.RuneCountInString(lead))
	line, used := lead, utf8.RuneCountInString(lead)
	for i, word := range strings.Fields(plain(s)) {
		n := utf8.RuneCountInString(word)
		if i > 0 && used+1+n > textWidth {
			fmt.Fprintln(t, line)
			line, used, i = indent, len(indent), 0
		}
		if i > 0 {
			line, used = line+" ", used+1
		}
		line, used = line+word, used+n
	}
	fmt.Fprintln(t, line)
}

func (t *text) verdict(a *redoubt.Assessment) {
	v := judge(a)
	fmt.Fprintln(t, t.paint(v.Tone, strings.ToUpper(v.Word)))
	t.para("  ", v.Line)
	fmt.Fprintln(t)
}

func (t *text) subject(a *redoubt.Assessment) {
	file := func(name string, d redoubt.Digest) string {
		return plain(bases(name)) + ", sha256 " + plain(short(d))
	}
	model := file(a.Model.Path, a.Model.SHA256)
	if r := a.Model.Remote; r != nil {
		model = plain(a.Model.Path) + ", " + plain(r.Protocol) + "\n         " + plain(asked(r))
	}
	fmt.Fprintf(t, "  model  %s\n  data   %s\n  clean  %s of %s right before any attack\n", model,
		file(a.Data.Path, a.Data.SHA256), pct(a.CleanAccuracy), count(a.Data.N, "sample"))
}

func (t *text) threats(a *redoubt.Assessment) {
	if len(a.Threats) == 0 {
		return
	}
	t.heading("Robust accuracy by threat model")
	var rows [][]string
	var tones []string
	align, heads := "lrrrrr", []string{"", "robust", "95 % interval", "of all", "success", "of right"}
	if hasCertificate(a) {
		align, heads = align+"r", append(heads, "certified")
	}
	for i := range a.Threats {
		r := &a.Threats[i]
		row := []string{threatName(r), pct(r.RobustAccuracy), span(r.CI95),
			fmt.Sprintf("%d/%d", r.Robust, r.N), pct(r.AttackSuccessRate), fmt.Sprintf("%d/%d", r.Correct-r.Robust, r.Correct)}
		if hasCertificate(a) {
			row = append(row, certified(r))
		}
		rows = append(rows, append(row, r.Reliability.Verdict))
		tones = append(tones, gradeTone(r.Reliability.Verdict))
	}
	t.table(align+"l", append(heads, "measurement"), rows, tones)
	for i := range a.Threats {
		if r := &a.Threats[i]; r.Bound != "" {
			t.para("  "+plain(threatName(r))+": ", r.Bound)
		}
	}
}

func (t *text) attacks(a *redoubt.Assessment) {
	for i := range a.Threats {
		r := &a.Threats[i]
		if len(r.Attacks) == 0 {
			continue
		}
		t.heading("Attacks on " + threatName(r))
		var rows [][]string
		for _, x := range r.Attacks {
			rows = append(rows, []string{x.Name, whole(int64(x.Attacked)), whole(int64(x.Broken)), pct(x.RobustAccuracy),
				whole(x.Gradients), whole(x.Forwards), fmt.Sprintf("%.1f", x.Seconds), distortion(x)})
		}
		t.table("lrrrrrrr", []string{"", "tried", "broken", "left", "gradients", "forwards", "seconds", "median"}, rows, nil)
		for _, x := range r.Attacks {
			if x.Note != "" {
				t.para("  "+plain(x.Name)+": ", x.Note)
			}
		}
	}
}

// featuresShown is how many of a table's features the text lists.
const featuresShown = 10

func (t *text) features(a *redoubt.Assessment) {
	for i := range a.Threats {
		r := &a.Threats[i]
		if len(r.Features) == 0 {
			continue
		}
		t.heading("Features changed on " + threatName(r))
		var rows [][]string
		for _, f := range r.Features[:min(len(r.Features), featuresShown)] {
			rows = append(rows, []string{f.Feature, whole(int64(f.Changed)), pct(f.Share), changed(f)})
		}
		t.table("lrrl", []string{"", "samples", "of fallen", "how"}, rows, nil)
		if more := len(r.Features) - featuresShown; more > 0 {
			t.para("  ", count(more, "feature")+" more")
		}
	}
}

// changed says in words how a feature was changed.
func changed(f redoubt.FeatureResult) string {
	switch {
	case f.MedianChange == 0:
		return "mostly " + f.Most
	case f.Down == 0:
		return "up, by " + num(f.MedianChange) + " in the median"
	case f.Up == 0:
		return "down, by " + num(f.MedianChange) + " in the median"
	}
	return fmt.Sprintf("%d up, %d down, by %s in the median", f.Up, f.Down, num(f.MedianChange))
}

// distortion is the median size of an attack's perturbations, a dash where it
// broke nothing.
func distortion(x redoubt.AttackResult) string {
	if x.Broken == 0 {
		return "–"
	}
	return num(x.MedianDistortion)
}

func (t *text) gates(a *redoubt.Assessment) {
	if len(a.Gates) == 0 {
		return
	}
	t.heading("Gates")
	for _, g := range a.Gates {
		word, tone := "pass", "good"
		if !g.Pass {
			word, tone = "FAIL", "bad"
		}
		fmt.Fprintf(t, "  %s  %s  (measured %s)\n", t.paint(tone, word), plain(g.Expr), num(g.Value))
	}
}

func (t *text) flags(a *redoubt.Assessment) {
	for i, d := range doubts(a) {
		if i == 0 {
			t.heading("Can these numbers be believed?")
		}
		fmt.Fprintf(t, "  %s (%s): %s\n", plain(d.ID), plain(d.Threats), t.paint(gradeTone(d.Verdict), plain(d.Verdict)))
		t.para("    ", d.Evidence)
		if d.Remedy != "" {
			t.para("    Remedy: ", d.Remedy)
		}
	}
}

func (t *text) findings(a *redoubt.Assessment) {
	if len(a.Findings) == 0 {
		return
	}
	t.heading("Findings")
	for _, f := range bySeverity(a.Findings) {
		t.para("  "+f.Severity.String()+": ", f.Title+technique(f))
		if f.Evidence != "" {
			t.para("    ", f.Evidence)
		}
		if f.Remedy != "" {
			t.para("    Remedy: ", f.Remedy)
		}
	}
}

func technique(f redoubt.Finding) string {
	if f.Technique == "" {
		return ""
	}
	return " (" + f.Technique + ")"
}

// bySeverity is the findings, worst first, else in their order.
func bySeverity(in []redoubt.Finding) []redoubt.Finding {
	out := slices.Clone(in)
	slices.SortStableFunc(out, func(a, b redoubt.Finding) int { return cmp.Compare(b.Severity, a.Severity) })
	return out
}

func (t *text) classes(a *redoubt.Assessment) {
	if len(a.PerClass) == 0 {
		return
	}
	t.heading("Classes")
	var rows [][]string
	for _, c := range a.PerClass {
		rows = append(rows, []string{classLabel(a, c), whole(int64(c.N)), pct(c.Clean), pct(c.Robust), falls(a, c)})
	}
	t.table("lrrrl", []string{"", "samples", "clean", "robust", "mostly taken for"}, rows, nil)
}

func classLabel(a *redoubt.Assessment, c redoubt.ClassResult) string {
	if c.Name != "" {
		return c.Name
	}
	return className(a, c.Class)
}

func falls(a *redoubt.Assessment, c redoubt.ClassResult) string {
	if c.FallsTo < 0 {
		return "–"
	}
	return fmt.Sprintf("%s (%s)", className(a, c.FallsTo), pct(c.FallsPct))
}

func (t *text) notTested(a *redoubt.Assessment) {
	if len(a.NotTested) > 0 {
		t.heading("Not tested")
	}
	for _, s := range a.NotTested {
		t.para("  - ", s)
	}
	fmt.Fprintf(t, "\n%s\n", plain(madeBy(a)))
	if a.Model.Remote != nil {
		t.para("authorised by: ", a.Model.Remote.Authorisation)
	}
	if a.Tool.Command != "" {
		fmt.Fprintf(t, "repeat with: %s\n", plain(a.Tool.Command)) // unwrapped, to be copied
	}
}

// madeBy says in one line what it takes to repeat the run.
func madeBy(a *redoubt.Assessment) string {
	return fmt.Sprintf("redoubt %s, ONNX Runtime %s, seed %d, %s, %.1f s",
		cmp.Or(a.Tool.Version, "(unversioned)"), cmp.Or(a.Tool.Runtime, "unknown"), a.Tool.Seed, count(a.Tool.Threads, "thread"), a.Tool.Seconds)
}

// asked is what a remote model was asked.
func asked(r *redoubt.Remote) string {
	s := whole(r.Queries) + " queries"
	if r.Budget > 0 {
		s += " of " + whole(r.Budget)
	}
	if r.BudgetSpent {
		s += ", and the attacks were not done"
	}
	return fmt.Sprintf("%s, in %s (%s refused, %s sent again)", s, count(int(r.Requests), "request"), whole(r.Refused), whole(r.Retried))
}

// table writes rows in columns, each aligned "l" or "r". The last cell of row
// i gets the colour of tones[i].
func (t *text) table(align string, head []string, rows [][]string, tones []string) {
	width := make([]int, len(align))
	all := rows
	if head != nil {
		all = append([][]string{head}, rows...)
	}
	for _, row := range all {
		for c := range row {
			row[c] = plain(row[c])
			width[c] = max(width[c], utf8.RuneCountInString(row[c]))
		}
	}
	for i, row := range all {
		var line strings.Builder
		for c, cell := range row {
			pad := strings.Repeat(" ", width[c]-utf8.RuneCountInString(cell))
			if body := i - (len(all) - len(rows)); c == len(row)-1 && body >= 0 && tones != nil {
				cell = t.paint(tones[body], cell)
			}
			if align[c] == 'r' {
				line.WriteString("  " + pad + cell)
			} else {
				line.WriteString("  " + cell + pad)
			}
		}
		fmt.Fprintln(t, strings.TrimRight(line.String(), " "))
	}
}

// plain replaces what could steer a terminal.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == '\u2028' || r == '\u2029' {
			return '\ufffd'
		}
		return r
	}, s)
}

func short(d redoubt.Digest) string {
	if len(d) > 16 {
		return string(d[:16]) + "…"
	}
	return string(d)
}

func gradeTone(verdict string) string {
	switch verdict {
	case redoubt.Trustworthy:
		return "good"
	case redoubt.Suspect:
		return "doubt"
	}
	return "bad"
}

// facts are the model's characteristics as pairs of name and value.
func facts(c redoubt.Characteristics) [][2]string {
	var layers []string
	for _, op := range slices.Sorted(maps.Keys(c.Layers)) {
		layers = append(layers, fmt.Sprintf("%s ×%d", op, c.Layers[op]))
	}
	output := "logits or another score"
	if c.OutputIsProbability {
		output = "probabilities; attacks read the logits beneath them"
	}
	list := func(s []string) string { return cmp.Or(strings.Join(s, ", "), "none") }
	return [][2]string{
		{"Parameters", whole(c.Parameters)},
		{"Depth", count(c.Depth, "parametrised layer")},
		{"Layers", list(layers)},
		{"Activations", list(c.Activations)},
		{"Regularisation", list(c.Regularisation)},
		{"Output", output},
	}
}

// bases is the file names of a data set's paths, which a comma joins.
func bases(spec string) string {
	parts := strings.Split(spec, ",")
	for i, p := range parts {
		parts[i] = path.Base(p)
	}
	return strings.Join(parts, ", ")
}
