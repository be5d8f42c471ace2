package release

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redoubt-ml/redoubt/privacy/dp"
	"github.com/redoubt-ml/redoubt/privacy/dp/ledger"
)

// Payment says who spends from which ledger.
type Payment struct {
	Ledger  *ledger.Ledger // required
	By      string         // who spends; required
	Key     string         // of this release, see [ledger.Request]; required
	Purpose string
	Hold    time.Duration // how long adding up may take; an hour when 0
}

// Run pays for a release and makes it: it reserves what the query costs, adds up,
// commits, and only then draws noise. Where adding up fails, the reservation is
// refunded.
func Run(ctx context.Context, q *Query, pay Payment, src dp.Source, add func(context.Context) (*State, error)) (*Result, error) {
	p, err := newPlan(q)
	if err != nil {
		return nil, err
	}
	r, err := pay.Ledger.Reserve(ctx, ledger.Request{Dataset: q.Dataset, Unit: q.Unit, Adjacency: q.Adjacency,
		By: pay.By, Key: pay.Key, Purpose: pay.Purpose, Steps: p.steps(), Hold: pay.Hold})
	if err != nil {
		return nil, err
	}
	if r.Status != "reserved" {
		return nil, fmt.Errorf("the release with the key %q was %s before: the same noise cannot be drawn again, and other noise needs a key and budget of its own", pay.Key, r.Status)
	}
	s, err := add(ctx)
	if err == nil {
		err = s.ready(p)
	}
	if err != nil {
		// The context may be what ended; the refund is owed all the same.
		owed, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
		defer cancel()
		return nil, errors.Join(err, pay.Ledger.Refund(owed, r.ID, pay.By, "the data could not be added up"))
	}
	if err := pay.Ledger.Commit(ctx, r.ID); err != nil {
		return nil, err
	}
	result, err := s.draw(src)
	if err != nil {
		return nil, err
	}
	result.Reservation = r.ID
	return result, nil
}

// ready refuses what must not be released.
func (s *State) ready(p *plan) error {
	if s.plan.Digest() != p.Digest() {
		return errors.New("release: the partial states are of another query")
	}
	if i := s.lacks(); i >= 0 {
		return fmt.Errorf("release: shard %d of %d is missing: add it up and merge it, for a second release would be paid for again", i, len(s.shards))
	}
	for i, parts := range s.plan.parts {
		for _, n := range parts {
			if _, err := n.spread(s.plan.tail(i)); err != nil {
				return fmt.Errorf("statistics[%d]: %w", i, err)
			}
		}
	}
	return nil
}

// tail is what may go wrong with each part of a statistic.
func (p *plan) tail(stat int) float64 { return (1 - p.Confidence) / float64(len(p.parts[stat])) }

// Result is a release. Everything in it may be published.
type Result struct {
	Schema       string       `json:"schema"` // redoubt.dp.release/v1
	Dataset      string       `json:"dataset"`
	Unit         string       `json:"unit"`
	Adjacency    dp.Adjacency `json:"adjacency"`
	dp.Guarantee              // of all numbers together
	Noise        string       `json:"noise"`
	Confidence   float64      `json:"confidence"`
	Groups       []string     `json:"group_by"`
	Reservation  string       `json:"reservation"`
	Rows         []Row        `json:"rows"`
}

// Row is a number of a group, with all that it takes to read it alone.
type Row struct {
	Group []string `json:"group"`
	Number
	// Guarantee of this number alone, for all groups together; naming groups costs
	// extra, and is in the guarantee of the release.
	dp.Guarantee
	Unit      string       `json:"unit"`
	Adjacency dp.Adjacency `json:"adjacency"`
}

// draw decides which groups are named and adds noise to their numbers.
func (s *State) draw(src dp.Source) (*Result, error) {
	p := s.plan
	out := &Result{Schema: "redoubt.dp.release/v1", Dataset: p.Dataset, Unit: p.Unit, Adjacency: p.Adjacency,
		Guarantee: dp.Guarantee{Epsilon: p.Epsilon, Delta: p.spent()}, Noise: p.Noise, Confidence: p.Confidence,
		Groups: p.GroupBy, Rows: []Row{}}
	for g, key := range s.keys {
		if p.selection != nil && !p.selection.Keep(src, s.people[g]-max(0, p.Minimum-1)) {
			continue
		}
		cells := s.cells[g*p.cells : (g+1)*p.cells]
		for i, st := range p.stats {
			numbers, cost, err := p.release(src, i, cells[p.offset[i]:p.offset[i]+st.cells])
			if err != nil {
				return nil, err
			}
			for _, n := range numbers {
				out.Rows = append(out.Rows, Row{Group: key, Number: n, Guarantee: cost, Unit: p.Unit, Adjacency: p.Adjacency})
			}
		}
	}
	return out, nil
}

// spent is the delta of the release: what the query offers, or none where nothing
// needs one.
func (p *plan) spent() float64 {
	if p.selection == nil && p.Noise == "laplace" {
		return 0
	}
	return p.Delta
}

// release draws the noise of one statistic in one group.
func (p *plan) release(src dp.Source, stat int, cells []int64) ([]Number, dp.Guarantee, error) {
	st := p.stats[stat]
	var noisy [][]int64
	var spreads []spread
	var cost dp.Guarantee
	for k, part := range st.parts {
		n := p.parts[stat][k]
		w, err := n.spread(p.tail(stat))
		if err != nil {
			return nil, cost, err
		}
		noisy, spreads = append(noisy, n.Release(src, part.numbers(cells))), append(spreads, w)
		cost.Epsilon += n.share.Epsilon
		cost.Delta += n.share.Delta
	}
	return st.answer(noisy, spreads), cost, nil
}
