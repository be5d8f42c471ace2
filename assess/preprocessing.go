package assess

import (
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/attack/evasion"
	"github.com/redoubt-ml/redoubt/ml/model"
	"github.com/redoubt-ml/redoubt/ml/tensor"
)

// preprocessing asks whether the model was made for other inputs than it is
// given: it tries the usual ways to prepare images and columns, and says which
// of them the model answers much better.
var preprocessing = &Probe{
	Name:  "wrong-preprocessing",
	Doc:   "the same samples prepared in the usual other ways (scaled by 255, normalised as ImageNet, CIFAR-10 or MNIST, channels reversed, columns standardised, ...); invalid when the model is right on at least ten points more of them",
	Paper: "Carlini et al. 2019 (arXiv 1902.06705), section 4.2: report clean accuracy",
	before: func(ctx context.Context, d *driver) error {
		rows := d.some(all(d.set.X.Rows()), d.probed())
		now, err := d.rightWhen(ctx, rows, func([]float32) {})
		if err != nil || 20*now >= 19*len(rows) {
			return err
		}
		best, how := now, preparation{}
		for _, p := range d.preparations() {
			right, err := d.rightWhen(ctx, rows, p.apply)
			if err != nil {
				return err
			}
			if right > best {
				best, how = right, p
			}
		}
		lo, _ := Wilson(best, len(rows))
		_, hi := Wilson(now, len(rows))
		if lo <= hi || 10*(best-now) < len(rows) {
			return nil
		}
		d.general = append(d.general, redoubt.Flag{
			ID: "wrong-preprocessing", Verdict: redoubt.Invalid,
			Evidence: fmt.Sprintf("the model is right on %d of %d samples as they are given, and on %d when they are %s", now, len(rows), best, how.name),
			Remedy:   "prepare the data as in training: " + how.remedy,
		})
		return nil
	},
}

// preparation changes a sample in place.
type preparation struct {
	name, remedy string
	apply        func(x []float32)
}

// rightWhen counts the rows answered correctly after a preparation.
func (d *driver) rightWhen(ctx context.Context, rows []int, apply func([]float32)) (int, error) {
	right := 0
	err := d.look(ctx, rows, func(m model.Scores, b *evasion.Batch, _ []int) error {
		for i := range b.Labels {
			apply(b.X.Row(i))
		}
		z, err := m.Scores(ctx, b.X)
		if err != nil {
			return err
		}
		for i, y := range b.Labels {
			if tensor.ArgMax(z.Row(i)) == y {
				right++
			}
		}
		return nil
	})
	return right, err
}

// preparations are the usual ones that fit the shape of a sample.
func (d *driver) preparations() []preparation {
	list := []preparation{
		{"multiplied by 255", "--mean 0 --std 0.00392157", affine([]float64{0}, []float64{1. / 255}, 1)},
		{"divided by 255", "--std 255", affine([]float64{0}, []float64{255}, 1)},
		{"scaled from [0,1] to [-1,1]", "--mean 0.5 --std 0.5", affine([]float64{0.5}, []float64{0.5}, 1)},
		{"scaled from [-1,1] to [0,1]", "--mean -1 --std 2", affine([]float64{-1}, []float64{2}, 1)},
		{"inverted", "swap black and white in the data", func(x []float32) {
			for j, v := range x {
				lo, hi := d.cfg.Box.At(j)
				x[j] = lo + hi - v
			}
		}},
	}
	switch s := d.target.Sample; {
	case len(s) == 3 && (s[0] == 3 || s[2] == 3):
		plane := 1 // elements of one channel that follow one another
		if s[0] == 3 {
			plane = s[1] * s[2]
		}
		list = append(list,
			preparation{"normalised as for ImageNet", "--mean 0.485,0.456,0.406 --std 0.229,0.224,0.225",
				affine([]float64{0.485, 0.456, 0.406}, []float64{0.229, 0.224, 0.225}, plane)},
			preparation{"normalised as for CIFAR-10", "--mean 0.4914,0.4822,0.4465 --std 0.2471,0.2435,0.2616",
				affine([]float64{0.4914, 0.4822, 0.4465}, []float64{0.2471, 0.2435, 0.2616}, plane)},
			preparation{"given with red and blue exchanged", "reverse the order of the channels", exchange(plane)})
	case len(s) == 1 && s[0] != 784:
		mean, std := columns(d.set.X)
		list = append(list, preparation{"standardised column by column", "subtract each column's mean and divide by its standard deviation", affine(mean, std, 1)})
	default:
		list = append(list, preparation{"normalised as for MNIST", "--mean 0.1307 --std 0.3081", affine([]float64{0.1307}, []float64{0.3081}, 1)})
	}
	if s := d.target.Sample; len(s) >= 2 {
		h, w, inner := s[len(s)-2], s[len(s)-1], 1
		if len(s) == 3 && s[2] <= 4 {
			h, w, inner = s[0], s[1], s[2]
		}
		if h == w {
			list = append(list, preparation{"given with rows and columns exchanged", "transpose the images", transpose(h, inner)})
		}
	}
	return list
}

// affine is (x - mean) / std with one number for each of len(mean) channels, of
// which plane elements follow one another.
func affine(mean, std []float64, plane int) func([]float32) {
	return func(x []float32) {
		for j, v := range x {
			c := j / plane % len(mean)
			x[j] = float32((float64(v) - mean[c]) / std[c])
		}
	}
}

// exchange swaps the first and the last of three channels.
func exchange(plane int) func([]float32) {
	return func(x []float32) {
		for j := range x {
			if j/plane%3 == 0 {
				x[j], x[j+2*plane] = x[j+2*plane], x[j]
			}
		}
	}
}

// transpose exchanges rows and columns of square images, of inner numbers a
// pixel.
func transpose(n, inner int) func([]float32) {
	return func(x []float32) {
		for image := range slices.Chunk(x, n*n*inner) {
			for r := range n {
				for c := range r {
					for k := range inner {
						a, b := (r*n+c)*inner+k, (c*n+r)*inner+k
						image[a], image[b] = image[b], image[a]
					}
				}
			}
		}
	}
}

// columns are the mean and the standard deviation of each column, 1 where it
// does not vary.
func columns(x *tensor.Tensor) (mean, std []float64) {
	n, k := float64(x.Rows()), x.RowLen()
	mean, std = make([]float64, k), make([]float64, k)
	for i := range x.Rows() {
		for j, v := range x.Row(i) {
			mean[j] += float64(v) / n
		}
	}
	for i := range x.Rows() {
		for j, v := range x.Row(i) {
			std[j] += (float64(v) - mean[j]) * (float64(v) - mean[j]) / n
		}
	}
	for j, v := range std {
		if std[j] = math.Sqrt(v); std[j] == 0 {
			std[j] = 1
		}
	}
	return mean, std
}

// guessing asks whether the model knows more than the labels' shares.
var guessing = &Probe{
	Name:  "no-better-than-guessing",
	Doc:   "accuracy averaged over the classes of the data; invalid when it is not above that of one constant answer",
	Paper: "Carlini et al. 2019 (arXiv 1902.06705), section 4.2: report clean accuracy",
	before: func(_ context.Context, d *driver) error {
		of, right := map[int]int{}, map[int]int{}
		for _, y := range d.set.Y {
			of[y]++
		}
		for _, r := range d.correct {
			right[d.set.Y[r]]++
		}
		balanced := 0.0
		for y, n := range of {
			balanced += float64(right[y]) / float64(n) / float64(len(of))
		}
		// With fewer samples an honest model is at chance too often.
		if n := len(d.set.Y); len(of) < 2 || n < 20 || balanced > 1.05/float64(len(of)) {
			return nil
		}
		d.general = append(d.general, redoubt.Flag{
			ID: "no-better-than-guessing", Verdict: redoubt.Invalid,
			Evidence: fmt.Sprintf("averaged over the %d classes of the data the model is right on %.1f %%: as much as one constant answer", len(of), 100*balanced),
			Remedy:   "see that the labels are in the model's order and the data prepared as in training",
		})
		return nil
	},
}
