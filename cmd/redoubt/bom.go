package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/ml/onnx"
	"github.com/redoubt-ml/redoubt/supply/bom"
	"github.com/redoubt-ml/redoubt/supply/sign"
)

type bomFlags struct {
	bom.Source
	assessment, scan, expires, spec, out string
	data, dataLicenses, reports, ignore  []string
	asJSON                               bool
}

func newBOM(a *app) *cobra.Command {
	var f bomFlags
	cmd := &cobra.Command{
		Use:   "bom MODEL --out FILE",
		Short: "Write a model's bill of materials in CycloneDX, with a model card and what was measured",
		Long: `Write a model's bill of materials in CycloneDX: what the graph says of itself, the
data sets behind it, licences, hashes, the numbers of an assessment with their
intervals, and claims with evidence that expires. Then print how complete it is
and what is missing.

What the file cannot tell, such as who made it, is for you to say. Nothing is
guessed.`,
		Example: `  redoubt bom model.onnx --license Apache-2.0 --out bom.json
  redoubt bom model.onnx --model-version 1.2 --supplier Example --license MIT --assessment report.json --data train.csv --out bom.json
  redoubt bom score bom.json`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			model, err := a.modelArg(args)
			if err != nil {
				return err
			}
			if f.out == "" {
				return errors.New("bom needs --out FILE: where to write the bill")
			}
			if err := f.fill(a, cmd, model); err != nil {
				return err
			}
			b, err := f.BOM()
			if err != nil {
				return err
			}
			var text bytes.Buffer
			if err := bom.Write(&text, b, f.spec); err != nil {
				return err
			}
			if err := putFile(f.out, text.Bytes(), 0o644); err != nil {
				return err
			}
			return printScore(cmd, f.out, bom.Score(b), f.asJSON)
		},
	}
	f.add(cmd)
	cmd.AddCommand(bomScore())
	return cmd
}

func (f *bomFlags) add(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringVar(&f.out, "out", "", "file to write the bill to")
	fl.StringVar(&f.spec, "spec", bom.Versions[0], "version of CycloneDX: "+strings.Join(bom.Versions, " or "))
	fl.StringVar(&f.Name, "name", "", "name of the model (default: that of the file)")
	fl.StringVar(&f.Version, "model-version", "", "version of the model")
	fl.StringVar(&f.Description, "description", "", "what the model is")
	fl.StringVar(&f.Supplier, "supplier", "", "who provides the model")
	fl.StringVar(&f.License, "license", "", "licence: an SPDX identifier or expression, or a name")
	fl.StringVar(&f.Task, "task", "", "what the model does, such as classification (default: read out of the graph)")
	fl.StringVar(&f.Approach, "approach", "", "how it was trained: supervised, unsupervised, reinforcement-learning, semi-supervised, self-supervised")
	fl.StringArrayVar(&f.UseCases, "use-case", nil, "what it is for; repeatable")
	fl.StringArrayVar(&f.Limitations, "limitation", nil, "what it cannot do; repeatable")
	fl.StringArrayVar(&f.Ethics, "ethics", nil, "an ethical consideration; repeatable")
	fl.StringArrayVar(&f.data, "data", nil, "file or folder that the model was made from; repeatable")
	fl.StringArrayVar(&f.dataLicenses, "data-license", nil, "licence of each --data, in their order")
	fl.StringVar(&f.assessment, "assessment", "", "JSON of 'redoubt assess'")
	fl.StringVar(&f.scan, "scan", "", "JSON of 'redoubt scan'")
	fl.StringArrayVar(&f.reports, "reference", nil, "another file about the model, KIND=FILE, such as digital-signature=model.sig; repeatable")
	fl.StringVar(&f.expires, "expires", "90d", "how long the evidence is good for")
	fl.StringArrayVar(&f.ignore, "ignore", nil, "path within the model to leave out; repeatable")
	fl.BoolVar(&f.asJSON, "json", false, "print the completeness as JSON")
}

// fill reads everything that the flags name.
func (f *bomFlags) fill(a *app, cmd *cobra.Command, model string) (err error) {
	life, err := parseLife(f.expires)
	if err != nil {
		return err
	}
	f.Model, f.Tool, f.Made = model, version(), time.Now()
	f.Expires = f.Made.Add(life)
	if f.Manifest, err = a.hash(sign.Hashing{Ignore: append(f.ignore, within(model, f.out)...)}, cmd, model); err != nil {
		return err
	}
	if f.Graph, err = graphOf(model); err != nil {
		return err
	}
	if f.assessment != "" {
		b, err := f.report("dynamic-analysis-report", f.assessment)
		if err != nil {
			return err
		}
		if f.Assessment, err = parseAssessment(b); err != nil {
			return fmt.Errorf("%s: %w", f.assessment, err)
		}
	}
	if f.scan != "" {
		if f.Scan, err = f.report("static-analysis-report", f.scan); err != nil {
			return err
		}
	}
	for _, r := range f.reports {
		kind, path, ok := strings.Cut(r, "=")
		if !ok || !slices.Contains(references, kind) {
			return fmt.Errorf("--reference %q: want KIND=FILE, where KIND is one of %s", r, strings.Join(references, ", "))
		}
		if _, err := f.report(kind, path); err != nil {
			return err
		}
	}
	return f.sets(a, cmd)
}

// references are the kinds of file about a model that CycloneDX names.
var references = []string{
	"digital-signature", "attestation", "model-card", "threat-model", "adversary-model", "risk-assessment", "evidence",
	"quality-metrics", "documentation", "certification-report", "pentest-report", "log", "website", "vcs", "license",
}

// graphOf reads a model's graph if it is an ONNX file.
func graphOf(model string) (*onnx.Model, error) {
	if filepath.Ext(model) != ".onnx" {
		return nil, nil
	}
	return onnx.Read(model, onnx.DefaultLimits)
}

// report reads a file about the model, and refers to it as seen from the bill.
func (f *bomFlags) report(kind, path string) ([]byte, error) {
	b, err := readSmall(path)
	if err != nil {
		return nil, err
	}
	r := bom.Report{Kind: kind, Path: path, SHA256: redoubt.DigestBytes(b)}
	from, err := filepath.Abs(filepath.Dir(f.out))
	to, err2 := filepath.Abs(path)
	if err := errors.Join(err, err2); err != nil {
		return nil, err
	}
	if rel, err := filepath.Rel(from, to); err == nil {
		r.Path = rel
	}
	f.Reports = append(f.Reports, r)
	return b, nil
}

func (f *bomFlags) sets(a *app, cmd *cobra.Command) error {
	digests, err := a.digests(cmd, f.data)
	if err != nil {
		return err
	}
	if n := len(f.dataLicenses); n > 0 && n != len(f.data) {
		return fmt.Errorf("--data-license: %d licences for %d data sets: give one each", n, len(f.data))
	}
	for i, path := range f.data {
		d := bom.Data{Name: filepath.Base(path)}
		d.SHA256 = digests[d.Name]
		if len(f.dataLicenses) > 0 {
			d.License = f.dataLicenses[i]
		}
		f.Data = append(f.Data, d)
	}
	return nil
}

func bomScore() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "score FILE", Short: "Say how complete a bill of a model is, whoever made it", Args: cobra.ExactArgs(1),
		Example: `  redoubt bom score bom.json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			file, err := os.Open(args[0])
			if err != nil {
				return err
			}
			defer file.Close()
			b, err := bom.Read(file)
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			return printScore(cmd, args[0], bom.Score(b), asJSON)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func printScore(cmd *cobra.Command, path string, c bom.Completeness, asJSON bool) error {
	if asJSON {
		e := json.NewEncoder(cmd.OutOrStdout())
		e.SetIndent("", "  ")
		return e.Encode(struct {
			Schema string `json:"schema"`
			Path   string `json:"path"`
			bom.Completeness
		}{"redoubt.bom/v1", path, c})
	}
	_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s: %s", path, c)
	return err
}
