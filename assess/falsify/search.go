// Package falsify searches for an input that violates a property of a network.
//
// [Search] looks for a point of the property's box whose outputs satisfy the
// constraints that must not hold. It never proves anything: not finding a
// point means only that. Package defend/certify proves.
//
//	p, err := vnnlib.Read("prop.vnnlib")
//	found, err := falsify.Search(ctx, m, p, falsify.Options{})
package falsify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"

	"github.com/redoubt-ml/redoubt/ml/model"
	"github.com/redoubt-ml/redoubt/ml/onnx"
	"github.com/redoubt-ml/redoubt/ml/ort"
	"github.com/redoubt-ml/redoubt/ml/tensor"
	"github.com/redoubt-ml/redoubt/ml/vnnlib"
)

// Options of a search; the zero value works.
type Options struct {
	Seed uint64
	// Rounds ends the search after a number of rounds; 0 leaves that to the
	// context. With it the outcome depends on the seed alone, not on the speed
	// of the machine.
	Rounds int
	// Progress is told the best slack so far after each round; nil is silence.
	Progress func(round int, best float64)
}

// Counterexample is an input inside the box of a case whose constraints its
// outputs satisfy.
type Counterexample struct {
	X []float64 // inside the box in float64; rounds to what the network saw
	Y []float32
}

// Print writes the counterexample in VNN-LIB form.
func (c *Counterexample) Print(w io.Writer) error {
	var b strings.Builder
	sep := "("
	for i, v := range c.X {
		fmt.Fprintf(&b, "%s(X_%d %s)\n", sep, i, strconv.FormatFloat(v, 'g', -1, 64))
		sep = " "
	}
	for i, v := range c.Y {
		fmt.Fprintf(&b, " (Y_%d %s)\n", i, strconv.FormatFloat(float64(v), 'g', -1, 32))
	}
	s := b.String()
	_, err := io.WriteString(w, strings.TrimSuffix(s, "\n")+")\n")
	return err
}

// Search looks for a counterexample until it has one, the context ends or its
// rounds are over; then it returns nil and no error. The model must have been opened with
// [model.Config.Raw]. What it finds was put to the file as it is, with the
// runtime's optimisations off, and holds there too.
func Search(ctx context.Context, m *model.Local, p *vnnlib.Property, o Options) (*Counterexample, error) {
	if n := tensor.Len(m.Sample()); n != p.Inputs || m.Classes() != p.Outputs {
		return nil, fmt.Errorf("the property has %d inputs and %d outputs, the model %d and %d", p.Inputs, p.Outputs, n, m.Classes())
	}
	if len(p.Cases) == 0 {
		return nil, nil // nothing can violate it
	}
	judge, err := newJudge(m)
	if err != nil {
		return nil, err
	}
	defer judge.session.Close()
	s := &search{m: m, p: p, judge: judge, rng: rand.New(rand.NewPCG(o.Seed, 1))}
	_, why := m.Access()
	s.gradients = why == nil
	for _, c := range p.Cases {
		s.boxes = append(s.boxes, boxOf(c))
	}
	best := math.Inf(-1)
	for round := 0; ; round++ {
		found, err := s.round(ctx, round)
		if ctx.Err() != nil {
			return nil, nil
		}
		if found != nil || err != nil {
			return found, err
		}
		for _, e := range s.elite {
			best = math.Max(best, e.slack)
		}
		if o.Progress != nil {
			o.Progress(round, best)
		}
		if round+1 == o.Rounds {
			return nil, nil
		}
	}
}

// box is a case's box in float32, rounded inwards where that leaves something.
type box struct{ lo, hi []float32 }

func boxOf(c vnnlib.Case) box {
	b := box{make([]float32, len(c.Lo)), make([]float32, len(c.Hi))}
	for i := range c.Lo {
		lo, hi := float32(c.Lo[i]), float32(c.Hi[i])
		if float64(lo) < c.Lo[i] {
			lo = math.Nextafter32(lo, float32(math.Inf(1)))
		}
		if float64(hi) > c.Hi[i] {
			hi = math.Nextafter32(hi, float32(math.Inf(-1)))
		}
		if lo > hi { // no float32 lies inside: the network will round anyway
			lo = float32(c.Lo[i])
			hi = lo
		}
		b.lo[i], b.hi[i] = lo, hi
	}
	return b
}

// candidate is the best point seen of a case.
type candidate struct {
	x     []float32
	slack float64
}

type search struct {
	m         *model.Local
	p         *vnnlib.Property
	judge     *judge
	rng       *rand.Rand
	gradients bool
	boxes     []box
	elite     []candidate // by case
}

// round samples on the first call, and then climbs from fresh and from good
// points, with another step size each time.
func (s *search) round(ctx context.Context, round int) (*Counterexample, error) {
	if round == 0 {
		s.elite = make([]candidate, len(s.p.Cases))
		for i := range s.elite {
			s.elite[i].slack = math.Inf(-1)
		}
		return s.sample(ctx)
	}
	batch := 64
	if s.p.Inputs <= 64 {
		batch = 256
	}
	cases := make([]int, batch)
	x := tensor.New(append([]int{batch}, s.m.Sample()...)...)
	order := s.ranking()
	for i := range cases {
		// Every case gets its turn in the first rounds; later the promising
		// ones, those nearest to violation, get more of them.
		c := (i + (round-1)*batch) % len(order)
		if i%2 == 1 && round > 1 {
			c = order[min(int(s.rng.ExpFloat64()), len(order)-1)]
		}
		cases[i] = c
		s.start(x.Row(i), c, i+round)
	}
	steps := 30 + 10*min(round, 12)
	first := []float64{0.25, 0.5, 0.1, 0.03}[round%4]
	if !s.gradients {
		return s.wander(ctx, x, cases, steps, first)
	}
	return s.climb(ctx, x, cases, steps, first)
}

// ranking is the cases, the nearest to violation first.
func (s *search) ranking() []int {
	order := make([]int, len(s.elite))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(s.elite[b].slack, s.elite[a].slack) })
	return order
}

// start puts a point of the case's box into x: the centre, a corner, the best
// so far moved a little, or, most often, any.
func (s *search) start(x []float32, c, turn int) {
	b := s.boxes[c]
	for j := range x {
		lo, hi := b.lo[j], b.hi[j]
		u := s.rng.Float32()
		switch {
		case turn%8 == 0:
			x[j] = lo + (hi-lo)/2
		case turn%8 == 1:
			x[j] = lo
			if u < 0.5 {
				x[j] = hi
			}
		case turn%8 <= 3 && s.elite[c].x != nil:
			x[j] = s.elite[c].x[j] + 0.2*(hi-lo)*(u-0.5)
		default:
			x[j] = lo + (hi-lo)*u
		}
		x[j] = min(max(x[j], lo), hi)
	}
}

// sample tries the centre and random points: many where points are small.
func (s *search) sample(ctx context.Context) (*Counterexample, error) {
	total := min(max(4_000_000/s.p.Inputs, 64), 20000)
	const batch = 512
	for done := 0; done < total; done += batch {
		n := min(batch, total-done)
		x := tensor.New(append([]int{n}, s.m.Sample()...)...)
		cases := make([]int, n)
		for i := range n {
			cases[i] = (done + i) % len(s.boxes)
			s.start(x.Row(i), cases[i], (done+i)/len(s.boxes))
		}
		z, err := s.m.Scores(ctx, x)
		if err != nil {
			return nil, err
		}
		if found, err := s.look(ctx, x, z, cases); found != nil || err != nil {
			return found, err
		}
	}
	return nil, nil
}

// look enters what a batch shows, and judges what seems to be a
// counterexample.
func (s *search) look(ctx context.Context, x, z *tensor.Tensor, cases []int) (*Counterexample, error) {
	for i, c := range cases {
		slack := s.p.Cases[c].Slack(z.Row(i))
		if e := &s.elite[c]; slack > e.slack {
			e.slack = slack
			e.x = append(e.x[:0], x.Row(i)...)
		}
		if slack > 0 {
			found, err := s.judge.confirm(ctx, &s.p.Cases[c], x.Row(i))
			if found != nil || err != nil {
				return found, err
			}
		}
	}
	return nil, nil
}

// climb is projected gradient ascent on the least slack, by the sign of the
// gradient in units of each input's range, with momentum and a step that
// shrinks.
func (s *search) climb(ctx context.Context, x *tensor.Tensor, cases []int, steps int, first float64) (*Counterexample, error) {
	obj := s.objective(cases)
	velocity := tensor.New(x.Shape...)
	for i := range steps {
		z, g, err := s.m.Gradient(ctx, x, obj)
		if err != nil {
			return nil, err
		}
		if found, err := s.look(ctx, x, z, cases); found != nil || err != nil {
			return found, err
		}
		step := float32(first * math.Pow(0.002/first, float64(i)/float64(steps)))
		for r, c := range cases {
			s.push(x.Row(r), velocity.Row(r), g.Row(r), s.boxes[c], step, r%2 == 0)
		}
	}
	z, err := s.m.Scores(ctx, x)
	if err != nil {
		return nil, err
	}
	return s.look(ctx, x, z, cases)
}

// push takes one step: by sign, or, where sharp is not set, by the gradient
// scaled to its largest element.
func (s *search) push(x, v, g []float32, b box, step float32, sharp bool) {
	top := float32(0)
	for j, d := range g {
		top = max(top, d*(b.hi[j]-b.lo[j]), -d*(b.hi[j]-b.lo[j]))
	}
	if !(top > 0) || math.IsInf(float64(top), 0) {
		return
	}
	for j, d := range g {
		width := b.hi[j] - b.lo[j]
		u := d * width / top
		if sharp {
			u = float32(math.Copysign(1, float64(d)))
			if d == 0 {
				u = 0
			}
		}
		v[j] = 0.5*v[j] + 0.5*u
		x[j] = min(max(x[j]+step*width*v[j], b.lo[j]), b.hi[j])
	}
}

// objective is the constraints of each row's case, padded to one number of
// constraints by repeating the first.
func (s *search) objective(cases []int) *model.Objective {
	most := 0
	for _, c := range s.p.Cases {
		most = max(most, len(c.W))
	}
	obj := &model.Objective{Loss: model.Constraints, W: tensor.New(len(cases), most, s.p.Outputs), B: tensor.New(len(cases), most)}
	for r, c := range cases {
		k := &s.p.Cases[c]
		for i := range most {
			from := i
			if i >= len(k.W) {
				from = 0
			}
			for j, w := range k.W[from] {
				obj.W.Row(r)[i*s.p.Outputs+j] = float32(w)
			}
			obj.B.Row(r)[i] = float32(k.B[from])
		}
	}
	return obj
}

// wander is random local search, for networks without gradients.
func (s *search) wander(ctx context.Context, x *tensor.Tensor, cases []int, steps int, first float64) (*Counterexample, error) {
	best := make([]float64, len(cases))
	for r := range best {
		best[r] = math.Inf(-1)
	}
	point := x.Clone()
	for i := range steps {
		z, err := s.m.Scores(ctx, x)
		if err != nil {
			return nil, err
		}
		if found, err := s.look(ctx, x, z, cases); found != nil || err != nil {
			return found, err
		}
		radius := first * (1 - float64(i)/float64(steps))
		for r, c := range cases {
			if v := s.p.Cases[c].Slack(z.Row(r)); v > best[r] {
				best[r] = v
				copy(point.Row(r), x.Row(r))
			}
			b := s.boxes[c]
			for j, v := range point.Row(r) {
				d := radius * float64(b.hi[j]-b.lo[j]) * s.rng.NormFloat64()
				x.Row(r)[j] = min(max(v+float32(d), b.lo[j]), b.hi[j])
			}
		}
	}
	return nil, nil
}

// judge runs the file as it is.
type judge struct {
	session *ort.Session
	input   *onnx.Value
	dims    []int64
}

func newJudge(m *model.Local) (*judge, error) {
	feeds := m.File().Graph.Feeds()
	if len(feeds) != 1 {
		return nil, errors.New("properties are of networks with one input")
	}
	s, err := m.Runtime().NewSession(m.File(), ort.Options{Plain: true})
	if err != nil {
		return nil, err
	}
	dims := []int64{1}
	for _, d := range m.Sample() {
		dims = append(dims, int64(d))
	}
	return &judge{session: s, input: feeds[0], dims: dims}, nil
}

// confirm returns the counterexample if it lies in the case's box and violates
// the property there.
func (j *judge) confirm(ctx context.Context, c *vnnlib.Case, x []float32) (*Counterexample, error) {
	found := &Counterexample{X: make([]float64, len(x))}
	for i, v := range x {
		found.X[i] = math.Min(math.Max(float64(v), c.Lo[i]), c.Hi[i])
		if float32(found.X[i]) != v {
			return nil, nil
		}
	}
	out, err := j.session.RunTensors(ctx, map[string]*onnx.Tensor{j.input.Name: onnx.FloatTensor(j.input.Name, x, j.dims...)})
	if err != nil {
		return nil, err
	}
	found.Y = out[j.session.Outputs()[0]].Floats()
	if len(found.Y) != len(c.W[0]) || !(c.Slack(found.Y) > 0) {
		return nil, nil
	}
	return found, nil
}
