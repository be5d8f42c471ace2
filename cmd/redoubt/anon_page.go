package main

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"math/bits"
	"path/filepath"
	"strings"

	"github.com/redoubt-ml/redoubt/privacy/anon"
	"github.com/redoubt-ml/redoubt/privacy/anon/risk"
)

//go:embed anon_page.html
var anonPage string

// sheet is a page about a table: one self-contained file that follows the reader's
// light or dark setting, runs no scripts and asks for nothing.
type sheet struct {
	Kicker, Title    string
	Tone, Word, Line string
	Figures          [][3]string // name, number, what of
	Sections         []sheetSection
}

// sheetSection is some of text, bars, a table and a list.
type sheetSection struct {
	Title, Text string
	Bars        *bars
	Head        []string
	Rows        [][]string
	Items       []string
}

func (s *sheet) write(w io.Writer) error {
	t, err := template.New("sheet").Funcs(template.FuncMap{"mark": func(tone string) string {
		return map[string]string{"good": "✓", "bad": "✕", "doubt": "!"}[tone]
	}}).Parse(anonPage)
	if err != nil {
		return fmt.Errorf("parse the page: %w", err)
	}
	return t.Execute(w, s)
}

// bars are shares of rows side by side, before and, perhaps, after.
type bars struct {
	W, H, Base float64
	Desc       string
	Series     []string
	Groups     []barGroup
	Grid       []barTick
}

type barGroup struct {
	Label string
	At    float64
	Bars  []bar
}

type bar struct {
	X, Y, W, H float64
	Class      string
	Title      string
}

type barTick struct {
	Y     float64
	Label string
}

// sizeBars shows which share of rows lies in classes of which size, doubling from
// bar to bar.
func sizeBars(names []string, reports []*risk.Report) *bars {
	most := 0
	shares := make([][]float64, len(reports))
	for i, r := range reports {
		shares[i] = make([]float64, 65)
		for _, s := range r.Sizes {
			at := bits.Len64(uint64(s.Rows - 1)) // 1, 2, 3-4, 5-8, ...
			shares[i][at] += float64(s.Rows) * float64(s.Classes) / float64(r.Rows)
			most = max(most, at)
		}
	}
	const left, top, height, group = 44, 12, 220, 52
	b := &bars{W: left + float64(group*(most+1)) + 8, H: top + height + 44, Base: top + height, Series: names, Desc: "Share of rows by the size of their class."}
	for i := range 5 {
		b.Grid = append(b.Grid, barTick{top + height - float64(i)*height/4, fmt.Sprintf("%d %%", 25*i)})
	}
	for at := range most + 1 {
		g := barGroup{Label: sizeLabel(at), At: left + float64(group*at) + group/2}
		width := float64(group-12) / float64(len(reports))
		for i := range reports {
			share := shares[i][at]
			h := share * height
			title := fmt.Sprintf("%s: %s of the rows in classes of %s", names[i], percent(share), g.Label)
			g.Bars = append(g.Bars, bar{X: left + float64(group*at) + 6 + width*float64(i), Y: top + height - h, W: width - 2, H: h, Class: [...]string{"before", "after"}[i], Title: title})
			if share > 0 {
				b.Desc += " " + title + "."
			}
		}
		b.Groups = append(b.Groups, g)
	}
	return b
}

func sizeLabel(at int) string {
	if at < 2 {
		return fmt.Sprint(at + 1)
	}
	low, high := int64(1)<<(at-1)+1, int64(1)<<at
	if high < 1000 {
		return fmt.Sprintf("%d–%d", low, high)
	}
	return fmt.Sprintf("≤ %d", high)
}

func applySheet(out string, c *anon.Claims, before, after *risk.Report) *sheet {
	u := c.Utility
	s := &sheet{Kicker: "Redoubt anonymised table", Title: filepath.Base(out), Tone: "good", Word: "Promises kept", Line: verdictOf(c)}
	if c.Search != nil && !c.Search.Optimal || c.Search == nil {
		s.Line = "Every model holds. " + s.Line
	}
	s.Figures = [][3]string{
		{"Smallest class", fmt.Sprint(c.Smallest), fmt.Sprintf("rows look alike; %d classes", c.Classes)},
		{"Highest risk", percent(after.Prosecutor.Highest), "was " + percent(before.Prosecutor.Highest)},
		{"Average risk", percent(after.Prosecutor.Average), "was " + percent(before.Prosecutor.Average)},
		{"Information loss", percent(u.Loss), fmt.Sprintf("%s of the rows suppressed", percent(u.Suppressed))},
	}
	models := sheetSection{Title: "What is promised", Head: []string{"Model", "Least", "Greatest", "Protects against"}}
	for _, m := range c.Models {
		guards := ""
		for _, kind := range anon.Models {
			if kind.Name == m.Model {
				guards = kind.Guards
			}
		}
		models.Rows = append(models.Rows, []string{m.Title(), fmt.Sprintf("%.4g", float64(m.Least)), fmt.Sprintf("%.4g", float64(m.Most)), guards})
	}
	columns := sheetSection{Title: "What became of the columns", Head: []string{"Quasi-identifier", "Level", "of"}, Text: "Level 0 is the values as they were; at the last level nothing is left of them."}
	for _, q := range c.Quasi {
		level := fmt.Sprint(q.Level)
		if q.Level < 0 {
			level = "local"
		}
		columns.Rows = append(columns.Rows, []string{q.Column, level, fmt.Sprint(q.Levels - 1)})
	}
	worth := sheetSection{Title: "What the table is still worth", Head: []string{"Measure", "Value"}, Rows: [][]string{
		{"Information loss", percent(u.Loss)}, {"Entropy lost", percent(u.EntropyLoss)}, {"Discernibility", fmt.Sprintf("%.6g", u.Discernibility)},
		{"Rows a class", fmt.Sprintf("%.4g", u.AverageClass)}, {"Rows suppressed", percent(u.Suppressed)}}}
	if a := u.Accuracy; a != nil {
		worth.Text = fmt.Sprintf("A naive Bayes classifier, ten-fold cross-validated, predicts %s.", a.Target)
		worth.Rows = append(worth.Rows, []string{"Accuracy before", percent(a.Before)}, []string{"Accuracy after", percent(a.After)}, []string{"Accuracy of guessing the most frequent", percent(a.Baseline)})
	}
	s.Sections = []sheetSection{
		{Title: "Not protected against", Items: c.Unprotected}, models,
		{Title: "Rows by the size of their class", Text: "A row in a class of one can be picked out; in a class of k, it is one of k that look alike.", Bars: sizeBars([]string{"before", "after"}, []*risk.Report{before, after})},
		columns, worth,
		{Title: "Verify it", Text: "The claims lie beside the table, with the SHA-256 of its bytes: " + c.Table.SHA256 + ". redoubt anon verify derives each number above from the table again."},
	}
	return s
}

func riskSheet(a *riskAnswer) *sheet {
	s := &sheet{Kicker: "Redoubt re-identification risk", Title: filepath.Base(a.Table)}
	if r := a.Risk; r != nil {
		s.Tone, s.Word = "bad", "High risk"
		switch {
		case r.Prosecutor.Highest <= r.Threshold:
			s.Tone, s.Word = "good", "No record above the threshold"
		case r.Prosecutor.Above < 0.05:
			s.Tone, s.Word = "doubt", "Some records at risk"
		}
		s.Line = fmt.Sprintf("%s of the records are at a risk above %.3g from somebody who knows %s.", percent(r.Prosecutor.Above), r.Threshold, strings.Join(r.Quasi, ", "))
		s.Figures = [][3]string{
			{"Unique rows", fmt.Sprint(r.Uniques), fmt.Sprintf("of %d", r.Rows)},
			{"Highest risk", percent(r.Prosecutor.Highest), "prosecutor"},
			{"Average risk", percent(r.Prosecutor.Average), "prosecutor and marketer"},
		}
		attackers := sheetSection{Title: "Attackers", Head: []string{"Attacker", "Highest", "Average", "Records above the threshold"},
			Text: "The prosecutor knows that a person is in the table; the journalist looks for anybody, in a table of the population; the marketer links every record.",
			Rows: [][]string{{"Prosecutor", percent(r.Prosecutor.Highest), percent(r.Prosecutor.Average), percent(r.Prosecutor.Above)}}}
		if j := r.Journalist; j != nil {
			attackers.Rows = append(attackers.Rows, []string{"Journalist", percent(j.Highest), percent(j.Average), percent(j.Above)})
		}
		attackers.Rows = append(attackers.Rows, []string{"Marketer", "", percent(r.Marketer), ""})
		s.Sections = append(s.Sections, attackers, sheetSection{Title: "Rows by the size of their class", Bars: sizeBars([]string{"rows"}, []*risk.Report{r})})
		if u := r.Uniqueness; u != nil {
			s.Sections = append(s.Sections, sheetSection{Title: "Unique in the population", Text: fmt.Sprintf("By the decision rule of Dankar et al. (%s), %s of %d people are unique in these columns. It is an estimate from a model.", u.Chosen, percent(u.Share), u.Population)})
		}
		s.Sections = append(s.Sections, sheetSection{Title: "Not covered", Items: []string{"Somebody who knows more of a person than these columns."}})
		return s
	}
	d := a.Discovery
	s.Tone, s.Word, s.Line = "doubt", "Columns that tell rows apart", fmt.Sprintf("%d sets of columns were looked at.", d.Looked)
	rows := sheetSection{Title: "Columns and sets of columns", Head: []string{"Columns", "Unique rows", "Pairs apart"}}
	for _, x := range append(append([]risk.Set{}, d.Columns...), d.Sets...) {
		rows.Rows = append(rows.Rows, []string{strings.Join(x.Columns, ", "), percent(x.Unique), percent(x.Separation)})
	}
	s.Sections = append(s.Sections, rows)
	if len(a.Hints) > 0 {
		hints := sheetSection{Title: "Safe Harbor may have these removed", Head: []string{"Column", "As", "Because"}}
		for _, h := range a.Hints {
			hints.Rows = append(hints.Rows, []string{h.Column, h.Identifier, h.Reason})
		}
		s.Sections = append(s.Sections, hints)
	}
	return s
}
