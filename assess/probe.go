package assess

import (
	"context"
	"slices"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/attack/evasion"
	"github.com/redoubt-ml/redoubt/ml/model"
)

// Probe is one way in which evaluations go wrong, and how an assessment notices
// it on its own model and data. Most raise a flag of their name; some repair
// what they find, and what they break counts as broken.
//
// To add one, write a file with its value and name it in [Probes].
type Probe struct {
	Name  string // the ID of the flag
	Doc   string // what is looked at, and when it makes a number suspect
	Paper string
	// before looks at the model before any attack, after at a threat model
	// after its attacks; either may be nil.
	before func(context.Context, *driver) error
	after  func(context.Context, *driver, *threat) error
}

// Probes lists them in the order in which they run.
var Probes = []*Probe{
	preprocessing,
	guessing,
	randomModel,
	noGradients,
	zeroGradients,
	saturatedSoftmax,
	shatteredGradients,
	maskedCrossEntropy,
	blockedGradients,
	stillRising,
	blindBeatsGradients,
	transferBeatsGradients,
	unboundedFails,
	notMonotone,
}

const (
	probeRows = 200 // samples that a look at the model takes
	meterRows = 20  // where each answer costs
	freeRows  = 50  // samples attacked without a bound

	// An attack that breaks this share of all samples beyond the ones it ought
	// to be weaker than makes the number suspect (AutoAttack flags 0.2 points
	// for Square).
	surprise = 0.002
	// Doubling the effort may find this share more before the search counts as
	// unfinished.
	unfinished = 0.01
)

// examine looks at the model before any attack.
func (d *driver) examine(ctx context.Context) error {
	for _, p := range Probes {
		if p.before != nil {
			if err := p.before(ctx, d); err != nil {
				return err
			}
		}
	}
	return nil
}

// doubt looks at one threat model after its attacks.
func (d *driver) doubt(ctx context.Context, t *threat) error {
	for _, p := range Probes {
		if p.after != nil {
			if err := p.after(ctx, d, t); err != nil {
				return err
			}
		}
	}
	return nil
}

// probed is how many samples a look at the model takes.
func (d *driver) probed() int {
	if d.target.Metered {
		return meterRows
	}
	return probeRows
}

// some is at most n rows, evenly spread.
func (d *driver) some(rows []int, n int) []int {
	if len(rows) <= n {
		return rows
	}
	out := make([]int, n)
	for i := range out {
		out[i] = rows[i*len(rows)/n]
	}
	return out
}

// look opens the model for one probe and shows it batches of rows.
func (d *driver) look(ctx context.Context, rows []int, see func(m model.Scores, b *evasion.Batch, rows []int) error) error {
	m, free := d.open()
	defer free()
	for chunk := range slices.Chunk(rows, d.cfg.Batch) {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		b := d.batch(chunk, evasion.Linf, 1)
		b.Targets = nil
		if err := see(m, b, chunk); err != nil {
			return err
		}
	}
	return nil
}

// beyond is suspect when a finding on k of n samples exceeds a share.
func beyond(k, n int, share float64) string {
	if float64(k) > share*float64(n) {
		return redoubt.Suspect
	}
	return redoubt.Trustworthy
}

// graded is beyond, and invalid when it is more than half of them.
func graded(k, n int, share float64) string {
	if 2*k > n {
		return redoubt.Invalid
	}
	return beyond(k, n, share)
}

// broke sums what attacks of some names broke.
func (t *threat) broke(match func(name string) bool) int {
	n := 0
	for _, a := range t.attacks {
		if match(a.Name) {
			n += a.Broken
		}
	}
	return n
}

// verdict is the worst grade that the flags allow.
func verdict(flags []redoubt.Flag) redoubt.Reliability {
	grade := map[string]int{redoubt.Trustworthy: 0, redoubt.Suspect: 1, redoubt.Invalid: 2}
	r := redoubt.Reliability{Verdict: redoubt.Trustworthy, Flags: []redoubt.Flag{}}
	for _, f := range flags {
		r.Flags = append(r.Flags, f)
		if grade[f.Verdict] > grade[r.Verdict] {
			r.Verdict = f.Verdict
		}
	}
	return r
}
