package assess

import (
	"context"

	"github.com/redoubt-ml/redoubt/attack/evasion"
	"github.com/redoubt-ml/redoubt/ml/model"
	"github.com/redoubt-ml/redoubt/ml/ort"
	"github.com/redoubt-ml/redoubt/ml/tensor"
	"github.com/redoubt-ml/redoubt/ml/train"
)

const (
	// Learning from fewer answers, or from larger samples, takes longer than it
	// tells.
	fewestAnswers = 40
	mostAnswers   = 1000
	largestSample = 3 * 64 * 64
)

// transfer is an attack on another network than the one it is asked about.
type transfer struct {
	on *model.Local
	evasion.Attack
}

func (a transfer) Perturb(ctx context.Context, _ model.Scores, b *evasion.Batch) (*tensor.Tensor, error) {
	m := a.on.Fork()
	defer m.Free()
	return a.Attack.Perturb(ctx, m, b)
}

// transfer puts what fools the surrogate to the model, and returns how many
// samples fell.
func (d *driver) transfer(ctx context.Context, t *threat) (int, error) {
	rows := d.standing(t)
	if d.target.Imitate == nil || len(rows) == 0 {
		return 0, nil
	}
	if err := d.imitate(ctx); err != nil || d.surrogate == nil {
		return 0, err
	}
	before := len(t.outcomes)
	a := transfer{d.surrogate, evasion.Descent{Name: "transfer", Loss: model.Margin, Steps: 20, Momentum: 1, Random: true}}
	err := d.attack(ctx, t, attempt{"transfer (check)", a}, rows)
	return len(t.outcomes) - before, err
}

// imitate trains the surrogate, once, on the model's answers to the samples. It
// leaves none where there is too little to learn from, or where a small network
// does not learn it.
func (d *driver) imitate(ctx context.Context) error {
	if d.imitated {
		return nil
	}
	d.imitated = true
	rows := d.some(all(d.set.X.Rows()), mostAnswers)
	answers, seen := make([]int, len(rows)), map[int]bool{}
	for i, r := range rows {
		answers[i] = tensor.ArgMax(d.logits.Row(r))
		seen[answers[i]] = true
	}
	if len(rows) < fewestAnswers || len(seen) < 2 || tensor.Len(d.target.Sample) > largestSample {
		return nil
	}
	d.cfg.Progress("surrogate", 0, len(rows))
	x := d.set.X.Gather(rows)
	l, err := d.target.Imitate(ctx, x, answers)
	if err != nil {
		return err
	}
	right, err := agreement(ctx, l, x, answers)
	if err != nil || 2*right < len(rows) {
		l.Close()
		return err
	}
	d.cfg.Progress("surrogate", len(rows), len(rows))
	d.surrogate = l
	return nil
}

// agreement counts the rows that a network classifies as labelled.
func agreement(ctx context.Context, m model.Scores, x *tensor.Tensor, labels []int) (int, error) {
	margin, err := margins(ctx, m, x, labels)
	right := 0
	for _, v := range margin {
		if v < 0 {
			right++
		}
	}
	return right, err
}

// imitation trains a small network on samples and a model's answers to them.
func imitation(rt *ort.Runtime, sample []int, classes int) func(context.Context, *tensor.Tensor, []int) (*model.Local, error) {
	return func(ctx context.Context, x *tensor.Tensor, answers []int) (*model.Local, error) {
		const seed = 1
		m, err := train.MLP(sample, []int{128, 64}, classes, seed)
		if len(sample) == 3 && sample[1]%4 == 0 && sample[2]%4 == 0 {
			m, err = train.CNN([3]int(sample), []int{16, 32}, 64, classes, seed)
		}
		if err != nil {
			return nil, err
		}
		m, _, err = train.Fit(ctx, rt, m, x, answers, train.Config{Epochs: 30, Batch: 32, Rate: train.Cosine(0.003), Seed: seed})
		if err != nil {
			return nil, err
		}
		return model.New(ctx, rt, m, model.Config{})
	}
}
