package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/supply/sign"
)

func newAttest(a *app) *cobra.Command {
	var f signFlags
	var assessment, scan, expires string
	var data []string
	cmd := &cobra.Command{
		Use:   "attest MODEL --assessment R.json --expires 90d --key FILE --out FILE",
		Short: "Sign what was measured about a model: an assessment, a scan, the data behind it",
		Long: `Sign what was measured about a model: an assessment, a scan, or the data that it
was made from, one of them a bundle. The attestation is about the model's root
digest, holds until it expires, and says nothing about another model: results of
other files are refused.`,
		Example: `  redoubt attest model.onnx --assessment report.json --expires 90d --key signing.key --out model.assessment
  redoubt attest model.onnx --scan scan.json --expires 30d --key signing.key --out model.scan
  redoubt attest model.onnx --data train.csv --expires 365d --key signing.key --out model.lineage`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			model, err := a.modelArg(args)
			if err != nil {
				return err
			}
			if f.out == "" {
				return errors.New("attest needs --out FILE: where to write the bundle")
			}
			life, err := parseLife(expires)
			if err != nil {
				return err
			}
			s, err := f.signer()
			if err != nil {
				return err
			}
			m, err := a.hash(sign.Hashing{Ignore: append(f.ignore, within(model, f.out)...)}, cmd, model)
			if err != nil {
				return err
			}
			att, err := a.claim(cmd, m, assessment, scan, data)
			if err != nil {
				return err
			}
			att.Issued = time.Now().UTC().Truncate(time.Second)
			att.Expires = att.Issued.Add(life)
			bundle, err := s.Attest(m.Name, att)
			if err != nil {
				return err
			}
			return f.done(cmd, model, m, s, bundle)
		},
	}
	f.add(cmd)
	fl := cmd.Flags()
	fl.StringVar(&assessment, "assessment", "", "JSON of 'redoubt assess'")
	fl.StringVar(&scan, "scan", "", "JSON of 'redoubt scan'")
	fl.StringArrayVar(&data, "data", nil, "file or folder that the model was made from; repeatable")
	fl.StringVar(&expires, "expires", "", "how long it holds, such as 90d or 12h")
	return cmd
}

// claim reads what is to be attested: exactly one of three.
func (a *app) claim(cmd *cobra.Command, m *sign.Manifest, assessment, scan string, data []string) (*sign.Attestation, error) {
	n := 0
	for _, given := range []bool{assessment != "", scan != "", len(data) > 0} {
		if given {
			n++
		}
	}
	if n != 1 {
		return nil, errors.New("attest needs exactly one of --assessment, --scan and --data")
	}
	if len(data) > 0 {
		digests, err := a.digests(cmd, data)
		if err != nil {
			return nil, err
		}
		return sign.OfLineage(m, digests)
	}
	b, err := readSmall(assessment + scan) // one of them is empty
	if err != nil {
		return nil, err
	}
	if scan != "" {
		return sign.OfScan(m, b)
	}
	r, err := parseAssessment(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", assessment, err)
	}
	return sign.OfAssessment(m, r)
}

func parseAssessment(b []byte) (*redoubt.Assessment, error) {
	r := &redoubt.Assessment{}
	if err := json.Unmarshal(b, r); err != nil {
		return nil, fmt.Errorf("read assessment: %w", err)
	}
	if r.Schema != redoubt.AssessmentSchema {
		return nil, fmt.Errorf("read assessment: schema %q: want %s, the file of 'redoubt assess --json'", r.Schema, redoubt.AssessmentSchema)
	}
	return r, nil
}

// digests are those of files, and the root digests of folders, by base name.
func (a *app) digests(cmd *cobra.Command, paths []string) (map[string]redoubt.Digest, error) {
	out := map[string]redoubt.Digest{}
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			return nil, fmt.Errorf("--data: %w", err)
		}
		var d redoubt.Digest
		if info.IsDir() {
			m, err := a.hash(sign.Hashing{}, cmd, path)
			if err != nil {
				return nil, err
			}
			d = m.Root()
		} else if d, err = redoubt.DigestFile(path); err != nil {
			return nil, err
		}
		name := filepath.Base(path)
		if out[name] != "" {
			return nil, fmt.Errorf("--data: two are called %s: rename one", name)
		}
		out[name] = d
	}
	return out, nil
}

// parseLife reads days ("90d") or what Go calls a duration.
func parseLife(s string) (time.Duration, error) {
	var d time.Duration
	var err error
	if days, ok := strings.CutSuffix(s, "d"); ok {
		var n int
		n, err = strconv.Atoi(days)
		d = time.Duration(min(n, 1<<15)) * 24 * time.Hour
	} else {
		d, err = time.ParseDuration(s)
	}
	if err != nil || d < time.Second || d > 10*366*24*time.Hour {
		return 0, fmt.Errorf("--expires %q: want from 1s to 3660d, such as 90d or 12h", s)
	}
	return d, nil
}
