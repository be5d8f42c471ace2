package assess

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/attack/evasion"
	"github.com/redoubt-ml/redoubt/ml/model"
	"github.com/redoubt-ml/redoubt/ml/tensor"
)

// Threat is a threat model that is no ball around a sample, such as
// "spatial:15deg,3px"; [ParseThreat] reads one.
type Threat struct {
	Norm  string  // what stands for a norm in results and gates: "spatial", "patch", "universal-linf", "universal-l2"
	Eps   float64 // the main bound, in the unit of the kind
	Bound string  // all bounds in words
	means means
}

// ThreatKind is a kind of such threat models.
//
// To add one, write a file with its value and name it in [ThreatKinds].
type ThreatKind struct {
	Name  string
	Form  string // how one is written
	Doc   string
	Paper string
	parse func(arguments string) (Threat, error)
}

// ThreatKinds lists them.
var ThreatKinds = []*ThreatKind{spatial, patch, universal}

// ParseThreat reads a threat model, KIND:BOUNDS.
func ParseThreat(s string) (Threat, error) {
	name, arguments, _ := strings.Cut(strings.TrimSpace(s), ":")
	var forms []string
	for _, k := range ThreatKinds {
		if k.Name == name {
			t, err := k.parse(arguments)
			if err != nil {
				return Threat{}, fmt.Errorf("threat %q: %w: write one like '%s'", s, err, k.Form)
			}
			return t, nil
		}
		forms = append(forms, k.Form)
	}
	return Threat{}, fmt.Errorf("threat %q: no kind %q: write one like '%s'", s, name, strings.Join(forms, "', '"))
}

// means is how a kind is attacked. What it finds is a change, which the driver
// makes and puts to the model itself.
type means struct {
	// held is set where what is found is made on one half of the samples and
	// measured on the other.
	held bool
	// draws is how many changed forms of a sample are asked about; it has fallen
	// when at least half of them are what the attack wants.
	draws int
	// allowed says why the target or its data do not suit; nil if they do.
	allowed func(d *driver) error
	// find searches with the given rows. Round 1 looks harder than round 0, and
	// begins elsewhere.
	find func(ctx context.Context, d *driver, rows []int, round int, tally *model.Tally) (change, error)
	// chance is a change of the same bounds that nobody chose.
	chance func(d *driver) (change, error)
	unit   string // what is tried by chance, in the plural
	remedy string
}

// change makes a changed form of a row, checked to keep to the bounds, and
// measures it in the unit of Eps. It is for several goroutines at once.
type change func(row, draw int) (x []float32, size float64, err error)

// trial is a [Threat] under way.
type trial struct {
	Threat
	rows     []int // measured, in order
	correct  []int // those of them that were right
	fit      []int // what the change was made on; nil where that is no matter
	outcomes map[int]*Outcome
	by       map[int]change // what broke a row
	attacks  []redoubt.AttackResult
	flags    []redoubt.Flag
}

// refit is how many more samples, as a share, a second and longer search may
// find before the first counts as unfinished. Two such searches differ by chance
// where two attacks on one sample do not.
const refit = 0.05

// checkThreats refuses threats that the target does not allow, or that gates
// could not tell apart.
func (d *driver) checkThreats() error {
	for i, t := range d.cfg.Threats {
		if t.means.find == nil {
			return fmt.Errorf("assess: threat %d is empty: read one with ParseThreat", i)
		}
		if slices.ContainsFunc(d.cfg.Threats[:i], func(o Threat) bool { return o.Norm == t.Norm && o.Eps == t.Eps }) {
			return fmt.Errorf("assess: two threats are %s with bound %g: leave one out", t.Norm, t.Eps)
		}
		if err := t.means.allowed(d); err != nil {
			return fmt.Errorf("assess: threat %s: %w", t.Norm, err)
		}
		if n := d.set.X.Rows(); t.means.held && n < 2 {
			return fmt.Errorf("assess: threat %s is made on one half of the samples and measured on the other, and there is %d: give more", t.Norm, n)
		}
	}
	return nil
}

// whiteBox says that a kind needs gradients.
func whiteBox(d *driver) error {
	if d.target.Access < model.WhiteBox {
		return fmt.Errorf("it needs gradients, and the model gives %v only (%w): leave it out", d.target.Access, d.target.Why)
	}
	return nil
}

// split parts the rows into two halves, the same for every kind and any number of
// workers.
func (d *driver) split() (fit, held []int) {
	rows := all(d.set.X.Rows())
	rng := rand.New(rand.NewPCG(d.cfg.Seed, 0x4845_4c44))
	rng.Shuffle(len(rows), func(i, k int) { rows[i], rows[k] = rows[k], rows[i] })
	fit, held = rows[:len(rows)/2], rows[len(rows)/2:]
	slices.Sort(fit)
	slices.Sort(held)
	return fit, held
}

// confront assesses one threat.
func (d *driver) confront(ctx context.Context, threat Threat) error {
	t := &trial{Threat: threat, rows: all(d.set.X.Rows()), outcomes: map[int]*Outcome{}, by: map[int]change{}}
	if t.means.held {
		t.fit, t.rows = d.split()
	}
	for _, r := range d.correct {
		if _, ok := slices.BinarySearch(t.rows, r); ok {
			t.correct = append(t.correct, r)
		}
	}
	steps := []func() error{
		func() error { return d.pursue(ctx, t, t.correct, 0) },
		func() error { return d.pursueHarder(ctx, t) },
		func() error { return d.byChance(ctx, t) },
		func() error { return d.exhibit(ctx, t) },
	}
	if d.cfg.Checks == NoChecks {
		steps = slices.Delete(steps, 1, 3)
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return fmt.Errorf("%s: %w", t.Norm, err)
		}
	}
	d.trials = append(d.trials, t)
	return nil
}

// pursue searches and puts what it found to the model. What is made on other
// samples is measured on all, and the one that turns more counts; else the rows
// that fall do.
func (d *driver) pursue(ctx context.Context, t *trial, rows []int, round int) error {
	started, name, learn := time.Now(), t.Norm, rows
	if round > 0 {
		name += " again (check)"
	}
	if t.means.held {
		rows, learn = t.correct, t.fit
	}
	var tally model.Tally
	c, err := t.means.find(ctx, d, learn, round, &tally)
	if err != nil {
		return err
	}
	answers, err := d.ask(ctx, name, rows, t.means.draws, c)
	if err != nil {
		return err
	}
	fallen, hits, sizes := map[int]*Outcome{}, 0, []float64(nil)
	for i, r := range rows {
		a := answers[i]
		hits += a.hits
		if 2*a.hits < t.means.draws {
			continue
		}
		_, size, err := c(r, a.draw)
		if err != nil {
			return err
		}
		sizes = append(sizes, size)
		fallen[r] = &Outcome{Row: r, Attack: name, Class: a.class, Distortion: size}
	}
	if !t.means.held || len(fallen) > len(t.outcomes) {
		t.enter(fallen, c)
	}
	t.attacks = append(t.attacks, redoubt.AttackResult{
		Name: name, RobustAccuracy: float64(len(t.correct)-len(t.outcomes)) / float64(len(t.rows)), Attacked: len(rows), Broken: len(fallen),
		Forwards: tally.Forwards + int64(len(rows)*t.means.draws*max(d.draws, 1)), Gradients: tally.Gradients,
		Seconds: time.Since(started).Seconds(), MedianDistortion: median(sizes), Note: t.note(hits, len(rows)),
	})
	return nil
}

// enter takes the outcomes of a change: instead of those before where it was made
// on other samples, beside them where not.
func (t *trial) enter(fallen map[int]*Outcome, c change) {
	if t.means.held {
		clear(t.outcomes)
	}
	for r, o := range fallen {
		t.outcomes[r], t.by[r] = o, c
	}
}

// note says how a change was measured.
func (t *trial) note(hits, rows int) string {
	if !t.means.held {
		return ""
	}
	s := fmt.Sprintf("made on %d samples, measured on the %d others", len(t.fit), len(t.rows))
	if n := t.means.draws; n > 1 && rows > 0 {
		s += fmt.Sprintf("; %.1f %% of all draws succeed, and a sample falls when at least half of its %d do", 100*float64(hits)/float64(rows*n), n)
	}
	return s
}

// pursueHarder searches again, harder and from elsewhere: a finished search finds
// little more.
func (d *driver) pursueHarder(ctx context.Context, t *trial) error {
	fell, of := len(t.outcomes), t.standing()
	if !t.means.held {
		of = d.some(of, probeRows)
	}
	if len(of) == 0 {
		return nil
	}
	if err := d.pursue(ctx, t, of, 1); err != nil {
		return err
	}
	more := len(t.outcomes) - fell
	if more <= 0 {
		return nil
	}
	t.flags = append(t.flags, redoubt.Flag{
		ID: "loss-still-rising", Verdict: beyond(more, len(t.correct), refit),
		Evidence: fmt.Sprintf("a second search, longer and from another start, turned %d samples more; they count as fallen", more),
		Remedy:   "raise --steps or --queries, or give more samples, until it changes nothing",
	})
	return nil
}

// byChance asks what a change that nobody chose does. A search that does no better
// has found nothing about the model.
func (d *driver) byChance(ctx context.Context, t *trial) error {
	c, err := t.means.chance(d)
	if err != nil || len(t.correct) == 0 {
		return err
	}
	answers, err := d.ask(ctx, t.Norm+" by chance", t.correct, t.means.draws, c)
	if err != nil {
		return err
	}
	n, found, missed := 0, len(t.outcomes), map[int]*Outcome{}
	for i, r := range t.correct {
		a := answers[i]
		if 2*a.hits < t.means.draws {
			continue
		}
		n++
		if _, size, err := c(r, a.draw); err != nil {
			return err
		} else if t.outcomes[r] == nil {
			missed[r] = &Outcome{Row: r, Attack: "chance", Class: a.class, Distortion: size}
		}
	}
	f := redoubt.Flag{
		ID: "chance", Verdict: redoubt.Trustworthy,
		Evidence: fmt.Sprintf("for comparison: random %s within the same bounds turn %d of %d samples, the search turns %d", t.means.unit, n, len(t.correct), found),
	}
	if !t.means.held && len(missed) > 0 {
		t.enter(missed, c)
		f.Verdict = beyond(len(missed), len(t.correct), unfinished)
		f.Evidence += fmt.Sprintf("; %d that the search left standing count as fallen", len(missed))
	}
	if n > 0 && n >= found {
		f.ID, f.Verdict = "chance-as-good", redoubt.Suspect
		f.Remedy = "treat the robust accuracy as an upper bound: the search failed where chance did not"
	}
	t.flags = append(t.flags, f)
	return nil
}

func (t *trial) standing() []int {
	return slices.DeleteFunc(slices.Clone(t.correct), func(r int) bool { return t.outcomes[r] != nil })
}

// answer is what the model said of a row's changed forms.
type answer struct {
	hits  int // forms that are what the attack wants
	draw  int // the first of them
	class int // what that one is taken for
}

// ask puts changed forms of rows to the model; answer i is of rows[i].
func (d *driver) ask(ctx context.Context, stage string, rows []int, draws int, c change) ([]answer, error) {
	answers, at := make([]answer, len(rows)), map[int]int{}
	for i, r := range rows {
		at[r] = i
	}
	var mu sync.Mutex
	err := d.each(ctx, stage, rows, func(m model.Scores, rows []int) error {
		b := d.batch(rows, evasion.Linf, 1)
		goal := &model.Objective{Loss: model.Margin, Labels: b.Labels, Targets: b.Targets}
		for draw := range draws {
			for i, r := range rows {
				x, _, err := c(r, draw)
				if err != nil {
					return fmt.Errorf("sample %d: %w", d.index(r), err)
				}
				copy(b.X.Row(i), x)
			}
			reached, z, err := d.vote(ctx, m, b.X, goal.Reached)
			if err != nil {
				return err
			}
			mu.Lock()
			for i, r := range rows {
				if a := &answers[at[r]]; reached[i] {
					if a.hits++; a.hits == 1 {
						a.draw, a.class = draw, tensor.ArgMax(z.Row(i))
					}
				}
			}
			mu.Unlock()
		}
		return nil
	})
	return answers, err
}

// exhibit makes pictures of the first samples that fell, each of another class.
func (d *driver) exhibit(ctx context.Context, t *trial) error {
	const most = 3
	seen := map[int]bool{}
	var rows []int
	for _, r := range t.correct {
		if t.outcomes[r] != nil && !seen[d.set.Y[r]] && len(rows) < most {
			seen[d.set.Y[r]], rows = true, append(rows, r)
		}
	}
	if d.units != nil || len(rows) == 0 {
		return nil // a row of a table is no picture
	}
	c := func(row, draw int) ([]float32, float64, error) { return t.by[row](row, draw) }
	answers, err := d.ask(ctx, t.Norm+" pictures", rows, t.means.draws, c)
	if err != nil {
		return err
	}
	m, free := d.open()
	defer free()
	for i, r := range rows {
		if answers[i].hits == 0 {
			continue // a model that answers at random now says otherwise
		}
		changed, _, err := c(r, answers[i].draw)
		if err != nil {
			return err
		}
		z, err := m.Scores(ctx, tensor.Of(changed, append([]int{1}, d.target.Sample...)...))
		if err != nil {
			return err
		}
		d.shown = append(d.shown, redoubt.Example{
			Index: d.index(r), Attack: t.outcomes[r].Attack, Norm: t.Norm, Eps: t.Eps, Label: d.set.Y[r],
			Before: tensor.ArgMax(d.logits.Row(r)), After: answers[i].class, Score: probability(z.Row(0), answers[i].class),
			Shape: d.target.Sample, Layout: layoutOf(d.target.Sample), Original: slices.Clone(d.set.X.Row(r)), Changed: changed,
		})
	}
	return nil
}
