package assess

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"

	"github.com/redoubt-ml/redoubt/attack/evasion"
	"github.com/redoubt-ml/redoubt/ml/model"
	"github.com/redoubt-ml/redoubt/ml/tensor"
)

// patchDraws is in how many random places a patch is tried on each image.
const patchDraws = 10

// patch is the threat of a sticker that lies anywhere on the image.
var patch = &ThreatKind{
	Name:  "patch",
	Form:  "patch:5%",
	Doc:   "one square on at most a share of the image, at random places, turned up to 22.5 degrees, at 0.8 to 1 of its side; made on half of the samples, measured on the others in ten places each, of which at least half must succeed (patch:5%,round for a disc)",
	Paper: "Brown et al. 2017 (arXiv 1712.09665)",
	parse: func(arguments string) (Threat, error) {
		a, err := patchOf(arguments)
		if err != nil {
			return Threat{}, err
		}
		shape := map[bool]string{false: "square", true: "round"}[a.Round]
		return Threat{
			Norm: "patch", Eps: a.Share, Bound: fmt.Sprintf("one %s patch on up to %g %% of the image, anywhere, turned up to 22.5°", shape, 100*a.Share),
			means: means{
				held: true, draws: patchDraws, unit: "patches", remedy: "train with patches, or have a defence that does not trust single regions",
				allowed: func(d *driver) error { return errors.Join(whiteBox(d), a.Check(d.target.Sample)) },
				find: func(ctx context.Context, d *driver, rows []int, round int, tally *model.Tally) (change, error) {
					a := a
					a.Steps = d.steps(200, round)
					s, err := learn(ctx, d, "patch", rows, round, 2*a.Steps, tally, evasion.Linf, 1, a.Fit)
					if err != nil {
						return nil, err
					}
					return d.stuck(a, s)
				},
				chance: func(d *driver) (change, error) {
					return d.stuck(a, a.Blank(rand.New(rand.NewPCG(d.cfg.Seed, 0x5041_5443)), d.target.Sample, d.cfg.Box))
				},
			},
		}, nil
	},
}

// patchOf reads "5%" or "5%,round".
func patchOf(s string) (evasion.Patch, error) {
	number, form, has := strings.Cut(strings.TrimSpace(s), ",")
	number, isShare := strings.CutSuffix(strings.TrimSpace(number), "%")
	percent, err := strconv.ParseFloat(number, 64)
	if !isShare || err != nil || !(percent > 0 && percent <= 50) {
		return evasion.Patch{}, errors.New("want more than 0 % and at most 50 %")
	}
	if has && form != "round" && form != "square" {
		return evasion.Patch{}, fmt.Errorf("no shape %q: want square or round", form)
	}
	return evasion.Patch{Share: percent / 100, Round: form == "round"}, nil
}

// stuck sticks a sticker on rows, at places that are drawn here and not by the
// attack. The sticker must keep to the share.
func (d *driver) stuck(a evasion.Patch, s evasion.Sticker) (change, error) {
	allowed := a.Blank(rand.New(rand.NewPCG(0, 0)), d.target.Sample, d.cfg.Box)
	if s.Round != allowed.Round || s.Side > allowed.Side || math.IsNaN(s.Side) {
		return nil, fmt.Errorf("the attack left its bounds: it made a patch of side %v, allowed %v", s.Side, allowed.Side)
	}
	return func(row, draw int) ([]float32, float64, error) {
		p := a.Place(rand.New(rand.NewPCG(d.cfg.Seed, uint64(d.index(row))<<20|uint64(draw))), s, d.target.Sample)
		x, err := s.Apply(d.set.X.Row(row), d.target.Sample, d.cfg.Box, p)
		return x, a.Share * p.Scale * p.Scale, err
	}, nil
}

// steps is how many iterations a search of so many makes in a round.
func (d *driver) steps(usual, round int) int {
	if d.cfg.Steps > 0 {
		usual = d.cfg.Steps
	}
	return usual << round
}

// learn makes something on rows, with other random numbers in every round, and
// shows its progress.
func learn[T any](ctx context.Context, d *driver, stage string, rows []int, round, steps int, tally *model.Tally, norm evasion.Norm, eps float64,
	fit func(context.Context, model.Scores, *evasion.Batch) (T, error)) (T, error) {
	m, free := d.open()
	defer free()
	m = d.repaired(model.Count(m, tally))
	if g, ok := m.(model.Gradients); ok {
		done := 0
		m = stepping{g, func() {
			d.cfg.Progress("learn "+stage, min(done, steps), steps)
			done++
		}}
	}
	b := d.batch(rows, norm, eps)
	b.Seed += uint64(round)
	return fit(ctx, m, b)
}

// stepping calls step at every gradient.
type stepping struct {
	model.Gradients
	step func()
}

func (s stepping) Gradient(ctx context.Context, x *tensor.Tensor, goal *model.Objective) (logits, grad *tensor.Tensor, err error) {
	s.step()
	return s.Gradients.Gradient(ctx, x, goal)
}
