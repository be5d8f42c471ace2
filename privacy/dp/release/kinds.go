package release

import (
	"math"
	"math/bits"
	"slices"
	"strconv"
	"strings"

	"github.com/redoubt-ml/redoubt/privacy/dp"
)

// kind is a sort of statistic. In each group it has some cells, whole numbers that
// rows add to; from these come the numbers that get noise, in one or several
// parts that share its budget; and from the noisy numbers the answer.
type kind struct {
	name           string
	column, bounds bool
	build          func(Statistic) statistic
}

// kinds lists them. Left out: minimum and maximum, whose sensitivity is the whole
// range (a quantile near 0 or 1 serves), and the mode (a histogram serves).
var kinds = []kind{
	{name: "count", build: count},
	{name: "people", build: people},
	{name: "sum", column: true, bounds: true, build: sum},
	{name: "mean", column: true, bounds: true, build: mean},
	{name: "variance", column: true, bounds: true, build: variance},
	{name: "quantiles", column: true, bounds: true, build: quantiles},
	{name: "histogram", column: true, build: histogram},
	{name: "distinct", column: true, build: distinct},
}

func kindOf(name string) *kind {
	if i := slices.IndexFunc(kinds, func(k kind) bool { return k.name == name }); i >= 0 {
		return &kinds[i]
	}
	return nil
}

func kindNames() string {
	names := make([]string, len(kinds))
	for i, k := range kinds {
		names[i] = k.name
	}
	return strings.Join(names, ", ")
}

// missing is the code of a value that is not there, or is no number.
const missing = math.MinInt32

// statistic is a kind with its settings.
type statistic struct {
	Statistic
	// encode makes a code of a value, so small that 2^32 of them add up in 64
	// bits; nil if the statistic reads no column. Codes of distinct come from a
	// hash instead.
	encode func(x float64) int32
	hashed bool // the value is text, and its code comes from its hash
	cells  int
	add    func(cells []int64, code int32)
	or     bool // cells of two states are or-ed, not added
	people bool // the cell counts people, not rows
	parts  []part
	answer func(noisy [][]int64, spread []spread) []Number
}

// hashCode is the code of a value with a hash.
func (st *statistic) hashCode(h uint64) int32 { return int32(h & uint64(st.Bits-1)) }

// part is a vector that gets noise of its own.
type part struct {
	numbers func(cells []int64) []int64
	// row is what one row of a person adds; groups and rows are set from the query.
	row dp.Contribution
}

// Number is one released value with the interval that it lies in with the
// query's confidence, as far as noise goes: sampling of rows, clamping and the
// sketch of distinct are not in it.
type Number struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Low   float64 `json:"low"`
	High  float64 `json:"high"`
}

// spread says how wide a part's noise is, with the share of what may go wrong
// that falls to the part.
type spread struct {
	one float64                   // half width for one number
	sum func(numbers int) float64 // half width for a sum of so many
}

func one(cells []int64) []int64 { return cells[:1] }

var unit = dp.Contribution{Low: 1, High: 1}

func count(s Statistic) statistic {
	return statistic{Statistic: s, cells: 1, parts: []part{{one, unit}},
		add:    func(cells []int64, _ int32) { cells[0]++ },
		answer: func(noisy [][]int64, w []spread) []Number { return []Number{natural(s.Name, noisy[0][0], w[0].one)} }}
}

func people(s Statistic) statistic {
	c := count(s)
	c.people = true
	return c
}

// natural is a number that cannot be negative, as post-processing.
func natural(name string, n int64, width float64) Number {
	x := float64(n)
	return Number{name, max(0, x), max(0, x-width), max(0, x+width)}
}

// codeBits is the size of codes: values become fixed point on the finest grid on
// which their bounds are less than 2^30 steps from zero.
const codeBits = 30

func gridFor(size float64) dp.Grid {
	_, exp := math.Frexp(size) // size < 2^exp
	return dp.Grid(min(60, codeBits-exp))
}

// fixed makes codes on a grid; what is outside is clamped, what is no number is
// missing. The clamping comes before the rounding: infinity is a value.
func fixed(g dp.Grid, low, high, origin float64) (encode func(float64) int32, row dp.Contribution) {
	row, err := g.Contribution(low-origin, high-origin)
	if err != nil {
		panic(err) // Statistic.check has seen to the bounds
	}
	scale := math.Ldexp(1, int(g)) // a power of two, so that the product is exact
	return func(x float64) int32 {
		if x != x {
			return missing
		}
		return int32(row.Clamp(int64(math.RoundToEven((min(max(x, low), high) - origin) * scale))))
	}, row
}

func sum(s Statistic) statistic {
	low, high := *s.Low, *s.High
	g := gridFor(max(math.Abs(low), math.Abs(high)))
	encode, row := fixed(g, low, high, 0)
	return statistic{Statistic: s, cells: 1, encode: encode, parts: []part{{one, row}},
		add: func(cells []int64, v int32) { cells[0] += int64(v) },
		answer: func(noisy [][]int64, w []spread) []Number {
			x, half := g.Float(noisy[0][0]), w[0].one*g.Step()
			return []Number{{s.Name, x, x - half, x + half}}
		}}
}

// centred are the bounds around their middle, where one row adds least.
func centred(s Statistic) (g dp.Grid, origin float64, encode func(float64) int32, row dp.Contribution) {
	low, high := *s.Low, *s.High
	half := (high - low) / 2
	g, origin = gridFor(half), low+half
	encode, row = fixed(g, low, high, origin)
	return g, origin, encode, row
}

// mean is the middle of the bounds plus the noisy sum of distances from it over
// the noisy count (Li, Lyu, Su and Yang 2016, "Differential privacy: from theory
// to practice", section 2.5).
func mean(s Statistic) statistic {
	g, origin, encode, row := centred(s)
	return statistic{Statistic: s, cells: 2, encode: encode,
		parts: []part{
			{func(c []int64) []int64 { return c[:1] }, row},
			{func(c []int64) []int64 { return c[1:2] }, unit},
		},
		add: func(cells []int64, v int32) { cells[0] += int64(v); cells[1]++ },
		answer: func(noisy [][]int64, w []spread) []Number {
			x, lo, hi := ratio(g.Float(noisy[0][0]), w[0].one*g.Step(), float64(noisy[1][0]), w[1].one)
			clamp := func(x float64) float64 { return min(max(origin+x, *s.Low), *s.High) }
			return []Number{{s.Name, clamp(x), clamp(lo), clamp(hi)}}
		}}
}

// ratio is a/n with its interval, where a and n are each off by at most da and
// dn. n counts rows: below 1 it is taken as 1.
func ratio(a, da, n, dn float64) (x, lo, hi float64) {
	least, greatest := max(1, n-dn), max(1, n+dn)
	corners := []float64{(a - da) / least, (a - da) / greatest, (a + da) / least, (a + da) / greatest}
	return a / max(1, n), slices.Min(corners), slices.Max(corners)
}

// variance is the mean square of distances from the middle less the square of
// their mean.
func variance(s Statistic) statistic {
	g, _, encode, row := centred(s)
	top := max(-row.Low, row.High)
	squares := dp.Contribution{Low: 0, High: max(1, top*top>>codeBits)} // steps of 2^30 grid steps squared
	step := math.Ldexp(g.Step()*g.Step(), codeBits)
	half := (*s.High - *s.Low) / 2
	return statistic{Statistic: s, cells: 3, encode: encode,
		parts: []part{
			{func(c []int64) []int64 { return c[:1] }, row},
			{func(c []int64) []int64 { return c[1:2] }, squares},
			{func(c []int64) []int64 { return c[2:3] }, unit},
		},
		add: func(cells []int64, v int32) {
			cells[0] += int64(v)
			cells[1] += squares.Clamp(int64(v) * int64(v) >> codeBits)
			cells[2]++
		},
		answer: func(noisy [][]int64, w []spread) []Number {
			n, dn := float64(noisy[2][0]), w[2].one
			m, mlo, mhi := ratio(g.Float(noisy[0][0]), w[0].one*g.Step(), n, dn)
			q, qlo, qhi := ratio(float64(noisy[1][0])*step, w[1].one*step, n, dn)
			clamp := func(x float64) float64 { return min(max(x, 0), half*half) }
			far := max(mlo*mlo, mhi*mhi)
			near := 0.0
			if mlo > 0 || mhi < 0 {
				near = min(mlo*mlo, mhi*mhi)
			}
			return []Number{{s.Name, clamp(q - m*m), clamp(qlo - far), clamp(qhi - near)}}
		}}
}

// histogram counts the values of each bucket. A row is in one of them, so that
// all buckets of a group together move by what a count does.
func histogram(s Statistic) statistic {
	n := len(s.Edges) - 1
	return statistic{Statistic: s, cells: n,
		encode: func(x float64) int32 {
			i, found := slices.BinarySearch(s.Edges, x) // NaN is before all
			if !found {
				i--
			}
			if i < 0 || i >= n || x != x {
				return missing
			}
			return int32(i)
		},
		add:   func(cells []int64, v int32) { cells[v]++ },
		parts: []part{{func(c []int64) []int64 { return c }, unit}},
		answer: func(noisy [][]int64, w []spread) []Number {
			out := make([]Number, n)
			for i := range out {
				out[i] = natural(s.Name+" ["+short(s.Edges[i])+", "+short(s.Edges[i+1])+")", noisy[0][i], w[0].one)
			}
			return out
		}}
}

func short(x float64) string { return strconv.FormatFloat(x, 'g', -1, 64) }

// branches of the tree of counts below quantiles: two levels, 16 nodes with 16
// leaves each.
const branches = 16

// quantiles are read off noisy counts of the parts of the range, of 16 and of 256
// equal ones (Hay, Rastogi, Miklau and Suciu 2010, "Boosting the accuracy of
// differentially private histograms through consistency", without the last step):
// a rank is the sum of 30 noisy counts at most.
func quantiles(s Statistic) statistic {
	const leaves = branches * branches
	low, width := *s.Low, (*s.High-*s.Low)/leaves
	return statistic{Statistic: s, cells: leaves,
		encode: func(x float64) int32 {
			if x != x {
				return missing
			}
			return int32(min(max((x-low)/width, 0), leaves-1))
		},
		add: func(cells []int64, v int32) { cells[v]++ },
		parts: []part{
			{func(c []int64) []int64 {
				nodes := make([]int64, branches)
				for i, n := range c {
					nodes[i/branches] += n
				}
				return nodes
			}, unit},
			{func(c []int64) []int64 { return c }, unit},
		},
		answer: func(noisy [][]int64, w []spread) []Number {
			// Rank of the i-th bound of the leaves; a sum of whole numbers.
			var ranks [leaves + 1]float64
			before := 0.0
			for node := range branches {
				sum := before
				for leaf := range branches {
					i := node*branches + leaf
					ranks[i] = sum
					sum += float64(noisy[1][i])
				}
				before += float64(noisy[0][node])
			}
			ranks[leaves] = before
			// At a fixed place, rank less q times the total is a sum of at most 16
			// node counts with factors in [-1, 1], and 15 leaf counts.
			off := w[0].sum(branches) + w[1].sum(branches-1)
			out := make([]Number, len(s.Quantiles))
			for i, q := range s.Quantiles {
				target := q * before
				at := func(t float64) float64 { return low + width*place(ranks[:], t) }
				lo, hi := reach(ranks[:], target, off)
				out[i] = Number{s.Name + " " + short(q), at(target), low + width*float64(lo), low + width*float64(hi)}
			}
			return out
		}}
}

// place is where the ranks, made to rise, pass a target: a bound's number, with a
// fraction within the leaf.
func place(ranks []float64, target float64) float64 {
	top := math.Inf(-1)
	for i, r := range ranks {
		if r > top {
			if r >= target {
				if i == 0 || math.IsInf(top, -1) {
					return float64(i)
				}
				return float64(i-1) + min(1, max(0, (target-top)/(r-top)))
			}
		}
		top = max(top, r)
	}
	return float64(len(ranks) - 1)
}

// reach are the outermost bounds whose ranks are within off of the target, one
// leaf further on either side, for the quantile lies between bounds.
func reach(ranks []float64, target, off float64) (lo, hi int) {
	lo, hi = len(ranks), -1
	for i, r := range ranks {
		if math.Abs(r-target) <= off {
			lo, hi = min(lo, i), i
		}
	}
	if hi < 0 {
		i := int(place(ranks, target))
		lo, hi = i, i
	}
	return max(0, lo-1), min(len(ranks)-1, hi+1)
}

// distinct counts values by linear counting (Whang, Vander-Zanden and Taylor
// 1990): each value sets one of a number of bits, and of those set the noisy
// number is released. One row changes at most one bit, and states merge by or.
func distinct(s Statistic) statistic {
	m := float64(s.Bits)
	estimate := func(set float64) float64 { return m * -math.Log1p(-min(max(set, 0), m-0.5)/m) }
	return statistic{Statistic: s, cells: s.Bits / 64, hashed: true, or: true,
		add: func(cells []int64, v int32) { cells[v>>6] |= 1 << (v & 63) },
		parts: []part{{func(cells []int64) []int64 {
			n := 0
			for _, c := range cells {
				n += bits.OnesCount64(uint64(c))
			}
			return []int64{int64(n)}
		}, unit}},
		answer: func(noisy [][]int64, w []spread) []Number {
			x := float64(noisy[0][0])
			return []Number{{s.Name, estimate(x), estimate(x - w[0].one), estimate(x + w[0].one)}}
		}}
}
