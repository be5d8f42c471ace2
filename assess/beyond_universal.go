package assess

import (
	"context"
	"errors"
	"math/rand/v2"
	"strconv"
	"strings"

	"github.com/redoubt-ml/redoubt/attack/evasion"
	"github.com/redoubt-ml/redoubt/ml/model"
)

// universal is the threat of one perturbation for all samples.
var universal = &ThreatKind{
	Name:  "universal",
	Form:  "universal:linf@0.1",
	Doc:   "one perturbation in linf or l2 that is added to every sample; made on half of the samples, measured on the others",
	Paper: "Shafahi et al. 2020 (arXiv 1811.11304); Moosavi-Dezfooli et al. 2017 (arXiv 1610.08401)",
	parse: func(arguments string) (Threat, error) {
		name, radius, _ := strings.Cut(arguments, "@")
		norm, err := evasion.FindNorm(strings.TrimSpace(name))
		if err != nil || norm != evasion.Linf && norm != evasion.L2 {
			return Threat{}, errors.New("want linf or l2, then @ and a radius")
		}
		eps, err := strconv.ParseFloat(strings.TrimSpace(radius), 64)
		if err != nil || !(eps > 0 && eps <= 1e30) {
			return Threat{}, errors.New("want a radius above 0")
		}
		return Threat{
			Norm: "universal-" + norm.Name(), Eps: eps, Bound: "one perturbation for all samples, up to " + strconv.FormatFloat(eps, 'g', -1, 64) + " in " + norm.Name(),
			means: means{
				held: true, draws: 1, unit: "perturbations", remedy: "train against universal perturbations, and have a gateway watch for one pattern in many inputs",
				allowed: func(d *driver) error {
					if d.rules != nil {
						return errors.New("one change for all rows cannot keep to a table's schema: leave it out")
					}
					return whiteBox(d)
				},
				find: func(ctx context.Context, d *driver, rows []int, round int, tally *model.Tally) (change, error) {
					a := evasion.Universal{Steps: d.steps(200, round), Step: d.cfg.Step}
					v, err := learn(ctx, d, "universal", rows, round, 2*a.Steps, tally, norm, eps, a.Fit)
					return d.added(v, norm, eps), err
				},
				chance: func(d *driver) (change, error) { return d.added(d.edge(norm, eps), norm, eps), nil },
			},
		}, nil
	},
}

// edge is a perturbation of random signs on the edge of the ball.
func (d *driver) edge(norm evasion.Norm, eps float64) []float32 {
	rng := rand.New(rand.NewPCG(d.cfg.Seed, 0x5349_474e))
	v := make([]float32, d.set.X.RowLen())
	for j := range v {
		v[j] = float32(2*rng.IntN(2) - 1)
	}
	k := float32(eps / norm.Size(v))
	for j := range v {
		v[j] *= k
	}
	return v
}

// added adds a perturbation to rows, inside the box, and measures it again.
func (d *driver) added(v []float32, norm evasion.Norm, eps float64) change {
	return func(row, _ int) ([]float32, float64, error) {
		origin := d.set.X.Row(row)
		x := make([]float32, len(origin))
		for j, o := range origin {
			x[j] = o + v[j]
		}
		d.cfg.Box.Clip(x)
		size, err := tighten(norm, x, origin, eps)
		return x, size, err
	}
}
