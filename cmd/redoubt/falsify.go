package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/assess/falsify"
	"github.com/redoubt-ml/redoubt/ml/model"
	"github.com/redoubt-ml/redoubt/ml/ort"
	"github.com/redoubt-ml/redoubt/ml/vnnlib"
)

func newFalsify(a *app) *cobra.Command {
	var timeout float64
	var seed uint64
	var threads int
	cmd := &cobra.Command{
		Use:   "falsify MODEL PROP.vnnlib",
		Short: "Search for an input that violates a VNN-LIB property",
		Long: `Search for an input that violates a VNN-LIB property. Prints "sat" and the
counterexample in VNN-LIB form, with exit code 1, or "unknown" when the time is
over, with exit code 3. "sat" is printed only after the input was put to the
file as it is, inside the box, and violated the property there. "unknown" is
not a proof that no violation exists.`,
		Example: "  redoubt falsify network.onnx property.vnnlib --timeout 20",
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !(timeout > 0) || timeout > 1e6 || threads < 1 {
				return errors.New("--timeout is a positive number of seconds, --threads starts at 1")
			}
			deadline := time.Now().Add(time.Duration(timeout * float64(time.Second)))
			p, err := vnnlib.Read(args[1])
			if err != nil {
				return err
			}
			rt, err := ort.Open(a.ort)
			if err != nil {
				return err
			}
			m, err := model.Open(cmd.Context(), rt, args[0], model.Config{Raw: true, Threads: threads})
			if err != nil {
				return err
			}
			defer m.Close()
			ctx, cancel := context.WithDeadline(cmd.Context(), deadline)
			defer cancel()
			bar := newProgress(a.quiet)
			found, err := falsify.Search(ctx, m, p, falsify.Options{Seed: seed, Progress: func(round int, best float64) {
				left := time.Until(deadline).Seconds()
				bar.tell("search", fmt.Sprintf(", round %d, slack %.3g", round, best), int(timeout-left), int(timeout))
			}})
			bar.clear()
			switch {
			case err != nil:
				return err
			case cmd.Context().Err() != nil:
				return cmd.Context().Err()
			case found == nil:
				fmt.Fprintln(cmd.OutOrStdout(), "unknown")
				return fmt.Errorf("%w%w", errSilent, redoubt.ErrUndecided)
			}
			if _, err := io.WriteString(cmd.OutOrStdout(), "sat\n"); err != nil {
				return err
			}
			if err := found.Print(cmd.OutOrStdout()); err != nil {
				return err
			}
			return fmt.Errorf("%w%w", errSilent, redoubt.ErrGate)
		},
	}
	cmd.Flags().Float64Var(&timeout, "timeout", 60, "seconds to search")
	cmd.Flags().Uint64Var(&seed, "seed", 0, "seed of the random choices")
	cmd.Flags().IntVar(&threads, "threads", 1, "threads to run on")
	return cmd
}
