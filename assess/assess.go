// Package assess measures how easily a model is fooled, and how far the
// measurement can be believed.
//
// [Run] attacks a [Target] with a data set under each threat model (a norm and
// a radius). An attack only proposes points. The driver clips each into the
// box, measures its distance with code of its own, asks the model again, and
// keeps the worst case for each sample: later attacks see only the samples
// still standing. When the attacks are done it doubts itself (see
// probe.go) and grades every number "trustworthy", "suspect" or
// "invalid", with the evidence.
//
//	result, err := assess.Run(ctx, assess.Local(m), set, assess.Config{
//		Norms: []evasion.Norm{evasion.Linf}, Eps: []float64{0.1},
//	})
//
// Threat models that are no ball around a sample, such as a patch for every image,
// are values of [Threat]; see beyond.go. What is made for all samples is made on one
// half of them and measured on the other.
//
// The same seed gives the same numbers, whatever the number of workers.
package assess

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/attack/evasion"
	"github.com/redoubt-ml/redoubt/defend/certify"
	"github.com/redoubt-ml/redoubt/ml/data"
	"github.com/redoubt-ml/redoubt/ml/model"
	"github.com/redoubt-ml/redoubt/ml/tensor"
	"github.com/redoubt-ml/redoubt/ml/tree"
)

// Target is what is attacked.
type Target struct {
	// Open is a view of the model for one worker, and how to free it.
	Open    func() (model.Scores, func())
	Access  model.Access
	Why     error // why access is not WhiteBox
	Sample  []int
	Classes int
	Info    redoubt.ModelInfo
	// Discrete names the operators through which no gradient passes and that
	// [model.Straight] goes through.
	Discrete []string
	// Metered is set where each answer costs somebody something: checks then look
	// at fewer samples.
	Metered bool
	// Network reads the target for certificates; nil where there is no graph.
	Network func() (*certify.Network, error)
	// Imitate trains a network of the target's shape on samples and the
	// target's answers to them; nil where that cannot be done.
	Imitate func(ctx context.Context, x *tensor.Tensor, answers []int) (*model.Local, error)
	// Integer is set where the model takes whole numbers.
	Integer bool
	// Whole marks the elements of a sample that the model takes as whole numbers,
	// nil if none or unknown. Where only some are, the data must have a schema.
	Whole []bool
	// Forest is the model as a tree ensemble, nil if it is none; it is believed
	// after it has agreed with the model on the samples.
	Forest *tree.Ensemble
}

// Local is a model file as a target.
func Local(m *model.Local) Target {
	access, why := m.Access()
	file := m.File()
	if len(file.Graph.Feeds()) > 1 {
		file = m.Prepared() // which has one
	}
	forest, _ := tree.Read(file) // a model of another kind, or one that cannot be read, has none
	t := Target{
		Integer: m.Integer(),
		Whole:   m.Whole(),
		Forest:  forest,
		Open: func() (model.Scores, func()) {
			f := m.Fork()
			if access == model.WhiteBox {
				return f, f.Free
			}
			return model.WithoutGradients(f), f.Free
		},
		Access:  access,
		Why:     why,
		Sample:  m.Sample(),
		Classes: m.Classes(),
		Network: func() (*certify.Network, error) { return certify.Read(m.Prepared()) },
		Imitate: imitation(m.Runtime(), m.Sample(), m.Classes()),
		Info: redoubt.ModelInfo{
			Access: access.String(), Input: m.Sample(), Classes: m.Classes(), Characteristics: characteristics(m),
		},
	}
	if access == model.WhiteBox {
		t.Discrete = m.Discrete()
	}
	return t
}

// Config says what to try. The zero value of a field is what its comment says.
type Config struct {
	Norms   []evasion.Norm  // nil means Linf; without Eps, none
	Eps     []float64       // radii, the same for every norm; Required unless there are Threats
	Threats []Threat        // threat models that are no balls; see [ParseThreat]
	Attacks []*evasion.Spec // nil means Fast for the target
	evasion.Settings
	Targets []int // wanted class of each sample; nil for untargeted
	Box     evasion.Box
	Seed    uint64
	Workers int // 0 means 1
	Batch   int // most samples that a worker holds at once; 0 means 100
	// Checks is how much to doubt; the zero value is FullChecks.
	Checks Checks
	// Certify is how long to look for a proof, for each sample that stands, that
	// nothing breaks it; 0 looks for none.
	Certify time.Duration
	Gates   []Gate
	// Points keeps what fooled the model, for [redoubt.Assessment.Points].
	Points bool
	// Journal keeps what was finished so that a run can resume; nil keeps
	// nothing.
	Journal *Journal
	// Progress is told about the work as it goes; nil is silence.
	Progress func(stage string, done, total int)
	// Version is entered in the result.
	Version string
}

// Checks is how much an assessment doubts itself.
type Checks int

// The degrees of doubt.
const (
	FullChecks Checks = iota
	NoChecks
)

// Fast is the ensemble used when nothing else is asked for. It is not
// AutoAttack. With gradients it is PGD and Auto-PGD on objectives with and
// without a vanishing gradient, in L0 sigma-zero, then attacks without
// gradients; of trees the exact search and what needs scores; of whole numbers
// the coordinate search. Tables are searched feature by feature too. Where each
// answer costs, it is [Blind].
func Fast(target Target, table bool) []*evasion.Spec {
	if target.Metered {
		return Blind(target.Access, table)
	}
	var names []string
	switch {
	case target.Access == model.WhiteBox:
		names = []string{"fgsm", "pgd", "pgd-margin", "apgd-ce", "apgd-dlr", "sigma-zero", "square", "noise"}
		if table {
			names = append(names, "linear", "coordinate")
		}
	case target.Forest != nil:
		names = []string{"trees", "coordinate", "square", "noise"}
	case target.Integer:
		names = []string{"coordinate", "noise"}
	default:
		names = []string{"square", "coordinate", "noise"}
	}
	var specs []*evasion.Spec
	for _, name := range names {
		specs = append(specs, listed(name))
	}
	return specs
}

// Run assesses the target. When the target's query budget is spent, there is no
// error: the threat model under way and those to come are flagged
// "budget-spent". A budget that does not reach the first attack is an error.
func Run(ctx context.Context, target Target, set *data.Set, cfg Config) (*redoubt.Assessment, error) {
	d, err := newDriver(target, set, cfg)
	if err != nil {
		return nil, err
	}
	defer d.close()
	started := time.Now()
	if err := d.clean(ctx); err != nil {
		return nil, err
	}
	if err := d.attackAll(ctx); err != nil && !errors.Is(err, model.ErrBudget) {
		return nil, err
	}
	a := d.result()
	a.Tool = redoubt.Tool{
		Version: cfg.Version, Threads: d.cfg.Workers, Seed: cfg.Seed,
		Seconds: time.Since(started).Seconds(), Started: started.UTC().Format(time.RFC3339),
	}
	return a, nil
}

// attackAll assesses every threat model, and makes the pictures.
func (d *driver) attackAll(ctx context.Context) error {
	for _, norm := range d.cfg.Norms {
		if err := d.threats(ctx, norm); err != nil {
			return err
		}
	}
	if d.spent != nil {
		return nil
	}
	for _, threat := range d.cfg.Threats {
		if err := d.confront(ctx, threat); err != nil {
			return err
		}
	}
	return d.illustrate(ctx)
}

// driver is one assessment under way.
type driver struct {
	target Target
	set    *data.Set
	cfg    Config

	units  *data.Units       // of a table's rows; nil for other data
	rules  *data.Constraints // what a change must keep to; nil for anything goes
	forest *tree.Ensemble    // of the target, in the units of the rows
	noTree error             // why there is none

	logits  *tensor.Tensor // clean answers
	correct []int          // rows answered correctly
	results []*threat
	trials  []*trial       // of threats that are no balls
	general []redoubt.Flag // about the model, whatever the threat
	shown   []redoubt.Example

	// What probes found and repaired: attacks see gradients averaged over so
	// many draws, as many answers vote, and gradients go straight through
	// discrete layers.
	draws    int
	straight bool

	net    *certify.Network // nil if there is none
	unread bool             // set once reading was tried
	spent  error            // set when the target's query budget was

	imitated  bool
	surrogate *model.Local // nil if there is none
}

// threat is one threat model under way. An outcome is nil while its sample
// stands.
type threat struct {
	norm     evasion.Norm
	eps      float64
	outcomes map[int]*Outcome
	// certified is set when proofs were tried of all that stand.
	certified bool
	proved    map[int]bool // rows of which it is proved that nothing breaks them
	attacks   []redoubt.AttackResult
	flags     []redoubt.Flag
	smaller   *threat // the radius before in the same norm, if any
}

// Outcome is how a sample fell.
type Outcome struct {
	Row        int     `json:"row"`
	Attack     string  `json:"attack"`
	Class      int     `json:"class"` // what it became
	Distortion float64 `json:"distortion"`
	// Proved is set when nothing nearer is wrong.
	Proved  bool             `json:"proved,omitempty"`
	Changes []redoubt.Change `json:"changes,omitempty"`
	// Point is the input itself, if Config.Points asks for it.
	Point []float32 `json:"point,omitempty"`
}

func newDriver(target Target, set *data.Set, cfg Config) (*driver, error) {
	if len(cfg.Eps) == 0 && len(cfg.Threats) == 0 {
		return nil, errors.New("assess: no radius given: name at least one with --eps, or a threat with --threat")
	}
	for _, e := range cfg.Eps {
		if !(e > 0) || e > 1e30 {
			return nil, fmt.Errorf("assess: radius %v: want a positive number", e)
		}
	}
	cfg.Eps = slices.Clone(cfg.Eps)
	slices.Sort(cfg.Eps)
	cfg.Eps = slices.Compact(cfg.Eps)
	switch {
	case len(cfg.Eps) == 0:
		cfg.Norms, cfg.Attacks = nil, []*evasion.Spec{}
	case cfg.Norms == nil:
		cfg.Norms = []evasion.Norm{evasion.Linf}
	}
	if cfg.Workers == 0 {
		cfg.Workers = 1
	}
	if cfg.Batch == 0 {
		cfg.Batch = 100
	}
	if cfg.Progress == nil {
		cfg.Progress = func(string, int, int) {}
	}
	if cfg.Attacks == nil {
		cfg.Attacks = Fast(target, set.Columns != nil)
	}
	if len(cfg.Norms) > 0 {
		var err error
		if cfg.Attacks, err = order(cfg.Attacks, cfg.Norms, target); err != nil {
			return nil, err
		}
	}
	d := &driver{target: target, set: set, cfg: cfg}
	if err := d.checkShape(); err != nil {
		return nil, err
	}
	d.measure()
	if err := d.checkData(); err != nil {
		return nil, err
	}
	return d, d.checkThreats()
}

// order puts attacks with gradients first, so that one without that breaks
// more is noticed, and drops those the model does not allow.
func order(specs []*evasion.Spec, norms []evasion.Norm, target Target) ([]*evasion.Spec, error) {
	var kept []*evasion.Spec
	for _, s := range specs {
		if s.Access <= target.Access && slices.ContainsFunc(norms, s.Works) {
			kept = append(kept, s)
		}
	}
	if len(kept) == 0 {
		return nil, fmt.Errorf("assess: none of the attacks asked for can be used: the model gives %v only (%w)", target.Access, target.Why)
	}
	slices.SortStableFunc(kept, func(a, b *evasion.Spec) int { return int(b.Access) - int(a.Access) })
	return kept, nil
}

func (d *driver) close() {
	if d.surrogate != nil {
		d.surrogate.Close()
	}
}

func (d *driver) checkShape() error {
	x := d.set.X
	if x.Rows() == 0 {
		return errors.New("assess: the data set is empty")
	}
	if !slices.Equal(x.Shape[1:], d.target.Sample) {
		return fmt.Errorf("assess: samples have shape %v, the model takes %v", x.Shape[1:], d.target.Sample)
	}
	for j, whole := range d.target.Whole {
		switch c := d.set.Columns; {
		case !whole:
		case c == nil && !d.target.Integer:
			return errors.New("assess: some of the model's inputs hold whole numbers: give the data a schema that says which")
		case c != nil && c[j].Kind == data.Numeric && (c[j].Step == 0 || c[j].Step != math.Trunc(c[j].Step)):
			return fmt.Errorf("assess: column %q goes to an input of whole numbers: make it integer in the schema", c[j].Name)
		}
	}
	return nil
}

func (d *driver) checkData() error {
	x, box := d.set.X, d.cfg.Box
	if len(box.Lo) == 0 || len(box.Hi) == 0 {
		return errors.New("assess: no bounds of the input given: name them with --bounds lo,hi")
	}
	for i, y := range d.set.Y {
		if y < 0 || y >= d.target.Classes {
			return fmt.Errorf("assess: sample %d has label %d, but the model has %d classes", i, y, d.target.Classes)
		}
	}
	for i := range x.Rows() {
		for j, v := range x.Row(i) {
			if lo, hi := box.At(j); !(v >= lo && v <= hi) {
				return fmt.Errorf("assess: sample %d has %v at element %d, outside the bounds %v to %v: give the right ones with --bounds",
					i, v, j, lo, hi)
			}
		}
		if d.rules != nil {
			if err := d.rules.Check(x.Row(i), x.Row(i)); err != nil {
				return fmt.Errorf("assess: sample %d is not allowed as it is: %w: correct the schema or the data", d.index(i), err)
			}
		}
	}
	return nil
}

// batch is the given rows as an attack sees them.
func (d *driver) batch(rows []int, norm evasion.Norm, eps float64) *evasion.Batch {
	b := &evasion.Batch{
		X: d.set.X.Gather(rows), Labels: make([]int, len(rows)), Norm: norm, Eps: make([]float64, len(rows)),
		Box: d.cfg.Box, Rules: d.rules, IDs: make([]int, len(rows)), Seed: d.cfg.Seed,
	}
	for i, r := range rows {
		b.Labels[i], b.Eps[i], b.IDs[i] = d.set.Y[r], eps, d.index(r)
		if d.cfg.Targets != nil {
			b.Targets = append(b.Targets, d.cfg.Targets[r])
		}
	}
	return b
}
