package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/redoubt-ml/redoubt/supply/scan"
)

func newConvert(a *app) *cobra.Command {
	var cfg scan.Config
	cmd := &cobra.Command{
		Use:   "convert IN OUT.safetensors",
		Short: "Take the tensors out of a checkpoint without executing it",
		Long: `Take the tensors out of a checkpoint without executing it: PyTorch archives and
files of before PyTorch 1.6, pickles of NumPy arrays, NPY and NPZ. What is written
is safetensors, which holds numbers and names only, so that the pickle is not
needed any more.

Nested names are joined with points. Views are written as what they show; tensors
that share memory each get their own copy. What is no tensor is left out, and
said. A tensor that cannot be given exactly (quantised, sparse, of a type that
safetensors does not have) ends it with exit code 2, and nothing is written.`,
		Example: "  redoubt convert model.pt model.safetensors",
		Args:    cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 2 {
				return errors.New("convert needs a checkpoint and the file to write: redoubt convert IN OUT.safetensors")
			}
			if filepath.Ext(args[1]) != ".safetensors" {
				return fmt.Errorf("convert writes safetensors: name the output %s.safetensors", strings.TrimSuffix(args[1], filepath.Ext(args[1])))
			}
			done, err := scan.Convert(cmd.Context(), args[0], args[1], cfg)
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s: %d tensors, %d bytes\n", printable(args[1]), done.Tensors, done.Bytes)
			for i, name := range done.LeftOut {
				if i == 8 {
					fmt.Fprintf(cmd.OutOrStdout(), "and %d more left out\n", len(done.LeftOut)-i)
					break
				}
				fmt.Fprintf(cmd.OutOrStdout(), "left out: %s\n", name)
			}
			return nil
		},
	}
	limitFlags(cmd, &cfg.Limits)
	return cmd
}
