// Package train trains classifiers: it puts the loss, its gradient and the
// optimiser's step into one ONNX graph, and runs that graph on batches until
// the weights fit.
//
//	m, err := train.MLP([]int{64}, []int{128}, 10, 1)
//	m, history, err := train.Fit(ctx, rt, m, x, y, train.Config{Epochs: 20})
//
// [MLP] and [CNN] make small networks to start from; a network read from a
// file trains as well. What comes back is an ordinary model that holds the new
// weights.
//
// The loss is the cross-entropy of the logits against a distribution over the
// classes, which at first is all on the label. Before each step a hook,
// [Config.Perturb], may change the samples and the distributions of the batch.
// Adversarial training (Madry et al. 2018) is a hook that attacks: the batch
// carries the network as it stands, whose gradient in its input needs no
// session of its own for each step, because weights are inputs of the graph.
//
// Training runs the graph as written: Dropout does nothing, and
// BatchNormalization uses the statistics it came with. The same seed, data and
// settings give the same weights to the last bit with one thread.
package train

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"github.com/redoubt-ml/redoubt/ml/onnx"
	"github.com/redoubt-ml/redoubt/ml/ort"
	"github.com/redoubt-ml/redoubt/ml/tensor"
)

// Config says how to train. The zero value trains for ten epochs with Adam.
type Config struct {
	Epochs    int       // passes over the data; 0 means 10
	Batch     int       // samples a step; 0 means 64. The last one of an epoch may be smaller
	Optimiser Optimiser // zero means Adam(0.9, 0.999, 1e-8)
	Rate      Schedule  // learning rate; nil means Constant(0.001)
	// Decay shrinks weights of two or more dimensions by Rate x Decay a step,
	// apart from the gradient (Loshchilov and Hutter 2019); for [SGD] this is
	// the same as a penalty of Decay/2 times their squared norm.
	Decay float64
	// Weights names the initializers to train; nil means all that layers learn:
	// the weights and biases of linear, convolutional and recurrent layers,
	// embeddings, and the scales and shifts of normalisations, but not what
	// the data are normalised with nor the statistics of BatchNormalization.
	Weights []string
	// Perturb, if set, may change a batch before the step that trains on it.
	Perturb func(context.Context, *Batch) error
	// Progress, if set, is called after every step.
	Progress func(Progress)
	Seed     uint64 // of the order of samples and of Batch.Rand
	Threads  int    // 0 means 1
}

// Batch is what one step trains on.
type Batch struct {
	// X holds the samples, [n, sample...], to be changed in place.
	X *tensor.Tensor
	// Y are their labels.
	Y []int
	// Target is what the loss compares with, [n, classes], to be changed in
	// place: rows of probabilities, at first one for the label.
	Target *tensor.Tensor
	// Net is the network with the weights of this moment. It is valid until
	// the hook returns.
	Net *Net
	// Rand is the hook's source of randomness for this step.
	Rand *rand.Rand
	// Step counts the steps from 0, over all epochs.
	Step int
}

// Progress is how far training is.
type Progress struct {
	Epoch, Epochs int     // from 1
	Step, Steps   int     // from 1, over all epochs
	Loss          float64 // mean over the epoch so far
	Accuracy      float64 // likewise, on the batches as trained on
}

// Epoch is what one pass over the data came to.
type Epoch struct {
	Loss     float64       // mean over the samples, as trained on
	Accuracy float64       // likewise, in [0,1]
	Time     time.Duration // wall time
}

// Fit trains a model on samples x, [N, sample...], with labels y. The model
// must have one input and at least one output, whose first gives the logits
// [N, classes]; a Softmax at its end is looked beneath. m is left as it is. The
// trained model is m at opset 18 and simplified, with new weights.
//
// A cancelled context ends training at once with the context's error; what was
// trained so far comes back with it, as it does with the error of a loss that
// is no longer a number.
func Fit(ctx context.Context, rt *ort.Runtime, m *onnx.Model, x *tensor.Tensor, y []int, cfg Config) (*onnx.Model, []Epoch, error) {
	cfg = cfg.withDefaults()
	p, err := prepare(ctx, rt, m, x, y, cfg)
	if err != nil {
		return nil, nil, fmt.Errorf("train: %w", err)
	}
	t, err := newTrainer(rt, p, cfg)
	if err != nil {
		return nil, nil, fmt.Errorf("train: %w", err)
	}
	defer t.close()
	history, err := t.fit(ctx, x, y)
	if err != nil {
		err = fmt.Errorf("train: %w", err)
	}
	return t.trained(), history, err
}

func (cfg Config) withDefaults() Config {
	if cfg.Epochs == 0 {
		cfg.Epochs = 10
	}
	if cfg.Batch == 0 {
		cfg.Batch = 64
	}
	if cfg.Optimiser.direction == nil {
		cfg.Optimiser = Adam(0.9, 0.999, 1e-8)
	}
	if cfg.Rate == nil {
		cfg.Rate = Constant(0.001)
	}
	return cfg
}

// check reports data and settings that do not fit together.
func (cfg Config) check(x *tensor.Tensor, y []int, classes int) error {
	switch {
	case cfg.Epochs < 0 || cfg.Batch < 0:
		return fmt.Errorf("%d epochs of batches of %d; want positive numbers", cfg.Epochs, cfg.Batch)
	case len(x.Shape) == 0 || x.Rows() == 0:
		return fmt.Errorf("there are no samples")
	case x.Rows() != len(y):
		return fmt.Errorf("%d samples and %d labels", x.Rows(), len(y))
	}
	for i, c := range y {
		if c < 0 || c >= classes {
			return fmt.Errorf("sample %d has label %d, and the model has %d classes", i, c, classes)
		}
	}
	for _, v := range x.Data {
		if v-v != 0 {
			return fmt.Errorf("the samples hold %v; every value must be finite", v)
		}
	}
	return nil
}

func (t *trainer) fit(ctx context.Context, x *tensor.Tensor, y []int) ([]Epoch, error) {
	n := x.Rows()
	perEpoch := (n + t.cfg.Batch - 1) / t.cfg.Batch
	steps := perEpoch * t.cfg.Epochs
	var history []Epoch
	for epoch := range t.cfg.Epochs {
		start := time.Now()
		order := rand.New(rand.NewPCG(t.cfg.Seed, uint64(epoch))).Perm(n)
		loss, right := 0.0, 0
		for i := range perEpoch {
			rows := order[i*t.cfg.Batch : min((i+1)*t.cfg.Batch, n)]
			step := epoch*perEpoch + i
			rate := t.cfg.Rate(float64(step) / float64(steps))
			l, r, err := t.step(ctx, x, y, rows, step, rate)
			if err != nil {
				return history, err
			}
			loss, right = loss+l*float64(len(rows)), right+r
			if t.cfg.Progress != nil {
				seen := float64(min((i+1)*t.cfg.Batch, n))
				t.cfg.Progress(Progress{epoch + 1, t.cfg.Epochs, step + 1, steps, loss / seen, float64(right) / seen})
			}
		}
		history = append(history, Epoch{loss / float64(n), float64(right) / float64(n), time.Since(start)})
	}
	return history, nil
}

// step trains on the given rows and returns the mean loss and the number of
// samples that were classified right, both before the step.
func (t *trainer) step(ctx context.Context, x *tensor.Tensor, y []int, rows []int, step int, rate float64) (float64, int, error) {
	b, err := t.batch(len(rows))
	if err != nil {
		return 0, 0, err
	}
	b.Step = step
	for i, r := range rows {
		copy(b.X.Row(i), x.Row(r))
		b.Y[i] = y[r]
		clear(b.Target.Row(i))
		b.Target.Row(i)[y[r]] = 1
	}
	if t.cfg.Perturb != nil {
		b.Rand = rand.New(rand.NewPCG(t.cfg.Seed^0x9e3779b97f4a7c15, uint64(step)))
		if err := t.cfg.Perturb(ctx, b); err != nil {
			return 0, 0, fmt.Errorf("perturb the batch of step %d: %w", step, err)
		}
	}
	if err := t.run(ctx, step, rate); err != nil {
		return 0, 0, err
	}
	loss := float64(t.loss.Float32()[0])
	if math.IsNaN(loss) || math.IsInf(loss, 0) {
		return 0, 0, fmt.Errorf("the loss of step %d is %v; lower the rate or scale the samples", step, loss)
	}
	t.swap()
	z := tensor.Of(t.logits.Float32(), len(rows), t.plan.classes)
	right := 0
	for i := range rows {
		if tensor.ArgMax(z.Row(i)) == b.Y[i] {
			right++
		}
	}
	return loss, right, nil
}
