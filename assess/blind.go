package assess

import (
	"context"
	"fmt"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/attack/evasion"
	"github.com/redoubt-ml/redoubt/ml/model"
	"github.com/redoubt-ml/redoubt/ml/tensor"
)

// blindBeatsGradients asks whether anything without gradients did what gradients
// had not.
var blindBeatsGradients = &Probe{
	Name:  "blind-beats-gradients",
	Doc:   "Square and noise on what gradients left standing, and a short Square where none was asked for; a stronger search along gradients and another Square follow, and the number is suspect when the latter still breaks over 0.2 points (AutoAttack's bound)",
	Paper: "Croce and Hein 2020 (arXiv 2003.01690); Carlini et al. 2019 (arXiv 1902.06705), sections 4.6 and 5.4",
	after: func(ctx context.Context, d *driver, t *threat) error {
		if d.target.Access < model.WhiteBox {
			return nil
		}
		blind, scores, gradients := map[string]bool{}, false, false
		for _, s := range d.cfg.Attacks {
			blind[s.Name] = s.Access < model.WhiteBox
			scores = scores || s.Access == model.ScoresOnly && s.Works(t.norm)
			gradients = gradients || s.Access == model.WhiteBox
		}
		if !gradients {
			return nil
		}
		checks := []attempt{}
		if !blind["noise"] {
			checks = append(checks, attempt{"noise (check)", evasion.Noise{}})
		}
		square := listed("square")
		if queries := d.affordable(t); !scores && square.Works(t.norm) && queries >= leastQueries {
			checks = append(checks, attempt{"square (check)", square.New(evasion.Settings{Queries: queries})})
		}
		for _, a := range checks {
			blind[a.name] = true
			if err := d.attack(ctx, t, a, d.standing(t)); err != nil {
				return err
			}
		}
		n := t.broke(func(name string) bool { return blind[name] })
		if n == 0 {
			return nil
		}
		f := redoubt.Flag{
			ID: "blind-beats-gradients", Verdict: beyond(n, d.set.X.Rows(), surprise),
			Evidence: fmt.Sprintf("attacks without gradients broke %d samples that attacks with gradients had left standing: the gradients mislead there", n),
			Remedy:   "use more restarts and another objective; treat the robust accuracy as an upper bound",
		}
		if f.Verdict != redoubt.Trustworthy && square.Works(t.norm) {
			more, err := d.deepen(ctx, t)
			if err != nil {
				return err
			}
			f.Verdict = beyond(more, d.set.X.Rows(), surprise)
			f.Evidence += fmt.Sprintf("; after a stronger search along gradients, another run without them broke %d more", more)
		}
		t.flags = append(t.flags, f)
		return nil
	},
}

// deepen searches again along gradients, then without, and returns what the
// latter broke.
func (d *driver) deepen(ctx context.Context, t *threat) (int, error) {
	if err := d.attack(ctx, t, attempt{"stronger gradients (check)", d.stronger(t.norm)}, d.standing(t)); err != nil {
		return 0, err
	}
	before := len(t.outcomes)
	again := otherwise{listed("square").New(d.cfg.Settings)}
	err := d.attack(ctx, t, attempt{"square again (check)", again}, d.standing(t))
	return len(t.outcomes) - before, err
}

// stronger is a search along gradients that aims at every class in turn where
// there are enough of them.
func (d *driver) stronger(norm evasion.Norm) evasion.Attack {
	if s := listed("apgd-t"); d.target.Classes >= 4 && d.cfg.Targets == nil && s.Works(norm) {
		return s.New(evasion.Settings{})
	}
	return evasion.Descent{Name: "stronger", Loss: model.Margin, Steps: 100, Random: true, Restarts: 9}
}

// otherwise is an attack with other random numbers.
type otherwise struct{ evasion.Attack }

func (a otherwise) Perturb(ctx context.Context, m model.Scores, b *evasion.Batch) (*tensor.Tensor, error) {
	other := *b
	other.Seed++
	return a.Attack.Perturb(ctx, m, &other)
}

const (
	leastQueries = 50   // fewer show nothing
	mostQueries  = 1000 // of a check
)

// affordable is how many queries a sample a check may make so that it costs at
// most a quarter of what the attacks have.
func (d *driver) affordable(t *threat) int {
	spent := int64(0)
	for _, a := range t.attacks {
		spent += a.Forwards + 3*a.Gradients
	}
	rows := len(d.standing(t))
	if rows == 0 {
		return 0
	}
	return min(int(spent/4)/rows, mostQueries)
}

// transferBeatsGradients attacks a network of our own that has learnt the
// model's answers, and puts what it finds to the model: where that breaks what
// gradients did not, they mislead.
var transferBeatsGradients = &Probe{
	Name:  "transfer-beats-gradients",
	Doc:   "points that fool a network trained here on the model's own answers, put to what still stands; suspect when over 0.2 points fall",
	Paper: "Carlini et al. 2019 (arXiv 1902.06705), section 4.7; Papernot et al. 2017 (arXiv 1602.02697); Pintor et al. 2022 (arXiv 2106.09947), transfer failure",
	after: func(ctx context.Context, d *driver, t *threat) error {
		if d.target.Access < model.WhiteBox {
			return nil // it was the first attack
		}
		n, err := d.transfer(ctx, t)
		if n == 0 || err != nil {
			return err
		}
		t.flags = append(t.flags, redoubt.Flag{
			ID: "transfer-beats-gradients", Verdict: beyond(n, d.set.X.Rows(), surprise),
			Evidence: fmt.Sprintf("points made for another network, which learnt the model's answers, broke %d samples that the model's own gradients had left standing", n),
			Remedy:   "use more restarts and another objective; treat the robust accuracy as an upper bound",
		})
		return nil
	},
}
