package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/redoubt-ml/redoubt/privacy/dp"
	"github.com/redoubt-ml/redoubt/privacy/dp/ledger"
	"github.com/redoubt-ml/redoubt/privacy/dp/release"
)

// releaseFlags say what is read, who pays and where the result goes.
type releaseFlags struct {
	ledgerFlags
	data, out, format, key, purpose, partial, temp string
	merge                                          []string
	memory                                         int64
	hold                                           time.Duration
}

func newDPRelease(a *app) *cobra.Command {
	var f releaseFlags
	cmd := &cobra.Command{
		Use: "release QUERY.yaml", Short: "Statistics with noise, paid for from a ledger", Args: cobra.ExactArgs(1),
		Long: `Statistics with noise, paid for from a ledger.

The query file says which statistics, per whom, within which bounds and at what
cost; see docs/dp-releases.md. The cost is reserved before the data is read and
committed before noise is drawn. With the same --key a release is never paid twice,
and never made twice either.

Data that one machine cannot read in time is added up by several: each runs with
--partial I/N over all of the data and keeps the people of its shard; one then
releases with --merge. Partial states are as secret as the data.`,
		Example: `  redoubt dp release visits.yaml --data visits.parquet --ledger budgets.db
  redoubt dp release visits.yaml --data visits.parquet --partial 0/2 --out 0.state
  redoubt dp release visits.yaml --data visits.parquet --partial 1/2 --out 1.state
  redoubt dp release visits.yaml --merge 0.state,1.state --ledger budgets.db --out visits.json --format json`,
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd.Context(), a, args[0]) },
	}
	f.add(cmd)
	f.addBy(cmd)
	cmd.Flags().StringVar(&f.data, "data", "", "CSV or Parquet file, or postgres://HOST/NAME with the table in the query")
	cmd.Flags().StringVar(&f.out, "out", "", "file for the result (default: stdout)")
	cmd.Flags().StringVar(&f.format, "format", "text", "text, json or csv")
	cmd.Flags().StringVar(&f.key, "key", "", "name of this very release in the ledger (default: a random one)")
	cmd.Flags().StringVar(&f.purpose, "purpose", "", "what for, for the history")
	cmd.Flags().StringVar(&f.partial, "partial", "", "I/N: add up the people of shard I of N, from 0, and write their state to --out")
	cmd.Flags().StringSliceVar(&f.merge, "merge", nil, "partial states to release, of all shards")
	cmd.Flags().Int64Var(&f.memory, "memory", 1024, "megabytes of rows to hold before they go to a temporary file")
	cmd.Flags().StringVar(&f.temp, "temp", "", "folder of that file (default: the system's)")
	cmd.Flags().DurationVar(&f.hold, "hold", time.Hour, "how long the reservation lasts: adding up must take less")
	return cmd
}

func (f *releaseFlags) run(ctx context.Context, a *app, path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read the query: %w", err)
	}
	q, err := release.Parse(text)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if (f.data == "") == (len(f.merge) == 0) {
		return errors.New("name the data with --data, or partial states with --merge")
	}
	if f.memory < 16 || f.memory > 1<<24 {
		return fmt.Errorf("--memory %d: must be between 16 and 2^24 megabytes", f.memory)
	}
	calmCollector() // what it reads is garbage soon, and what it keeps is bounded
	if f.partial != "" {
		return f.addUp(ctx, a, q)
	}
	i := slices.IndexFunc(release.Formats, func(x release.Format) bool { return x.Name == f.format })
	if i < 0 {
		return fmt.Errorf("--format %q: must be text, json or csv", f.format)
	}
	if f.key == "" {
		key := make([]byte, 16)
		rand.Read(key) // never fails
		f.key = hex.EncodeToString(key)
	}
	return f.write(0o644, func(w io.Writer) error {
		return f.with(ctx, func(l *ledger.Ledger) error {
			pay := release.Payment{Ledger: l, By: f.by, Key: f.key, Purpose: f.purpose, Hold: f.hold}
			r, err := release.Run(ctx, q, pay, dp.Source{}, func(ctx context.Context) (*release.State, error) { return f.state(ctx, a, q) })
			if err != nil {
				return err
			}
			return release.Formats[i].Write(w, r)
		})
	})
}

// state is that of the data, or what the partial ones merge to.
func (f *releaseFlags) state(ctx context.Context, a *app, q *release.Query) (*release.State, error) {
	if f.data != "" {
		p := newProgress(a.quiet)
		defer p.clear()
		return release.Aggregate(ctx, q, f.data, f.options(p))
	}
	var sum *release.State
	for _, path := range f.merge {
		b, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		s, err := release.ReadState(q, b)
		if err == nil && sum != nil {
			err = sum.Merge(s)
		} else if err == nil {
			sum = s
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	return sum, nil
}

// addUp writes the state of a shard. It needs no ledger, for nothing is released.
func (f *releaseFlags) addUp(ctx context.Context, a *app, q *release.Query) error {
	p := newProgress(a.quiet)
	defer p.clear()
	o := f.options(p)
	var rest string
	if n, _ := fmt.Sscanf(f.partial+" .", "%d/%d %s", &o.Shard, &o.Shards, &rest); n != 3 || o.Shards < 1 {
		return fmt.Errorf("--partial %q: want I/N, such as 0/4", f.partial)
	}
	switch {
	case f.out == "":
		return errors.New("--out is required with --partial: the state is binary, and as secret as the data")
	case f.data == "":
		return errors.New("--partial reads --data; states are merged without it")
	}
	return f.write(0o600, func(w io.Writer) error {
		s, err := release.Aggregate(ctx, q, f.data, o)
		if err != nil {
			return err
		}
		b, err := s.MarshalBinary()
		if err != nil {
			return err
		}
		_, err = w.Write(b)
		return err
	})
}

// options show how far reading is as a percentage: the number of rows is about
// people, and logs are kept.
func (f *releaseFlags) options(p *progress) release.Options {
	return release.Options{Memory: f.memory << 20, Temp: f.temp,
		Progress: func(part float64) { p.report("reading, percent", int(100*part), 100) }}
}

// write makes the file before anything is spent, and puts it in place when it is
// whole.
func (f *releaseFlags) write(mode os.FileMode, render func(io.Writer) error) (err error) {
	if f.out == "" {
		var text strings.Builder
		if err := render(&text); err != nil {
			return err
		}
		_, err := io.WriteString(os.Stdout, text.String())
		return err
	}
	r, err := reserve(f.out, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, reservations{r}.discard()) }()
	b := bufio.NewWriter(r.file)
	if err := render(b); err != nil {
		return err
	}
	if err := errors.Join(b.Flush(), r.file.Chmod(mode), r.file.Close()); err != nil {
		return fmt.Errorf("write %s: %w", f.out, err)
	}
	return os.Rename(r.file.Name(), r.path)
}
