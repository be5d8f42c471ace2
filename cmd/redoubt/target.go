package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/redoubt-ml/redoubt/assess"
	"github.com/redoubt-ml/redoubt/attack/evasion"
	"github.com/redoubt-ml/redoubt/ml/data"
	"github.com/redoubt-ml/redoubt/ml/model"
	"github.com/redoubt-ml/redoubt/ml/ort"
)

// open reads data and model and fits one to the other.
func (a *app) open(ctx context.Context, path string, f *assessFlags, cfg *assess.Config) (*data.Set, *model.Local, error) {
	layout, err := data.ParseLayout(f.Layout)
	if err != nil {
		return nil, nil, err
	}
	if _, err := os.Stat(path); err != nil {
		return nil, nil, fmt.Errorf("open model: %w", err)
	}
	set, err := data.Open(f.Data, data.Options{Schema: f.Schema, Label: f.Label})
	if err != nil {
		return nil, nil, err
	}
	rt, err := ort.Open(a.ort)
	if err != nil {
		return nil, nil, err
	}
	l, err := model.Open(ctx, rt, path, model.Config{
		Input: f.Input, Output: f.Output, Sample: set.X.Shape[1:], Mean: f.Mean, Std: f.Std, Layout: f.Layout, Columns: columnsOf(set),
	})
	if err != nil {
		return nil, nil, err
	}
	if l.Integer() {
		set.Whole()
	}
	if set, err = f.fit(set, l, layout, cfg); err != nil {
		l.Close()
		return nil, nil, err
	}
	return set, l, nil
}

// columnsOf names the column of a table that each element of a sample comes from, as
// far as the data does.
func columnsOf(set *data.Set) []string {
	if set.Columns == nil {
		return set.Features
	}
	names := make([]string, len(set.Columns))
	for j, c := range set.Columns {
		names[j] = c.Source
	}
	return names
}

// shaped is a model that samples are fitted to.
type shaped interface {
	Sample() []int
	Classes() int
}

// fit shapes the samples for the model and settles bounds and targets.
func (f *assessFlags) fit(set *data.Set, l shaped, layout data.Layout, cfg *assess.Config) (*data.Set, error) {
	shape := []int64{-1}
	for _, d := range l.Sample() {
		shape = append(shape, int64(d))
	}
	if err := set.For(shape, layout); err != nil {
		return nil, err
	}
	if f.Limit > 0 {
		set = set.Head(f.Limit)
	}
	if err := set.Check(l.Classes()); err != nil {
		return nil, err
	}
	if f.Target >= l.Classes() || f.Target < -1 {
		return nil, fmt.Errorf("--target %d: the model has classes 0 to %d", f.Target, l.Classes()-1)
	}
	if f.Target >= 0 {
		var others []int
		for i, y := range set.Y {
			if y != f.Target {
				others = append(others, i)
			}
		}
		set = set.Pick(others)
		cfg.Targets = slices.Repeat([]int{f.Target}, len(others))
	}
	switch {
	case f.Bounds == "":
		cfg.Box = boxOf(set)
	case set.Columns != nil:
		return nil, errors.New("--bounds and a schema say twice what is possible: leave out --bounds")
	}
	return set, nil
}

// boxOf is the range of valid inputs: what the data says of itself, or what it
// shows.
func boxOf(set *data.Set) evasion.Box {
	lo, hi, known := set.Box()
	if !known {
		lo, hi = slices.Clone(set.X.Row(0)), slices.Clone(set.X.Row(0))
		unit := true
		for i := range set.X.Rows() {
			for j, v := range set.X.Row(i) {
				lo[j], hi[j] = min(lo[j], v), max(hi[j], v)
				unit = unit && v >= 0 && v <= 1
			}
		}
		if unit {
			return evasion.Box{Lo: []float32{0}, Hi: []float32{1}}
		}
	}
	if slices.Min(lo) == slices.Max(lo) && slices.Min(hi) == slices.Max(hi) {
		lo, hi = lo[:1], hi[:1]
	}
	return evasion.Box{Lo: lo, Hi: hi}
}
