package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/assess"
	"github.com/redoubt-ml/redoubt/attack/evasion"
	"github.com/redoubt-ml/redoubt/defend/certify"
	"github.com/redoubt-ml/redoubt/ml/data"
	"github.com/redoubt-ml/redoubt/ml/model"
	"github.com/redoubt-ml/redoubt/ml/onnx"
	"github.com/redoubt-ml/redoubt/ml/tensor"
	"github.com/redoubt-ml/redoubt/ml/vnnlib"
)

// certifyFlags are the settings of a certification as they are typed.
type certifyFlags struct {
	assessFlags
	norm, method string
	timeout      float64
	sigma, alpha float64
	n0, n        int
	json         string
}

func newCertify(a *app) *cobra.Command {
	var f certifyFlags
	cmd := &cobra.Command{
		Use:   "certify MODEL PROP.vnnlib | certify MODEL --data DATA --eps RADIUS",
		Short: "Prove that no input near a sample changes its label, or that a property holds",
		Long: `Prove, rather than fail to attack. With a VNN-LIB property it prints "unsat",
exit code 0, when it is proved that no input of the box violates it, and
"unknown", exit code 3, otherwise; never "sat", which is what falsify looks for.

With samples it counts those that are classified correctly and proved to stay
so under every perturbation of a radius: the certified accuracy. An attack
bounds robustness from above, this from below.

Methods: complete (optimised linear bounds, then case distinctions until the
time is over), crown (linear bounds), ibp (intervals), for networks of affine
maps and ReLU-like activations; and smoothing, for any model, which certifies
in L2 the vote of the model over noisy copies, with confidence 1 - alpha.
A proof covers every float32 evaluation of the graph.

DATA is what 'redoubt assess' takes.`,
		Example: `  redoubt certify network.onnx property.vnnlib --timeout 60
  redoubt certify model.onnx --data test.npz --norm linf --eps 0.01,0.03
  redoubt certify model.onnx --data test.npz --norm l2 --eps 0.25,0.5 --method smoothing --sigma 0.25`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.check(len(args) == 2); err != nil {
				return err
			}
			if len(args) == 2 {
				return a.certifyProperty(cmd, args[0], args[1], &f)
			}
			return a.certifySamples(cmd, args[0], &f)
		},
	}
	fl := cmd.Flags()
	f.Target = -1
	f.dataFlags(fl)
	fl.StringVar(&f.norm, "norm", "linf", "norm: linf, l2 or l1")
	fl.Float64SliceVar(&f.Eps, "eps", nil, "radii, in units of the data")
	fl.StringVar(&f.method, "method", "complete", "complete, crown, ibp or smoothing")
	fl.Float64Var(&f.timeout, "timeout", 60, "seconds to try, for the property or for each sample")
	fl.Float64Var(&f.sigma, "sigma", 0, "smoothing: standard deviation of the noise")
	fl.Float64Var(&f.alpha, "alpha", 0.001, "smoothing: chance that a certificate is wrong")
	fl.IntVar(&f.n0, "n0", 100, "smoothing: noisy copies that choose the class")
	fl.IntVar(&f.n, "n", 100_000, "smoothing: noisy copies that estimate its probability")
	fl.Uint64Var(&f.Seed, "seed", 0, "smoothing: seed of the noise")
	fl.IntVar(&f.threads, "threads", runtime.NumCPU(), "threads to run on")
	fl.StringVar(&f.json, "json", "", "write the result, with every sample, to this file as JSON")
	return cmd
}

// methods are the ways to bound, by the names of --method.
var methods = []certify.Method{certify.Complete, certify.CROWN, certify.IBP}

// bounds is the options of the methods that bound.
func (f *certifyFlags) bounds() (certify.Options, error) {
	i := slices.IndexFunc(methods, func(m certify.Method) bool { return m.String() == f.method })
	if i < 0 {
		return certify.Options{}, fmt.Errorf("--method %q: want complete, crown, ibp or smoothing", f.method)
	}
	return certify.Options{Method: methods[i], Threads: f.threads}, nil
}

func (f *certifyFlags) smoothing() bool { return f.method == "smoothing" }

// check refuses what could only fail later.
func (f *certifyFlags) check(property bool) error {
	if !(f.timeout > 0) || f.timeout > 1e6 || f.threads < 1 || f.Limit < 0 {
		return errors.New("--timeout is a positive number of seconds, --threads starts at 1, --limit at 0")
	}
	if !f.smoothing() {
		if _, err := f.bounds(); err != nil {
			return err
		}
	}
	switch {
	case property && (f.Data != "" || f.smoothing()):
		return errors.New("certify takes a property or --data, and smoothing needs --data")
	case property:
		return nil
	case f.Data == "" || len(f.Eps) == 0:
		return errors.New("certify needs a property to prove, or samples and radii: give --data and --eps")
	case f.smoothing() && (f.norm != "l2" || !(f.sigma > 0)):
		return errors.New("smoothing certifies in L2: give --norm l2, and the noise as --sigma")
	}
	if _, err := evasion.FindNorm(f.norm); err != nil {
		return err
	}
	for _, e := range f.Eps {
		if !(e > 0) || e > 1e30 {
			return fmt.Errorf("--eps %v: want a positive number", e)
		}
	}
	slices.Sort(f.Eps)
	f.Eps = slices.Compact(f.Eps)
	return nil
}

func (a *app) certifyProperty(cmd *cobra.Command, path, property string, f *certifyFlags) error {
	ctx, cancel := context.WithTimeout(cmd.Context(), seconds(f.timeout))
	defer cancel()
	p, err := vnnlib.Read(property)
	if err != nil {
		return err
	}
	m, err := onnx.Read(path, onnx.DefaultLimits)
	if err != nil {
		return err
	}
	n, err := certify.Read(m)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	o, err := f.bounds()
	if err != nil {
		return err
	}
	bar := newProgress(a.quiet)
	o.Progress = func(done, open int) { bar.report("domains", done, done+open) }
	proved, err := n.Prove(ctx, p, o)
	bar.clear()
	switch {
	case cmd.Context().Err() != nil:
		return cmd.Context().Err()
	case err != nil:
		return err
	case proved:
		fmt.Fprintln(cmd.OutOrStdout(), "unsat")
		return nil
	}
	fmt.Fprintln(cmd.OutOrStdout(), "unknown")
	return fmt.Errorf("%w%w", errSilent, redoubt.ErrUndecided)
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// certified is the JSON document of a certification.
type certified struct {
	Schema string           `json:"schema"`
	Model  redoubt.Digest   `json:"model_sha256"`
	Data   redoubt.Digest   `json:"data_sha256"`
	Norm   string           `json:"norm"`
	Method string           `json:"method"`
	Sigma  float64          `json:"sigma,omitempty"`
	Alpha  float64          `json:"alpha,omitempty"`
	Clean  float64          `json:"clean_accuracy"`
	Radii  []certifiedAt    `json:"radii"`
	Each   []certifiedPoint `json:"samples"`
}

// certifiedAt is the share of all samples that are right and proved to stay so.
type certifiedAt struct {
	Eps       float64 `json:"eps"`
	Certified int     `json:"certified"`
	Accuracy  float64 `json:"certified_accuracy"`
}

// certifiedPoint is what is known of one sample.
type certifiedPoint struct {
	Row   int `json:"row"`
	Label int `json:"label"`
	// Class is what the model, or its smoothed version, says; -1 abstains.
	Class int `json:"class"`
	// Radius is the largest proved: of those asked for, or for smoothing, any.
	Radius float64 `json:"radius"`
}

func (a *app) certifySamples(cmd *cobra.Command, path string, f *certifyFlags) (err error) {
	var result certified
	var out reservations
	if f.json != "" {
		r, err := reserve(f.json, func(w io.Writer, _ *redoubt.Assessment) error {
			e := json.NewEncoder(w)
			e.SetIndent("", "  ")
			return e.Encode(&result)
		})
		if err != nil {
			return err
		}
		out = append(out, r)
	}
	defer func() { err = errors.Join(err, out.discard()) }()
	var cfg assess.Config
	if f.Bounds != "" {
		if cfg.Box, err = parseBounds(f.Bounds); err != nil {
			return err
		}
	}
	set, l, err := a.open(cmd.Context(), path, &f.assessFlags, &cfg)
	if err != nil {
		return err
	}
	defer l.Close()
	result = certified{Schema: "redoubt.certify/v1", Data: set.Digest, Norm: f.norm, Method: f.method}
	if result.Model, err = redoubt.DigestFile(path); err != nil {
		return err
	}
	bar := newProgress(a.quiet)
	if f.smoothing() {
		result.Sigma, result.Alpha = f.sigma, f.alpha
		result.Each, err = f.smooth(cmd.Context(), l, set, bar)
	} else {
		result.Each, err = f.prove(cmd.Context(), l, set, cfg.Box, bar)
	}
	bar.clear()
	if err != nil {
		return err
	}
	result.count(f.Eps)
	if err := out.write(nil); err != nil {
		return err
	}
	return result.print(cmd.OutOrStdout())
}

// smooth certifies the smoothed classifier.
func (f *certifyFlags) smooth(ctx context.Context, l *model.Local, set *data.Set, bar *progress) ([]certifiedPoint, error) {
	s := certify.Smoothing{Sigma: f.sigma, N0: f.n0, N: f.n, Alpha: f.alpha, Seed: f.Seed,
		Progress: func(done, total int) { bar.report("smoothing", done, total) }}
	found, err := s.Certify(ctx, l, set.X)
	if err != nil {
		return nil, err
	}
	var points []certifiedPoint
	for i, c := range found {
		points = append(points, certifiedPoint{Row: i, Label: set.Y[i], Class: c.Class, Radius: c.Radius})
	}
	return points, nil
}

// prove proves each sample that the model gets right for one radius after the
// other, until it cannot: what is not proved at one is not at a larger one.
func (f *certifyFlags) prove(ctx context.Context, l *model.Local, set *data.Set, box evasion.Box, bar *progress) ([]certifiedPoint, error) {
	n, err := certify.Read(l.Prepared())
	if err != nil {
		return nil, err
	}
	o, err := f.bounds()
	if err != nil {
		return nil, err
	}
	norm, err := evasion.FindNorm(f.norm)
	if err != nil {
		return nil, err
	}
	var points []certifiedPoint
	for i, label := range set.Y {
		z, err := l.Scores(ctx, set.X.Slice(i, i+1))
		if err != nil {
			return nil, err
		}
		p := certifiedPoint{Row: i, Label: label, Class: tensor.ArgMax(z.Row(0))}
		limited, cancel := context.WithTimeout(ctx, seconds(f.timeout))
		for _, eps := range f.Eps {
			proved := false
			if p.Class == label {
				proved, err = n.Robust(limited, certify.Ball{X: set.X.Row(i), Norm: norm, Eps: eps, Box: box}, label, o)
			}
			if !proved || err != nil {
				break
			}
			p.Radius = eps
		}
		cancel()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil {
			return nil, err
		}
		points = append(points, p)
		bar.report("certify "+f.norm, i+1, len(set.Y))
	}
	return points, nil
}

// count fills in the accuracies.
func (c *certified) count(radii []float64) {
	total := float64(max(1, len(c.Each)))
	right := 0
	for _, p := range c.Each {
		if p.Class == p.Label {
			right++
		}
	}
	c.Clean = float64(right) / total
	for _, eps := range radii {
		at := certifiedAt{Eps: eps}
		for _, p := range c.Each {
			if p.Class == p.Label && p.Radius >= eps {
				at.Certified++
			}
		}
		at.Accuracy = float64(at.Certified) / total
		c.Radii = append(c.Radii, at)
	}
}

func (c *certified) print(w io.Writer) error {
	what := "accuracy"
	if c.Method == "smoothing" {
		what = "accuracy of the smoothed classifier"
	}
	fmt.Fprintf(w, "%s: %.4f of %d samples\n\n", what, c.Clean, len(c.Each))
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "norm\tradius\tcertified\tcertified accuracy")
	for _, r := range c.Radii {
		fmt.Fprintf(t, "%s\t%g\t%d of %d\t%.4f\n", c.Norm, r.Eps, r.Certified, len(c.Each), r.Accuracy)
	}
	return t.Flush()
}
