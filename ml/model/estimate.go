package model

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"

	"github.com/redoubt-ml/redoubt/ml/tensor"
)

// Directions is the distribution of the random directions in which [Estimate]
// looks.
type Directions int

const (
	// SPSA draws every element from {-1, 1} (Spall 1992; as an attack, Uesato et
	// al. 2018, arXiv 1802.05666).
	SPSA Directions = iota
	// NES draws from the normal distribution, each direction together with its
	// opposite (Ilyas et al. 2018, arXiv 1804.08598).
	NES
)

func (d Directions) String() string { return [...]string{"spsa", "nes"}[d] }

// Estimator says how gradients are estimated from scores.
type Estimator struct {
	Directions Directions
	// Pairs of answers a gradient, at x + Radius u and x - Radius u; 0 means 32.
	Pairs int
	// Radius is how far it looks in each element, in units of the input; 0
	// means 0.01.
	Radius float64
	// Clip, if not nil, moves a point that is asked about into the range of
	// valid inputs.
	Clip func(x []float32)
	Seed uint64
}

// Estimate gives a model of scores gradients by finite differences: the mean
// over random directions u of u (f(x + r u) - f(x - r u)) / 2r. Every gradient
// of a sample costs 2 Pairs + 1 answers.
//
// The directions depend on the seed and the point alone. An estimate is
// therefore a function of the point, the same in any batch, and one that errs
// does not get better by being asked for again.
func Estimate(m Scores, e Estimator) Gradients {
	if e.Pairs <= 0 {
		e.Pairs = 32
	}
	if e.Radius <= 0 {
		e.Radius = 0.01
	}
	return &estimated{m, e}
}

// estimated does not pass the model's memory on to who asks for its gradients:
// it fills that itself while it needs x.
type estimated struct {
	m Scores
	e Estimator
}

func (s *estimated) Scores(ctx context.Context, x *tensor.Tensor) (*tensor.Tensor, error) {
	return s.m.Scores(ctx, x)
}

// together is how many points are asked about at once, or as many as the batch
// has rows.
const together = 128

// Gradient implements [Gradients].
func (s *estimated) Gradient(ctx context.Context, x *tensor.Tensor, obj *Objective) (*tensor.Tensor, *tensor.Tensor, error) {
	answer, err := s.m.Scores(ctx, x)
	if err != nil {
		return nil, nil, err
	}
	n := x.Rows()
	if answer.Rows() != n {
		return nil, nil, fmt.Errorf("estimate gradients: %d answers to %d samples", answer.Rows(), n)
	}
	logits, grad := answer.Clone(), tensor.New(x.Shape...)
	if err := obj.Check(n, logits.RowLen()); err != nil {
		return nil, nil, err
	}
	streams := make([]*rand.Rand, n)
	for i := range streams {
		streams[i] = s.stream(x.Row(i))
	}
	// Pair p belongs to sample p mod n, so that a chunk has many samples or
	// many pairs of few.
	chunk, total := max(n, together/2), n*s.e.Pairs
	u := tensor.New(append([]int{chunk}, x.Shape[1:]...)...)
	for lo := 0; lo < total; lo += chunk {
		hi := min(lo+chunk, total)
		probes, err := Input(s.m, 2*(hi-lo), x.Shape[1:])
		if err != nil {
			return nil, nil, err
		}
		for p := lo; p < hi; p++ {
			d := u.Row(p - lo)
			s.e.Directions.draw(streams[p%n], d)
			s.look(probes.Row(2*(p-lo)), x.Row(p%n), d, s.e.Radius)
			s.look(probes.Row(2*(p-lo)+1), x.Row(p%n), d, -s.e.Radius)
		}
		z, err := s.m.Scores(ctx, probes)
		if err != nil {
			return nil, nil, err
		}
		for p := lo; p < hi; p++ {
			i, k := p%n, 2*(p-lo)
			slope := (obj.Value(i, z.Row(k)) - obj.Value(i, z.Row(k+1))) / (2 * s.e.Radius * float64(s.e.Pairs))
			g := grad.Row(i)
			for j, v := range u.Row(p - lo) {
				g[j] += float32(slope * float64(v))
			}
		}
	}
	return logits, grad, nil
}

// look writes x + r u to out.
func (s *estimated) look(out, x, u []float32, r float64) {
	for j, v := range x {
		out[j] = v + float32(r)*u[j]
	}
	if s.e.Clip != nil {
		s.e.Clip(out)
	}
}

// draw fills u with a direction.
func (d Directions) draw(rng *rand.Rand, u []float32) {
	if d == NES {
		for j := range u {
			u[j] = float32(rng.NormFloat64())
		}
		return
	}
	var bits uint64
	for j := range u {
		if j%64 == 0 {
			bits = rng.Uint64()
		}
		u[j] = float32(int(bits&1)*2 - 1)
		bits >>= 1
	}
}

// stream is the randomness of a point.
func (s *estimated) stream(x []float32) *rand.Rand {
	h := fnv.New64a()
	b := make([]byte, 4*len(x))
	for j, v := range x {
		binary.LittleEndian.PutUint32(b[4*j:], math.Float32bits(v))
	}
	h.Write(b)
	return rand.New(rand.NewPCG(s.e.Seed, h.Sum64()))
}
