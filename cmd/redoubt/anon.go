package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/redoubt-ml/redoubt/privacy/anon"
)

func newAnon(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "anon",
		Short: "Tables about people: anonymise, measure the risk, verify claims",
		Long: `Tables about people: recoded until a policy's promises hold, with as little loss as
possible; how likely people are found in a table; and whether what is claimed of a
released table is true, from the table alone. docs/anon.md tells the whole story.`,
		Example: "  redoubt anon risk patients.csv --qi age,sex,zip",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	for _, c := range anonCommands {
		cmd.AddCommand(c(a))
	}
	return cmd
}

// anonCommands lists the verbs beneath anon.
var anonCommands = []func(*app) *cobra.Command{
	newAnonApply,
	newAnonRisk,
	newAnonVerify,
}

// anonFlags bound the memory of what reads tables in one go.
type anonFlags struct {
	memory int64
	temp   string
	json   bool
	html   string
}

func (f *anonFlags) add(cmd *cobra.Command) {
	cmd.Flags().Int64Var(&f.memory, "memory", 1024, "megabytes of groups to hold before they go to a temporary file")
	cmd.Flags().StringVar(&f.temp, "temp", "", "folder of that file (default: the system's)")
	cmd.Flags().BoolVar(&f.json, "json", false, "print JSON")
}

func (f *anonFlags) addHTML(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.html, "html", "", "write a page with pictures to this file")
}

func (f *anonFlags) check() error {
	if f.memory < 1 || f.memory > 1<<24 {
		return fmt.Errorf("--memory %d: must be between 1 and 2^24 megabytes", f.memory)
	}
	return nil
}

func (p *progress) steps(stage string, done, all int64) {
	if all > 1<<20 { // bytes and the like: what counts is how far
		done, all = min(done, all)*100/all, 100
		stage += ", percent"
	}
	p.report(stage, int(min(done, all)), int(all))
}

// keepApart refuses to write over what is read, or two things to one place.
func keepApart(reads, writes []string) error {
	for i, w := range writes {
		if w == "" {
			continue
		}
		for _, other := range writes[:i] {
			if other != "" && filepath.Clean(other) == filepath.Clean(w) {
				return fmt.Errorf("write %s: two results cannot go to one file", w)
			}
		}
		there, err := os.Stat(w)
		if err != nil {
			continue
		}
		if !there.Mode().IsRegular() {
			return fmt.Errorf("write %s: it exists and is not a file", w)
		}
		for _, r := range reads {
			if in, err := os.Stat(r); err == nil && os.SameFile(in, there) {
				return fmt.Errorf("write %s: it is read too: give the result another name", w)
			}
		}
	}
	return nil
}

// place is a file that is written beside where it belongs, under a name with the
// same ending, and moved there when all are whole.
type place struct{ path, temp string }

// beside makes the temporary file.
func beside(path string) (place, *os.File, error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*-"+filepath.Base(path))
	if err != nil {
		return place{}, nil, fmt.Errorf("write %s: %w", path, errors.Unwrap(err))
	}
	return place{path, f.Name()}, f, nil
}

// settle moves every file to its place.
func settle(places []place) error {
	for _, p := range places {
		if err := os.Chmod(p.temp, 0o644); err != nil {
			return fmt.Errorf("write %s: %w", p.path, errors.Unwrap(err))
		}
	}
	for _, p := range places {
		if err := os.Rename(p.temp, p.path); err != nil {
			return fmt.Errorf("write %s: %w", p.path, errors.Unwrap(err))
		}
	}
	return nil
}

// discardPlaces removes what was not moved.
func discardPlaces(places []place) {
	for _, p := range places {
		os.Remove(p.temp) // gone already when it was moved
	}
}

// percent prints a share in per cent.
func percent(x float64) string { return fmt.Sprintf("%.4g %%", 100*x) }

// verdictOf is the search's result in words.
func verdictOf(c *anon.Claims) string {
	if c.Search == nil {
		return "local recoding (Mondrian, " + c.Recoding + "): heuristic, no bound is known"
	}
	f := anon.Found{Optimal: c.Search.Optimal, Lower: c.Search.Lower}
	return fmt.Sprintf("%s (%s %.6g; %d groupings for a lattice of %.0f)", f.String(), c.Search.Metric, c.Search.Value, c.Search.Checked, c.Search.Lattice)
}
