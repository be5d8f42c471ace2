package main

import "github.com/spf13/cobra"

func newDP(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "dp",
		Short: "Differential privacy: accounting, releases and budgets",
		Long: `Differential privacy: what a mechanism costs, and how much noise a guarantee
needs; statistics with noise, and the ledger that pays for them.

No epsilon is printed without its delta, adjacency and sampling: without them it
means nothing.`,
		Example: "  redoubt dp epsilon --sigma 1.1 --q 0.0042666667 --steps 14062 --delta 1e-5 --adjacency add-remove",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	for _, c := range dpCommands {
		cmd.AddCommand(c(a))
	}
	return cmd
}

// dpCommands lists the verbs beneath dp.
var dpCommands = []func(*app) *cobra.Command{
	newDPEpsilon,
	newDPCalibrate,
	newDPRelease,
	newDPLedger,
}
