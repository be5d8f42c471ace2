package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/report"
	"github.com/redoubt-ml/redoubt/supply/scan"
)

func newScan(a *app) *cobra.Command {
	var asJSON bool
	var cfg scan.Config
	var sarif, junit string
	cmd := &cobra.Command{
		Use:   "scan PATH...",
		Short: "Say whether opening a model file can run code",
		Long: `Say whether opening a model file can run code: pickles, PyTorch, joblib, NumPy,
Keras, TensorFlow, ONNX, safetensors, GGUF, and the archives around them.

Each file is safe, unsafe or unproven. Safe means that every construct in it was
understood and is on a list of exact names and call shapes; unproven, that
something is on no list or could not be read. Nothing is loaded or executed.

Printed are the files, and a line for each finding: the byte where it stands, how
bad it is, and why. --json also has the instructions that lead there.

The exit code is 0 when all files are safe, 1 when one is unsafe, and 3 when
none is unsafe but one is unproven.`,
		Example: `  redoubt scan model.pt
  redoubt scan models/ --json
  redoubt scan models/ --sarif scan.sarif --junit scan.xml`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if len(args) == 0 {
				return errors.New("no path given: redoubt scan PATH")
			}
			whole := &scan.Report{Schema: "redoubt.scan/v1", Files: []*scan.File{}}
			outputs, err := reserveFindings(whole, sarif, junit)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, outputs.discard()) }()
			if os.Getenv("GOGC") == "" {
				debug.SetGCPercent(400) // the heap is small, and what is in it short-lived
			}
			p := newProgress(a.quiet)
			cfg.Progress = func(_ string, done, total int) {
				if total > 1 {
					p.report("scan", done, total)
				}
			}
			for _, path := range args {
				r, err := scan.Path(cmd.Context(), path, cfg)
				p.clear()
				if err != nil {
					return err
				}
				whole.Files = append(whole.Files, r.Files...)
			}
			if len(whole.Files) == 0 {
				return fmt.Errorf("scan %s: there are no files in it", strings.Join(args, " "))
			}
			if err := outputs.write(nil); err != nil {
				return err
			}
			if err := printScan(cmd.OutOrStdout(), whole, asJSON); err != nil {
				return err
			}
			switch whole.Verdict() {
			case scan.Unsafe:
				return errors.Join(errSilent, redoubt.ErrGate)
			case scan.Unproven:
				return errors.Join(errSilent, redoubt.ErrUndecided)
			}
			return nil
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&asJSON, "json", false, "print the document redoubt.scan/v1")
	flags.StringVar(&sarif, "sarif", "", "file to write SARIF 2.1.0 to, for code scanning")
	flags.StringVar(&junit, "junit", "", "file to write JUnit XML to: a test case a file")
	flags.BoolVar(&cfg.Digest, "sha256", false, "with --json or --sarif: the SHA-256 of each file too")
	limitFlags(cmd, &cfg.Limits)
	return cmd
}

// limitFlags are the limits that a message may ask to be raised.
func limitFlags(cmd *cobra.Command, l *scan.Limits) {
	flags := cmd.Flags()
	flags.IntVar(&l.Depth, "limit-depth", 0, "how deep archives and pickles may nest (default 8)")
	flags.IntVar(&l.Members, "limit-members", 0, "how many members an archive may have (default 200000)")
	flags.Int64Var(&l.Unpacked, "limit-unpacked", 0, "how many bytes a file may unpack to (default 64 GiB)")
	flags.Int64Var(&l.Ratio, "limit-ratio", 0, "by how much a compressed stream may grow (default 200)")
	flags.Int64Var(&l.Opcodes, "limit-opcodes", 0, "how many instructions a pickle may have (default 100 million)")
	flags.IntVar(&l.Memo, "limit-memo", 0, "how many entries a pickle's memo may have (default 4 million)")
	flags.Int64Var(&l.Text, "limit-text", 0, "the largest JSON that is parsed, in bytes (default 64 MiB)")
	flags.DurationVar(&l.Time, "limit-time", 0, "how long a file may take (default 10m)")
}

// reserveFindings makes room for the reports that were asked for.
func reserveFindings(r *scan.Report, sarif, junit string) (reservations, error) {
	if sarif != "" && sarif == junit {
		return nil, fmt.Errorf("write %s: two reports cannot go to one file", sarif)
	}
	var out reservations
	for _, o := range []struct {
		path   string
		render func(io.Writer, *report.Findings) error
	}{{sarif, report.FindingsSARIF}, {junit, report.FindingsJUnit}} {
		if o.path == "" {
			continue
		}
		file, err := reserve(o.path, func(w io.Writer, _ *redoubt.Assessment) error { return o.render(w, findingsOf(r)) })
		if err != nil {
			return nil, errors.Join(err, out.discard())
		}
		out = append(out, file)
	}
	return out, nil
}

// unsafeArtifact is the ATLAS id of a user opening an unsafe model file.
const unsafeArtifact = "AML.T0011.000"

// findingsOf is a scan in the words that every report understands.
func findingsOf(r *scan.Report) *report.Findings {
	out := &report.Findings{Verb: "scan", Version: version()}
	for _, f := range r.Files {
		file := report.FindingsFile{Path: f.Path, SHA256: f.SHA256, Verdict: string(f.Verdict), Failed: f.Verdict == scan.Unsafe, Undecided: f.Verdict == scan.Unproven}
		for _, x := range f.Findings {
			file.Findings = append(file.Findings, redoubt.Finding{Rule: x.Rule, Title: x.Message, Severity: x.Severity, Technique: unsafeArtifact,
				Subject: f.Path, Offset: x.Offset, Evidence: strings.Join(x.Trace, ", "), Remedy: x.Remedy})
		}
		out.Files = append(out.Files, file)
	}
	return out
}

// printScan writes the report as JSON, or as text: each file, and below it what
// was found in it and in its members.
func printScan(w io.Writer, r *scan.Report, asJSON bool) error {
	if asJSON {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(r)
	}
	var b strings.Builder
	counts, files := map[scan.Verdict]int{}, 0
	for _, f := range r.Files {
		path, member, inside := strings.Cut(printable(f.Path), "!")
		if !inside {
			files++
			counts[f.Verdict]++
			fmt.Fprintf(&b, "%-9s %-11s %s\n", f.Verdict, f.Format, path)
		}
		for _, x := range f.Findings {
			where := fmt.Sprint(x.Offset)
			if inside {
				where = member + ":" + where
			}
			fmt.Fprintf(&b, "  %s: %s: %s; %s [%s]\n", where, x.Severity, x.Message, x.Remedy, x.Rule)
		}
		if f.Omitted > 0 {
			fmt.Fprintf(&b, "  and %d more\n", f.Omitted)
		}
	}
	fmt.Fprintf(&b, "%d files: %d safe, %d unsafe, %d unproven\n", files, counts[scan.Safe], counts[scan.Unsafe], counts[scan.Unproven])
	_, err := io.WriteString(w, b.String())
	return err
}

// printable keeps a name from steering the terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return '\ufffd'
		}
		return r
	}, s)
}
