package remote

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"

	"github.com/redoubt-ml/redoubt/ml/model"
	"github.com/redoubt-ml/redoubt/ml/tensor"
)

const (
	// trials is how many samples are put to an endpoint to learn how it answers,
	// after a first one alone.
	trials = 4
	// rounding is how far the sum of probabilities may be from one: servers
	// round to a few digits.
	rounding = 0.02
	// mostClasses bounds what is allocated for answers.
	mostClasses = 1 << 16
)

// answer is what came back for samples: numbers, as many for each, or a word
// each.
type answer struct {
	scores *tensor.Tensor // [N, K]; nil where there are words
	words  []string
	// whole is set when the numbers are integers by their type or notation.
	whole bool
}

func (a *answer) rows() int {
	if a.scores != nil {
		return a.scores.Rows()
	}
	return len(a.words)
}

// Try puts up to five samples to the endpoint, one alone (twice where the server
// does not take the binary tensors it promised) and then four together, and learns from the answers whether they are scores, probabilities or
// labels, how many classes there are, and whether samples may share a request.
// It must succeed before Scores is called; x has the shape that the model takes.
func (e *Endpoint) Try(ctx context.Context, x *tensor.Tensor) error {
	if x.Rows() == 0 {
		return errors.New("try the endpoint: no sample given")
	}
	first, err := e.first(ctx, x.Slice(0, 1))
	if err != nil {
		return err
	}
	seen, err := e.several(ctx, first, x.Slice(0, min(trials, x.Rows())))
	if err != nil {
		return err
	}
	return e.settle(seen)
}

// first asks about one sample. A server that says it takes binary tensors and
// then does not is asked in JSON.
func (e *Endpoint) first(ctx context.Context, x *tensor.Tensor) (*answer, error) {
	a, err := e.ask(ctx, x)
	if v, ok := e.wire.(*inference); err != nil && ok && v.binary && !v.input.kind.binaryOnly && ctx.Err() == nil {
		v.binary = false
		e.about = v.String()
		return e.ask(ctx, x)
	}
	return a, err
}

// several asks about samples together if that gives the answer that one gave
// alone, and one by one otherwise.
func (e *Endpoint) several(ctx context.Context, first *answer, x *tensor.Tensor) ([]*answer, error) {
	seen := []*answer{first}
	if n := e.batch(x.Rows()); n > 1 {
		together, err := e.ask(ctx, x.Slice(0, n))
		var refused *refusal
		switch {
		case err == nil && first.agrees(together):
			e.learn(n, nil)
			return append(seen, together), nil
		case err != nil && !errors.As(err, &refused) && !errors.Is(err, errAnswer):
			return nil, err
		}
		e.limit = 1
		return seen, nil
	}
	for i := 1; i < x.Rows(); i++ {
		a, err := e.ask(ctx, x.Slice(i, i+1))
		if err != nil {
			return nil, err
		}
		seen = append(seen, a)
	}
	return seen, nil
}

// agrees reports whether the first of several answers is this one, but for
// rounding.
func (a *answer) agrees(b *answer) bool {
	if a.scores == nil || b.scores == nil {
		return a.scores == nil && b.scores == nil && a.words[0] == b.words[0]
	}
	if a.scores.RowLen() != b.scores.RowLen() {
		return false
	}
	for j, v := range a.scores.Row(0) {
		if d := math.Abs(float64(v - b.scores.Row(0)[j])); d > 1e-2*(1+math.Abs(float64(v))) {
			return false
		}
	}
	return true
}

// settle decides what the answers are.
func (e *Endpoint) settle(seen []*answer) error {
	kind, whole, sure := AnyAnswers, true, true
	probabilities := true
	for _, a := range seen {
		if a.scores == nil {
			kind = LabelOnly
			continue
		}
		whole = whole && a.whole
		sure = sure && oneHot(a.scores)
		probabilities = probabilities && model.Probabilities(a.scores, rounding)
	}
	k := 1
	if s := seen[0].scores; s != nil {
		k = s.RowLen()
	}
	switch {
	case kind == LabelOnly:
	case whole && k == 1, sure && k > 1:
		kind = LabelOnly
	case probabilities:
		kind = ProbabilityRow
	default:
		kind = RawScores
	}
	if want := e.cfg.Answers; want != AnyAnswers {
		if want != LabelOnly && seen[0].scores == nil {
			return fmt.Errorf("the endpoint answers with words such as %q, not with %v", excerpt(seen[0].words[0]), want)
		}
		kind = want
	}
	e.answers = kind
	return e.count(seen, k)
}

// oneHot reports whether every row is zero but for a one: what a gateway leaves of
// scores that it does not tell. No softmax that runs in floating point gives
// exact zeros, unless it is rounded or its logits are a hundred apart.
func oneHot(scores *tensor.Tensor) bool {
	for i := range scores.Rows() {
		ones := 0
		for _, v := range scores.Row(i) {
			switch v {
			case 0:
			case 1:
				ones++
			default:
				return false
			}
		}
		if ones != 1 {
			return false
		}
	}
	return true
}

// count settles the number of classes, and reports answers that do not fit.
func (e *Endpoint) count(seen []*answer, k int) error {
	switch {
	case k > mostClasses:
		return fmt.Errorf("the endpoint answers with %d scores a sample, more than the %d that are allowed", k, mostClasses)
	case e.answers != LabelOnly || k > 1:
		e.classes = max(k, 2)
	case e.cfg.Classes < 2:
		return errors.New("the endpoint answers with labels only: say how many classes there are, or name them, with --classes")
	default:
		e.classes = e.cfg.Classes
	}
	for _, a := range seen {
		if _, err := e.logits(a); err != nil {
			e.classes = 0
			return err
		}
	}
	return nil
}

// logits is an answer as attacks see it. A label is a score of one for its class
// and none for the others.
func (e *Endpoint) logits(a *answer) (*tensor.Tensor, error) {
	if e.answers != LabelOnly {
		if a.scores == nil || max(a.scores.RowLen(), 2) != e.classes {
			return nil, fmt.Errorf("the endpoint answered first with %d scores a sample, and now with something else", e.classes)
		}
		return model.Logits(a.scores, e.answers == ProbabilityRow), nil
	}
	z := tensor.New(a.rows(), e.classes)
	for i := range a.rows() {
		c, err := e.class(a, i)
		if err != nil {
			return nil, err
		}
		z.Row(i)[c] = 1
	}
	return z, nil
}

// class is the label of answer i.
func (e *Endpoint) class(a *answer, i int) (int, error) {
	var label string
	if a.scores != nil {
		if k := a.scores.RowLen(); k > 1 && k == e.classes {
			return tensor.ArgMax(a.scores.Row(i)), nil // scores of which the largest is told
		} else if k != 1 {
			return 0, fmt.Errorf("the endpoint answers with %d numbers a sample, labels are one: read them with --answers scores", k)
		}
		label = strconv.FormatFloat(float64(a.scores.Row(i)[0]), 'f', -1, 32)
	} else {
		label = a.words[i]
		if c := slices.Index(e.cfg.Names, label); c >= 0 {
			return c, nil
		}
	}
	c, err := strconv.Atoi(label)
	if err != nil {
		return 0, fmt.Errorf("the endpoint answers with the label %q, which is no name of a class: name all classes in order with --classes", excerpt(label))
	}
	if c < 0 || c >= e.classes {
		return 0, fmt.Errorf("the endpoint answers with class %d, but there are %d (from 0): say how many with --classes", c, e.classes)
	}
	return c, nil
}
