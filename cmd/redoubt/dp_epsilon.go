package main

import (
	"encoding/json"
	"fmt"
	"math"

	"github.com/spf13/cobra"

	"github.com/redoubt-ml/redoubt/privacy/dp"
	"github.com/redoubt-ml/redoubt/privacy/dp/account"
)

// dpAnswer is what dp epsilon prints: a guarantee with all that it depends on.
type dpAnswer struct {
	Epsilon    float64          `json:"epsilon"`
	Delta      float64          `json:"delta"`
	Accountant string           `json:"accountant"`
	Adjacency  dp.Adjacency     `json:"adjacency"`
	Sampling   string           `json:"sampling"`
	Mechanism  string           `json:"mechanism"`
	Sigma      float64          `json:"sigma"`
	Steps      int              `json:"steps"`
	Group      int              `json:"group"`
	Interval   account.Interval `json:"interval"` // of what was asked for: epsilon, or delta
}

func newDPEpsilon(a *app) *cobra.Command {
	var f planFlags
	var delta, epsilon float64
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "epsilon",
		Short: "What noise, sampling and steps cost in privacy",
		Long: `Say which epsilon holds with a delta, or with --epsilon which delta holds with it.

The number is an upper bound, and the interval beside it holds what is true: no
accountant can say less than its lower end. An rdp answer is checked against it.`,
		Example: `  redoubt dp epsilon --sigma 1.1 --q 0.0042666667 --steps 14062 --delta 1e-5 --adjacency add-remove
  redoubt dp epsilon --sigma 1.1 --sampling fixed --batch 256 --units 60000 --steps 14062 --delta 1e-5 --adjacency replace
  redoubt dp epsilon --mechanism laplace --sigma 10 --steps 100 --epsilon 3 --adjacency add-remove --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			changed := cmd.Flags().Changed
			if !changed("sigma") {
				return fmt.Errorf("--sigma is needed: the noise over the clip, or ask redoubt dp calibrate for it")
			}
			if changed("delta") == changed("epsilon") {
				return fmt.Errorf("one of --delta and --epsilon is needed: the other is the answer")
			}
			q, err := f.question(cmd)
			if err != nil {
				return err
			}
			ask, given := q.accountant.Epsilon, delta
			if changed("epsilon") {
				ask, given = q.accountant.Delta, epsilon
			}
			i, err := ask(q.plan(f.sigma, q.sampler, f.steps), given)
			if err != nil {
				return err
			}
			if math.IsInf(i.Upper, 1) {
				return fmt.Errorf("no epsilon holds with delta %g: a failure is more likely than that", given)
			}
			out := dpAnswer{i.Upper, delta, f.accountant, q.adjacency, f.sampling, f.mechanism, f.sigma, f.steps, f.group, i}
			if changed("epsilon") {
				out.Epsilon, out.Delta = epsilon, i.Upper
			}
			if asJSON {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(out)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "epsilon %.6g at delta %.6g\n  %-12s between %.6g and %.6g\n  %-12s %s, %g times the clip, %d steps\n%s",
				out.Epsilon, out.Delta, map[bool]string{true: "delta is", false: "epsilon is"}[changed("epsilon")],
				i.Lower, i.Upper, "noise", f.mechanism, f.sigma, f.steps, f.describe(q))
			return err
		},
	}
	f.register(cmd.Flags())
	cmd.Flags().Float64Var(&delta, "delta", 0, "delta to answer with an epsilon for; 0 for mechanisms that have one")
	cmd.Flags().Float64Var(&epsilon, "epsilon", 0, "epsilon to answer with a delta for")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}
