package gateway

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"hash"
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
			for i := range a.Outputs {
				if out := &a.Outputs[i]; c.Served.Model.Settings.scores(out) {
					c.coarsen(out, key)
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

// noise is random numbers that follow from the question and a secret, so that asking
// again, alone or among others, does not average them away.
type noise struct {
	*mathrand.Rand
	source *mathrand.ChaCha8
	mac    hash.Hash
}

func newNoise(key []byte) *noise {
	source := mathrand.NewChaCha8([32]byte{})
	return &noise{mathrand.New(source), source, hmac.New(sha256.New, key)}
}

// about begins the numbers for what an output says of a sample, or of all where sample
// is negative.
func (n *noise) about(c *Call, out *oip.Tensor, sample int) {
	n.mac.Reset()
	for _, name := range []string{c.Model, c.Served.Version, string(c.Served.Digest), out.Name} {
		n.part([]byte(name))
	}
	for i := range c.Request.Inputs {
		in := &c.Request.Inputs[i]
		raw, words := in.Raw, in.Strings
		if sample >= 0 && len(in.Shape) > 0 && in.Shape[0] == out.Shape[0] {
			raw, words = partOf(raw, sample, in.Shape[0]), partOf(words, sample, in.Shape[0])
		}
		n.part([]byte(in.Name))
		n.part(plainZeros(raw, in.Datatype))
		for _, s := range words {
			n.part(s)
		}
	}
	n.source.Seed([32]byte(n.mac.Sum(nil)))
}

func (n *noise) part(b []byte) {
	var size [8]byte
	binary.LittleEndian.PutUint64(size[:], uint64(len(b)))
	n.mac.Write(size[:])
	n.mac.Write(b)
}

// partOf is the i-th of so many equal parts.
func partOf[T any](all []T, i int, parts int64) []T {
	n := len(all) / int(parts)
	return all[i*n : (i+1)*n]
}

// plainZeros makes of the elements of floats those that all spell alike which a model
// takes for the same: zero has a sign, and what is not a number many forms.
func plainZeros(raw []byte, d oip.Datatype) []byte {
	if !floating(d) {
		return raw
	}
	plain := oip.Tensor{Datatype: d, Raw: slices.Clone(raw)}
	numbers := numbersOf(&plain)
	for i := range numbers.n {
		if v := numbers.at(i); v == 0 {
			numbers.set(i, 0)
		} else if v != v {
			numbers.set(i, math.NaN())
		}
	}
	return plain.Raw
}

// coarsen leaves of each row of scores what may be seen. The winner stays the
// winner. Scores that are withheld become zero, or the least that is shown where
// scores are no probabilities; a label alone is one where it wins and zero
// elsewhere. So shapes and types are what they were. A
// single score a row is rounded, or for a label becomes 0 or 1 at its middle.
func (c *Call) coarsen(out *oip.Tensor, key []byte) {
	numbers, width, may := numbersOf(out), c.Served.width(c.Request, out), c.Decision.Clearance
	if width == 0 || numbers.n == 0 {
		return
	}
	perRow, each := c.Served.perRow(c.Request, out), numbers.n
	if perRow {
		each /= int(out.Shape[0])
	}
	noise := newNoise(key)
	row := make([]float64, width)
	for from := 0; from+width <= numbers.n; from += width {
		if may.Noise > 0 && from%each == 0 {
			sample := -1
			if perRow {
				sample = from / each
			}
			noise.about(c, out, sample)
		}
		for j := range row {
			row[j] = numbers.at(from + j)
		}
		coarsenRow(row, may, noise.Rand)
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
