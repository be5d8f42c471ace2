package bom

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	cdx "github.com/CycloneDX/cyclonedx-go"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/ml/onnx"
)

// card is the model card.
func (s *Source) card() *cdx.MLModelCard {
	p := &cdx.MLModelParameters{Task: s.Task}
	if s.Approach != "" {
		p.Approach = &cdx.MLModelParametersApproach{Type: cdx.MLModelParametersApproachType(s.Approach)}
	}
	var sets []cdx.MLDatasetChoice
	for i, d := range s.Data {
		sets = append(sets, cdx.MLDatasetChoice{Ref: d.component(i).BOMRef})
	}
	p.Datasets = list(sets...)
	if s.Graph != nil {
		describe(p, s.Graph.Graph)
	}
	if p.Task == "" && s.Assessment != nil {
		p.Task = "classification" // accuracy was measured against labels
	}
	card := &cdx.MLModelCard{ModelParameters: p, QuantitativeAnalysis: s.metrics()}
	limits := slices.Clone(s.Limitations)
	if s.Assessment != nil {
		limits = append(limits, doubts(s.Assessment)...)
	}
	var ethics []cdx.MLModelCardEthicalConsideration
	for _, e := range s.Ethics {
		ethics = append(ethics, cdx.MLModelCardEthicalConsideration{Name: e})
	}
	if len(s.UseCases)+len(limits)+len(ethics) > 0 {
		card.Considerations = &cdx.MLModelCardConsiderations{
			UseCases: list(s.UseCases...), TechnicalLimitations: list(limits...), EthicalConsiderations: list(ethics...),
		}
	}
	return card
}

// families are kinds of architecture by an operator that only they have, the
// most telling first.
var families = []struct{ op, family string }{
	{"TreeEnsembleClassifier", "tree ensemble"},
	{"TreeEnsembleRegressor", "tree ensemble"},
	{"TreeEnsemble", "tree ensemble"},
	{"SVMClassifier", "support vector machine"},
	{"SVMRegressor", "support vector machine"},
	{"LinearClassifier", "linear model"},
	{"LinearRegressor", "linear model"},
	{"Attention", "transformer"},
	{"MultiHeadAttention", "transformer"},
	{"LSTM", "recurrent network"},
	{"GRU", "recurrent network"},
	{"RNN", "recurrent network"},
	{"Conv", "convolutional network"},
	{"Gemm", "feed-forward network"},
	{"MatMul", "feed-forward network"},
}

// tasks are what models do by an operator that says so.
var tasks = []struct{ op, task string }{
	{"TreeEnsembleClassifier", "classification"},
	{"SVMClassifier", "classification"},
	{"LinearClassifier", "classification"},
	{"ZipMap", "classification"},
	{"TreeEnsembleRegressor", "regression"},
	{"SVMRegressor", "regression"},
	{"LinearRegressor", "regression"},
}

// describe reads what a graph says of itself.
func describe(p *cdx.MLModelParameters, g *onnx.Graph) {
	ops := map[string]int{}
	for _, n := range g.Nodes {
		ops[n.Op]++
	}
	for _, f := range families {
		if ops[f.op] > 0 && p.ArchitectureFamily == "" {
			p.ArchitectureFamily = f.family
		}
	}
	for _, t := range tasks {
		if ops[t.op] > 0 && p.Task == "" {
			p.Task = t.task
		}
	}
	if n := len(g.Nodes); n > 0 && p.Task == "" && slices.Contains([]string{"Softmax", "LogSoftmax", "ArgMax"}, g.Nodes[n-1].Op) {
		p.Task = "classification"
	}
	var parts []string
	for _, op := range slices.Sorted(maps.Keys(ops)) {
		parts = append(parts, fmt.Sprintf("%d %s", ops[op], op))
	}
	var parameters int64
	for _, t := range g.Initializers {
		parameters += t.Len()
	}
	p.ModelArchitecture = fmt.Sprintf("%d parameters; %s", parameters, strings.Join(parts, ", "))
	p.Inputs, p.Outputs = ports(g.Feeds()), ports(g.Outputs)
}

func ports(values []*onnx.Value) *[]cdx.MLInputOutputParameters {
	var out []cdx.MLInputOutputParameters
	for _, v := range values {
		format := v.Name
		if v.Type != nil && v.Type.Tensor != nil {
			var dims []string
			for _, d := range v.Type.Tensor.Dims {
				dims = append(dims, d.String())
			}
			format = fmt.Sprintf("%s %s[%s]", v.Name, v.Type.Tensor.Elem, strings.Join(dims, ", "))
		}
		out = append(out, cdx.MLInputOutputParameters{Format: format})
	}
	return list(out...)
}

// metrics are what was measured.
func (s *Source) metrics() *cdx.MLQuantitativeAnalysis {
	a := s.Assessment
	if a == nil {
		return nil
	}
	metrics := []cdx.MLPerformanceMetric{{Type: "accuracy", Value: decimal(a.CleanAccuracy), Slice: "clean"}}
	for _, t := range a.Threats {
		slice := slice(t)
		metrics = append(metrics,
			cdx.MLPerformanceMetric{
				Type: "robust_accuracy", Value: decimal(t.RobustAccuracy), Slice: slice,
				ConfidenceInterval: &cdx.MLPerformanceMetricConfidenceInterval{LowerBound: decimal(t.CI95[0]), UpperBound: decimal(t.CI95[1])},
			},
			cdx.MLPerformanceMetric{Type: "attack_success_rate", Value: decimal(t.AttackSuccessRate), Slice: slice})
		if t.CertifiedAccuracy != nil {
			metrics = append(metrics, cdx.MLPerformanceMetric{Type: "certified_accuracy", Value: decimal(*t.CertifiedAccuracy), Slice: slice})
		}
	}
	return &cdx.MLQuantitativeAnalysis{PerformanceMetrics: list(metrics...)}
}

// slice names a threat model as gates do.
func slice(t redoubt.ThreatResult) string { return fmt.Sprintf("%s@%v", t.Norm, t.Eps) }

func decimal(v float64) string { return strconv.FormatFloat(v, 'g', 6, 64) }

// doubts are what the assessment says against itself, and what it left out.
func doubts(a *redoubt.Assessment) []string {
	var out []string
	for _, t := range a.Threats {
		if t.Reliability.Verdict == redoubt.Trustworthy {
			continue
		}
		text := fmt.Sprintf("the numbers for %s are %s", slice(t), t.Reliability.Verdict)
		for _, f := range t.Reliability.Flags {
			text += "; " + f.Evidence
		}
		out = append(out, text)
	}
	for _, n := range a.NotTested {
		out = append(out, "not tested: "+n)
	}
	return out
}
