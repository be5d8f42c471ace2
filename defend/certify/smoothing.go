package certify

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"

	"github.com/redoubt-ml/redoubt/ml/model"
	"github.com/redoubt-ml/redoubt/ml/tensor"
)

// Smoothing is randomised smoothing (Cohen, Rosenfeld and Kolter 2019, arXiv
// 1902.02918): the smoothed classifier says what a model says most often of a
// point with Gaussian noise added. It works with any model, and certifies the
// smoothed classifier, not the model itself, in the L2 norm. The inputs are not
// clipped: the noise leaves the range of valid ones, as the theorem needs.
type Smoothing struct {
	// Sigma is the standard deviation of the noise, in units of the input.
	// Required. The larger, the further a certificate can reach and the less
	// accurate the smoothed classifier.
	Sigma float64
	// N0 is how many draws choose the class, N how many others estimate its
	// probability; 0 means 100 and 100,000. No certificate reaches further than
	// Sigma times the normal quantile of Alpha^(1/N), 3.8 Sigma by default.
	N0, N int
	// Alpha is the chance, over the draws, that a statement about a sample is
	// wrong; 0 means 0.001.
	Alpha float64
	// Batch is how many draws are put to the model at once; 0 means 500.
	Batch int
	// Seed and the sample's number decide the draws.
	Seed uint64
	// Progress is told how many samples are done; nil is silence.
	Progress func(done, total int)
}

// Abstain is the class of a sample of which nothing can be said.
const Abstain = -1

// Certificate is what is known of the smoothed classifier at a sample: with
// confidence 1 - Alpha it says Class for every input nearer than Radius in L2.
type Certificate struct {
	Class  int     // Abstain if no class has more than half the probability
	Radius float64 // in units of the input; 0 where it abstains
	// Probability is the lower bound of that of the class most often seen.
	Probability float64
}

func (s Smoothing) defaults() (Smoothing, error) {
	if !(s.Sigma > 0) || math.IsInf(s.Sigma, 0) {
		return s, errors.New("smoothing: want a positive standard deviation of the noise")
	}
	if s.N0 < 0 || s.N < 0 || s.Batch < 0 || s.Alpha < 0 || s.Alpha >= 0.5 {
		return s, errors.New("smoothing: want counts that are not negative, and alpha below a half")
	}
	if s.N0 == 0 {
		s.N0 = 100
	}
	if s.N == 0 {
		s.N = 100_000
	}
	if s.Alpha == 0 {
		s.Alpha = 0.001
	}
	if s.Batch == 0 {
		s.Batch = 500
	}
	if s.Progress == nil {
		s.Progress = func(int, int) {}
	}
	return s, nil
}

// Certify bounds, for each sample of a batch, how far the smoothed classifier
// keeps its class. It uses N0 + N answers of the model a sample. When the
// context ends it returns the certificates it has, with the context's error.
func (s Smoothing) Certify(ctx context.Context, m model.Scores, x *tensor.Tensor) ([]Certificate, error) {
	return each(ctx, s, x, func(s Smoothing, i int) (Certificate, error) {
		guess, err := s.votes(ctx, m, x, i, "select", s.N0)
		if err != nil {
			return Certificate{}, err
		}
		class, _ := leaders(guess)
		votes, err := s.votes(ctx, m, x, i, "estimate", s.N)
		if err != nil {
			return Certificate{}, err
		}
		c := Certificate{Class: Abstain, Probability: clopperPearson(votes[class], s.N, s.Alpha)}
		if c.Probability > 0.5 {
			c.Class, c.Radius = class, s.Sigma*normalQuantile(c.Probability)
		}
		return c, nil
	})
}

// Predict is the class of the smoothed classifier for each sample, or Abstain
// where N draws do not tell the two most frequent apart: where a fair coin
// would do as well with chance above Alpha. It uses N answers a sample.
func (s Smoothing) Predict(ctx context.Context, m model.Scores, x *tensor.Tensor) ([]int, error) {
	return each(ctx, s, x, func(s Smoothing, i int) (int, error) {
		votes, err := s.votes(ctx, m, x, i, "predict", s.N)
		if err != nil {
			return Abstain, err
		}
		first, second := leaders(votes)
		if coin(votes[first], votes[first]+votes[second]) > s.Alpha {
			return Abstain, nil
		}
		return first, nil
	})
}

// each does what is asked for every sample.
func each[T any](ctx context.Context, s Smoothing, x *tensor.Tensor, do func(s Smoothing, i int) (T, error)) ([]T, error) {
	s, err := s.defaults()
	if err != nil {
		return nil, err
	}
	var out []T
	for i := range x.Rows() {
		v, err := do(s, i)
		if ctx.Err() != nil {
			return out, ctx.Err()
		}
		if err != nil {
			return out, fmt.Errorf("smoothing: sample %d: %w", i, err)
		}
		out = append(out, v)
		s.Progress(i+1, x.Rows())
	}
	return out, nil
}

// votes counts the classes of n noisy copies of sample i. An answer that is not
// a number counts for none. There are at least two classes.
func (s Smoothing) votes(ctx context.Context, m model.Scores, x *tensor.Tensor, i int, purpose string, n int) ([]int, error) {
	rng := s.stream(i, purpose)
	var votes []int
	for done := 0; done < n; {
		count := min(s.Batch, n-done)
		noisy, err := model.Input(m, count, x.Shape[1:])
		if err != nil {
			return nil, err
		}
		for r := range count {
			row := noisy.Row(r)
			for j, v := range x.Row(i) {
				row[j] = float32(float64(v) + s.Sigma*rng.NormFloat64())
			}
		}
		z, err := m.Scores(ctx, noisy)
		if err != nil {
			return nil, err
		}
		if z.Rows() != count || z.RowLen() < 2 {
			return nil, fmt.Errorf("%d answers of %d classes to %d points: want a classifier", z.Rows(), z.RowLen(), count)
		}
		if votes == nil {
			votes = make([]int, z.RowLen())
		}
		for r := range count {
			row := z.Row(r)
			if best := tensor.ArgMax(row); row[best] == row[best] {
				votes[best]++
			}
		}
		done += count
	}
	return votes, nil
}

// stream is the randomness of one sample for one purpose: draws that choose a
// class must not be those that estimate its probability.
func (s Smoothing) stream(i int, purpose string) *rand.Rand {
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], s.Seed)
	binary.LittleEndian.PutUint64(key[8:], uint64(i))
	copy(key[16:], purpose)
	return rand.New(rand.NewChaCha8(key))
}

// leaders are the classes with the most votes and the next most, the lower
// number first where they are equal.
func leaders(votes []int) (first, second int) {
	first, second = 0, 1
	if votes[1] > votes[0] {
		first, second = 1, 0
	}
	for c := 2; c < len(votes); c++ {
		switch {
		case votes[c] > votes[first]:
			first, second = c, first
		case votes[c] > votes[second]:
			second = c
		}
	}
	return first, second
}
