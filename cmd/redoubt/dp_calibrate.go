package main

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/redoubt-ml/redoubt/privacy/dp"
	"github.com/redoubt-ml/redoubt/privacy/dp/account"
)

func newDPCalibrate(a *app) *cobra.Command {
	var f planFlags
	var want dp.Guarantee
	var find string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "calibrate",
		Short: "How much noise, how many steps or how large a sample a guarantee allows",
		Long: `Find the least noise that keeps (epsilon, delta), or with --find the most steps
or the greatest sampling rate.`,
		Example: `  redoubt dp calibrate --epsilon 3 --delta 1e-5 --q 0.0042666667 --steps 14062 --adjacency add-remove
  redoubt dp calibrate --find steps --sigma 1.1 --epsilon 3 --delta 1e-5 --q 0.0042666667 --adjacency add-remove
  redoubt dp calibrate --find q --sigma 1.1 --epsilon 3 --delta 1e-5 --steps 10000 --adjacency add-remove`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.asked(cmd, find); err != nil {
				return err
			}
			q, err := f.question(cmd)
			if err != nil {
				return err
			}
			if err := f.find(find, q, want); err != nil {
				return err
			}
			if find == "q" {
				q.sampler = account.Poisson{Rate: f.q}
			}
			i, err := q.accountant.Epsilon(q.plan(f.sigma, q.sampler, f.steps), want.Delta)
			if err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(struct {
					dpAnswer
					Q float64 `json:"q"`
				}{dpAnswer{i.Upper, want.Delta, f.accountant, q.adjacency, f.sampling, f.mechanism, f.sigma, f.steps, f.group, i}, f.q})
			}
			found := map[string]string{"sigma": fmt.Sprintf("sigma %.7g", f.sigma), "steps": fmt.Sprintf("steps %d", f.steps), "q": fmt.Sprintf("q %.7g", f.q)}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s for epsilon %.6g at delta %.6g\n  %-12s between %.6g and %.6g\n  %-12s %s, %.7g times the clip, %d steps\n%s",
				found[find], want.Epsilon, want.Delta, "epsilon is", i.Lower, i.Upper, "noise", f.mechanism, f.sigma, f.steps, f.describe(q))
			return err
		},
	}
	f.register(cmd.Flags())
	cmd.Flags().StringVar(&find, "find", "sigma", "what to find: sigma, steps or q")
	cmd.Flags().Float64Var(&want.Epsilon, "epsilon", 0, "epsilon to keep (required)")
	cmd.Flags().Float64Var(&want.Delta, "delta", 0, "delta to keep; 0 for mechanisms that can")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// asked checks that what is to be found was not given, and the rest was.
func (f *planFlags) asked(cmd *cobra.Command, find string) error {
	changed := cmd.Flags().Changed
	switch {
	case find != "sigma" && find != "steps" && find != "q":
		return fmt.Errorf("--find %q: must be sigma, steps or q", find)
	case changed(find):
		return fmt.Errorf("--%s is what is to be found: leave it out, or name something else with --find", find)
	case find != "sigma" && !changed("sigma"):
		return fmt.Errorf("--sigma is needed to find %s: the noise over the clip", find)
	case find == "q" && f.sampling != "poisson":
		return fmt.Errorf("--find q: works with --sampling poisson only")
	case !changed("epsilon"):
		return fmt.Errorf("--epsilon is needed: the guarantee to keep")
	}
	return nil
}

// find puts what was asked for in its place.
func (f *planFlags) find(what string, q dpQuestion, want dp.Guarantee) (err error) {
	a := q.accountant.Accountant
	switch what {
	case "steps":
		f.steps, err = account.MostSteps(a, want, func(steps int) account.Plan { return q.plan(f.sigma, q.sampler, steps) })
		if err == nil && f.steps == 0 {
			err = fmt.Errorf("not one step keeps epsilon %g with delta %g: add noise", want.Epsilon, want.Delta)
		}
	case "q":
		f.q, err = account.GreatestRate(a, want, func(rate float64) account.Plan {
			return q.plan(f.sigma, account.Poisson{Rate: rate}, f.steps)
		})
	default:
		f.sigma, err = account.LeastNoise(a, want, func(noise float64) account.Plan { return q.plan(noise, q.sampler, f.steps) })
	}
	return err
}
