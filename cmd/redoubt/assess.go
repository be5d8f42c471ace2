package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/assess"
	"github.com/redoubt-ml/redoubt/attack/evasion"
	"github.com/redoubt-ml/redoubt/ml/model"
	"github.com/redoubt-ml/redoubt/ml/remote"
	"github.com/redoubt-ml/redoubt/report"
)

// assessFlags are the settings of an assessment as they are typed. They decide
// the outcome, and so they are the key of a journal.
type assessFlags struct {
	Data, Schema, Label string
	Mean, Std           []float64
	Bounds, Layout      string
	Input, Output       string
	Norms, Attacks      []string
	Eps                 []float64
	Threats             []string
	Step                float64
	Steps, Restarts     int
	Queries, Target     int
	Limit, Batch        int
	Seed                uint64
	Checks              string
	Certify             float64
	Points              bool `json:",omitempty"` // where --examples is given

	threads int
	gates   []string
	resume  string
	samples string
	points  string
	files   map[string]*string // by format name
	remote  remoteFlags
}

func newAssess(a *app) *cobra.Command {
	f := assessFlags{files: map[string]*string{}}
	cmd := &cobra.Command{
		Use:   "assess MODEL|URL --data DATA --eps RADIUS",
		Short: "Attack a model with a data set and say how far the result can be believed",
		Long: `Attack a model with a data set. Under each threat model (a norm and a radius)
every attack runs on the samples that are still classified correctly; what it
proposes is clipped, measured again and put to the model again. Then the
assessment doubts itself and grades each number trustworthy, suspect or invalid.

DATA is an NPZ with x (in the model's layout) and y; a pair of IDX files joined
by a comma; CSV or Parquet with a schema; a CIFAR-10 batch; or a folder of
images with a folder a class. Byte pixels become [0,1], unless the model takes
integers.

MODEL may be the URL of an endpoint: of the Open Inference Protocol
(https://host/v2/models/NAME), of TensorFlow Serving or MLflow, or of any JSON
described by --request and --response. Then only attacks on scores or labels
run, within --query-budget and --rate; --dry-run shows what they may cost.

Exit code 0 when every gate holds, 1 when one fails, 2 when something in the
input is wrong, 3 when the query budget was spent before the attacks were done.

Attacks: ` + strings.Join(attackNames(), ", ") + `.
Ensembles: fast (the default), all, autoattack, autoattack-plus, autoattack-rand.

Threats that are no ball around a sample, beside the norms or, without --eps,
alone:
` + threatForms() + `.`,
		Example: `  redoubt assess model.onnx --data t10k-images.idx3.gz,t10k-labels.idx1.gz --eps 0.1,0.2
  redoubt assess model.onnx --data test.npz --norm l2 --eps 0.5 --html report.html
  redoubt assess model.onnx --data test.npz --eps 0.03 --gate 'robust_accuracy[linf@0.03]>=0.5'
  redoubt assess https://host/v2/models/digits --data test.npz --eps 0.1 --i-am-authorised 'J. Doe, ticket 4711, until Friday' --dry-run
  redoubt assess model.onnx --data test.npz --threat spatial:15deg,3px --threat patch:5% --threat universal:linf@0.1
  redoubt assess --config scenario.yaml`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := a.modelArg(args)
			if err != nil {
				return err
			}
			if remote.Is(path) {
				return a.assessRemote(cmd, path, &f)
			}
			if err := f.remote.unused(cmd); err != nil {
				return err
			}
			return a.assess(cmd, path, &f)
		},
	}
	fl := cmd.Flags()
	f.dataFlags(fl)
	fl.StringSliceVar(&f.Norms, "norm", []string{"linf"}, "norms: linf, l2, l1, l0")
	fl.Float64SliceVar(&f.Eps, "eps", nil, "radii, in units of the data (required unless there is a --threat)")
	fl.StringArrayVar(&f.Threats, "threat", nil, "threat model that is no ball, such as spatial:15deg,3px, patch:5% or universal:linf@0.1 (repeatable)")
	fl.StringSliceVar(&f.Attacks, "attacks", []string{"fast"}, "attacks or an ensemble")
	fl.IntVar(&f.Steps, "steps", 0, "iterations of gradient attacks (default: each attack's own)")
	fl.Float64Var(&f.Step, "step-size", 0, "step of gradient attacks (default: from radius and steps)")
	fl.IntVar(&f.Restarts, "restarts", 0, "random restarts (default: each attack's own)")
	fl.IntVar(&f.Target, "target", -1, "class that samples are to become (default: any wrong one)")
	fl.IntVar(&f.Queries, "queries", 0, "answers a sample that attacks without gradients may use")
	fl.Uint64Var(&f.Seed, "seed", 0, "seed of every random choice")
	fl.IntVar(&f.threads, "threads", runtime.NumCPU(), "threads; they do not change the result")
	fl.IntVar(&f.Batch, "batch", 100, "most samples attacked together by a thread")
	fl.StringVar(&f.Checks, "checks", "full", "doubt the result: full, or off")
	fl.Float64Var(&f.Certify, "certify", 0, "seconds to look for a proof, for each sample that stands, that nothing breaks it (networks of affine maps and ReLUs; linf, l2, l1)")
	fl.StringArrayVar(&f.gates, "gate", nil, "condition to hold, such as 'robust_accuracy[linf@0.3]>=0.5' (repeatable)")
	fl.StringVar(&f.resume, "resume", "", "journal to keep, and to go on from after an interruption")
	fl.StringVar(&f.samples, "samples", "", "write each sample's outcome to this JSON Lines file")
	fl.StringVar(&f.points, "examples", "", "write the inputs within --eps that fooled the model to this NPZ file: x and y as --data takes them, class, index, norm, eps, attack")
	f.remote.register(fl)
	for _, format := range report.Formats {
		f.files[format.Name] = fl.String(format.Name, "", "write the report to this file: "+format.Doc)
	}
	return cmd
}

// dataFlags are the flags of a verb that reads labelled samples.
func (f *assessFlags) dataFlags(fl *pflag.FlagSet) {
	fl.StringVar(&f.Data, "data", "", "labelled samples, see above")
	fl.StringVar(&f.Schema, "schema", "", "YAML schema of a table's columns")
	fl.StringVar(&f.Label, "label", "", "label column of a table without a schema (default: the last)")
	fl.Float64SliceVar(&f.Mean, "mean", nil, "mean that the model wants subtracted, one number or one a channel")
	fl.Float64SliceVar(&f.Std, "std", nil, "standard deviation that the model wants divided by")
	fl.StringVar(&f.Bounds, "bounds", "", "range of valid inputs, LO,HI (default: the data's own)")
	fl.StringVar(&f.Layout, "layout", "", "layout of the model's images, nchw or nhwc (default: seen from the shape)")
	fl.StringVar(&f.Input, "input", "", "name of the input, for an endpoint that declares none")
	fl.StringVar(&f.Output, "output", "", "output to read, where the model has several")
	fl.IntVar(&f.Limit, "limit", 0, "use the first N samples (default: all)")
}

// threatForms says for each kind of threat how it is written and what it is.
func threatForms() string {
	var forms []string
	for _, k := range assess.ThreatKinds {
		forms = append(forms, "  "+k.Form+": "+k.Doc)
	}
	return strings.Join(forms, ";\n")
}

func attackNames() []string {
	var names []string
	for _, s := range evasion.All {
		names = append(names, s.Name)
	}
	return names
}

func (a *app) assess(cmd *cobra.Command, path string, f *assessFlags) (err error) {
	cfg, err := f.config()
	if err != nil {
		return err
	}
	outputs, err := f.reserve()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, outputs.discard()) }()
	set, l, err := a.open(cmd.Context(), path, f, &cfg)
	if err != nil {
		return err
	}
	defer l.Close()
	digest, err := redoubt.DigestFile(path)
	if err != nil {
		return err
	}
	if f.resume != "" {
		if cfg.Journal, err = assess.OpenJournal(f.resume, f.key(digest, set.Digest)); err != nil {
			return err
		}
		defer cfg.Journal.Close()
	}
	p := newProgress(a.quiet)
	cfg.Progress = p.report
	target := assess.Local(l)
	target.Info.Path, target.Info.SHA256 = path, digest
	result, err := assess.Run(cmd.Context(), target, set, cfg)
	p.clear()
	if err != nil {
		return err
	}
	result.SamplesFile = f.samples
	result.Tool.Runtime, result.Tool.Machine = l.Runtime().Version(), machine()
	result.Tool.Command = commandLine(os.Args)
	return a.publish(cmd, result, cfg.Gates, outputs)
}

// config turns typed settings into an assessment's, and refuses what could
// only fail later.
func (f *assessFlags) config() (assess.Config, error) {
	cfg := assess.Config{
		Eps: f.Eps, Seed: f.Seed, Workers: f.threads, Batch: f.Batch, Version: version(),
		Settings: evasion.Settings{Steps: f.Steps, Step: f.Step, Restarts: f.Restarts, Queries: f.Queries},
	}
	if f.Data == "" {
		return cfg, errors.New("assess needs samples: give --data, see 'redoubt assess --help' for what it takes")
	}
	if len(f.Eps) == 0 && len(f.Threats) == 0 {
		return cfg, errors.New("assess needs a radius: give --eps in units of the data, such as --eps 0.1 for pixels in [0,1], or a --threat")
	}
	if len(f.Eps) == 0 && (!slices.Equal(f.Norms, []string{"linf"}) || !slices.Equal(f.Attacks, []string{"fast"}) || f.Certify > 0) {
		return cfg, errors.New("--norm, --attacks and --certify are about radii: give --eps, or leave them out")
	}
	if f.Points = f.points != ""; f.Points && len(f.Eps) == 0 {
		return cfg, errors.New("--examples are of attacks within a radius: give --eps, or leave it out")
	}
	cfg.Points = f.Points
	for _, s := range f.Threats {
		t, err := assess.ParseThreat(s)
		if err != nil {
			return cfg, err
		}
		cfg.Threats = append(cfg.Threats, t)
	}
	for name, v := range map[string]int{"steps": f.Steps, "restarts": f.Restarts, "queries": f.Queries, "limit": f.Limit} {
		if v < 0 {
			return cfg, fmt.Errorf("--%s is %d: want a number from 0", name, v)
		}
	}
	if f.threads < 1 || f.Batch < 1 || f.Step < 0 {
		return cfg, errors.New("--threads and --batch start at 1, --step-size at 0")
	}
	if f.Certify < 0 {
		return cfg, fmt.Errorf("--certify is %v: want seconds, from 0", f.Certify)
	}
	cfg.Certify = time.Duration(f.Certify * float64(time.Second))
	switch f.Checks {
	case "full":
	case "off":
		cfg.Checks = assess.NoChecks
	default:
		return cfg, fmt.Errorf("--checks %q: want full or off", f.Checks)
	}
	for _, name := range f.Norms {
		n, err := evasion.FindNorm(name)
		if err != nil {
			return cfg, err
		}
		cfg.Norms = append(cfg.Norms, n)
	}
	var err error
	if cfg.Attacks, err = ensemble(f.Attacks, cfg.Norms, cfg.Settings); err != nil {
		return cfg, err
	}
	if cfg.Gates, err = parseGates(f.gates, cfg); err != nil {
		return cfg, err
	}
	if f.Bounds != "" {
		cfg.Box, err = parseBounds(f.Bounds)
	}
	return cfg, err
}

// autoAttack says which version of AutoAttack goes by a name.
var autoAttack = map[string]string{"autoattack": "standard", "autoattack-plus": "plus", "autoattack-rand": "rand"}

// ensemble is the attacks named, each once. A version of AutoAttack stands
// alone, with settings of its own: with others it would be something else.
func ensemble(names []string, norms []evasion.Norm, settings evasion.Settings) ([]*evasion.Spec, error) {
	for _, name := range names {
		version, ok := autoAttack[name]
		switch {
		case !ok:
			continue
		case len(names) > 1:
			return nil, fmt.Errorf("--attacks %s: %s is a fixed ensemble: name it alone", strings.Join(names, ","), name)
		case settings != evasion.Settings{}:
			return nil, fmt.Errorf("--attacks %s fixes steps, restarts and queries: leave out --steps, --step-size, --restarts and --queries", name)
		}
		return assess.Ensemble(version, norms)
	}
	if len(names) == 1 && names[0] == "fast" {
		return nil, nil // what the model allows is not known yet
	}
	var out []*evasion.Spec
	for _, name := range names {
		var specs []*evasion.Spec
		switch name {
		case "fast":
			specs = assess.Fast(assess.Target{Access: model.WhiteBox}, false)
		case "all":
			specs = evasion.All
		default:
			s, err := evasion.Find(name)
			if err != nil {
				return nil, err
			}
			specs = []*evasion.Spec{s}
		}
		for _, s := range specs {
			if !slices.Contains(out, s) {
				out = append(out, s)
			}
		}
	}
	return out, nil
}

// parseGates reads the gates and refuses those on threat models that the run
// will not assess.
func parseGates(exprs []string, cfg assess.Config) ([]assess.Gate, error) {
	planned := &redoubt.Assessment{}
	for _, n := range cfg.Norms {
		for _, e := range cfg.Eps {
			t := redoubt.ThreatResult{Norm: n.Name(), Eps: e}
			if cfg.Certify > 0 {
				t.CertifiedAccuracy = new(float64)
			}
			planned.Threats = append(planned.Threats, t)
		}
	}
	for _, t := range cfg.Threats {
		planned.Threats = append(planned.Threats, redoubt.ThreatResult{Norm: t.Norm, Eps: t.Eps, Bound: t.Bound})
	}
	var gates []assess.Gate
	for _, expr := range exprs {
		g, err := assess.ParseGate(expr)
		if err != nil {
			return nil, err
		}
		if _, err := g.Check(planned); err != nil {
			return nil, err
		}
		gates = append(gates, g)
	}
	return gates, nil
}

func parseBounds(s string) (evasion.Box, error) {
	lo, hi, _ := strings.Cut(s, ",")
	l, err1 := strconv.ParseFloat(strings.TrimSpace(lo), 32)
	h, err2 := strconv.ParseFloat(strings.TrimSpace(hi), 32)
	if err1 != nil || err2 != nil || !(l < h) {
		return evasion.Box{}, fmt.Errorf("--bounds %q: want two numbers LO,HI with LO below HI", s)
	}
	return evasion.Box{Lo: []float32{float32(l)}, Hi: []float32{float32(h)}}, nil
}

// key is everything that decides the outcome.
func (f *assessFlags) key(model, set redoubt.Digest) string {
	settings := *f
	settings.Data = ""
	b, err := json.Marshal(settings)
	if err != nil {
		panic(err) // strings and numbers only
	}
	return string(redoubt.DigestBytes(slices.Concat(b, []byte(model), []byte(set))))
}

// publish evaluates the gates, writes the reports and prints the result.
func (a *app) publish(cmd *cobra.Command, result *redoubt.Assessment, gates []assess.Gate, outputs reservations) error {
	failed := 0
	for _, g := range gates {
		r, err := g.Check(result)
		if err != nil {
			return err
		}
		result.Gates = append(result.Gates, r)
		if !r.Pass {
			failed++
		}
	}
	if err := outputs.write(result); err != nil {
		return err
	}
	opt := report.TextOptions{Colour: term.IsTerminal(int(os.Stdout.Fd())) && os.Getenv("NO_COLOR") == ""}
	if err := report.Text(cmd.OutOrStdout(), result, opt); err != nil {
		return err
	}
	if failed > 0 {
		return gate("%d of %d gates failed", failed, len(gates))
	}
	return nil
}
