package assess

import (
	"context"
	"fmt"
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
				ball := certify.Ball{X: d.set.X.Row(r), Norm: t.norm, Eps: t.eps, Box: d.cfg.Box}
				ok, err := n.Robust(limited, ball, d.set.Y[r], certify.Options{Threads: 1})
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
