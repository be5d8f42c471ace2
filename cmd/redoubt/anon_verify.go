package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/privacy/anon"
)

func newAnonVerify(a *app) *cobra.Command {
	var f anonFlags
	var claims, population, hierarchies string
	cmd := &cobra.Command{
		Use: "verify TABLE", Short: "Derive every claim about a released table again", Args: cobra.ExactArgs(1),
		Long: `Derive every claim about a released table again, from the table alone.

The digest of the file, its rows, its classes and their sizes, and for each model the
least and greatest number of any class. The table may be larger than memory. The
models are judged whatever the digest says: a table whose owner has written claims
anew, or digests over changed cells, is found out as well.

k-map and delta-presence are about a population, whose table --population names.
Exit code 1: a claim does not hold.`,
		Example: `  redoubt anon verify released.csv --claims released.csv.claims.json
  redoubt anon verify released.csv --claims released.csv.claims.json --population register.csv --json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if claims == "" {
				return errors.New("--claims is required: the file that redoubt anon apply wrote beside the table")
			}
			if err := f.check(); err != nil {
				return err
			}
			file, err := os.Open(claims)
			if err != nil {
				return fmt.Errorf("read the claims: %w", err)
			}
			defer file.Close()
			c, err := anon.ReadClaims(file)
			if err != nil {
				return fmt.Errorf("%s: %w", claims, err)
			}
			p := newProgress(a.quiet)
			defer p.clear()
			checks, err := anon.Verify(cmd.Context(), args[0], c, anon.VerifyOptions{
				Memory: f.memory << 20, Temp: f.temp, Population: population, Hierarchies: hierarchies, Progress: p.steps})
			if err != nil {
				return err
			}
			p.clear()
			return printChecks(cmd, args[0], checks, c, f.json)
		},
	}
	f.add(cmd)
	cmd.Flags().StringVar(&claims, "claims", "", "claims about the table (required)")
	cmd.Flags().StringVar(&population, "population", "", "table of all people, for k-map and delta-presence")
	cmd.Flags().StringVar(&hierarchies, "hierarchies", "", "folder of the hierarchy files that the claims name (default: this one)")
	return cmd
}

func printChecks(cmd *cobra.Command, path string, checks []anon.Check, c *anon.Claims, asJSON bool) error {
	failed := 0
	for _, x := range checks {
		if !x.Holds {
			failed++
		}
	}
	if asJSON {
		if err := json.NewEncoder(cmd.OutOrStdout()).Encode(struct {
			Table  string       `json:"table"`
			Holds  bool         `json:"holds"`
			Checks []anon.Check `json:"checks"`
		}{path, failed == 0, checks}); err != nil {
			return err
		}
	} else {
		t := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
		for _, x := range checks {
			if x.Holds {
				fmt.Fprintf(t, "holds\t%s\t%s\n", x.Claim, x.Found)
			} else {
				fmt.Fprintf(t, "FAILS\t%s\t%s, claimed: %s\n", x.Claim, x.Found, x.Claimed)
			}
		}
		if err := t.Flush(); err != nil {
			return err
		}
		fmt.Fprintln(cmd.OutOrStdout(), "\nNot protected against, says the claimant:")
		for _, text := range c.Unprotected {
			fmt.Fprintf(cmd.OutOrStdout(), "- %s\n", text)
		}
	}
	if failed > 0 {
		return fmt.Errorf("%w: %d of %d claims about %s do not hold", redoubt.ErrGate, failed, len(checks), path)
	}
	return nil
}
