package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/redoubt-ml/redoubt/privacy/dp"
	"github.com/redoubt-ml/redoubt/privacy/dp/account"
)

// planFlags describe steps of one mechanism, as dp epsilon and dp calibrate take
// them. Noise is given as a multiple of the clip, so the clip itself is 1.
type planFlags struct {
	mechanism, adjacency, sampling, accountant string
	sigma, q                                   float64
	steps, group                               int
	batch, limit, units                        int
}

// noises are the mechanisms whose noise a number sets.
var noises = []struct {
	name string
	make func(noise float64, s account.Sampler) account.Mechanism
}{
	{"gaussian", func(n float64, s account.Sampler) account.Mechanism {
		return account.Gaussian{StdDev: n, Clip: 1, Sampler: s}
	}},
	{"laplace", func(n float64, s account.Sampler) account.Mechanism {
		return account.Laplace{Scale: n, Clip: 1, Sampler: s}
	}},
	{"discrete-gaussian", func(n float64, s account.Sampler) account.Mechanism {
		return account.DiscreteGaussian{Sigma: n, Clip: 1, Sampler: s}
	}},
	{"discrete-laplace", func(n float64, s account.Sampler) account.Mechanism {
		return account.DiscreteLaplace{Scale: n, Clip: 1, Sampler: s}
	}},
}

func (f *planFlags) register(flags *pflag.FlagSet) {
	flags.StringVar(&f.mechanism, "mechanism", "gaussian", "gaussian, laplace, discrete-gaussian or discrete-laplace")
	flags.Float64Var(&f.sigma, "sigma", 0, "noise multiplier: standard deviation (Laplace: scale) over the clip")
	flags.IntVar(&f.steps, "steps", 1, "how often, with fresh noise and a fresh sample each time")
	flags.StringVar(&f.adjacency, "adjacency", "", "add-remove or replace (required)")
	flags.StringVar(&f.sampling, "sampling", "poisson", "poisson, capped-poisson, fixed, shuffled or none")
	flags.Float64Var(&f.q, "q", 1, "probability of a unit to be in a batch (poisson, capped-poisson)")
	flags.IntVar(&f.limit, "cap", 0, "the most units in a batch (capped-poisson)")
	flags.IntVar(&f.batch, "batch", 0, "units in a batch (fixed, shuffled)")
	flags.IntVar(&f.units, "units", 0, "units in the data, a public number (capped-poisson, fixed, shuffled)")
	flags.IntVar(&f.group, "group", 1, "units that are protected together")
	flags.StringVar(&f.accountant, "accountant", "pld", "pld, rdp, zcdp or basic")
}

// sampler is what --sampling and its numbers say. Numbers that belong to another
// kind are refused: who gives one believes that it counts.
func (f *planFlags) sampler(set func(string) bool) (account.Sampler, error) {
	kinds := []struct {
		name  string
		uses  []string
		value account.Sampler
	}{
		{"poisson", []string{"q"}, account.Poisson{Rate: f.q}},
		{"capped-poisson", []string{"q", "cap", "units"}, account.CappedPoisson{Rate: f.q, Cap: f.limit, Of: f.units}},
		{"fixed", []string{"batch", "units"}, account.FixedSize{Batch: f.batch, Of: f.units}},
		{"shuffled", []string{"batch", "units"}, account.Shuffled{Batch: f.batch, Of: f.units}},
		{"none", nil, nil},
	}
	for _, k := range kinds {
		if k.name != f.sampling {
			continue
		}
		for _, flag := range []string{"q", "cap", "batch", "units"} {
			if set(flag) && !slices.Contains(k.uses, flag) {
				return nil, fmt.Errorf("--%s means nothing with --sampling %s: leave it out, or choose the sampling that the code has", flag, k.name)
			}
		}
		if p, ok := k.value.(account.Poisson); ok && p.Rate == 1 { // everybody, every time
			if !set("sampling") {
				f.sampling = "none"
			}
			return nil, nil
		}
		return k.value, nil
	}
	return nil, fmt.Errorf("--sampling %q: must be poisson, capped-poisson, fixed, shuffled or none", f.sampling)
}

// question is what the flags describe: a plan for each noise, sampler and number
// of steps.
type dpQuestion struct {
	accountant account.Kind
	adjacency  dp.Adjacency
	sampler    account.Sampler
	plan       func(noise float64, s account.Sampler, steps int) account.Plan
}

func (f *planFlags) question(cmd *cobra.Command) (q dpQuestion, err error) {
	if err := q.adjacency.UnmarshalText([]byte(f.adjacency)); err != nil {
		if f.adjacency == "" {
			return q, fmt.Errorf("--adjacency is needed: add-remove (a unit comes or goes) or replace (another takes its place, about twice as dear)")
		}
		return q, fmt.Errorf("--%w", err)
	}
	i := slices.IndexFunc(account.Kinds, func(k account.Kind) bool { return k.Name == f.accountant })
	if i < 0 {
		return q, fmt.Errorf("--accountant %q: must be pld, rdp, zcdp or basic", f.accountant)
	}
	q.accountant = account.Kinds[i]
	if q.sampler, err = f.sampler(cmd.Flags().Changed); err != nil {
		return q, err
	}
	for _, n := range noises {
		if n.name == f.mechanism {
			q.plan = func(noise float64, s account.Sampler, steps int) account.Plan {
				return account.Plan{Adjacency: q.adjacency, Group: f.group, Steps: []account.Step{{Mechanism: n.make(noise, s), Times: steps}}}
			}
			return q, nil
		}
	}
	return q, fmt.Errorf("--mechanism %q: must be gaussian, laplace, discrete-gaussian or discrete-laplace", f.mechanism)
}

// describe says under an answer what it rests on, and what it leaves open.
func (f *planFlags) describe(q dpQuestion) string {
	var b strings.Builder
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "  %-12s %s\n", name, fmt.Sprintf(format, args...))
	}
	unit := "one unit: all records that are sampled, clipped and counted as one"
	if f.group > 1 {
		unit = fmt.Sprintf("%d units together", f.group)
	}
	line("protects", "%s", unit)
	if q.adjacency == dp.Replace {
		line("adjacency", "replace: another unit takes its place, and the sum moves by two clips")
	} else {
		line("adjacency", "add-remove: the unit comes or goes, and the sum moves by one clip")
	}
	switch s := q.sampler.(type) {
	case account.Poisson:
		line("sampling", "Poisson, each unit with probability %g; true only if batches vary in size", s.Rate)
	case account.CappedPoisson:
		line("sampling", "Poisson with probability %g, at most %d of %d units", s.Rate, s.Cap, s.Of)
	case account.FixedSize:
		line("sampling", "%d of %d units without replacement, afresh each step", s.Batch, s.Of)
	default:
		line("sampling", "none: every unit takes part in every step")
	}
	line("accountant", "%s: %s", q.accountant.Name, q.accountant.Doc)
	line("not covered", "the sizes of data and batches where they are told, choosing settings by")
	line("", "trying them on the data, units that hold only part of a person, and what")
	line("", "the population teaches about everyone")
	return b.String()
}
