package assess

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/attack/evasion"
	"github.com/redoubt-ml/redoubt/ml/data"
	"github.com/redoubt-ml/redoubt/ml/model"
	"github.com/redoubt-ml/redoubt/ml/tensor"
	"github.com/redoubt-ml/redoubt/ml/tree"
)

// measure settles what a radius means and what a change must keep to. The rows
// of a table are attacked in units of distance, and the model is asked through
// them; samples of a model of whole numbers stay whole.
func (d *driver) measure() {
	switch {
	case d.set.Columns != nil:
		d.set, d.units = d.set.Scaled()
		d.rules = d.set.Constraints()
		lo, hi, _ := d.set.Box()
		d.cfg.Box = evasion.Box{Lo: lo, Hi: hi}
	case d.target.Integer && len(d.cfg.Box.Lo) > 0 && len(d.cfg.Box.Hi) > 0:
		d.rules = data.Whole(d.set.X.RowLen(), 0, 0)
		for j := range d.rules.Columns {
			d.rules.Columns[j].Min, d.rules.Columns[j].Max = d.cfg.Box.At(j)
		}
	}
}

// open is a view of the target for one worker, in the units of the rows.
func (d *driver) open() (model.Scores, func()) {
	m, free := d.target.Open()
	if d.units != nil {
		m = inUnits(m, d.units)
	}
	if d.forest != nil {
		m = wooded{m, d.forest}
	}
	return m, free
}

// inUnits asks m about rows in units of distance.
func inUnits(m model.Scores, u *data.Units) model.Scores {
	s := measured{m, u}
	if g, ok := m.(model.Gradients); ok {
		return &measuredGradients{s, g}
	}
	return &s
}

type measured struct {
	m     model.Scores
	units *data.Units
}

func (s *measured) enter(x *tensor.Tensor) (*tensor.Tensor, error) {
	in, err := model.Input(s.m, x.Rows(), x.Shape[1:])
	if err != nil {
		return nil, err
	}
	for i := range x.Rows() {
		s.units.Model(in.Row(i), x.Row(i))
	}
	return in, nil
}

func (s *measured) Scores(ctx context.Context, x *tensor.Tensor) (*tensor.Tensor, error) {
	in, err := s.enter(x)
	if err != nil {
		return nil, err
	}
	return s.m.Scores(ctx, in)
}

type measuredGradients struct {
	measured
	g model.Gradients
}

func (s *measuredGradients) Gradient(ctx context.Context, x *tensor.Tensor, obj *model.Objective) (*tensor.Tensor, *tensor.Tensor, error) {
	in, err := s.enter(x)
	if err != nil {
		return nil, nil, err
	}
	z, g, err := s.g.Gradient(ctx, in, obj)
	if err != nil {
		return nil, nil, err
	}
	for i := range g.Rows() {
		row := g.Row(i)
		for j := range row {
			row[j] *= s.units.Slope(j)
		}
	}
	return z, g, nil
}

// wooded is a model that is known to be a tree ensemble.
type wooded struct {
	m model.Scores
	e *tree.Ensemble
}

// Scores implements [model.Scores].
func (w wooded) Scores(ctx context.Context, x *tensor.Tensor) (*tensor.Tensor, error) {
	return w.m.Scores(ctx, x)
}

// Forest implements [evasion.Forest].
func (w wooded) Forest() *tree.Ensemble { return w.e }

// findForest takes the target's trees to the units of the rows and believes
// them if they decide as the model does on every sample and on as many random
// points.
func (d *driver) findForest(ctx context.Context) error {
	if d.target.Forest == nil || d.target.Forest.Features != d.set.X.RowLen() || d.target.Forest.Classes() != d.target.Classes {
		return nil
	}
	e := d.target.Forest
	if d.units != nil {
		if e, d.noTree = e.Through(d.units.At); d.noTree != nil {
			return nil
		}
	}
	points := d.set.X.Clone()
	rng := rand.New(rand.NewPCG(4, 4))
	for i := range points.Rows() {
		for j := range points.Row(i) {
			lo, hi := d.cfg.Box.At(j)
			points.Row(i)[j] = lo + (hi-lo)*rng.Float32()
		}
		if d.rules != nil {
			d.rules.Snap(points.Row(i))
		}
	}
	m, free := d.open()
	defer free()
	answers := make([]int, 0, 2*points.Rows())
	for i := range d.logits.Rows() {
		answers = append(answers, tensor.ArgMax(d.logits.Row(i)))
	}
	for lo := 0; lo < points.Rows(); lo += d.cfg.Batch {
		z, err := m.Scores(ctx, points.Slice(lo, min(lo+d.cfg.Batch, points.Rows())))
		if err != nil {
			return err
		}
		for i := range z.Rows() {
			answers = append(answers, tensor.ArgMax(z.Row(i)))
		}
	}
	both := tensor.New(append([]int{len(answers)}, d.target.Sample...)...)
	copy(both.Data, d.set.X.Data)
	copy(both.Data[len(d.set.X.Data):], points.Data)
	d.forest, d.noTree = e.Agree(both, answers)
	return nil
}

// changes are what was changed of a table's row, in the words of the file.
func (d *driver) changes(x, origin []float32) []redoubt.Change {
	if d.units == nil {
		return nil
	}
	var out []redoubt.Change
	columns := d.set.Columns
	for j := range columns {
		c := &columns[j]
		switch {
		case x[j] == origin[j] || c.Group >= 0 && x[j] < origin[j] && set(columns, c.Group, x):
		case c.Group >= 0 && x[j] < origin[j]:
			out = append(out, redoubt.Change{Feature: group(c), From: category(c), To: "unknown"})
		case c.Group >= 0: // the member that was set; the cleared one is the origin's
			from := "unknown"
			for i := range columns {
				if columns[i].Group == c.Group && origin[i] > x[i] {
					from = category(&columns[i])
				}
			}
			out = append(out, redoubt.Change{Feature: group(c), From: from, To: category(c)})
		default:
			from, to := c.Offset+c.Scale*float64(origin[j]), c.Offset+c.Scale*float64(x[j])
			change := redoubt.Change{Feature: c.Name, From: valueOf(c, from), To: valueOf(c, to)}
			if c.Kind == data.Numeric || c.Kind == data.Integer || c.Kind == data.Ordinal {
				change.By = onGrid(c, to) - onGrid(c, from)
			}
			out = append(out, change)
		}
	}
	return out
}

// set reports whether a group has a member in x.
func set(columns []data.Column, group int, x []float32) bool {
	for j := range columns {
		if columns[j].Group == group && x[j] > columns[j].Min {
			return true
		}
	}
	return false
}

// group and category name the two halves of a one-hot element: "job=clerk" of
// the column job, or a binary column that is a category by itself.
func group(c *data.Column) string {
	if c.Name == c.Source {
		return "group " + strconv.Itoa(c.Group+1)
	}
	return c.Source
}

func category(c *data.Column) string {
	if len(c.Name) > len(c.Source) {
		return c.Name[len(c.Source)+1:]
	}
	return c.Name
}

// onGrid is a value without float32's error, where the grid tells it.
func onGrid(c *data.Column, file float64) float64 {
	if c.Step > 0 {
		return c.Step * float64(int64(file/c.Step+0.5*float64(cmp.Compare(file, 0))))
	}
	return file
}

func valueOf(c *data.Column, file float64) string {
	v := onGrid(c, file)
	if k := int(v); c.Categories != nil && k >= 0 && k < len(c.Categories) {
		return c.Categories[k]
	}
	return strconv.FormatFloat(v, 'g', 7, 64)
}

// unitsInWords says what a radius means for a table.
func (d *driver) unitsInWords() string {
	if d.units == nil {
		return ""
	}
	return "a distance of 1 is the whole range of a feature, or as much of it as the schema's scale says; a change of category moves two elements by 1"
}

// featuresOf sums up what was changed of the samples that fell.
func featuresOf(t *threat) []redoubt.FeatureResult {
	type tally struct {
		redoubt.FeatureResult
		sizes []float64
		kinds map[string]int
	}
	all := map[string]*tally{}
	for _, row := range slices.Sorted(maps.Keys(t.outcomes)) {
		for _, c := range t.outcomes[row].Changes {
			f := all[c.Feature]
			if f == nil {
				f = &tally{kinds: map[string]int{}}
				f.Feature = c.Feature
				all[c.Feature] = f
			}
			switch f.Changed++; {
			case c.By > 0:
				f.Up++
				f.sizes = append(f.sizes, c.By)
			case c.By < 0:
				f.Down++
				f.sizes = append(f.sizes, -c.By)
			default:
				f.kinds[c.From+" to "+c.To]++
			}
		}
	}
	var out []redoubt.FeatureResult
	for _, name := range slices.Sorted(maps.Keys(all)) {
		f := all[name]
		f.Share, f.MedianChange = float64(f.Changed)/float64(len(t.outcomes)), median(f.sizes)
		for _, kind := range slices.Sorted(maps.Keys(f.kinds)) {
			if f.Most == "" || f.kinds[kind] > f.kinds[f.Most] {
				f.Most = kind
			}
		}
		out = append(out, f.FeatureResult)
	}
	slices.SortStableFunc(out, func(a, b redoubt.FeatureResult) int { return cmp.Compare(b.Changed, a.Changed) })
	return out
}

// flagsOf are the doubts about one threat model. That only attacks without
// gradients were possible is none where nothing was left to chance.
func (d *driver) flagsOf(t *threat) []redoubt.Flag {
	standing := d.standing(t)
	open := 0
	for _, r := range standing {
		if !t.proved[r] {
			open++
		}
	}
	flags := slices.Clone(d.general)
	if float64(open) <= unfinished*float64(d.set.X.Rows()) && d.target.Access < model.WhiteBox {
		flags = slices.DeleteFunc(flags, func(f redoubt.Flag) bool { return f.ID == "no-gradients" })
	}
	switch {
	case t.certified && len(standing) > 0:
		flags = append(flags, d.bracket(t))
	case d.target.Access == model.WhiteBox || len(t.proved) == 0 && len(standing) > 0:
	case len(standing) == 0:
		flags = append(flags, redoubt.Flag{ID: "nothing-stands", Verdict: redoubt.Trustworthy,
			Evidence: "every sample that was right fell: a robust accuracy of 0 is no overestimate"})
	case open == 0:
		flags = append(flags, redoubt.Flag{ID: "proved", Verdict: redoubt.Trustworthy,
			Evidence: fmt.Sprintf("of all %d samples that stand it was proved that no allowed point of the ball is classified wrongly: the robust accuracy is exact", len(standing))})
	default:
		flags = append(flags, redoubt.Flag{ID: "partly-proved", Verdict: redoubt.Trustworthy,
			Evidence: fmt.Sprintf("of %d of the %d samples that stand it was proved that no allowed point of the ball is classified wrongly; of %d it was not", len(standing)-open, len(standing), open),
			Remedy:   "raise --steps, beyond 4,000, to let the search look at more parts of the ball"})
	}
	return append(flags, t.flags...)
}

// contradiction is raised when an attack breaks what was proved unbreakable.
func contradiction(attack string, n int) redoubt.Flag {
	return redoubt.Flag{
		ID: "proof-contradicted", Verdict: redoubt.Invalid,
		Evidence: fmt.Sprintf("%s broke %d samples of which it had been proved that nothing breaks them", attack, n),
		Remedy:   "report this as a fault of redoubt, with the model",
	}
}
