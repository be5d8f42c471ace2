package risk

import "math"

// Uniqueness is which part of the whole population is unique in the
// quasi-identifiers, estimated from a sample.
type Uniqueness struct {
	Population int64    `json:"population"`
	Pitman     *float64 `json:"pitman,omitempty"` // absent when the model has no solution
	Zayatz     *float64 `json:"zayatz,omitempty"`
	SNB        *float64 `json:"snb,omitempty"`
	Chosen     string   `json:"chosen"` // by the decision rule of Dankar et al.
	Share      float64  `json:"share"`
}

// Estimator estimates how many people of a population of size people are unique,
// from how many classes of each size a sample of rows rows has. It returns NaN when
// its model has no solution.
type Estimator struct {
	Name     string
	Doc      string
	estimate func(sizes []Size, rows, people float64) float64
}

// Estimators lists them.
var Estimators = []Estimator{
	{"pitman", "Pitman's superpopulation model, by maximum likelihood (Hoshino, 2001): for small samples", pitman},
	{"zayatz", "Zayatz (1991): that the shares of classes in sample and population are alike", zayatz},
	{"snb", "slide negative binomial (Chen and McNulty, 1998): for samples of more than a tenth", snb},
}

// Estimate adds the estimates for a population of so many people, which must not be
// fewer than the rows.
func (r *Report) Estimate(people int64) {
	r.Uniqueness = estimate(r.Sizes, r.Rows, max(people, r.Rows))
}

// estimate applies every estimator, and the decision rule of Dankar, El Emam et al.
// (2012): Pitman for samples of at most a tenth, otherwise the smaller of SNB and
// Zayatz; Zayatz where a model has no solution.
func estimate(sizes []Size, rows, people int64) *Uniqueness {
	u := &Uniqueness{Population: people}
	n, p := float64(rows), float64(people)
	found := make([]*float64, len(Estimators))
	for i, e := range Estimators {
		share := e.estimate(sizes, n, p) / p
		if classesOf(sizes, 1) == 0 {
			share = 0
		}
		if !math.IsNaN(share) && share >= 0 && share <= 1 {
			found[i] = &share
		}
	}
	u.Pitman, u.Zayatz, u.SNB = found[0], found[1], found[2]
	chosen := 1
	switch {
	case n/p <= 0.1 && u.Pitman != nil:
		chosen = 0
	case n/p > 0.1 && u.SNB != nil && (u.Zayatz == nil || *u.SNB <= *u.Zayatz):
		chosen = 2
	}
	u.Chosen = Estimators[chosen].Name
	if found[chosen] != nil {
		u.Share = *found[chosen]
	} else {
		u.Chosen, u.Share = "none: every unique row counts as unique in the population", float64(classesOf(sizes, 1))/n
	}
	return u
}

func classesOf(sizes []Size, rows int64) int64 {
	for _, s := range sizes {
		if s.Rows == rows {
			return s.Classes
		}
	}
	return 0
}

func total(sizes []Size) (u float64) {
	for _, s := range sizes {
		u += float64(s.Classes)
	}
	return u
}

// zayatz: a class that is unique in the sample is unique in the population with the
// chance that Bayes' rule gives when the population's classes have sizes as the
// sample's do.
func zayatz(sizes []Size, n, p float64) float64 {
	u, sum := total(sizes), 0.0
	for _, s := range sizes {
		sum += float64(s.Classes) / u * oneDrawn(p, float64(s.Rows), n)
	}
	unique := float64(classesOf(sizes, 1))
	chance := unique / u * oneDrawn(p, 1, n) / sum
	return unique * chance / (n / p)
}

// oneDrawn is the hypergeometric chance that exactly one of k is among n drawn of p.
func oneDrawn(p, k, n float64) float64 {
	if p-k < n-1 {
		return 0
	}
	return math.Exp(math.Log(k) + logChoose(p-k, n-1) - logChoose(p, n))
}

func logChoose(n, k float64) float64 { return logGamma(n+1) - logGamma(k+1) - logGamma(n-k+1) }

func logGamma(x float64) float64 { y, _ := math.Lgamma(x); return y }

// pitman maximises the likelihood of the Ewens-Pitman sampling formula
//
//	prod_{i<u}(t+i a) / prod_{i<n}(t+i) * prod_j (prod_{l<j}(l-a))^c_j
//
// in t > -a and 0 <= a < 1 by Newton's method from Hoshino's moment estimates; sums
// over i are differences of di- and trigamma functions, so that the size of the
// table does not matter. The population then has Gamma(t+1)/Gamma(t+a) p^a uniques.
func pitman(sizes []Size, n, p float64) float64 {
	u, c1 := total(sizes), float64(classesOf(sizes, 1))
	c2 := max(1, float64(classesOf(sizes, 2)))
	if u < 2 || u == n {
		return math.NaN() // nothing repeats: any population would do
	}
	c := c1 * (c1 - 1) / c2
	t := (n*u*c - c1*(n-1)*(2*u+c)) / (2*c1*u + c1*c - n*c)
	a := (t*(c1-n) + (n-1)*c1) / (n * u)
	if !(t > 0) || math.IsInf(t, 0) {
		t = 1
	}
	if !(a > 0.001 && a < 0.999) {
		a = 0.5
	}
	const rounds, accuracy = 200, 1e-10
	value := pitmanLikelihood(sizes, u, n, t, a)
	for range rounds {
		dt, da, tt, ta, aa := pitmanSlopes(sizes, u, n, t, a)
		det := tt*aa - ta*ta
		st, sa := -(aa*dt-ta*da)/det, -(tt*da-ta*dt)/det
		if !(det > 0) || tt >= 0 { // not at a hilltop: follow the slope instead
			st, sa = dt*t, da*a*(1-a)/(1+math.Abs(da))
		}
		step, moved := 1.0, false
		for range 60 {
			nt, na := t+step*st, a+step*sa
			if nt > 0 && na > 1e-9 && na < 1-1e-9 {
				if v := pitmanLikelihood(sizes, u, n, nt, na); v > value {
					moved = math.Abs(nt-t) > accuracy*t || math.Abs(na-a) > accuracy
					t, a, value = nt, na, v
					break
				}
			}
			step /= 2
		}
		if !moved {
			break
		}
	}
	return math.Exp(logGamma(t+1) - logGamma(t+a) + a*math.Log(p))
}

func pitmanLikelihood(sizes []Size, u, n, t, a float64) float64 {
	// prod_{0<i<u}(t+i a) = a^(u-1) Gamma(t/a+u)/Gamma(t/a+1)
	sum := (u-1)*math.Log(a) + logGamma(t/a+u) - logGamma(t/a+1) - logGamma(t+n) + logGamma(t+1)
	for _, s := range sizes {
		sum += float64(s.Classes) * (logGamma(float64(s.Rows)-a) - logGamma(1-a))
	}
	return sum
}

func pitmanSlopes(sizes []Size, u, n, t, a float64) (dt, da, tt, ta, aa float64) {
	s1 := (digamma(t/a+u) - digamma(t/a+1)) / a         // sum of 1/(t+i a)
	s2 := (trigamma(t/a+1) - trigamma(t/a+u)) / (a * a) // of its square
	dt = s1 - (digamma(t+n) - digamma(t+1))
	tt = -s2 + trigamma(t+1) - trigamma(t+n)
	da = (u - 1 - t*s1) / a // sum of i/(t+i a)
	ta = -(s1 - t*s2) / a
	aa = -(u - 1 - 2*t*s1 + t*t*s2) / (a * a)
	for _, s := range sizes {
		j, c := float64(s.Rows), float64(s.Classes)
		da -= c * (digamma(j-a) - digamma(1-a))
		aa -= c * (trigamma(1-a) - trigamma(j-a))
	}
	return dt, da, tt, ta, aa
}

// digamma and trigamma by recurrence and asymptotic series (Abramowitz and Stegun
// 6.3.18, 6.4.12), for positive arguments.
func digamma(x float64) float64 {
	sum := 0.0
	for ; x < 10; x++ {
		sum -= 1 / x
	}
	y := 1 / (x * x)
	return sum + math.Log(x) - 1/(2*x) - y*(1.0/12-y*(1.0/120-y*(1.0/252-y*(1.0/240-y*(1.0/132)))))
}

func trigamma(x float64) float64 {
	sum := 0.0
	for ; x < 10; x++ {
		sum += 1 / (x * x)
	}
	y := 1 / (x * x)
	return sum + 1/x + y/2 + y/x*(1.0/6-y*(1.0/30-y*(1.0/42-y*(1.0/30-y*(5.0/66)))))
}

// snb takes the sizes of the population's classes for one more than a negative
// binomial number with parameters a and b, of which the sample shows each person
// with chance f. The number of classes in the population is Shlosser's second
// estimate (Haas et al., 1995). ARX has two slips in these formulas, the power of d
// with the wrong sign and a misplaced bracket in Shlosser's, after which its search
// finds no solution for most tables; here the figures differ.
func snb(sizes []Size, n, p float64) float64 {
	c1, c2 := float64(classesOf(sizes, 1)), float64(classesOf(sizes, 2))
	if n >= p {
		return c1
	}
	return snbUniques(shlosser(sizes, n/p), n/p, c1, c2, p)
}

// snbUniques solves for the a and b with which k classes of the population show c1
// classes of one row and c2 of two in the sample, the first and second derivatives
// of the generating function s (b/(1-(1-b)s))^a at s = 1-f, and returns k b^a.
func snbUniques(k, f, c1, c2, p float64) float64 {
	best, off := math.NaN(), math.Inf(1)
	for _, branch := range []func(b float64) float64{
		func(b float64) float64 { return snbShape(k, f, c1, b, false) },
		func(b float64) float64 { return snbShape(k, f, c1, b, true) },
	} {
		// Where the second equation holds too.
		gap := func(b float64) float64 {
			a, d := branch(b), 1-(1-f)*(1-b)
			return k*a*math.Pow(b, a)*f*f*(1-b)/2*math.Pow(d, -a-2)*(2-(1-a)*(1-d)) - c2
		}
		const steps = 400
		for i := 1; i < steps-1; i++ {
			b := bisect(gap, float64(i)/steps, float64(i+1)/steps)
			if math.IsNaN(b) {
				continue
			}
			// Of several solutions, the one whose classes hold as many people as
			// there are.
			a := branch(b)
			if x := math.Abs(k*(1+a*(1-b)/b) - p); x < off {
				best, off = k*math.Pow(b, a), x
			}
		}
	}
	return best
}

// snbShape is the a for a b with which the sample shows c1 classes of one row, NaN
// without one. What it shows rises in a and then falls, so that there may be two.
func snbShape(k, f, c1, b float64, larger bool) float64 {
	d := 1 - (1-f)*(1-b)
	shown := func(a float64) float64 { return k*f*math.Pow(b/d, a)*(a*(1-d)/d+1) - c1 }
	top := max(0, -1/math.Log(b/d)-d/(1-d))
	if larger {
		return bisect(shown, top, top+1e4)
	}
	return bisect(shown, 0, top)
}

// shlosser is the number of classes in the population.
func shlosser(sizes []Size, f float64) float64 {
	var v1, v2, v3, v4 float64
	for _, s := range sizes {
		i, c := float64(s.Rows), float64(s.Classes)
		v1 += i * f * f * math.Pow(1-f*f, i-1) * c
		v2 += math.Pow(1-f, i) * (math.Pow(1+f, i) - 1) * c
		v3 += math.Pow(1-f, i) * c
		v4 += i * f * math.Pow(1-f, i-1) * c
	}
	return total(sizes) + float64(classesOf(sizes, 1))*v1/v2*(v3/v4)*(v3/v4)
}

// bisect finds a zero between two points with different signs, NaN without them.
func bisect(f func(float64) float64, low, high float64) float64 {
	a, b := f(low), f(high)
	if math.IsNaN(a) || math.IsNaN(b) || (a > 0) == (b > 0) {
		return math.NaN()
	}
	for range 200 {
		middle := low + (high-low)/2
		if x := f(middle); (x > 0) == (a > 0) {
			low = middle
		} else {
			high = middle
		}
	}
	return low
}
