package bom

import (
	"fmt"
	"strings"

	cdx "github.com/CycloneDX/cyclonedx-go"
)

// Tier is how much a field of a bill matters: its weight in the score.
type Tier int

// The tiers.
const (
	Supplementary Tier = iota + 1
	Important
	Critical
)

func (t Tier) String() string {
	return [...]string{"", "supplementary", "important", "critical"}[t]
}

// Completeness says how much of what a reader asks of a model's bill is there.
type Completeness struct {
	// Score is from 0 to 100: the weights of the fields that are there, of all.
	Score int `json:"score"`
	// Missing are the fields that are not, by tier, in the order of [Fields].
	Missing map[string][]string `json:"missing"`
}

// Field is something that a bill of a model should say.
type Field struct {
	Name string
	Tier Tier
	has  func(b *cdx.BOM, m *cdx.Component) bool
}

// Fields are what Score looks for. The tiers are those of OWASP's AIBOM generator;
// the fields are chosen for what somebody who has to rely on a model asks.
var Fields = []Field{
	{"name of the model", Critical, func(_ *cdx.BOM, m *cdx.Component) bool { return m.Name != "" }},
	{"type machine-learning-model", Critical, func(_ *cdx.BOM, m *cdx.Component) bool { return m.Type == cdx.ComponentTypeMachineLearningModel }},
	{"version", Critical, func(_ *cdx.BOM, m *cdx.Component) bool { return m.Version != "" }},
	{"hash of the model or of its files", Critical, func(_ *cdx.BOM, m *cdx.Component) bool { return some(m.Hashes) || every(m.Components, hashed) }},
	{"licence", Critical, func(_ *cdx.BOM, m *cdx.Component) bool { return licensed(*m) }},
	{"supplier", Critical, func(b *cdx.BOM, m *cdx.Component) bool { return supplied(b, m) }},
	{"task", Critical, func(_ *cdx.BOM, m *cdx.Component) bool { return parameters(m).Task != "" }},
	{"data sets", Critical, func(_ *cdx.BOM, m *cdx.Component) bool { return some(parameters(m).Datasets) }},
	{"metrics", Critical, func(_ *cdx.BOM, m *cdx.Component) bool { return len(metrics(m)) > 0 }},

	{"time it was made", Important, func(b *cdx.BOM, _ *cdx.Component) bool { return b.Metadata.Timestamp != "" }},
	{"tool that made it", Important, func(b *cdx.BOM, _ *cdx.Component) bool { return b.Metadata.Tools != nil }},
	{"inputs", Important, func(_ *cdx.BOM, m *cdx.Component) bool { return some(parameters(m).Inputs) }},
	{"outputs", Important, func(_ *cdx.BOM, m *cdx.Component) bool { return some(parameters(m).Outputs) }},
	{"architecture", Important, func(_ *cdx.BOM, m *cdx.Component) bool { return parameters(m).ArchitectureFamily != "" }},
	{"hash of each data set", Important, func(b *cdx.BOM, _ *cdx.Component) bool { return every(dataSets(b), hashed) }},
	{"licence of each data set", Important, func(b *cdx.BOM, _ *cdx.Component) bool { return every(dataSets(b), licensed) }},
	{"confidence intervals", Important, func(_ *cdx.BOM, m *cdx.Component) bool { return withInterval(m) }},
	{"use cases", Important, func(_ *cdx.BOM, m *cdx.Component) bool { return some(considerations(m).UseCases) }},
	{"limitations", Important, func(_ *cdx.BOM, m *cdx.Component) bool { return some(considerations(m).TechnicalLimitations) }},
	{"claims with evidence", Important, func(b *cdx.BOM, _ *cdx.Component) bool { return b.Declarations != nil && some(b.Declarations.Evidence) }},

	{"description", Supplementary, func(_ *cdx.BOM, m *cdx.Component) bool { return m.Description != "" }},
	{"serial number", Supplementary, func(b *cdx.BOM, _ *cdx.Component) bool { return b.SerialNumber != "" }},
	{"how it was trained", Supplementary, func(_ *cdx.BOM, m *cdx.Component) bool { return parameters(m).Approach != nil }},
	{"parameters and operators", Supplementary, func(_ *cdx.BOM, m *cdx.Component) bool { return parameters(m).ModelArchitecture != "" }},
	{"ethical considerations", Supplementary, func(_ *cdx.BOM, m *cdx.Component) bool { return some(considerations(m).EthicalConsiderations) }},
	{"evidence that expires", Supplementary, func(b *cdx.BOM, _ *cdx.Component) bool { return expires(b) }},
	{"reports", Supplementary, func(_ *cdx.BOM, m *cdx.Component) bool { return some(m.ExternalReferences) }},
}

// Score says how complete a bill is, whoever made it. The model is its main
// component or, where that is something else, its first of that type.
func Score(b *cdx.BOM) Completeness {
	if b.Metadata == nil {
		b.Metadata = &cdx.Metadata{}
	}
	m := model(b)
	c := Completeness{Missing: map[string][]string{}}
	got, all := 0, 0
	for _, f := range Fields {
		all += int(f.Tier)
		if f.has(b, m) {
			got += int(f.Tier)
			continue
		}
		c.Missing[f.Tier.String()] = append(c.Missing[f.Tier.String()], f.Name)
	}
	c.Score = 100 * got / all
	return c
}

// String is the score and what is missing, a line a tier.
func (c Completeness) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "completeness %d of 100\n", c.Score)
	for t := Critical; t >= Supplementary; t-- {
		if m := c.Missing[t.String()]; len(m) > 0 {
			fmt.Fprintf(&b, "  missing, %-14s %s\n", t.String()+":", strings.Join(m, ", "))
		}
	}
	return b.String()
}

func model(b *cdx.BOM) *cdx.Component {
	if c := b.Metadata.Component; c != nil && c.Type == cdx.ComponentTypeMachineLearningModel {
		return c
	}
	if b.Components != nil {
		for i := range *b.Components {
			if c := &(*b.Components)[i]; c.Type == cdx.ComponentTypeMachineLearningModel {
				return c
			}
		}
	}
	return &cdx.Component{}
}

func parameters(m *cdx.Component) cdx.MLModelParameters {
	if m.ModelCard == nil || m.ModelCard.ModelParameters == nil {
		return cdx.MLModelParameters{}
	}
	return *m.ModelCard.ModelParameters
}

func considerations(m *cdx.Component) cdx.MLModelCardConsiderations {
	if m.ModelCard == nil || m.ModelCard.Considerations == nil {
		return cdx.MLModelCardConsiderations{}
	}
	return *m.ModelCard.Considerations
}

func metrics(m *cdx.Component) []cdx.MLPerformanceMetric {
	if m.ModelCard == nil || m.ModelCard.QuantitativeAnalysis == nil || m.ModelCard.QuantitativeAnalysis.PerformanceMetrics == nil {
		return nil
	}
	return *m.ModelCard.QuantitativeAnalysis.PerformanceMetrics
}

func withInterval(m *cdx.Component) bool {
	for _, x := range metrics(m) {
		if x.ConfidenceInterval != nil {
			return true
		}
	}
	return false
}

func dataSets(b *cdx.BOM) *[]cdx.Component {
	var out []cdx.Component
	if b.Components != nil {
		for _, c := range *b.Components {
			if c.Type == cdx.ComponentTypeData {
				out = append(out, c)
			}
		}
	}
	return &out
}

func expires(b *cdx.BOM) bool {
	return b.Declarations != nil && every(b.Declarations.Evidence, func(e cdx.DeclarationEvidence) bool { return e.Expires != "" })
}

func supplied(b *cdx.BOM, m *cdx.Component) bool {
	return m.Supplier != nil || m.Manufacturer != nil || m.Publisher != "" || some(m.Authors) || b.Metadata.Supplier != nil
}

func hashed(c cdx.Component) bool   { return some(c.Hashes) }
func licensed(c cdx.Component) bool { return c.Licenses != nil && len(*c.Licenses) > 0 }

func some[T any](list *[]T) bool { return list != nil && len(*list) > 0 }

func every[T any](list *[]T, has func(T) bool) bool {
	if !some(list) {
		return false
	}
	for _, v := range *list {
		if !has(v) {
			return false
		}
	}
	return true
}
