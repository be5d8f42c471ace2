package assess

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"

	"github.com/redoubt-ml/redoubt"
)

// Gate is a condition on an assessment, such as
// "robust_accuracy[linf@0.3]>=0.5".
type Gate struct {
	Expr   string
	Metric string  // clean_accuracy, robust_accuracy, attack_success_rate, robustness_score
	Norm   string  // "" for clean_accuracy, or to mean every threat model
	Eps    float64 // 0 to mean every radius or bound of Norm
	Op     string  // ">=", ">", "<=", "<"
	Bound  float64
}

var gateForm = regexp.MustCompile(`^\s*([a-z_]+)\s*(?:\[\s*([a-z][a-z0-9-]*)\s*(?:@\s*([0-9.eE+-]+)\s*)?\])?\s*(>=|<=|>|<)\s*([0-9.eE+-]+)\s*$`)

// ParseGate reads a gate: METRIC[NORM@EPS] OP NUMBER. Without @EPS the condition
// is on the worst threat model of the norm, which may also be "spatial", "patch"
// or another [Threat]'s, and without [NORM@EPS] on the worst of all. The metric
// "trustworthy" is 1 when every number is, and 0 otherwise.
func ParseGate(expr string) (Gate, error) {
	bad := func(why string) (Gate, error) {
		return Gate{}, fmt.Errorf("gate %q: %s: write one like 'robust_accuracy[linf@0.3]>=0.5'", expr, why)
	}
	m := gateForm.FindStringSubmatch(expr)
	if m == nil {
		return bad("not of the form METRIC[NORM@EPS] OP NUMBER")
	}
	g := Gate{Expr: strings.TrimSpace(expr), Metric: m[1], Norm: m[2], Op: m[4]}
	switch g.Metric {
	case "clean_accuracy", "trustworthy":
		if g.Norm != "" {
			return bad(g.Metric + " does not depend on a threat model")
		}
	case "robust_accuracy", "attack_success_rate", "robustness_score", "certified_accuracy":
	default:
		return bad("no metric " + strconv.Quote(g.Metric) + ", want clean_accuracy, robust_accuracy, attack_success_rate, robustness_score, certified_accuracy or trustworthy")
	}
	var err error
	if m[3] != "" {
		if g.Eps, err = strconv.ParseFloat(m[3], 64); err != nil || !(g.Eps > 0) {
			return bad("radius " + strconv.Quote(m[3]) + " is not a number above 0")
		}
	}
	if g.Bound, err = strconv.ParseFloat(m[5], 64); err != nil || math.IsNaN(g.Bound) {
		return bad("bound " + strconv.Quote(m[5]) + " is not a number")
	}
	return g, nil
}

// Check evaluates the gate. A threat model that was not assessed is an error:
// a gate that tests nothing must not pass.
func (g Gate) Check(a *redoubt.Assessment) (redoubt.GateResult, error) {
	v, err := g.value(a)
	if err != nil {
		return redoubt.GateResult{}, err
	}
	pass := map[string]bool{">=": v >= g.Bound, ">": v > g.Bound, "<=": v <= g.Bound, "<": v < g.Bound}[g.Op]
	return redoubt.GateResult{Expr: g.Expr, Value: v, Pass: pass}, nil
}

func (g Gate) value(a *redoubt.Assessment) (float64, error) {
	switch g.Metric {
	case "clean_accuracy":
		return a.CleanAccuracy, nil
	case "trustworthy":
		for _, t := range a.Threats {
			if t.Reliability.Verdict != redoubt.Trustworthy {
				return 0, nil
			}
		}
		return 1, nil
	}
	var have []string
	worst, found := 0.0, false
	for _, t := range a.Threats {
		have = append(have, fmt.Sprintf("%s@%g", t.Norm, t.Eps))
		if g.Norm != "" && (t.Norm != g.Norm || g.Eps != 0 && math.Abs(t.Eps-g.Eps) > 1e-9*math.Max(1, g.Eps)) {
			continue
		}
		if g.Metric == "certified_accuracy" && g.Norm == "" && t.Bound != "" {
			continue // proofs are of balls
		}
		certified := 0.0
		if t.CertifiedAccuracy != nil {
			certified = *t.CertifiedAccuracy
		} else if g.Metric == "certified_accuracy" {
			return 0, fmt.Errorf("gate %q: no proof was tried under %s@%g: give --certify the seconds for each sample", g.Expr, t.Norm, t.Eps)
		}
		v := map[string]float64{
			"certified_accuracy": certified,
			"robust_accuracy":    t.RobustAccuracy, "attack_success_rate": t.AttackSuccessRate, "robustness_score": t.RobustnessScore,
		}[g.Metric]
		higherIsWorse := g.Metric == "attack_success_rate"
		if !found || (v > worst) == higherIsWorse {
			worst = v
		}
		found = true
	}
	if !found {
		return 0, fmt.Errorf("gate %q: that threat model was not assessed, only %s", g.Expr, strings.Join(have, ", "))
	}
	return worst, nil
}
