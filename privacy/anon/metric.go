package anon

import (
	"fmt"
	"math"
	"slices"
)

// Metric says how much a generalisation loses; smaller is better.
type Metric struct {
	Name string
	Doc  string
	// level, if the metric is a sum over axes but for suppression, is what axis i
	// loses at a level. It must not fall as levels rise.
	level func(s *space, i, level int) float64
	// bound is what the classes of g lose before anything is suppressed. It must
	// not fall as classes are merged.
	bound func(s *space, g *grouping, levels []int) float64
	// value is what is lost when the classes that do not pass are suppressed. Losses
	// are those of the axes, where level is given.
	value func(s *space, g *grouping, levels []int, losses []float64, passes []bool) float64
	// total makes one number of the losses of the axes.
	total func(s *space, losses []float64) float64
}

// Metrics lists them. The names in brackets are those of ARX, whose values they
// reproduce.
var Metrics = []Metric{
	discernibility, discernibilityStar, entropy, entropyStar, loss, classSize, ambiguity,
}

func metricOf(name string) (*Metric, error) {
	if name == "" {
		return &Metrics[0], nil
	}
	i := slices.IndexFunc(Metrics, func(m Metric) bool { return m.Name == name })
	if i < 0 {
		var names []string
		for _, m := range Metrics {
			names = append(names, m.Name)
		}
		return nil, fmt.Errorf("metric: %q: give one of %q", name, names)
	}
	return &Metrics[i], nil
}

func squares(_ *space, g *grouping, _ []int) float64 {
	sum := 0.0
	for _, n := range g.count {
		sum += float64(n) * float64(n)
	}
	return sum
}

var discernibility = Metric{
	Name:  "discernibility",
	Doc:   "for each row, how many rows it cannot be told from: all of them, if it is suppressed (Bayardo and Agrawal, 2005) [Discernibility]",
	bound: squares,
	value: func(s *space, g *grouping, _ []int, _ []float64, passes []bool) float64 {
		sum := 0.0
		for c, n := range g.count {
			if passes[c] {
				sum += float64(n) * float64(n)
			} else {
				sum += float64(s.rows) * float64(n)
			}
		}
		return sum
	},
}

var discernibilityStar = Metric{
	Name:  "discernibility-star",
	Doc:   "the same, as if nothing was suppressed [Discernibility, monotonic]",
	bound: squares,
	value: func(s *space, g *grouping, levels []int, _ []float64, _ []bool) float64 {
		return squares(s, g, levels)
	},
}

// entropyLevel is the non-uniform entropy (Gionis and Tassa, 2009): the bits that
// tell each value from the others with its label.
func entropyLevel(s *space, i, level int) float64 {
	a := &s.axes[i]
	merged := make([]int64, len(a.h.labels[level]))
	for v, n := range a.counts {
		merged[a.h.up[level][v]] += n
	}
	sum := 0.0
	for v, n := range a.counts {
		if n > 0 {
			sum += float64(n) * math.Log2(float64(merged[a.h.up[level][v]])/float64(n))
		}
	}
	return sum
}

func weighted(s *space, losses []float64) float64 {
	sum := 0.0
	for i, x := range losses {
		sum += s.axes[i].weight * x
	}
	return sum
}

var entropy = Metric{
	Name:  "entropy",
	Doc:   "bits that tell values from those they were merged with, and suppressed rows from each other [Non-uniform entropy]",
	level: entropyLevel,
	total: weighted,
	value: func(s *space, g *grouping, levels []int, losses []float64, passes []bool) float64 {
		sums := slices.Clone(losses)
		for i := range s.axes {
			counts, lost := map[uint32]int64{}, int64(0)
			for c, n := range g.count {
				if !passes[c] {
					counts[s.axes[i].code(levels[i], g.rep[c])] += n
					lost += n
				}
			}
			keys := make([]uint32, 0, len(counts))
			for k := range counts {
				keys = append(keys, k)
			}
			slices.Sort(keys) // the same sum in the same order, always
			for _, k := range keys {
				sums[i] += float64(counts[k]) * math.Log2(float64(lost)/float64(counts[k]))
			}
		}
		return weighted(s, sums)
	},
}

var entropyStar = Metric{
	Name:  "entropy-star",
	Doc:   "the same, as if nothing was suppressed [Non-uniform entropy, monotonic]",
	level: entropyLevel,
	total: weighted,
	value: func(s *space, _ *grouping, _ []int, losses []float64, _ []bool) float64 { return weighted(s, losses) },
}

// lossLevel is, added up over the rows, which part of all values a label stands
// for (Iyengar, 2002).
func lossLevel(s *space, i, level int) float64 {
	a, sum := &s.axes[i], 0.0
	for v, n := range a.counts {
		sum += float64(n) * a.h.share(level, a.h.up[level][v])
	}
	return sum
}

// lossTotal scales each axis to 0 for untouched and 1 for suppressed, and takes the
// geometric mean of one more than each, less one.
func lossTotal(s *space, losses []float64) float64 {
	product, weights := 0.0, 0.0
	for i, x := range losses {
		rows := float64(s.rows)
		least := rows / float64(s.axes[i].h.Values())
		scaled := 0.0
		if rows > least {
			scaled = max(0, (x-least)/(rows-least))
		}
		product += s.axes[i].weight * math.Log1p(scaled)
		weights += s.axes[i].weight
	}
	return math.Expm1(product / weights)
}

var loss = Metric{
	Name:  "loss",
	Doc:   "which part of all values a label stands for, on average, from 0 to 1 (Iyengar, 2002) [Loss, geometric mean]",
	level: lossLevel,
	total: lossTotal,
	value: func(s *space, g *grouping, levels []int, losses []float64, passes []bool) float64 {
		sums := slices.Clone(losses)
		for c, n := range g.count {
			if passes[c] {
				continue
			}
			for i := range s.axes {
				sums[i] += float64(n) * (1 - s.axes[i].h.share(levels[i], s.axes[i].code(levels[i], g.rep[c])))
			}
		}
		return lossTotal(s, sums)
	},
}

var classSize = Metric{
	Name: "class-size",
	Doc:  "rows a class, on average; all suppressed rows are one class [Average equivalence class size]",
	bound: func(s *space, g *grouping, _ []int) float64 {
		classes := 0
		for _, n := range g.count {
			if n > 0 {
				classes++
			}
		}
		return float64(s.rows) / float64(classes)
	},
	value: func(s *space, g *grouping, _ []int, _ []float64, passes []bool) float64 {
		classes, lost := 0, 0
		for c, n := range g.count {
			if n > 0 && passes[c] {
				classes++
			} else if n > 0 {
				lost = 1
			}
		}
		return float64(s.rows) / float64(classes+lost)
	},
}

var ambiguity = Metric{
	Name: "ambiguity",
	Doc:  "for each row, how many combinations of values it may have had (Goldberger and Tassa, 2010) [Ambiguity]",
	bound: func(s *space, g *grouping, levels []int) float64 {
		return ambiguous(s, g, levels, nil)
	},
	value: func(s *space, g *grouping, levels []int, _ []float64, passes []bool) float64 {
		return ambiguous(s, g, levels, passes)
	},
}

func ambiguous(s *space, g *grouping, levels []int, passes []bool) float64 {
	sum := 0.0
	for c, n := range g.count {
		product := float64(n)
		for i := range s.axes {
			h := s.axes[i].h
			if passes != nil && !passes[c] {
				product *= float64(h.Values())
			} else {
				product *= float64(h.leaves[levels[i]][s.axes[i].code(levels[i], g.rep[c])])
			}
		}
		sum += product
	}
	return sum
}
