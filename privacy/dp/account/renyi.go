package account

import (
	"fmt"
	"math"

	"github.com/redoubt-ml/redoubt/privacy/dp"
)

// Renyi adds Rényi divergences order by order and converts the sums to epsilon
// and delta (Mironov 2017; the conversion of Canonne, Kamath and Steinke 2020,
// proposition 12, and Balle and others 2020, theorem 21). It is an upper bound, up to twice the
// truth where sampling is rare.
type Renyi struct {
	// Orders to try, all above 1. Empty for those that are customary, 1.1 to 10.9
	// by tenths and 12 to 63, and further ones on either side where the best would
	// be the first or the last.
	Orders []float64
	// Classic uses the conversion rdp + ln(1/delta)/(order-1) of before 2020, for
	// comparison with what was published with it.
	Classic bool
	// Exact integrates orders that are no whole numbers, for Gaussian noise on
	// Poisson samples under add-remove. Otherwise they are bounded by the sum that
	// the libraries take, for the answer to be theirs: it counts alternating terms
	// as if all were positive, and is up to a thousandth more.
	Exact bool
}

// Epsilon is the least over the orders; the lower bound is that of [PLD], where the
// mechanisms attain it, and 0 otherwise. An answer below it would be an error in
// one of the two, and is not given.
func (r Renyi) Epsilon(p Plan, delta float64) (Interval, error) {
	upper, _, err := r.Best(p, delta)
	if err != nil {
		return Interval{}, err
	}
	if delta == 0 {
		return Interval{0, upper}, nil
	}
	if !p.attained() {
		return Interval{0, upper}, nil
	}
	exact, err := PLD{}.Epsilon(p, delta)
	if err != nil {
		return Interval{}, err
	}
	if upper < exact.Lower*(1-1e-9) {
		return Interval{}, fmt.Errorf("the Rényi accountant says epsilon %g, and the lower bound is %g: one of them is wrong; please report it with the plan", upper, exact.Lower)
	}
	return Interval{exact.Lower, upper}, nil
}

// Best is the epsilon at delta and the order at which it is had, 0 where none
// was needed.
func (r Renyi) Best(p Plan, delta float64) (epsilon, order float64, err error) {
	p, group, err := p.accountable()
	if err != nil {
		return 0, 0, err
	}
	if err := firstError(checkDelta(delta), checkOrders(r.Orders)); err != nil {
		return 0, 0, err
	}
	if delta == 0 {
		i, err := Basic{}.Epsilon(p.of(group), 0)
		return i.Upper, 0, err
	}
	curve := r.curve(p)
	if group > 1 {
		return groupEpsilon(group, delta, func(e float64) float64 {
			d, _ := r.best(curve, func(order, rdp float64) float64 { return r.delta(order, rdp, e) })
			return d
		}), 0, nil
	}
	epsilon, order = r.best(curve, func(order, rdp float64) float64 { return r.epsilon(order, rdp, delta) })
	return epsilon, order, nil
}

// Delta is the least over the orders; the lower bound is that of [PLD].
func (r Renyi) Delta(p Plan, epsilon float64) (Interval, error) {
	p, group, err := p.accountable()
	if err != nil {
		return Interval{}, err
	}
	if err := firstError(checkQuestion(epsilon), checkOrders(r.Orders)); err != nil {
		return Interval{}, err
	}
	curve := r.curve(p)
	single := func(e float64) float64 {
		d, _ := r.best(curve, func(order, rdp float64) float64 { return r.delta(order, rdp, e) })
		return min(d, 1)
	}
	if group > 1 {
		return Interval{0, groupDelta(group, epsilon, single)}, nil
	}
	if !p.attained() {
		return Interval{0, single(epsilon)}, nil
	}
	exact, err := PLD{}.Delta(p, epsilon)
	return Interval{exact.Lower, max(single(epsilon), exact.Lower)}, err
}

func checkOrders(orders []float64) error {
	for _, a := range orders {
		if !(a > 1 && a <= 1e9) {
			return fmt.Errorf("order %v: must be more than 1 and at most 1e9", a)
		}
	}
	return nil
}

// curve is the Rényi divergence of the whole plan as a function of the order.
func (r Renyi) curve(p Plan) divergence {
	steps := make([]divergence, len(p.Steps))
	for i, s := range p.Steps {
		steps[i] = s.Mechanism.renyi(p.Adjacency)
		g, _ := s.Mechanism.(Gaussian)
		if q, ok := g.Sampler.(Poisson); ok && !r.Exact && q.Rate < 1 && p.Adjacency == dp.AddRemove {
			steps[i] = func(a float64) float64 { return seriesRenyi(float64(g.Clip)/g.StdDev, q.Rate, a) }
		}
	}
	return func(order float64) float64 {
		sum := 0.0
		for i, d := range steps {
			sum += float64(p.Steps[i].Times) * d(order)
		}
		return sum
	}
}

// customary are the orders of the libraries: 1.1, 1.2, ... 10.9, 12, 13, ... 63.
func customary() []float64 {
	var out []float64
	for x := 1; x < 100; x++ {
		out = append(out, 1+float64(x)/10)
	}
	for a := 12; a < 64; a++ {
		out = append(out, float64(a))
	}
	return out
}

// best is the least value over the orders, and where. Beyond the customary orders
// it goes on to either side while that is better.
func (r Renyi) best(curve divergence, of func(order, rdp float64) float64) (least, at float64) {
	orders := r.Orders
	if len(orders) == 0 {
		orders = customary()
	}
	least = math.Inf(1)
	try := func(order float64) bool {
		v := of(order, curve(order))
		if v < least {
			least, at = v, order
			return true
		}
		return false
	}
	for _, a := range orders {
		try(a)
	}
	if len(r.Orders) > 0 {
		return least, at
	}
	for x := 0.1; at <= 1.1 && x > 1e-9; x /= 1.1 {
		if try(1+x) && at > 1.1 {
			break
		}
	}
	for a := 64.0; at >= 63 && a < 1e9; a = math.Ceil(a * 1.05) {
		if !try(a) {
			break
		}
	}
	return least, at
}

// epsilon converts one order.
func (r Renyi) epsilon(order, rdp, delta float64) float64 {
	if r.Classic {
		return max(0, rdp-math.Log(delta)/(order-1))
	}
	// Total variation is at most sqrt(1 - exp(-KL)) (Bretagnolle and Huber), and KL
	// at most any Rényi divergence.
	if delta*delta+math.Expm1(-rdp) > 0 {
		return 0
	}
	return max(0, rdp+math.Log1p(-1/order)-math.Log(delta*order)/(order-1))
}

func (r Renyi) delta(order, rdp, epsilon float64) float64 {
	if r.Classic {
		return math.Exp(min(0, (order-1)*(rdp-epsilon)))
	}
	log := min(0, (order-1)*(rdp-epsilon+math.Log1p(-1/order))-math.Log(order))
	return min(math.Exp(log), math.Sqrt(-math.Expm1(-rdp)))
}
