package main

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/spf13/cobra"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/ml/model"
	"github.com/redoubt-ml/redoubt/ml/onnx"
	"github.com/redoubt-ml/redoubt/ml/ort"
	"github.com/redoubt-ml/redoubt/ml/tensor"
)

func newGradcheck(a *app) *cobra.Command {
	var trials int
	var seed uint64
	var lo, hi, tolerance float64
	cmd := &cobra.Command{
		Use:   "gradcheck MODEL",
		Short: "Compare a model's gradients with differences of its outputs",
		Long: `Compare gradients with differences: at random inputs, for a random weighting of
the outputs and along random directions, the slope that the gradient predicts
must be the slope that running the model shows. Exit code 1 when it is not.

A network with kinks (ReLU, max pooling) has points where no two slopes agree;
the check steps so far that several kinks are crossed on average and compares
the medians of many trials.`,
		Example: "  redoubt gradcheck model.onnx",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := a.modelArg(args)
			if err != nil {
				return err
			}
			if !(lo < hi) || trials < 1 || !(tolerance > 0) {
				return fmt.Errorf("gradcheck needs --lo below --hi, at least one trial and a positive tolerance")
			}
			rt, err := ort.Open(a.ort)
			if err != nil {
				return err
			}
			file, err := onnx.Read(path, onnx.DefaultLimits)
			if err != nil {
				return err
			}
			// Gradients are computed in float32, and in float16 the
			// differences would measure its rounding.
			onnx.Single(file)
			l, err := model.New(cmd.Context(), rt, file, model.Config{})
			if err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
			defer l.Close()
			if _, why := l.Access(); why != nil {
				return fmt.Errorf("%s: %w", path, why)
			}
			c := gradCheck{l: l, rng: rand.New(rand.NewPCG(seed, 0)), lo: lo, hi: hi}
			differences, err := c.collect(cmd, trials)
			if err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
			if len(differences) == 0 {
				fmt.Fprintf(cmd.OutOrStdout(), "%s: undecided: the model is flat at all %d points tried\n", path, flatPatience*trials)
				return fmt.Errorf("%w%w", errSilent, redoubt.ErrUndecided)
			}
			slices.Sort(differences)
			m := differences[len(differences)/2]
			fmt.Fprintf(cmd.OutOrStdout(), "%s: median relative difference %.2g over %d trials (allowed %g)\n", path, m, len(differences), tolerance)
			if !(m <= tolerance) {
				return gate("%s: gradients and differences disagree by %.2g", path, m)
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.IntVar(&trials, "trials", 15, "random points to compare at")
	f.Uint64Var(&seed, "seed", 1, "seed of the random points")
	f.Float64Var(&lo, "lo", 0, "least value of an input")
	f.Float64Var(&hi, "hi", 1, "largest value of an input")
	f.Float64Var(&tolerance, "tolerance", 0.01, "largest median relative difference that passes")
	return cmd
}

type gradCheck struct {
	l      *model.Local
	rng    *rand.Rand
	lo, hi float64
}

// flatPatience is how many points are tried for each one wanted: where a model
// is flat there is nothing to compare.
const flatPatience = 20

// collect compares until it has enough points that are not flat.
func (c *gradCheck) collect(cmd *cobra.Command, trials int) ([]float64, error) {
	var out []float64
	for range flatPatience * trials {
		d, flat, err := c.trial(cmd)
		if err != nil {
			return nil, err
		}
		if !flat {
			out = append(out, d)
		}
		if len(out) == trials {
			break
		}
	}
	return out, nil
}

// rounding is how much of its size an output may move without having moved:
// some sixteen units in the last place of float32, which a deep network's sums
// easily lose.
const rounding = 1e-6

// trial compares once, and reports a place that is flat as far as float32 can
// tell. The function differentiated is w.z for a random w of the outputs z; the
// direction is the gradient's own mixed with a random one, so that the slope is
// not lost in the rounding of float32.
func (c *gradCheck) trial(cmd *cobra.Command) (difference float64, flat bool, err error) {
	sample := append([]int{1}, c.l.Sample()...)
	x := tensor.New(sample...)
	for j := range x.Data {
		x.Data[j] = float32(c.lo + (c.hi-c.lo)*c.rng.Float64())
	}
	obj := &model.Objective{Loss: model.Constraints, W: tensor.New(1, 1, c.l.Classes()), B: tensor.New(1, 1)}
	for j := range obj.W.Data {
		obj.W.Data[j] = float32(c.rng.NormFloat64())
	}
	z, g, err := c.l.Gradient(cmd.Context(), x, obj)
	if err != nil {
		return 0, false, err
	}
	noise := 0.0
	for j, w := range obj.W.Data {
		noise += rounding * math.Abs(float64(w)*float64(z.Data[j]))
	}
	v, slope := c.direction(g.Data)
	best, flat := math.Inf(1), true
	for _, h := range []float64{1e-2, 3e-3, 1e-3, 3e-4} {
		h *= c.hi - c.lo
		up, err := c.at(cmd, x, v, h, obj)
		if err != nil {
			return 0, false, err
		}
		down, err := c.at(cmd, x, v, -h, obj)
		if err != nil {
			return 0, false, err
		}
		seen := (up - down) / (2 * h)
		flat = flat && math.Max(math.Abs(seen), math.Abs(slope))*2*h <= noise
		best = math.Min(best, math.Abs(seen-slope)/math.Max(math.Max(math.Abs(seen), math.Abs(slope)), 1e-12))
	}
	return best, flat, nil
}

// direction is a unit vector with a share of the gradient, and the slope along
// it.
func (c *gradCheck) direction(g []float32) (v []float64, slope float64) {
	size := 0.0
	for _, u := range g {
		size += float64(u) * float64(u)
	}
	size = math.Sqrt(math.Max(size, 1e-300))
	v = make([]float64, len(g))
	length := 0.0
	for j := range v {
		v[j] = float64(g[j])/size + c.rng.NormFloat64()/math.Sqrt(float64(len(g)))
		length += v[j] * v[j]
	}
	length = math.Sqrt(length)
	for j := range v {
		v[j] /= length
		slope += v[j] * float64(g[j])
	}
	return v, slope
}

func (c *gradCheck) at(cmd *cobra.Command, x *tensor.Tensor, v []float64, h float64, obj *model.Objective) (float64, error) {
	y := x.Clone()
	for j := range v {
		y.Data[j] += float32(h * v[j])
	}
	z, err := c.l.Scores(cmd.Context(), y)
	if err != nil {
		return 0, err
	}
	return obj.Value(0, z.Row(0)), nil
}
