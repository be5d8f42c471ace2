package account

import (
	"errors"
	"fmt"
	"math"

	"github.com/redoubt-ml/redoubt/privacy/dp"
)

// Sampler says which units take part in a release: [Poisson], [CappedPoisson],
// [FixedSize] or [Shuffled]. Amplification by sampling holds only for the sampler
// that the code really has, and only while who was drawn stays secret.
type Sampler interface {
	check(dp.Adjacency) error
}

// Poisson has each unit take part with probability Rate, independent of the
// others and afresh at every step. Batches differ in size, and some are empty;
// what the sum is divided by must not depend on the data.
type Poisson struct{ Rate float64 }

// CappedPoisson is Poisson, but of a batch of more than Cap units a random Cap
// are kept. Of is the number of units in the data set, which must be public.
// That a unit may crowd out another costs privacy, the more so the nearer Cap
// is to the expected Rate·Of.
type CappedPoisson struct {
	Rate float64
	Cap  int
	Of   int
}

// FixedSize draws Batch of the Of units without replacement, afresh at every
// step. It is accounted under replace only: Of is public.
type FixedSize struct{ Batch, Of int }

// Shuffled walks through the data in random order, batch by batch. It amplifies
// far less than Poisson sampling of the same rate (Chua et al. 2024, arXiv
// 2403.17673; Annamalai et al. 2024, arXiv 2411.10614), and no proven bound is
// known that is worth having: it is refused. Account each pass over the data as
// one release to all, or sample by Poisson.
type Shuffled struct{ Batch, Of int }

func (s Poisson) check(dp.Adjacency) error { return checkRate(s.Rate) }

func checkRate(q float64) error {
	if !(q >= 1e-12 && q <= 1) {
		return fmt.Errorf("sampling rate %v: must be more than 0 (at least 1e-12) and at most 1", q)
	}
	return nil
}

func (s CappedPoisson) check(dp.Adjacency) error {
	if s.Cap < 1 || s.Of < s.Cap {
		return fmt.Errorf("batches capped at %d of %d units: the cap must be at least 1, and at most the number of units", s.Cap, s.Of)
	}
	return checkRate(s.Rate)
}

func (s FixedSize) check(adj dp.Adjacency) error {
	if s.Batch < 1 || s.Of < s.Batch {
		return fmt.Errorf("batches of %d of %d units: must be at least 1, and at most all", s.Batch, s.Of)
	}
	if adj != dp.Replace {
		return errors.New("batches of fixed size: accounted under replace only, as the number of units is public")
	}
	return nil
}

func (s Shuffled) check(dp.Adjacency) error {
	return errors.New("shuffled batches: no amplification is known that equals Poisson sampling, and none is printed; sample by Poisson, or account each pass over the data as one release to all")
}

func (s FixedSize) rate() float64 { return float64(s.Batch) / float64(s.Of) }

// crowded is the chance that the others alone fill the batch, and the chance of
// a unit to be in a batch given that (all units alike, so each is in it Cap
// times in Of).
func (s CappedPoisson) crowded() (full, rate float64) {
	full = binomialTail(s.Of-1, s.Rate, s.Cap)
	if full == 0 {
		return 0, 0
	}
	rate = binomialTail(s.Of, s.Rate, s.Cap+1) * float64(s.Cap) / full / float64(s.Of)
	return full, math.Min(rate, 1)
}

// binomialTail is P(X >= k) for X binomial, summed from the far end where it is
// small, by the ratio of neighbouring terms.
func binomialTail(n int, p float64, k int) float64 {
	if k <= 0 {
		return 1
	}
	if k > n {
		return 0
	}
	if p == 1 {
		return 1
	}
	if float64(k) < float64(n)*p {
		return 1 - binomialTail(n, 1-p, n-k+1)
	}
	term := math.Exp(logChoose(float64(n), float64(k)) + float64(k)*math.Log(p) + float64(n-k)*math.Log1p(-p))
	sum := 0.0
	for i := k; i <= n && term > sum*1e-17; i++ {
		sum += term
		term *= float64(n-i) / float64(i+1) * p / (1 - p)
	}
	return math.Min(sum, 1)
}

func logChoose(n, k float64) float64 {
	a, _ := math.Lgamma(n + 1)
	b, _ := math.Lgamma(k + 1)
	c, _ := math.Lgamma(n - k + 1)
	return a - b - c
}
