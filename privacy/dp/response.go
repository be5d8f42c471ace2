package dp

import (
	"errors"
	"fmt"
	"math"
)

// RandomisedResponse has each person answer a question of several choices for
// himself: the truth is exp(Epsilon) times as likely as each of the others
// (Warner 1965; Kairouz, Bonawitz, Ramage 2016 for more than two). Whoever
// collects the answers need not be trusted. The guarantee is local: it holds for
// each answer, under replacement of it by any other.
type RandomisedResponse struct {
	// Choices is how many answers there are, 2 or more. Required.
	Choices int
	// Epsilon is above 0. Required.
	Epsilon float64
}

func (r RandomisedResponse) check() error {
	if r.Choices < 2 || r.Choices > math.MaxInt32 {
		return fmt.Errorf("choices %d: must be between 2 and 2^31-1", r.Choices)
	}
	return checkEpsilon(r.Epsilon)
}

// Respond is an answer to give in place of the truth, a number below Choices. It
// is exact: any choice drawn evenly is given at once if it is true, and with
// probability exp(-Epsilon) otherwise.
func (r RandomisedResponse) Respond(src Source, truth int) (int, error) {
	if err := r.check(); err != nil {
		return 0, err
	}
	if truth < 0 || truth >= r.Choices {
		return 0, fmt.Errorf("the answer is none of the %d choices", r.Choices)
	}
	var buf [small]byte
	c := src.open(buf[:])
	defer c.close()
	epsilon := newRatio(rat(r.Epsilon))
	for {
		answer := int(c.uniform(uint64(r.Choices)))
		if answer == truth || c.exp(epsilon) {
			return answer, nil
		}
	}
}

// Truth is the probability that an answer is the true one.
func (r RandomisedResponse) Truth() float64 {
	return 1 / (1 + float64(r.Choices-1)*math.Exp(-r.Epsilon))
}

// Estimate is how many people each choice is true of, unbiased, from how many
// gave it. Estimates may be negative.
func (r RandomisedResponse) Estimate(given []int64) ([]float64, error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	if len(given) != r.Choices {
		return nil, fmt.Errorf("%d counts for %d choices", len(given), r.Choices)
	}
	var n float64
	for _, k := range given {
		if k < 0 {
			return nil, errors.New("a count of answers is negative")
		}
		n += float64(k)
	}
	p := r.Truth()
	q := (1 - p) / float64(r.Choices-1)
	out := make([]float64, len(given))
	for i, k := range given {
		out[i] = (float64(k) - n*q) / (p - q)
	}
	return out, nil
}
