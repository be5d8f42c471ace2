package main

import (
	"fmt"
	"os"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/ml/ort"
)

func newRuntime(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "runtime",
		Short: "Find or fetch ONNX Runtime, the library that runs models",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(&cobra.Command{
		Use:   "info",
		Short: "Say which ONNX Runtime is used, and where it was looked for",
		Long: `Say which ONNX Runtime is used, and where it was looked for: --ort,
REDOUBT_ORT, beside the binary, the user's cache, the system's libraries.`,
		Example: "  redoubt runtime info",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			for _, p := range ort.Places(a.ort) {
				state := "absent"
				if _, err := os.Stat(p.Path); err == nil {
					state = "present"
				} else if p.Name == "system" {
					state = "asked of the system"
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%-18s %s (%s)\n", p.Name, p.Path, state)
			}
			rt, err := ort.Open(a.ort)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "using ONNX Runtime %s from %s on %s/%s\n",
				rt.Version(), rt.Path(), runtime.GOOS, runtime.GOARCH)
			return err
		},
	})
	var from string
	fetch := &cobra.Command{
		Use:   "fetch",
		Short: "Put the pinned ONNX Runtime into the user's cache",
		Long: `Put ONNX Runtime ` + ort.Pinned + ` into the user's cache. The npm client downloads the
package onnxruntime-node; its digest is pinned in this binary and anything else
is refused. Without a network, bring the archive and name it with --from.`,
		Example: "  redoubt runtime fetch\n  redoubt runtime fetch --from onnxruntime-node-" + ort.Pinned + ".tgz",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			path, err := ort.Fetch(cmd.Context(), from)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), path)
			return err
		},
	}
	fetch.Flags().StringVar(&from, "from", "", "package archive to take it from")
	cmd.AddCommand(fetch)
	return cmd
}

// gate wraps the error of a job that was done and found something.
func gate(format string, args ...any) error {
	return fmt.Errorf(format+": %w", append(args, redoubt.ErrGate)...)
}
