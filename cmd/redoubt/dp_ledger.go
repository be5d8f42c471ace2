package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/privacy/dp/ledger"
	"github.com/redoubt-ml/redoubt/store"
)

func newDPLedger(*app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ledger",
		Short: "Privacy budgets that outlive the process",
		Long: `Privacy budgets that outlive the process.

A budget belongs to a data set and a unit, whom it protects. Releases reserve a
part of it, commit that before any noise is drawn, and never get it back. See
docs/dp-releases.md.`,
		Example: `  redoubt dp ledger create visits --unit patient --epsilon 3 --delta 1e-6 --adjacency add-remove --ledger budgets.db
  redoubt dp ledger show visits --ledger budgets.db`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(dpLedgerCreate(), dpLedgerShow(), dpLedgerHistory(), dpLedgerRefund(), dpLedgerVerify())
	return cmd
}

// ledgerFlags name a ledger and who works with it.
type ledgerFlags struct{ url, by, unit string }

func (f *ledgerFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.url, "ledger", "", "database of the ledger: a path, sqlite:PATH or postgres://HOST/NAME (required; or REDOUBT_LEDGER)")
}

func (f *ledgerFlags) addBy(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.by, "by", "", "who does it, as it stands in the ledger (default: the name of your account here)")
}

func (f *ledgerFlags) addUnit(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.unit, "unit", "", "whom the budget protects (default: the unit of the data set's only budget)")
}

// with opens the ledger for do. One that does not exist is made only by create.
func (f *ledgerFlags) with(ctx context.Context, do func(*ledger.Ledger) error) error {
	if f.url == "" {
		return errors.New("--ledger is required: the database that keeps the budgets, such as budgets.db or postgres://HOST/NAME")
	}
	if f.by == "" {
		f.by = "unknown"
		if u, err := user.Current(); err == nil && u.Username != "" {
			f.by = u.Username
		}
	}
	db, err := store.Open(ctx, f.url)
	if err != nil {
		return fmt.Errorf("--ledger: %w", err)
	}
	l, err := ledger.Open(ctx, db)
	if err == nil {
		err = do(l)
	}
	if errors.Is(err, ledger.ErrExhausted) || errors.Is(err, ledger.ErrAltered) {
		err = fmt.Errorf("%w: %w", redoubt.ErrGate, err)
	}
	return errors.Join(err, db.Close())
}

// account is the unit of a data set's budget: the one named, or the only one.
func (f *ledgerFlags) account(ctx context.Context, l *ledger.Ledger, dataset string) (string, error) {
	if f.unit != "" {
		return f.unit, nil
	}
	budgets, err := l.Budgets(ctx)
	if err != nil {
		return "", err
	}
	found := ""
	for _, b := range budgets {
		if b.Dataset == dataset && found != "" {
			return "", fmt.Errorf("%s has several budgets: say which with --unit", dataset)
		}
		if b.Dataset == dataset {
			found = b.Unit
		}
	}
	if found == "" {
		return "", fmt.Errorf("the ledger has no budget of %q: make one with 'redoubt dp ledger create'", dataset)
	}
	return found, nil
}

func dpLedgerCreate() *cobra.Command {
	var f ledgerFlags
	var b ledger.Budget
	var adjacency, rule string
	cmd := &cobra.Command{
		Use: "create DATASET", Short: "Open a budget, which cannot be changed later", Args: cobra.ExactArgs(1),
		Long: `Open a budget, which cannot be changed later.

--rule filter holds however releases are chosen, also from earlier answers. Under
--rule composed the losses of all releases compose, which is tighter and knows
sampled training; it holds only if no release depends on the answers of another.`,
		Example: `  redoubt dp ledger create visits --unit patient --epsilon 3 --delta 1e-6 --adjacency add-remove --ledger budgets.db`,
		RunE: func(cmd *cobra.Command, args []string) error {
			b.Dataset, b.Unit = args[0], f.unit
			if err := b.Adjacency.UnmarshalText([]byte(adjacency)); err != nil {
				return fmt.Errorf("--adjacency: %w", err)
			}
			if err := b.Rule.UnmarshalText([]byte(rule)); err != nil {
				return fmt.Errorf("--rule: %w", err)
			}
			if err := b.Check(); err != nil {
				return err
			}
			return f.with(cmd.Context(), func(l *ledger.Ledger) error {
				if err := l.Create(cmd.Context(), b, f.by); err != nil {
					return err
				}
				return showBudget(cmd.Context(), os.Stdout, l, b.Dataset, b.Unit)
			})
		},
	}
	f.add(cmd)
	f.addBy(cmd)
	cmd.Flags().StringVar(&f.unit, "unit", "", "whom it protects, such as patient (required)")
	cmd.Flags().Float64Var(&b.Epsilon, "epsilon", 0, "of all releases together (required)")
	cmd.Flags().Float64Var(&b.Delta, "delta", 0, "of all releases together; 0 admits pure noise only")
	cmd.Flags().StringVar(&adjacency, "adjacency", "", "add-remove or replace (required)")
	cmd.Flags().StringVar(&rule, "rule", "filter", "filter or composed")
	return cmd
}

func dpLedgerShow() *cobra.Command {
	var f ledgerFlags
	var asJSON bool
	cmd := &cobra.Command{
		Use: "show [DATASET]", Short: "What is left of a budget, and who spent it", Args: cobra.MaximumNArgs(1),
		Example: `  redoubt dp ledger show visits --ledger budgets.db`,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			return f.with(ctx, func(l *ledger.Ledger) error {
				if len(args) == 0 {
					return listBudgets(ctx, os.Stdout, l, asJSON)
				}
				unit, err := f.account(ctx, l, args[0])
				if err != nil {
					return err
				}
				if !asJSON {
					return showBudget(ctx, os.Stdout, l, args[0], unit)
				}
				b, err := l.Show(ctx, args[0], unit)
				if err != nil {
					return err
				}
				return json.NewEncoder(os.Stdout).Encode(b)
			})
		},
	}
	f.add(cmd)
	f.addUnit(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func listBudgets(ctx context.Context, w io.Writer, l *ledger.Ledger, asJSON bool) error {
	budgets, err := l.Budgets(ctx)
	if err != nil {
		return err
	}
	if asJSON {
		if budgets == nil {
			budgets = []ledger.Budget{}
		}
		return json.NewEncoder(w).Encode(budgets)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "data set\tunit\tepsilon\tdelta\tadjacency\trule")
	for _, b := range budgets {
		fmt.Fprintf(t, "%s\t%s\t%g\t%g\t%v\t%v\n", b.Dataset, b.Unit, b.Epsilon, b.Delta, b.Adjacency, b.Rule)
	}
	return t.Flush()
}

func showBudget(ctx context.Context, w io.Writer, l *ledger.Ledger, dataset, unit string) error {
	b, err := l.Show(ctx, dataset, unit)
	if err != nil {
		return err
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "budget\t%s, per %s, %v neighbours, rule %v\n", b.Budget.Dataset, b.Budget.Unit, b.Budget.Adjacency, b.Budget.Rule)
	fmt.Fprintf(t, "epsilon\t%.6g spent of %g at delta %g\n", b.Spent, b.Budget.Epsilon, b.Budget.Delta)
	if b.Budget.Rule == ledger.Filter {
		fmt.Fprintf(t, "left\tepsilon %.6g for one release of pure noise", b.Pure)
		if b.Budget.Delta > 0 {
			fmt.Fprintf(t, ", or rho %.6g of gaussian noise", b.Rho)
		}
		fmt.Fprintln(t)
	}
	for _, s := range b.Spenders {
		fmt.Fprintf(t, "%s\t%d %s by %s\n", map[bool]string{true: "returned", false: "spent"}[s.Status == "refunded"], s.Count, s.Status, s.Owner)
	}
	fmt.Fprintf(t, "head\t%s, entry %d\n", b.Head, b.Entries)
	return t.Flush()
}

func dpLedgerHistory() *cobra.Command {
	var f ledgerFlags
	var asJSON bool
	cmd := &cobra.Command{
		Use: "history DATASET", Short: "Every entry of a budget, oldest first", Args: cobra.ExactArgs(1),
		Example: `  redoubt dp ledger history visits --ledger budgets.db --json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			return f.with(ctx, func(l *ledger.Ledger) error {
				unit, err := f.account(ctx, l, args[0])
				if err != nil {
					return err
				}
				return printHistory(ctx, os.Stdout, l, args[0], unit, asJSON)
			})
		},
	}
	f.add(cmd)
	f.addUnit(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a line of JSON an entry, with the mechanisms")
	return cmd
}

func printHistory(ctx context.Context, w io.Writer, l *ledger.Ledger, dataset, unit string, asJSON bool) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for e, err := range l.History(ctx, dataset, unit, 0) {
		if err != nil {
			return err
		}
		if asJSON {
			if err := json.NewEncoder(w).Encode(e); err != nil {
				return err
			}
			continue
		}
		fmt.Fprintf(t, "%d\t%s\t%s\t%s\t%s\t%s\n", e.Number, time.UnixMilli(e.Time).UTC().Format(time.RFC3339), e.Kind, e.By, e.ID, e.Purpose)
	}
	return t.Flush()
}

func dpLedgerRefund() *cobra.Command {
	var f ledgerFlags
	var reason string
	cmd := &cobra.Command{
		Use: "refund RESERVATION", Short: "Give back a reservation that was never committed", Args: cobra.ExactArgs(1),
		Long: `Give back a reservation that was never committed.

Its owner can at any time; others can when it has expired. What was committed may
have been seen and is never given back.`,
		Example: `  redoubt dp ledger refund 1f9e6a08b3d24c55a7e0c1d2b3a49586 --reason 'the job was killed' --ledger budgets.db`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.with(cmd.Context(), func(l *ledger.Ledger) error {
				return l.Refund(cmd.Context(), args[0], f.by, reason)
			})
		},
	}
	f.add(cmd)
	f.addBy(cmd)
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the history")
	return cmd
}

func dpLedgerVerify() *cobra.Command {
	var f ledgerFlags
	var head string
	cmd := &cobra.Command{
		Use: "verify DATASET", Short: "Compute a budget anew from its history", Args: cobra.ExactArgs(1),
		Long: `Compute a budget anew from its history: the chain of hashes, the sums, and the
end of every reservation. Keep the head that is printed elsewhere and hold it
against a later ledger with --head: that finds one who wrote the whole chain anew.
Exit code 1: the ledger is not what was written.`,
		Example: `  redoubt dp ledger verify visits --ledger budgets.db`,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			return f.with(ctx, func(l *ledger.Ledger) error {
				unit, err := f.account(ctx, l, args[0])
				if err != nil {
					return err
				}
				now, err := l.Verify(ctx, args[0], unit)
				if err != nil {
					return err
				}
				found := head == ""
				for e, err := range l.History(ctx, args[0], unit, 0) {
					if err != nil {
						return err
					}
					found = found || e.Hash == head
				}
				if !found {
					return fmt.Errorf("%w: no entry has the hash that was noted with --head", ledger.ErrAltered)
				}
				fmt.Printf("%s, per %s: whole\nhead  %s\n", args[0], unit, now)
				return nil
			})
		},
	}
	f.add(cmd)
	f.addUnit(cmd)
	cmd.Flags().StringVar(&head, "head", "", "a head that was noted earlier")
	return cmd
}
