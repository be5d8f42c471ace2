package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/privacy/anon"
	"github.com/redoubt-ml/redoubt/privacy/anon/risk"
)

// anonRiskFlags say what is measured.
type anonRiskFlags struct {
	anonFlags
	quasi      []string
	threshold  float64
	population string
	size       int64
	fraction   float64
	gate       float64
	most, sets int
}

// riskAnswer is what anon risk prints: figures, or what was found among columns.
type riskAnswer struct {
	Table     string          `json:"table"`
	Risk      *risk.Report    `json:"risk,omitempty"`
	Discovery *risk.Discovery `json:"discovery,omitempty"`
	Hints     []risk.Hint     `json:"safe_harbor_hints,omitempty"`
}

func newAnonRisk(a *app) *cobra.Command {
	var f anonRiskFlags
	cmd := &cobra.Command{
		Use: "risk TABLE", Short: "How likely people are found in a table", Args: cobra.ExactArgs(1),
		Long: `How likely people are found in a table by what others know of them.

With --qi: how many rows look alike in these columns, and the risk to records from a
prosecutor (who knows that a person is in the table), a journalist (who looks for
anybody, in the table of --population) and a marketer (who links every record). With
--population-size or --sample, also how many people of the whole population are
unique, estimated. The table may be larger than memory.

Without --qi: which columns, and which few of them together, tell rows apart, and
which look like identifiers that the Safe Harbor rule of HIPAA names.`,
		Example: `  redoubt anon risk patients.csv --qi age,sex,zip
  redoubt anon risk patients.csv --qi age,sex,zip --sample 0.01 --max-risk 0.2
  redoubt anon risk patients.csv`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.run(cmd.Context(), a, args[0], cmd.OutOrStdout())
		},
	}
	f.add(cmd)
	f.addHTML(cmd)
	cmd.Flags().StringSliceVar(&f.quasi, "qi", nil, "quasi-identifiers: what others may know of a person")
	cmd.Flags().Float64Var(&f.threshold, "threshold", 0.2, "records at a risk above this are counted")
	cmd.Flags().StringVar(&f.population, "population", "", "table of all people, with the same columns")
	cmd.Flags().Int64Var(&f.size, "population-size", 0, "how many people there are")
	cmd.Flags().Float64Var(&f.fraction, "sample", 0, "which part of all people is in the table, in place of --population-size")
	cmd.Flags().Float64Var(&f.gate, "max-risk", 0, "exit with 1 when a record is at a higher risk (journalist's with --population, else prosecutor's)")
	cmd.Flags().IntVar(&f.most, "most", 4, "columns in a set, without --qi")
	cmd.Flags().IntVar(&f.sets, "sets", 20_000, "sets to look at, without --qi")
	return cmd
}

func (f *anonRiskFlags) run(ctx context.Context, a *app, path string, stdout io.Writer) error {
	if err := f.check(); err != nil {
		return err
	}
	if err := keepApart([]string{path, f.population}, []string{f.html}); err != nil {
		return err
	}
	p := newProgress(a.quiet)
	defer p.clear()
	answer := riskAnswer{Table: path}
	var err error
	if len(f.quasi) == 0 {
		err = f.discover(ctx, p, &answer)
	} else {
		err = f.measure(ctx, p, &answer)
	}
	if err != nil {
		return err
	}
	p.clear()
	if f.html != "" {
		if err := f.page(&answer); err != nil {
			return err
		}
	}
	if f.json {
		err = json.NewEncoder(stdout).Encode(answer)
	} else {
		err = riskText(stdout, &answer)
	}
	if err != nil || f.gate == 0 {
		return err
	}
	who, highest := "prosecutor", answer.Risk.Prosecutor.Highest
	if answer.Risk.Journalist != nil {
		who, highest = "journalist", answer.Risk.Journalist.Highest
	}
	if highest > f.gate {
		return fmt.Errorf("%w: a record is at risk %.4g from a %s, more than %.4g", redoubt.ErrGate, highest, who, f.gate)
	}
	return nil
}

func (f *anonRiskFlags) measure(ctx context.Context, p *progress, to *riskAnswer) (err error) {
	if f.size != 0 && f.fraction != 0 {
		return errors.New("give one of --population-size and --sample")
	}
	if f.size < 0 || f.fraction < 0 || f.fraction > 1 || f.gate < 0 || f.gate > 1 {
		return errors.New("--population-size must be above 0, --sample and --max-risk between 0 and 1")
	}
	opt := risk.Options{Quasi: f.quasi, Threshold: f.threshold, Population: f.population, PopulationSize: f.size,
		Memory: f.memory << 20, Temp: f.temp, Progress: p.steps}
	if to.Risk, err = risk.Measure(ctx, to.Table, opt); err != nil {
		return err
	}
	if f.fraction > 0 {
		to.Risk.Estimate(int64(math.Round(float64(to.Risk.Rows) / f.fraction)))
	}
	return nil
}

func (f *anonRiskFlags) discover(ctx context.Context, p *progress, to *riskAnswer) error {
	if f.gate != 0 || f.population != "" || f.size != 0 || f.fraction != 0 {
		return errors.New("--qi is required with --max-risk, --population, --population-size and --sample")
	}
	if f.most < 1 || f.most > 32 || f.sets < 1 {
		return errors.New("--most must lie between 1 and 32, and --sets above 0")
	}
	table, err := anon.ReadTable(ctx, to.Table, nil, func(done, all int64) { p.steps("reading", done, all) })
	if err != nil {
		return err
	}
	to.Hints = risk.Hints(table)
	to.Discovery, err = risk.Discover(ctx, table, risk.DiscoverOptions{Most: f.most, Sets: f.sets})
	return err
}

func (f *anonRiskFlags) page(answer *riskAnswer) error {
	to, file, err := beside(f.html)
	if err != nil {
		return err
	}
	defer discardPlaces([]place{to})
	if err := errors.Join(riskSheet(answer).write(file), file.Close()); err != nil {
		return fmt.Errorf("write %s: %w", f.html, err)
	}
	return settle([]place{to})
}

func riskText(w io.Writer, a *riskAnswer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if r := a.Risk; r != nil {
		fmt.Fprintf(t, "%s by %s\n\n", a.Table, strings.Join(r.Quasi, ", "))
		fmt.Fprintf(t, "rows\t%d\n", r.Rows)
		fmt.Fprintf(t, "classes of rows that look alike\t%d\n", r.Classes)
		fmt.Fprintf(t, "rows in the smallest class\t%d\n", r.Smallest)
		fmt.Fprintf(t, "rows that look like no other\t%d (%s)\n", r.Uniques, percent(float64(r.Uniques)/float64(r.Rows)))
		fmt.Fprintf(t, "\nATTACKER\tHIGHEST\tAVERAGE\tRECORDS ABOVE %.3g\n", r.Threshold)
		fmt.Fprintf(t, "prosecutor\t%.4g\t%.4g\t%s\n", r.Prosecutor.Highest, r.Prosecutor.Average, percent(r.Prosecutor.Above))
		if j := r.Journalist; j != nil {
			fmt.Fprintf(t, "journalist\t%.4g\t%.4g\t%s\n", j.Highest, j.Average, percent(j.Above))
		} else {
			fmt.Fprintf(t, "journalist\tat most the prosecutor's: give --population\t\t\n")
		}
		fmt.Fprintf(t, "marketer\t\t%.4g\t\n", r.Marketer)
		if u := r.Uniqueness; u != nil {
			fmt.Fprintf(t, "\nUNIQUE OF %d PEOPLE\tESTIMATE\n", u.Population)
			for _, e := range []struct {
				name  string
				share *float64
			}{{"Pitman", u.Pitman}, {"Zayatz", u.Zayatz}, {"SNB", u.SNB}} {
				if e.share == nil {
					fmt.Fprintf(t, "%s\tno solution\n", e.name)
					continue
				}
				fmt.Fprintf(t, "%s\t%s\n", e.name, percent(*e.share))
			}
			fmt.Fprintf(t, "by Dankar's rule: %s\t%s\n", u.Chosen, percent(u.Share))
		}
		fmt.Fprintf(t, "\nNot covered: somebody who knows more of a person than these columns.\n")
		return t.Flush()
	}
	fmt.Fprintln(t, "COLUMNS\tUNIQUE ROWS\tPAIRS APART\tDIFFERENT VALUES A ROW")
	d := a.Discovery
	for _, s := range append(append([]risk.Set{}, d.Columns...), d.Sets[:min(15, len(d.Sets))]...) {
		fmt.Fprintf(t, "%s\t%s\t%s\t%.4g\n", strings.Join(s.Columns, ", "), percent(s.Unique), percent(s.Separation), s.Distinct)
	}
	for _, s := range d.Keys {
		fmt.Fprintf(t, "%s\tevery row is unique: a direct identifier, or a key\n", strings.Join(s.Columns, ", "))
	}
	if !d.Complete {
		fmt.Fprintf(t, "\nOnly %d sets were looked at: raise --sets for more.\n", d.Looked)
	}
	if len(a.Hints) > 0 {
		fmt.Fprintln(t, "\nCOLUMN\tSAFE HARBOR MAY HAVE IT REMOVED AS\tBECAUSE")
		for _, h := range a.Hints {
			fmt.Fprintf(t, "%s\t%s\t%s\n", h.Column, h.Identifier, h.Reason)
		}
	}
	return t.Flush()
}
