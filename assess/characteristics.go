package assess

import (
	"fmt"
	"maps"
	"slices"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/ml/model"
	"github.com/redoubt-ml/redoubt/ml/onnx"
)

// Operators that carry weights, that regularise, and that bend.
var (
	layerOps = map[string]bool{
		"Conv": true, "ConvTranspose": true, "Gemm": true, "MatMul": true, "LSTM": true, "GRU": true, "RNN": true, "Attention": true,
		"TreeEnsembleClassifier": true, "TreeEnsembleRegressor": true, "LinearClassifier": true, "LinearRegressor": true,
	}
	regularisers = map[string]bool{
		"BatchNormalization": true, "LayerNormalization": true, "InstanceNormalization": true, "GroupNormalization": true,
		"Dropout": true, "LRN": true, "RMSNormalization": true,
	}
	activations = map[string]bool{
		"Relu": true, "LeakyRelu": true, "PRelu": true, "Elu": true, "Selu": true, "Celu": true, "Gelu": true, "Sigmoid": true,
		"Tanh": true, "HardSigmoid": true, "HardSwish": true, "Mish": true, "Softplus": true, "Softsign": true, "Erf": true,
		"ThresholdedRelu": true, "Swish": true, "Clip": true,
	}
)

// characteristics are facts of the file's graph, as it was exported: an
// exporter may have folded normalisation layers into convolutions.
func characteristics(m *model.Local) redoubt.Characteristics {
	c := redoubt.Characteristics{
		Layers: map[string]int{}, Regularisation: []string{}, Activations: []string{},
		OutputIsProbability: m.Probability() != "",
	}
	g := m.File().Graph
	weights := map[string]bool{}
	for _, t := range g.Initializers {
		weights[t.Name] = true
		if t.Type.IsFloat() {
			c.Parameters += t.Len()
		}
	}
	depth := map[string]int{}
	regular, bent := map[string]int{}, map[string]int{}
	for _, n := range g.Nodes {
		d := 0
		for _, in := range n.Inputs {
			d = max(d, depth[in])
		}
		if layerOps[n.Op] && (n.Op != "MatMul" || usesWeight(n, weights)) {
			c.Layers[n.Op]++
			d++
		}
		if regularisers[n.Op] {
			regular[n.Op]++
		}
		if activations[n.Op] {
			bent[n.Op]++
		}
		for _, out := range n.Outputs {
			depth[out] = d
		}
		c.Depth = max(c.Depth, d)
	}
	c.Regularisation, c.Activations = counted(regular), counted(bent)
	return c
}

func usesWeight(n *onnx.Node, weights map[string]bool) bool {
	return slices.ContainsFunc(n.Inputs, func(in string) bool { return weights[in] })
}

func counted(n map[string]int) []string {
	out := []string{}
	for _, op := range slices.Sorted(maps.Keys(n)) {
		out = append(out, fmt.Sprintf("%s x%d", op, n[op]))
	}
	return out
}
