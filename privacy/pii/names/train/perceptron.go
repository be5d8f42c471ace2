package main

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/redoubt-ml/redoubt/privacy/pii/names/internal/tagger"
)

const labels = tagger.Labels

// A perceptron learns the weights of a linear chain of labels: it searches the
// best sequence, and where that is not the right one moves the weights towards
// the right one (Collins, 2002). The weights are averaged over all steps. While
// it learns, wrong labels are given an advantage, so that right ones win by a
// margin; a name that is missed costs more than one too many.
type perceptron struct {
	sentences []coded
	ids       map[uint32]int32
	hashes    []uint32
	often     []int32   // how often a feature occurs
	w, sum    []float32 // a row of labels a feature; sum is what averaging needs
	step      [labels][labels]float32
	stepSum   [labels][labels]float32
	clock     float32
	tokens    int
	kept      int
}

type coded struct {
	features [][]int32
	gold     []uint8
}

const (
	// rarest is how often a feature must occur to be learnt.
	rarest = 4
	// What a wrong label is worth more than a right one while learning.
	missed, mistaken, confused = 6, 3, 4
)

func newPerceptron(samples []sample, gaz *tagger.Gazetteer, r *rand.Rand) *perceptron {
	const buckets = 1 << 28
	count := make([]uint8, buckets)
	read1 := func(s sample, r *rand.Rand) sentence { return read(vary(s, r), gaz, 0.75, r) }
	seeds := make([]uint64, len(samples))
	for i, s := range samples {
		seeds[i] = r.Uint64()
		sn := read1(s, rand.New(rand.NewPCG(seeds[i], 1)))
		for _, fs := range sn.features {
			for _, f := range fs {
				if c := &count[f%buckets]; *c < rarest {
					*c++
				}
			}
		}
	}
	p := &perceptron{ids: make(map[uint32]int32), clock: 1}
	for i, s := range samples {
		sn := read1(s, rand.New(rand.NewPCG(seeds[i], 1)))
		c := coded{gold: sn.gold}
		for _, fs := range sn.features {
			var ids []int32
			for _, f := range fs {
				if count[f%buckets] < rarest {
					continue
				}
				id, ok := p.ids[f]
				if !ok {
					id = int32(len(p.hashes))
					p.ids[f] = id
					p.hashes = append(p.hashes, f)
					p.often = append(p.often, 0)
				}
				p.often[id]++
				ids = append(ids, id)
			}
			c.features = append(c.features, ids)
		}
		p.tokens += len(c.gold)
		p.sentences = append(p.sentences, c)
	}
	p.w = make([]float32, len(p.hashes)*labels)
	p.sum = make([]float32, len(p.hashes)*labels)
	return p
}

// pass goes once over all sentences and tells the share of wrong tokens.
func (p *perceptron) pass(r *rand.Rand) float64 {
	wrong := 0
	for _, i := range r.Perm(len(p.sentences)) {
		s := &p.sentences[i]
		if len(s.gold) == 0 {
			continue
		}
		guess, right := p.search(s, true), s.gold
		if slices.Contains(right, unknown) || slices.Contains(right, named) {
			right = p.search(s, false)
		}
		last, lastGold := uint8(0), uint8(0)
		for j, gold := range right {
			if guess[j] != gold {
				wrong++
				for _, f := range s.features[j] {
					p.move(int(f)*labels+int(gold), 1)
					p.move(int(f)*labels+int(guess[j]), -1)
				}
			}
			if guess[j] != gold || last != lastGold {
				p.step[lastGold][gold]++
				p.stepSum[lastGold][gold] += p.clock
				p.step[last][guess[j]]--
				p.stepSum[last][guess[j]] -= p.clock
			}
			last, lastGold = guess[j], gold
		}
		p.clock++
	}
	return float64(wrong) / float64(p.tokens)
}

func (p *perceptron) move(i int, by float32) {
	p.w[i] += by
	p.sum[i] += by * p.clock
}

// search is the search of package tagger. It is either free, with the advantage
// for wrong labels, or bound to the labels that are known: then it finds the best
// for the others, and what it finds is held to be right.
func (p *perceptron) search(s *coded, free bool) []uint8 {
	n := len(s.gold)
	back := make([][labels]uint8, n)
	var sum [labels]float32
	for l := 1; l < labels; l++ {
		sum[l] = math.MinInt32
	}
	for j := range n {
		var score [labels]float32
		for _, f := range s.features[j] {
			row := p.w[int(f)*labels : int(f)*labels+labels]
			for l, w := range row {
				score[l] += w
			}
		}
		gold := s.gold[j]
		for l := range score {
			switch {
			case uint8(l) == gold || gold == unknown || gold == named && l > 0 && tagger.Type(uint8(l)) < 3:
			case !free:
				score[l] = math.MinInt32
			case l == 0:
				score[l] += missed
			case gold == 0:
				score[l] += mistaken
			default:
				score[l] += confused
			}
		}
		var next [labels]float32
		for b := range next {
			best, from := float32(math.Inf(-1)), 0
			for a := range sum {
				if !tagger.Follows(uint8(a), uint8(b)) {
					continue
				}
				if v := sum[a] + p.step[a][b]; v > best {
					best, from = v, a
				}
			}
			next[b], back[j][b] = best+score[b], uint8(from)
		}
		sum = next
	}
	best := 0
	for l := range sum {
		if sum[l] > sum[best] {
			best = l
		}
	}
	out := make([]uint8, n)
	for j := n - 1; j >= 0; j-- {
		out[j] = uint8(best)
		best = int(back[j][best])
	}
	return out
}

const (
	// scale is what a weight of one is in the file.
	scale = 12
	// most is how many features are kept.
	most = 110_000
)

// model averages, keeps the features that weigh most, and rounds.
func (p *perceptron) model(g *tagger.Gazetteer) *tagger.Model {
	type weighed struct {
		id  int
		top float32
	}
	all := make([]weighed, len(p.hashes))
	for i := range p.hashes {
		row := p.w[i*labels : i*labels+labels]
		var low, high float32
		for l := range row {
			row[l] -= p.sum[i*labels+l] / p.clock
			low, high = min(low, row[l]), max(high, row[l])
		}
		all[i] = weighed{i, (high - low) * float32(math.Sqrt(float64(p.often[i])))}
	}
	slices.SortFunc(all, func(a, b weighed) int { return cmp.Or(cmp.Compare(b.top, a.top), cmp.Compare(a.id, b.id)) })
	weights := make(map[uint32][labels]int8)
	for _, f := range all[:min(most, len(all))] {
		var row [labels]int8
		for l := range row {
			row[l] = int8(max(-127, min(127, math.Round(float64(p.w[f.id*labels+l])*scale))))
		}
		weights[p.hashes[f.id]] = row
	}
	var steps [labels][labels]int16
	for a := range steps {
		for b := range steps[a] {
			steps[a][b] = int16(math.Round(float64(p.step[a][b]-p.stepSum[a][b]/p.clock) * scale))
		}
	}
	p.kept = len(weights)
	return tagger.NewModel(g, weights, steps)
}
