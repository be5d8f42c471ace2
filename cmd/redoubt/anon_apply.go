package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/privacy/anon"
	"github.com/redoubt-ml/redoubt/privacy/anon/risk"
)

// anonApplyFlags say where the policy is and where results go.
type anonApplyFlags struct {
	anonFlags
	policy, out, claims string
}

func newAnonApply(a *app) *cobra.Command {
	var f anonApplyFlags
	cmd := &cobra.Command{
		Use: "apply TABLE", Short: "Anonymise a table by a policy", Args: cobra.ExactArgs(1),
		Long: anonHelp(`Recode a table (.csv, .tsv or .parquet) until the promises of a policy hold.

The policy says which columns others may know of a person, which they must not
learn, and which models must hold; docs/anon.md shows one. The generalisation that
loses least is searched in full, and the output says whether it is the best there
is. Beside the released table a file of claims is written, from which
redoubt anon verify derives every number again.

Exit code 1: no generalisation keeps the promises, with the reason; 3: the budget of
the search ended before one was found.`),
		Example: `  redoubt anon apply patients.csv --policy anon.yaml -o released.csv
  redoubt anon apply patients.parquet --policy anon.yaml -o released.parquet --html report.html`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.run(cmd.Context(), a, args[0], cmd.OutOrStdout())
		},
	}
	f.add(cmd)
	f.addHTML(cmd)
	cmd.Flags().StringVar(&f.policy, "policy", "", "YAML file: columns, models, hierarchies (required)")
	cmd.Flags().StringVarP(&f.out, "out", "o", "", "file for the released table (required)")
	cmd.Flags().StringVar(&f.claims, "claims", "", "file for the claims (default: that of --out and .claims.json)")
	return cmd
}

// anonHelp adds the models and metrics that there are.
func anonHelp(text string) string {
	text += "\n\nModels:"
	for _, m := range anon.Models {
		text += "\n  " + m.Name + ": " + m.Doc
	}
	text += "\n\nMetrics, with ARX's names in brackets:"
	for _, m := range anon.Metrics {
		text += "\n  " + m.Name + ": " + m.Doc
	}
	return text
}

func (f *anonApplyFlags) run(ctx context.Context, a *app, path string, stdout io.Writer) error {
	if f.policy == "" || f.out == "" {
		return errors.New("--policy and --out are required")
	}
	if err := f.check(); err != nil {
		return err
	}
	if f.claims == "" {
		f.claims = f.out + ".claims.json"
	}
	text, err := os.ReadFile(f.policy)
	if err != nil {
		return fmt.Errorf("read the policy: %w", err)
	}
	policy, err := anon.ParsePolicy(text, filepath.Dir(f.policy))
	if err != nil {
		return fmt.Errorf("%s: %w", f.policy, err)
	}
	reads := []string{path, f.policy, policy.Population}
	for _, q := range policy.Quasi {
		reads = append(reads, q.Hierarchy.File)
	}
	for _, m := range policy.Models {
		reads = append(reads, m.Hierarchy.File)
	}
	if err := keepApart(reads, []string{f.out, f.claims, f.html}); err != nil {
		return err
	}
	p := newProgress(a.quiet)
	defer p.clear()
	table, err := anon.ReadTable(ctx, path, policy.Drop, func(done, all int64) { p.steps("reading", done, all) })
	if err != nil {
		return err
	}
	release, err := anon.Apply(ctx, policy, table, p.steps)
	if errors.Is(err, anon.ErrNoSolution) {
		err = fmt.Errorf("%w: %w", redoubt.ErrGate, err)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", f.policy, err)
	}
	claims, err := f.write(ctx, release, path, p)
	if err != nil {
		return err
	}
	p.clear()
	if f.json {
		return json.NewEncoder(stdout).Encode(claims)
	}
	return applyText(stdout, f.out, claims)
}

// write makes the files, and puts them in place when all are whole.
func (f *anonApplyFlags) write(ctx context.Context, r *anon.Release, input string, p *progress) (*anon.Claims, error) {
	var places []place
	defer func() { discardPlaces(places) }()
	make := func(path string, write func(io.Writer) error) error {
		to, file, err := beside(path)
		if err != nil {
			return err
		}
		places = append(places, to)
		if err := errors.Join(write(file), file.Close()); err != nil {
			return fmt.Errorf("write %s: %w", path, err)
		}
		return nil
	}
	if err := make(f.out, func(w io.Writer) error { return r.Write(w, f.out) }); err != nil {
		return nil, err
	}
	released := places[0].temp
	claims, err := r.Claims(ctx, released, anon.VerifyOptions{Memory: f.memory << 20, Temp: f.temp, Progress: p.steps})
	if err != nil {
		return nil, err
	}
	if f.html != "" {
		var quasi []string
		for _, q := range claims.Quasi {
			quasi = append(quasi, q.Column)
		}
		var measured [2]*risk.Report
		for i, path := range []string{input, released} {
			opt := risk.Options{Quasi: quasi, Memory: f.memory << 20, Temp: f.temp, Progress: p.steps}
			if path == released && claims.SuppressedAs == "mask" {
				opt.Masked = claims.Suppressed
			}
			if measured[i], err = risk.Measure(ctx, path, opt); err != nil {
				return nil, err
			}
		}
		if err := make(f.html, func(w io.Writer) error { return applySheet(f.out, claims, measured[0], measured[1]).write(w) }); err != nil {
			return nil, err
		}
	}
	if err := make(f.claims, claims.Write); err != nil {
		return nil, err
	}
	// The table last: where it is, the rest is.
	places = append(places[1:], places[0])
	return claims, settle(places)
}

func applyText(w io.Writer, out string, c *anon.Claims) error {
	fmt.Fprintf(w, "%s: %d rows in %d classes of at least %d; %d rows suppressed\n", out, c.Table.Rows, c.Classes, c.Smallest, c.Suppressed)
	fmt.Fprintf(w, "%s\n\n", verdictOf(c))
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "COLUMN\tLEVEL\tOF")
	for _, q := range c.Quasi {
		level := fmt.Sprint(q.Level)
		if q.Level < 0 {
			level = "local"
		}
		fmt.Fprintf(t, "%s\t%s\t%d\n", q.Column, level, q.Levels-1)
	}
	fmt.Fprintln(t, "\nMODEL\tFROM\tTO")
	for _, m := range c.Models {
		fmt.Fprintf(t, "%s\t%.4g\t%.4g\n", m.Title(), float64(m.Least), float64(m.Most))
	}
	u := c.Utility
	fmt.Fprintln(t, "\nWHAT IS LEFT\t")
	fmt.Fprintf(t, "information loss\t%s\n", percent(u.Loss))
	fmt.Fprintf(t, "entropy lost\t%s\n", percent(u.EntropyLoss))
	fmt.Fprintf(t, "discernibility\t%.6g\n", u.Discernibility)
	fmt.Fprintf(t, "average class\t%.4g rows\n", u.AverageClass)
	fmt.Fprintf(t, "suppressed\t%s\n", percent(u.Suppressed))
	if acc := u.Accuracy; acc != nil {
		fmt.Fprintf(t, "accuracy for %s\t%s before, %s after, %s by guessing\n", acc.Target, percent(acc.Before), percent(acc.After), percent(acc.Baseline))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(w, "\nNot protected against:")
	for _, text := range c.Unprotected {
		if _, err := fmt.Fprintf(w, "- %s\n", text); err != nil {
			return err
		}
	}
	return nil
}
