package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/spf13/cobra"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/assess"
	"github.com/redoubt-ml/redoubt/attack/evasion"
	"github.com/redoubt-ml/redoubt/cmd/redoubt/demodata"
	"github.com/redoubt-ml/redoubt/ml/data"
	"github.com/redoubt-ml/redoubt/ml/model"
	"github.com/redoubt-ml/redoubt/ml/onnx"
	"github.com/redoubt-ml/redoubt/ml/ort"
	"github.com/redoubt-ml/redoubt/ml/train"
	"github.com/redoubt-ml/redoubt/report"
)

// story is one task of the demonstration: a data set, a network for it, and
// the radius that adversarial training and the gate are about.
type story struct {
	name, title string
	open        func() (*data.Set, error)
	network     func(set *data.Set) (*onnx.Model, error)
	epochs      int
	eps         []float64 // radii assessed; training and the gate use the last
	gate        float64   // least robust accuracy there
}

var stories = []story{
	{
		name: "digits", title: "Handwritten digits, a convolutional network", open: demodata.Digits,
		network: func(*data.Set) (*onnx.Model, error) { return train.CNN([3]int{1, 8, 8}, []int{16, 32}, 64, 10, 1) },
		epochs:  15, eps: []float64{0.05, 0.1, 0.15}, gate: 0.5,
	},
	{
		name: "credit", title: "Credit applications, a fully connected network", open: demodata.Credit,
		network: func(s *data.Set) (*onnx.Model, error) { return train.MLP(s.X.Shape[1:], []int{32}, 2, 1) },
		epochs:  15, eps: []float64{0.02, 0.05, 0.1}, gate: 0.5,
	},
	{
		name: "tumours", title: "Breast tumours, a fully connected network", open: demodata.Tumours,
		network: func(s *data.Set) (*onnx.Model, error) { return train.MLP(s.X.Shape[1:], []int{32}, 2, 1) },
		epochs:  40, eps: []float64{0.02, 0.05, 0.1}, gate: 0.7,
	},
}

func newDemo(a *app) *cobra.Command {
	var out string
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "The whole story on data inside the binary: train, attack, harden, gate, report",
		Long: `The whole story, on data inside this binary and without a network: for
handwritten digits, credit applications and breast tumours it trains a plain
and an adversarially trained classifier, attacks both, lets a gate decide, and
writes models and reports to a folder.`,
		Example: "  redoubt demo\n  redoubt demo --out /tmp/demo",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return a.demo(cmd, out) },
	}
	cmd.Flags().StringVar(&out, "out", "redoubt-demo", "folder for models and reports")
	return cmd
}

func (a *app) demo(cmd *cobra.Command, out string) error {
	rt, err := ort.Open(a.ort)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return fmt.Errorf("make the folder for reports: %w", err)
	}
	w := cmd.OutOrStdout()
	fmt.Fprintln(w, "A plain and an adversarially trained classifier for each task, attacked alike.")
	for _, s := range stories {
		fmt.Fprintf(w, "\n%s\n", s.title)
		fmt.Fprintf(w, "  %-9s %7s  %s  %-9s  %s\n", "training", "clean", radii(s.eps), "gate", "report")
		for _, hardened := range []bool{false, true} {
			if err := a.act(cmd, rt, s, hardened, out); err != nil {
				return fmt.Errorf("demo: %s: %w", s.name, err)
			}
		}
	}
	fmt.Fprintf(w, "\nThe gates are on robust accuracy at the largest radius. Start with %s,\nlook into a model, or put the hardened one behind the gateway:\n\n  redoubt inspect %s\n  redoubt serve --model %s\n",
		filepath.Join(out, "digits-plain.html"), filepath.Join(out, "digits-plain.onnx"), filepath.Join(out, "digits-hardened.onnx"))
	return nil
}

func radii(eps []float64) string {
	var b strings.Builder
	for _, e := range eps {
		fmt.Fprintf(&b, "%8s", fmt.Sprintf("±%g", e))
	}
	return b.String()
}

// act trains one classifier, assesses it and prints a line.
func (a *app) act(cmd *cobra.Command, rt *ort.Runtime, s story, hardened bool, out string) error {
	set, err := s.open()
	if err != nil {
		return err
	}
	learn, test := set.Split(0.75, 1)
	kind := "plain"
	if hardened {
		kind = "hardened"
	}
	base := filepath.Join(out, s.name+"-"+kind)
	p := newProgress(a.quiet)
	defer p.clear()
	trained, err := s.train(cmd.Context(), rt, learn, hardened, p)
	if err != nil {
		return err
	}
	if err := onnx.Write(base+".onnx", trained); err != nil {
		return err
	}
	result, err := s.assess(cmd.Context(), rt, base+".onnx", test, p)
	if err != nil {
		return err
	}
	if err := writeReport(base+".html", result, report.HTML); err != nil {
		return err
	}
	if err := writeReport(base+".json", result, report.JSON); err != nil {
		return err
	}
	p.clear()
	var robust strings.Builder
	for _, t := range result.Threats {
		fmt.Fprintf(&robust, "%6.1f %%", 100*t.RobustAccuracy)
	}
	verdict := map[bool]string{true: "pass", false: "fail"}[result.Gates[0].Pass]
	fmt.Fprintf(cmd.OutOrStdout(), "  %-9s %5.1f %%  %s  %-9s  %s.html\n", kind, 100*result.CleanAccuracy, robust.String(), verdict, base)
	return nil
}

func (s story) train(ctx context.Context, rt *ort.Runtime, learn *data.Set, hardened bool, p *progress) (*onnx.Model, error) {
	m, err := s.network(learn)
	if err != nil {
		return nil, err
	}
	cfg := train.Config{Epochs: s.epochs, Batch: 50, Rate: train.Constant(0.003), Seed: 1, Progress: func(t train.Progress) {
		p.report("train "+s.name, t.Step, t.Steps)
	}}
	if hardened {
		cfg.Epochs *= 2
		cfg.Perturb = s.attackWhileTraining(boxOf(learn))
	}
	trained, _, err := train.Fit(ctx, rt, m, learn.X, learn.Y, cfg)
	return trained, err
}

// attackWhileTraining replaces each batch by what PGD makes of it on the
// network of the moment (Madry et al. 2018).
func (s story) attackWhileTraining(box evasion.Box) func(context.Context, *train.Batch) error {
	return func(ctx context.Context, b *train.Batch) error {
		eps := make([]float64, b.X.Rows())
		for i := range eps {
			eps[i] = s.eps[len(s.eps)-1]
		}
		x, err := evasion.Descent{Name: "train", Steps: 7, Random: true}.Perturb(ctx, b.Net, &evasion.Batch{
			X: b.X, Labels: b.Y, Norm: evasion.Linf, Eps: eps, Box: box, Seed: uint64(b.Step),
		})
		if err != nil {
			return err
		}
		copy(b.X.Data, x.Data)
		return nil
	}
}

func (s story) assess(ctx context.Context, rt *ort.Runtime, path string, test *data.Set, p *progress) (*redoubt.Assessment, error) {
	l, err := model.Open(ctx, rt, path, model.Config{})
	if err != nil {
		return nil, err
	}
	defer l.Close()
	digest, err := redoubt.DigestFile(path)
	if err != nil {
		return nil, err
	}
	target := assess.Local(l)
	target.Info.Path, target.Info.SHA256 = path, digest
	gate, err := assess.ParseGate(fmt.Sprintf("robust_accuracy[linf@%g]>=%g", s.eps[len(s.eps)-1], s.gate))
	if err != nil {
		return nil, err
	}
	result, err := assess.Run(ctx, target, test, assess.Config{
		Eps: s.eps, Box: boxOf(test), Workers: runtime.NumCPU(), Seed: 1, Version: version(), Progress: p.report,
	})
	if err != nil {
		return nil, err
	}
	result.Tool.Runtime, result.Tool.Machine, result.Tool.Command = rt.Version(), machine(), "redoubt demo"
	g, err := gate.Check(result)
	result.Gates = append(result.Gates, g)
	return result, err
}

// writeReport writes one report, whole or not at all.
func writeReport(path string, a *redoubt.Assessment, render renderer) error {
	r, err := reserve(path, render)
	if err != nil {
		return err
	}
	files := reservations{r}
	return errors.Join(files.write(a), files.discard())
}
