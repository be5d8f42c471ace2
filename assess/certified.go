package assess

import (
	"context"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/attack/evasion"
	"github.com/redoubt-ml/redoubt/defend/certify"
)

const (
	// crossed samples that fell are put to the certificate too, for so long
	// each: one that it proves shows that the attack or the proof is wrong.
	crossed     = 25
	crossedTime = time.Second
)

// certify brackets a threat model from below: it tries to prove of each sample
// that stands that nothing in its ball is classified wrongly. What was not
// proved at a smaller radius is not tried. A sample that fell and is proved is
// an error, because one of the two is wrong.
func (d *driver) certify(ctx context.Context, t *threat) error {
	if d.cfg.Certify == 0 || !slices.Contains([]evasion.Norm{evasion.Linf, evasion.L2, evasion.L1}, t.norm) {
		return nil
	}
	open := slices.DeleteFunc(d.standing(t), func(r int) bool { return t.proved[r] })
	if len(open) == 0 && len(t.proved) > 0 {
		return nil // an attack has proved all that stand, as those on trees do
	}
	if d.units != nil && t.norm != evasion.Linf {
		t.flags = append(t.flags, uncertified("in units of a table's columns there are certificates in linf only"))
		return nil
	}
	n, err := d.network()
	if n == nil || err != nil {
		return err
	}
	if t.smaller != nil && t.smaller.certified {
		open = slices.DeleteFunc(open, func(r int) bool { return !t.smaller.proved[r] })
	}
	proved, err := d.prove(ctx, n, t, open, d.cfg.Certify)
	if err != nil {
		return err
	}
	for _, r := range proved {
		t.proved[r] = true
	}
	t.certified = true
	var fallen []int
	for _, r := range d.correct {
		if t.outcomes[r] != nil {
			fallen = append(fallen, r)
		}
	}
	wrong, err := d.prove(ctx, n, t, d.some(fallen, crossed), min(d.cfg.Certify, crossedTime))
	if err != nil {
		return err
	}
	if len(wrong) > 0 {
		return fmt.Errorf("assess: sample %d was broken by %s at %s %g and proved to be unbreakable: one of the two is wrong; report this with the model",
			d.index(wrong[0]), t.outcomes[wrong[0]].Attack, t.norm.Name(), t.eps)
	}
	return nil
}

// network reads the target's network once; nil where it cannot be bounded,
// which the report says.
func (d *driver) network() (*certify.Network, error) {
	if d.net != nil || d.unread {
		return d.net, nil
	}
	d.unread = true
	if d.target.Network == nil {
		d.general = append(d.general, uncertified("there is no graph to read"))
		return nil, nil
	}
	n, err := d.target.Network()
	if err != nil {
		d.general = append(d.general, uncertified(err.Error()))
		return nil, nil
	}
	d.net = n
	return n, nil
}

func uncertified(why string) redoubt.Flag {
	return redoubt.Flag{
		ID: "not-certified", Verdict: redoubt.Trustworthy,
		Evidence: "no certificate was possible: " + why,
		Remedy:   "see 'redoubt certify --method smoothing', which certifies any model's vote over noise",
	}
}

// prove returns, of the rows, those that are proved within a time each.
func (d *driver) prove(ctx context.Context, n *certify.Network, t *threat, rows []int, each time.Duration) ([]int, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stage := fmt.Sprintf("certify %s %g", t.norm.Name(), t.eps)
	d.cfg.Progress(stage, 0, len(rows))
	var proved []int
	var mu sync.Mutex
	var wg sync.WaitGroup
	next, done := make(chan int), 0
	for range d.cfg.Workers {
		wg.Go(func() {
			for r := range next {
				limited, stop := context.WithTimeout(ctx, each)
				ok, err := n.Robust(limited, d.ball(t, r), d.set.Y[r], certify.Options{Threads: 1})
				stop()
				if err != nil {
					cancel(err)
				}
				mu.Lock()
				if ok {
					proved = append(proved, r)
				}
				done++
				d.cfg.Progress(stage, done, len(rows))
				mu.Unlock()
			}
		})
	}
feed:
	for _, r := range rows {
		select {
		case next <- r:
		case <-ctx.Done():
			break feed
		}
	}
	close(next)
	wg.Wait()
	slices.Sort(proved)
	return proved, context.Cause(ctx)
}

// ball is what the network may be given in place of a row. The rows of a table
// are in units of distance, where a ball in Linf is a box in the model's units:
// as far as each column may go by itself. What linked rules leave out of it
// stays in.
func (d *driver) ball(t *threat, row int) certify.Ball {
	x := d.set.X.Row(row)
	if d.units == nil {
		return certify.Ball{X: x, Norm: t.norm, Eps: t.eps, Box: d.cfg.Box}
	}
	b := certify.Ball{X: make([]float32, len(x)), Norm: evasion.Linf}
	d.units.Model(b.X, x)
	for j, v := range x {
		// A little more than what rounding can add.
		room := t.eps * (1 + 1e-6)
		if c := d.rules.Columns[j]; c.Group >= 0 && room < float64(c.Max)-float64(c.Min) {
			room = 0 // no category is half chosen
		}
		lo, hi := d.rules.Reach(j, v, room)
		least, most := d.units.At(j, lo), d.units.At(j, hi)
		if lo < hi {
			least, most = math.Nextafter32(least, float32(math.Inf(-1))), math.Nextafter32(most, float32(math.Inf(1)))
		}
		least, most = min(least, b.X[j]), max(most, b.X[j])
		b.Box.Lo, b.Box.Hi = append(b.Box.Lo, least), append(b.Box.Hi, most)
		b.Eps = math.Max(b.Eps, float64(most)-float64(least))
	}
	return b
}

// bracket says how far proof and attack are apart.
func (d *driver) bracket(t *threat) redoubt.Flag {
	n, standing := float64(d.set.X.Rows()), len(d.standing(t))
	f := redoubt.Flag{
		ID: "certified", Verdict: redoubt.Trustworthy,
		Evidence: fmt.Sprintf("of %d of the %d samples that stand it is proved that nothing in the ball is classified wrongly: the robust accuracy", len(t.proved), standing),
	}
	if len(t.proved) == standing {
		f.Evidence += " is exact"
		return f
	}
	f.Evidence += fmt.Sprintf(" lies between %.1f and %.1f %%", 100*float64(len(t.proved))/n, 100*float64(standing)/n)
	f.Remedy = "give --certify more seconds to prove more"
	return f
}
