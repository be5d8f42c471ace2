package assess

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"

	"github.com/redoubt-ml/redoubt/attack/evasion"
	"github.com/redoubt-ml/redoubt/ml/model"
)

// spatial is the threat of images that are turned and shifted.
var spatial = &ThreatKind{
	Name:  "spatial",
	Form:  "spatial:15deg,3px",
	Doc:   "images turned and shifted, each to its worst pose on a grid; the checks look on a grid between the first",
	Paper: "Engstrom et al. 2019 (arXiv 1712.02779)",
	parse: func(arguments string) (Threat, error) {
		degrees, pixels, err := poseBounds(arguments)
		if err != nil {
			return Threat{}, err
		}
		a := evasion.Spatial{Degrees: degrees, Pixels: pixels}
		return Threat{
			Norm: "spatial", Eps: degrees, Bound: fmt.Sprintf("rotation up to %g°, shifts up to %g px", degrees, pixels),
			means: means{
				draws: 1, unit: "poses", remedy: "train with the worst of several poses of each image",
				allowed: func(d *driver) error {
					_, err := evasion.Pose{}.Apply(d.set.X.Row(0), d.target.Sample, d.cfg.Box)
					return err
				},
				find: func(ctx context.Context, d *driver, rows []int, round int, tally *model.Tally) (change, error) {
					return d.poses(ctx, a, rows, round, tally)
				},
				chance: func(d *driver) (change, error) { return d.posed(a, d.randomPose(a)), nil },
			},
		}, nil
	},
}

// poseBounds reads "15deg,3px".
func poseBounds(s string) (degrees, pixels float64, err error) {
	turn, shift, both := strings.Cut(s, ",")
	turn, isTurn := strings.CutSuffix(strings.TrimSpace(turn), "deg")
	shift, isShift := strings.CutSuffix(strings.TrimSpace(shift), "px")
	if !both || !isTurn || !isShift {
		return 0, 0, errors.New("want degrees and pixels")
	}
	degrees, err1 := strconv.ParseFloat(turn, 64)
	pixels, err2 := strconv.ParseFloat(shift, 64)
	if err1 != nil || err2 != nil || !(degrees > 0 && degrees <= 180) || !(pixels > 0 && pixels <= 1e4) {
		return 0, 0, errors.New("want more than 0 and at most 180 degrees, and more than 0 and at most 10000 pixels")
	}
	return degrees, pixels, nil
}

// poses finds the worst pose of each row.
func (d *driver) poses(ctx context.Context, a evasion.Spatial, rows []int, round int, tally *model.Tally) (change, error) {
	grid := a
	grid.Shifts, grid.Angles = 5, 31
	if q := d.cfg.Queries; q > 0 {
		grid.Shifts, grid.Angles = 3, max(q/9, 1)|1
	}
	if round > 0 { // even numbers, so that few poses are tried again
		grid.Shifts, grid.Angles = grid.Shifts+1, grid.Angles+1
	}
	found := map[int]evasion.Pose{}
	var mu sync.Mutex
	err := d.each(ctx, "spatial search", rows, func(m model.Scores, rows []int) error {
		var mine model.Tally
		poses, err := grid.Search(ctx, model.Count(m, &mine), d.batch(rows, evasion.Linf, 1))
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		tally.Forwards += mine.Forwards
		for i, r := range rows {
			found[r] = poses[i]
		}
		return nil
	})
	return d.posed(a, func(row, _ int) evasion.Pose { return found[row] }), err
}

// randomPose draws a pose for each row.
func (d *driver) randomPose(a evasion.Spatial) func(row, draw int) evasion.Pose {
	return func(row, draw int) evasion.Pose {
		rng := rand.New(rand.NewPCG(d.cfg.Seed, uint64(d.index(row))<<20|uint64(draw)))
		within := func(most float64) float64 { return most * (2*rng.Float64() - 1) }
		return evasion.Pose{Degrees: within(a.Degrees), Down: within(a.Pixels), Right: within(a.Pixels)}
	}
}

// posed moves rows to poses, which must keep to the bounds.
func (d *driver) posed(a evasion.Spatial, pose func(row, draw int) evasion.Pose) change {
	return func(row, draw int) ([]float32, float64, error) {
		p := pose(row, draw)
		if !p.Within(a) {
			return nil, 0, fmt.Errorf("the search left its bounds: it moved the image to %+v", p)
		}
		x, err := p.Apply(d.set.X.Row(row), d.target.Sample, d.cfg.Box)
		return x, math.Abs(p.Degrees), err
	}
}
