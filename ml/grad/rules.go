package grad

import (
	"fmt"
	"slices"
	"strings"

	"github.com/redoubt-ml/redoubt/ml/onnx"
)

// Rule is how one operator is differentiated.
type Rule struct {
	Op     string
	Domain string // "" is the ONNX domain
	// Since is the first version of the operator that the rule reads; later
	// versions up to opset 24 have the same form.
	Since int
	// VJP emits the product of a node's Jacobian with the gradient at its
	// outputs, for every input that wants one. It is nil where the derivative
	// is zero wherever there is one: such an operator ends a gradient's path.
	VJP func(c *call)
}

// Rules is every operator that can be differentiated. Left out are the
// operators of control flow (If, Loop, Scan) and of sequences, the integer
// ones that QuantizeLinear is fused into (QLinearConv, MatMulInteger), tree
// ensembles, which are constant between their thresholds, and the fused
// operators that optimisers write (com.microsoft): start from the model as it
// was exported.
var Rules = slices.Concat(
	unaryRules,
	activationRules,
	binaryRules,
	matrixRules,
	attentionRules,
	convRules,
	poolRules,
	normRules,
	softmaxRules,
	reduceRules,
	moveRules,
	gatherRules,
	resizeRules,
	orderRules,
	recurrentRules,
	quantRules,
	classicRules,
	zeroRules,
)

type opID struct{ domain, op string }

// ruleTable finds rules by operator.
type ruleTable struct {
	rules map[opID]Rule
	// discrete lets gradients flow through truths and integers.
	discrete bool
}

func index(rules []Rule) ruleTable {
	t := ruleTable{rules: make(map[opID]Rule, len(rules))}
	for _, r := range rules {
		t.rules[opID{r.Domain, r.Op}] = r
	}
	return t
}

// carries reports whether gradients flow through values of a type: those of
// floating point, and the narrow integers, which only quantisation produces.
func (t ruleTable) carries(elem onnx.DataType) bool {
	switch elem {
	case onnx.Bool, onnx.Int32, onnx.Int64, onnx.Uint32, onnx.Uint64:
		return t.discrete
	case onnx.String, onnx.Complex64, onnx.Complex128:
		return false
	}
	return true
}

// find is the rule for a node, or the reason why there is none.
func (t ruleTable) find(n *onnx.Node) (Rule, string) {
	if r, ok := t.rules[opID{n.Domain, n.Op}]; ok {
		return r, ""
	}
	switch {
	case n.Domain == "" && (n.Op == "If" || n.Op == "Loop" || n.Op == "Scan"):
		return Rule{}, "control flow that is decided at run time is not differentiated"
	case n.Domain == "ai.onnx.ml" && strings.HasPrefix(n.Op, "TreeEnsemble"):
		return Rule{}, "a tree ensemble is constant between its thresholds"
	case n.Domain == "com.microsoft":
		return Rule{}, "it is one of an optimiser's fused operators; start from the model as it was exported"
	}
	return Rule{}, fmt.Sprintf("no rule covers operator %s", n.Op)
}

// blocks reports whether a node ends every gradient's path.
func (t ruleTable) blocks(n *onnx.Node) bool {
	r, ok := t.rules[opID{n.Domain, n.Op}]
	if !ok {
		return false
	}
	if n.Op == "Cast" || n.Op == "CastLike" {
		to := onnx.DataType(n.Int("to", int64(onnx.Float)))
		return !to.IsFloat() && !t.discrete
	}
	return r.VJP == nil
}

// zeroRules are the operators whose derivative is zero wherever there is one.
var zeroRules = func() []Rule {
	var rules []Rule
	for _, op := range []string{
		"Round", "Floor", "Ceil", "Sign", "Hardmax",
		"Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual",
		"And", "Or", "Xor", "Not", "IsNaN", "IsInf",
		"ArgMax", "ArgMin", "NonZero", "Shape", "Size",
		"ConstantOfShape", "EyeLike", "RandomNormalLike", "RandomUniformLike", "Bernoulli", "Multinomial",
	} {
		rules = append(rules, Rule{Op: op, Since: 1})
	}
	return append(rules, Rule{Op: "Binarizer", Domain: "ai.onnx.ml", Since: 1})
}()
