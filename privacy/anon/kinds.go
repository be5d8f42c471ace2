package anon

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// HierarchySpec says where the hierarchy of a column comes from: one of the fields,
// or none, when it is inferred from the column's values.
type HierarchySpec struct {
	File      string    `yaml:"file" json:"file,omitempty"`           // value;level1;level2;...
	Intervals []float64 `yaml:"intervals" json:"intervals,omitempty"` // widths of numeric ranges, each a multiple of the one before; * follows
	Origin    float64   `yaml:"origin" json:"origin,omitempty"`       // where an interval begins
	Dates     []string  `yaml:"dates" json:"dates,omitempty"`         // of day, month, quarter, year, decade, in this order; * follows
	Mask      string    `yaml:"mask" json:"mask,omitempty"`           // right or left: one more character of a code is masked at each level
	Infer     string    `yaml:"infer" json:"infer,omitempty"`         // quantiles, equal, frequency or all: see inferHierarchy
}

// hierarchyKind makes a hierarchy for the values of a column, which are distinct.
type hierarchyKind struct {
	name string
	set  func(*HierarchySpec) bool
	make func(*HierarchySpec, []string, []int64) (*Hierarchy, error)
}

// hierarchyKinds lists the ways to make one.
var hierarchyKinds = []hierarchyKind{
	{"file", func(s *HierarchySpec) bool { return s.File != "" }, fileHierarchy},
	{"intervals", func(s *HierarchySpec) bool { return s.Intervals != nil }, intervalHierarchy},
	{"dates", func(s *HierarchySpec) bool { return s.Dates != nil }, dateHierarchy},
	{"mask", func(s *HierarchySpec) bool { return s.Mask != "" }, maskHierarchy},
	{"infer", func(s *HierarchySpec) bool { return s.Infer != "" }, func(s *HierarchySpec, values []string, counts []int64) (*Hierarchy, error) {
		return inferHierarchy(s.Infer, values, counts)
	}},
}

// Make makes the hierarchy for a column's distinct values and how often each
// occurs. A value that a file does not know is an error that names it.
func (s *HierarchySpec) Make(values []string, counts []int64) (*Hierarchy, error) {
	if len(values) == 0 {
		return nil, errors.New("the column has no values")
	}
	if len(values) > MaxValues {
		return nil, fmt.Errorf("the column has %d different values, more than %d: give a coarser column", len(values), MaxValues)
	}
	kind := slices.IndexFunc(hierarchyKinds, func(k hierarchyKind) bool { return k.set(s) })
	if kind < 0 {
		return inferHierarchy("", values, counts)
	}
	for _, k := range hierarchyKinds[kind+1:] {
		if k.set(s) {
			return nil, fmt.Errorf("the hierarchy is given twice, as %s and as %s: keep one", hierarchyKinds[kind].name, k.name)
		}
	}
	h, err := hierarchyKinds[kind].make(s, values, counts)
	if err != nil {
		return nil, err
	}
	for _, v := range values {
		if _, ok := h.index[v]; !ok {
			return nil, fmt.Errorf("value %q of the table is not in the hierarchy: add a line for it", v)
		}
	}
	return h, nil
}

func fileHierarchy(s *HierarchySpec, _ []string, _ []int64) (*Hierarchy, error) {
	f, err := os.Open(s.File)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	h, err := ReadHierarchy(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.File, err)
	}
	return h, nil
}

// suppressedLabel is what the top of a hierarchy and a suppressed cell read.
const suppressedLabel = "*"

// rounding forgives the last digits of a quotient of decimal fractions.
const rounding = 1e-9

// intervalHierarchy: [origin+i*width, origin+(i+1)*width), written "20-<30".
func intervalHierarchy(s *HierarchySpec, values []string, _ []int64) (*Hierarchy, error) {
	if len(s.Intervals) == 0 || len(s.Intervals) > MaxLevels-2 {
		return nil, fmt.Errorf("intervals: give from one to %d widths", MaxLevels-2)
	}
	for i, w := range s.Intervals {
		if !(w > 0) || math.IsInf(w, 0) {
			return nil, fmt.Errorf("intervals: width %v must be above 0", w)
		}
		if i > 0 {
			if r := w / s.Intervals[i-1]; r < 1.5 || math.Abs(r-math.Round(r)) > rounding*r {
				return nil, fmt.Errorf("intervals: width %v must be a multiple of %v, or a level would part what the one below has merged", w, s.Intervals[i-1])
			}
		}
	}
	b := newBuilder(len(s.Intervals) + 2)
	for _, v := range values {
		path := []string{v}
		x, err := number(v)
		if err != nil && v != "" {
			return nil, fmt.Errorf("intervals: %w: give the column another hierarchy", err)
		}
		// Cells of the finest width are whole numbers, and coarser ones are
		// divided out of them: floating point never parts what is merged, and
		// 0.3 is no less than three times 0.1.
		cell := math.Floor((x-s.Origin)/s.Intervals[0] + rounding)
		if math.Abs(cell) > 1<<52 {
			return nil, fmt.Errorf("intervals: value %q lies too far from %v for width %v", v, s.Origin, s.Intervals[0])
		}
		for _, w := range s.Intervals {
			i := math.Floor(cell / math.Round(w/s.Intervals[0]))
			if v == "" {
				path = append(path, "")
				continue
			}
			path = append(path, numberText(s.Origin+i*w)+"-<"+numberText(s.Origin+(i+1)*w))
		}
		if err := b.add(append(path, suppressedLabel)); err != nil {
			return nil, err
		}
	}
	return b.build()
}

func number(s string) (float64, error) {
	x, err := strconv.ParseFloat(strings.TrimSpace(s), 64)
	if err != nil || math.IsNaN(x) || math.IsInf(x, 0) {
		return 0, fmt.Errorf("value %q is no number", s)
	}
	return x, nil
}

func numberText(x float64) string {
	return strconv.FormatFloat(math.Round(x*1e9)/1e9, 'f', -1, 64)
}

// dateSteps are the levels of dates, finest first.
var dateSteps = []struct {
	name  string
	label func(time.Time) string
}{
	{"day", func(t time.Time) string { return t.Format(time.DateOnly) }},
	{"month", func(t time.Time) string { return t.Format("2006-01") }},
	{"quarter", func(t time.Time) string { return fmt.Sprintf("%04d-Q%d", t.Year(), (t.Month()+2)/3) }},
	{"year", func(t time.Time) string { return t.Format("2006") }},
	{"decade", func(t time.Time) string { return fmt.Sprintf("%03d0s", t.Year()/10) }},
}

// dateForms are how dates may be written: never with the day first, where 3/4
// means two days.
var dateForms = []string{time.DateOnly, time.RFC3339, time.DateTime, "2006-01-02T15:04:05", "2006/01/02", "20060102", "2006-01"}

func parseDate(s string) (time.Time, error) {
	for _, form := range dateForms {
		if t, err := time.Parse(form, s); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("value %q is no date: write dates as 2026-01-31", s)
}

func dateHierarchy(s *HierarchySpec, values []string, _ []int64) (*Hierarchy, error) {
	var label []func(time.Time) string
	at := -1
	for _, name := range s.Dates {
		i := at + 1
		for i < len(dateSteps) && dateSteps[i].name != name {
			i++
		}
		if i == len(dateSteps) {
			return nil, fmt.Errorf("dates: %q: give some of day, month, quarter, year and decade, in this order", name)
		}
		at = i
		label = append(label, dateSteps[i].label)
	}
	b := newBuilder(len(label) + 2)
	for _, v := range values {
		path := []string{v}
		t, err := parseDate(v)
		if err != nil && v != "" {
			return nil, fmt.Errorf("dates: %w", err)
		}
		for _, l := range label {
			if v == "" {
				path = append(path, "")
				continue
			}
			path = append(path, l(t))
		}
		if err := b.add(append(path, suppressedLabel)); err != nil {
			return nil, err
		}
	}
	return b.build()
}

// maskHierarchy masks codes a character at a time; the last level is a single "*".
func maskHierarchy(s *HierarchySpec, values []string, _ []int64) (*Hierarchy, error) {
	if s.Mask != "right" && s.Mask != "left" {
		return nil, fmt.Errorf("mask: %q: give right or left", s.Mask)
	}
	longest := 0
	for _, v := range values {
		longest = max(longest, utf8.RuneCountInString(v))
	}
	if longest > MaxLevels-2 {
		return nil, fmt.Errorf("mask: a value has %d characters, more than %d: it is no code", longest, MaxLevels-2)
	}
	b := newBuilder(longest + 1)
	for _, v := range values {
		if strings.Contains(v, "*") {
			return nil, fmt.Errorf("mask: value %q has a * already", v)
		}
		path := []string{v}
		runes := []rune(v)
		for level := 1; level < longest; level++ {
			// Counted from the longest code, so that the level means the same
			// place in each.
			masked := slices.Clone(runes)
			for i := range masked {
				place := i
				if s.Mask == "right" {
					place = longest - 1 - i
				} else {
					place = i + longest - len(runes)
				}
				if place < level {
					masked[i] = '*'
				}
			}
			path = append(path, string(masked))
		}
		if longest > 0 {
			path = append(path, suppressedLabel)
		}
		if err := b.add(fixMasked(path)); err != nil {
			return nil, err
		}
	}
	return b.build()
}

// fixMasked turns labels of nothing but masks into the one label: a code of two
// characters must not be told from one of three by its stars.
func fixMasked(path []string) []string {
	for i, p := range path[1:] {
		if strings.Trim(p, "*") == "" {
			path[1+i] = suppressedLabel
		}
	}
	return path
}

// inferHierarchy makes a hierarchy from a column's distinct values and how often
// each occurs. How is "quantiles" (numbers in 32, 16, 8, 4 and 2 ranges of about as
// many rows), "equal" (as many ranges of equal width), "frequency" (the rarest
// values that make up 5, 20 and 50 % of the rows are merged), "all" (everything
// becomes * at once), or "", which takes quantiles for numbers with more than
// 8 values, frequency for other columns with more than 8, and all for the rest.
func inferHierarchy(how string, values []string, counts []int64) (*Hierarchy, error) {
	if how == "" {
		_, err := numbersOf(values)
		switch {
		case len(values) <= 8:
			how = "all"
		case err == nil:
			how = "quantiles"
		default:
			how = "frequency"
		}
	}
	switch how {
	case "quantiles", "equal":
		return rangeHierarchy(how == "quantiles", values, counts)
	case "frequency":
		return rareHierarchy(values, counts)
	case "all":
		b := newBuilder(2)
		for _, v := range values {
			if v == suppressedLabel {
				return nil, errors.New("a value is * already")
			}
			if err := b.add([]string{v, suppressedLabel}); err != nil {
				return nil, err
			}
		}
		return b.build()
	}
	return nil, fmt.Errorf("infer: %q: give quantiles, equal, frequency or all", how)
}

func numbersOf(values []string) ([]float64, error) {
	out := make([]float64, len(values))
	for i, v := range values {
		if v == "" {
			out[i] = math.NaN()
			continue
		}
		x, err := number(v)
		if err != nil {
			return nil, err
		}
		out[i] = x
	}
	return out, nil
}

// rangeHierarchy cuts sorted numbers into 32 ranges, then pairs of ranges.
func rangeHierarchy(quantiles bool, values []string, counts []int64) (*Hierarchy, error) {
	x, err := numbersOf(values)
	if err != nil {
		return nil, err
	}
	var order []int
	total, absent := int64(0), false
	for i := range values {
		if math.IsNaN(x[i]) {
			absent = true
			continue
		}
		order = append(order, i)
		total += counts[i]
	}
	if len(order) == 0 {
		return nil, errors.New("the column has no numbers")
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(x[a], x[b]) })
	const finest = 32
	low, high := x[order[0]], x[order[len(order)-1]]
	cell := make([]int, len(values))
	before := int64(0)
	for k, i := range order {
		if k > 0 && x[i] == x[order[k-1]] { // 7 and 7.0
			cell[i] = cell[order[k-1]]
		} else if quantiles {
			cell[i] = int(min(finest-1, before*finest/total))
		} else if high > low {
			cell[i] = min(finest-1, int((x[i]/2-low/2)/(high/2-low/2)*finest))
		}
		before += counts[i]
	}
	levels := 5 // 32, 16, 8, 4, 2
	label := make([]map[int][2]float64, levels)
	for l := range label {
		label[l] = map[int][2]float64{}
		for _, i := range order {
			r, ok := label[l][cell[i]>>l]
			if !ok {
				r[0] = x[i]
			}
			r[1] = x[i]
			label[l][cell[i]>>l] = r
		}
	}
	b := newBuilder(levels + 2)
	for i, v := range values {
		path := []string{v}
		for l := range levels {
			if absent && math.IsNaN(x[i]) {
				path = append(path, "")
				continue
			}
			r := label[l][cell[i]>>l]
			path = append(path, rangeText(r[0], r[1]))
		}
		if err := b.add(append(path, suppressedLabel)); err != nil {
			return nil, err
		}
	}
	return b.build()
}

// rangeText is a range of numbers, both ends in it.
func rangeText(low, high float64) string {
	if low == high {
		return numberText(low)
	}
	return numberText(low) + ".." + numberText(high)
}

// rareHierarchy merges the rarest values, more at each level.
func rareHierarchy(values []string, counts []int64) (*Hierarchy, error) {
	order := make([]int, len(values))
	total := int64(0)
	for i := range order {
		order[i] = i
		total += counts[i]
	}
	slices.SortFunc(order, func(a, b int) int {
		return cmp.Or(cmp.Compare(counts[a], counts[b]), cmp.Compare(values[a], values[b]))
	})
	parts := []float64{0.05, 0.2, 0.5}
	level := make([]int, len(values)) // from which on the value is merged
	before := int64(0)
	for _, i := range order {
		before += counts[i]
		level[i] = len(parts) + 1
		for l := len(parts); l > 0 && float64(before) <= parts[l-1]*float64(total); l-- {
			level[i] = l
		}
	}
	const other = "(other)"
	b := newBuilder(len(parts) + 2)
	for i, v := range values {
		if v == suppressedLabel || v == other {
			return nil, fmt.Errorf("value %q has a meaning of its own: give the column a hierarchy", v)
		}
		path := []string{v}
		for l := 1; l <= len(parts); l++ {
			if level[i] <= l {
				path = append(path, other)
			} else {
				path = append(path, v)
			}
		}
		if err := b.add(append(path, suppressedLabel)); err != nil {
			return nil, err
		}
	}
	return b.build()
}
