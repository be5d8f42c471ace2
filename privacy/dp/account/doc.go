// Package account computes what releases cost in privacy.
//
// A [Plan] says what is released: mechanisms, how often, from which units, and
// under which adjacency. An accountant answers what guarantee that gives:
//
//	plan := account.Plan{
//		Adjacency: dp.AddRemove,
//		Steps: []account.Step{{
//			Mechanism: account.Gaussian{StdDev: 1.1, Clip: 1, Sampler: account.Poisson{Rate: 256.0 / 60000}},
//			Times:     14062,
//		}},
//	}
//	eps, err := account.PLD{}.Epsilon(plan, 1e-5) // between 2.3815 and 2.3818
//
// The sensitivity is nowhere to be typed in: it follows from the clip and the
// adjacency, and amplification follows from the sampler. Of the accountants,
// [PLD] is the one to use: it composes the whole distribution of the privacy
// loss and brackets the true answer from both sides. [Renyi], [ZCDP] and [Basic]
// are looser; they stand here because reports name them and budgets are kept in
// them. [LeastNoise], [MostSteps] and [GreatestRate] turn the question round.
// [Filter] and [Odometer] account for steps that are chosen as answers come in.
//
// # What is promised
//
// An upper bound is one for every adversary who sees all outputs, knows all other
// units' data and everything about the mechanism but its randomness, and however
// the data look. Discretisation, cut tails, wrap-around and rounding of the
// Fourier transform are bounded and counted against the answer; the arithmetic
// is float64 otherwise, and good to about nine digits. No central limit theorem
// is used: epsilons from one are not upper bounds.
//
// What is not promised: that the noise drawn is that of the plan (see package dp
// for that), that units are what people are (one who has two records under
// record-level adjacency is protected as a group of two), or anything about what
// follows from the population rather than from the unit.
package account
