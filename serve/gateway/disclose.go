package gateway

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"math"
	mathrand "math/rand/v2"
	"slices"

	"github.com/redoubt-ml/redoubt/serve/oip"
	"github.com/redoubt-ml/redoubt/serve/policy"
)

var disclose = &Guard{
	Name: "disclose",
	Doc:  "coarsens the scores of the answer to what this caller may see: label only, the k best, with noise, rounded",
	Body: true,
	wrap: func(g *Gateway, next Infer) Infer {
		key := make([]byte, 32) // of the noise; a new one with every start
		rand.Read(key)
		return func(ctx context.Context, c *Call) (*oip.Response, error) {
			a, err := next(ctx, c)
			if err != nil || c.Decision.Clearance == (policy.Clearance{}) {
				return a, err
			}
			noise := newNoise(key, c)
			for i := range a.Outputs {
				if out := &a.Outputs[i]; c.Served.Model.Settings.scores(out) {
					coarsen(out, c.Served.width(c.Request, out), c.Decision.Clearance, noise)
				}
			}
			return a, nil
		}
	},
}

// width is how many scores of an output belong to one sample: the last dimension,
// unless that counts the samples.
func (s *Served) width(q *oip.Request, out *oip.Tensor) int {
	switch n := len(out.Shape); {
	case n == 0, n == 1 && s.perRow(q, out):
		return 1
	default:
		return int(out.Shape[n-1])
	}
}

// perRow reports whether the first dimension of an output counts samples, as that of
// an input does. The only dimension of an output may as well be the classes of a single
// sample: it is, unless the model declares it as it does the samples of an input.
func (s *Served) perRow(q *oip.Request, out *oip.Tensor) bool {
	if len(out.Shape) == 0 {
		return false
	}
	declared := described(s.Metadata.Outputs, out.Name)
	return slices.ContainsFunc(q.Inputs, func(in oip.Tensor) bool {
		if len(in.Shape) == 0 || in.Shape[0] != out.Shape[0] {
			return false
		}
		want := described(s.Metadata.Inputs, in.Name)
		if len(out.Shape) > 1 || want == nil || declared == nil || len(declared.Shape) == 0 {
			return true
		}
		open := want.Shape[0] < 0
		return open == (declared.Shape[0] < 0) && (open || len(want.Shape) > 1)
	})
}

// scores reports whether an output holds scores of classes.
func (s *Settings) scores(out *oip.Tensor) bool {
	if s.Scores != nil {
		return slices.Contains(s.Scores, out.Name)
	}
	return floating(out.Datatype)
}

// newNoise is the random numbers of a call. They follow from the question and a
// secret, so that asking again does not average them away.
func newNoise(key []byte, c *Call) *mathrand.Rand {
	mac := hmac.New(sha256.New, key)
	part := func(b []byte) {
		var size [8]byte
		binary.LittleEndian.PutUint64(size[:], uint64(len(b)))
		mac.Write(size[:])
		mac.Write(b)
	}
	part([]byte(c.Model))
	part([]byte(c.Served.Version))
	part([]byte(c.Served.Digest))
	for i := range c.Request.Inputs {
		in := &c.Request.Inputs[i]
		part([]byte(in.Name))
		part(in.Raw)
		for _, s := range in.Strings {
			part(s)
		}
	}
	return mathrand.New(mathrand.NewChaCha8([32]byte(mac.Sum(nil))))
}

// coarsen leaves of each row of scores what may be seen. The winner stays the
// winner. Scores that are withheld become zero, or the least that is shown where
// scores are no probabilities; a label alone is one where it wins and zero
// elsewhere. So shapes and types are what they were. A
// single score a row is rounded, or for a label becomes 0 or 1 at its middle.
func coarsen(out *oip.Tensor, width int, may policy.Clearance, noise *mathrand.Rand) {
	numbers := numbersOf(out)
	if width == 0 {
		return
	}
	row := make([]float64, width)
	for from := 0; from+width <= numbers.n; from += width {
		for j := range row {
			row[j] = numbers.at(from + j)
		}
		coarsenRow(row, may, noise)
		for j, v := range row {
			numbers.set(from+j, v)
		}
	}
}

func coarsenRow(row []float64, may policy.Clearance, noise *mathrand.Rand) {
	probability := !slices.ContainsFunc(row, func(v float64) bool { return !(v >= 0 && v <= 1) })
	winner := first(row)
	if may.Label {
		label(row, winner, probability)
		return
	}
	if may.Top > 0 && may.Top < len(row) {
		withhold(row, may.Top, probability)
	}
	if may.Noise > 0 {
		for j := range row {
			if probability && row[j] == 0 {
				continue // withheld, or certain
			}
			row[j] += may.Noise * noise.NormFloat64()
			if probability {
				row[j] = min(max(row[j], 0), 1)
			}
		}
	}
	if may.Round > 0 {
		unit := math.Pow10(may.Round)
		for j := range row {
			row[j] = math.Round(row[j]*unit) / unit
		}
	}
	// Noise and rounding may have put another class first: the two change places.
	if now := first(row); now != winner {
		row[now], row[winner] = row[winner], row[now]
	}
}

// withhold leaves the k best of a row; of equal scores the first ones.
func withhold(row []float64, k int, probability bool) {
	least, shown := slices.Sorted(slices.Values(row))[len(row)-k], k
	for _, v := range row {
		if v > least {
			shown--
		}
	}
	for j, v := range row {
		switch {
		case v > least:
		case v == least && shown > 0:
			shown--
		case probability:
			row[j] = 0
		default:
			row[j] = least
		}
	}
}

// label leaves of a row which class wins.
func label(row []float64, winner int, probability bool) {
	if len(row) == 1 {
		middle := 0.0 // of log-odds
		if probability {
			middle = 0.5
		}
		if row[0] > middle {
			row[0] = 1
		} else {
			row[0] = 0
		}
		return
	}
	clear(row)
	row[winner] = 1
}

// first is the place of the largest score.
func first(row []float64) int {
	best := 0
	for j, v := range row {
		if v > row[best] {
			best = j
		}
	}
	return best
}
