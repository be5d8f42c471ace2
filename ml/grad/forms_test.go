package grad

import (
	"slices"

	"github.com/redoubt-ml/redoubt/ml/onnx"
)

var zero = []float64{0}

// forms is every rule in every form that it treats differently.
var forms = slices.Concat(
	unaryForms, binaryForms, matrixForms, convForms, poolForms, normForms,
	reduceForms, moveForms, gatherForms, resizeForms, recurrentForms, otherForms,
)

var unaryForms = []form{
	{op: "Identity", in: in(u(2, 3))},
	{op: "Neg", in: in(u(2, 3))},
	{op: "Abs", in: in(off(zero, 2, 3))},
	{op: "Sqrt", in: in(pos(2, 3))},
	{op: "Exp", in: in(u(2, 3))},
	{op: "Log", in: in(pos(2, 3))},
	{op: "Reciprocal", in: in(pos(2, 3))},
	{op: "Erf", in: in(u(4, 5)), single: true},
	{op: "Sin", in: in(u(2, 3))},
	{op: "Cos", in: in(u(2, 3)), single: true},
	{op: "Tan", in: in(u(2, 3)), single: true},
	{op: "Asin", in: in(within(-0.6, 0.6, 2, 3)), single: true},
	{op: "Acos", in: in(within(-0.6, 0.6, 2, 3)), single: true},
	{op: "Atan", in: in(u(2, 3)), single: true},
	{op: "Sinh", in: in(u(2, 3)), single: true},
	{op: "Cosh", in: in(u(2, 3)), single: true},
	{op: "Asinh", in: in(u(2, 3)), single: true},
	{op: "Acosh", in: in(within(1.5, 3, 2, 3)), single: true},
	{op: "Atanh", in: in(within(-0.6, 0.6, 2, 3)), single: true},
	{op: "Cast", name: "to float32", in: in(u(2, 3)), attrs: with(ai("to", 1)), single: true},
	{op: "Cast", name: "through float64", in: in(u(2, 3)), single: true, nodes: []*onnx.Node{
		onnx.NewNode("Cast", []string{"x0"}, []string{"d"}, ai("to", 11)),
		onnx.NewNode("Mul", []string{"d", "d"}, []string{"dd"}),
		onnx.NewNode("Cast", []string{"dd"}, []string{"y0"}, ai("to", 1)),
	}},
	{op: "CastLike", in: in(u(2, 3), konst(u(1)))},
	{op: "Dropout", name: "inference", in: in(u(2, 3), arg{fixed: onnx.FloatTensor("", []float32{0.3})})},
	{op: "Dropout", name: "ratio a tenth, not training", in: in(u(2, 3), arg{fixed: onnx.FloatTensor("", []float32{0.1})}, narrow(onnx.Bool, 0))},
	{op: "Relu", in: in(off(zero, 2, 3))},
	{op: "LeakyRelu", in: in(off(zero, 2, 3)), attrs: with(af("alpha", 0.3)), single: true},
	{op: "ThresholdedRelu", in: in(off([]float64{0.5}, 2, 5)), attrs: with(af("alpha", 0.5)), single: true},
	{op: "Elu", in: in(off(zero, 2, 5)), attrs: with(af("alpha", 0.7)), single: true},
	{op: "Celu", in: in(off(zero, 2, 5)), attrs: with(af("alpha", 0.7)), single: true},
	{op: "Selu", in: in(off(zero, 2, 5)), single: true},
	{op: "Selu", name: "other constants", in: in(off(zero, 2, 5)), attrs: with(af("alpha", 0.5), af("gamma", 2)), single: true},
	{op: "Sigmoid", in: in(u(2, 3))},
	{op: "Tanh", in: in(u(2, 3))},
	{op: "Softplus", in: in(u(2, 3)), single: true},
	{op: "Softsign", in: in(off(zero, 2, 5)), single: true},
	{op: "HardSigmoid", in: in(off([]float64{-1.5, 1.5}, 2, 9)), attrs: with(af("alpha", 1.0/3)), single: true},
	{op: "HardSwish", in: in(values([]float64{-5, -3.5, -2.5, -1, 0.2, 1.5, 2.7, 3.2}, 2, 4).free()), single: true},
	{op: "Mish", in: in(u(2, 5)), single: true},
	{op: "Swish", in: in(u(2, 5)), attrs: with(af("alpha", 1.7)), opset: 24, single: true},
	{op: "Gelu", in: in(off(nil, 4, 5)), opset: 20, single: true},
	{op: "Gelu", name: "tanh", in: in(off(nil, 4, 5)), attrs: with(as("approximate", "tanh")), opset: 20, single: true},
	{op: "Shrink", in: in(off([]float64{-0.5, 0.5}, 2, 9)), attrs: with(af("bias", 0.2)), single: true},
	{op: "PRelu", in: in(off(zero, 2, 3, 4), u(3, 1))},
	{op: "PRelu", name: "one slope", in: in(batch(off(zero, 2, 3, 4)), u(1))},
	{op: "Clip", in: in(off([]float64{-0.5, 0.7}, 2, 9), values([]float64{-0.5}), values([]float64{0.7}))},
	{op: "Clip", name: "above only, wanting the bound", in: in(off([]float64{0.7}, 2, 9), none, within(0.7, 0.7))},
	{op: "Clip", name: "wanting both bounds", in: in(off([]float64{-0.5, 0.7}, 2, 9), within(-0.5, -0.5), within(0.7, 0.7))},
}

var binaryForms = []form{
	{op: "Add", in: in(u(2, 3), u(2, 3))},
	{op: "Add", name: "bias", in: in(batch(u(4, 3)), u(3))},
	{op: "Add", name: "inner and outer", in: in(u(2, 3, 4), u(3, 1))},
	{op: "Add", name: "both ways", in: in(batch(u(2, 1, 4)), u(3, 1))},
	{op: "Add", name: "scalar", in: in(batch(u(2, 3)), u())},
	{op: "Sub", in: in(u(2, 3), u(1, 3))},
	{op: "Sub", name: "scalar first", in: in(u(), u(2, 3))},
	{op: "Mul", in: in(u(2, 3), u(3))},
	{op: "Mul", name: "with itself", in: in(u(2, 3)), nodes: []*onnx.Node{onnx.NewNode("Mul", []string{"x0", "x0"}, []string{"y0"})}},
	{op: "Div", in: in(u(2, 3), pos(2, 1))},
	{op: "Div", name: "broadcast numerator", in: in(u(1), pos(2, 3))},
	{op: "Pow", name: "variable", in: in(pos(2, 3), u(3))},
	{op: "Pow", name: "square", in: in(u(2, 3), values([]float64{2}))},
	{op: "Pow", name: "cube", in: in(u(2, 3), values([]float64{3}, 1))},
	{op: "Pow", name: "root", in: in(pos(2, 3), values([]float64{0.5}))},
	{op: "Pow", name: "one", in: in(u(2, 3), values([]float64{1}))},
	{op: "Pow", name: "constant", in: in(pos(2, 3), values([]float64{-1.5}))},
	{op: "Pow", name: "integer type", in: in(u(2, 3), iarr([]int64{4}))},
	{op: "Pow", name: "integer vector", in: in(pos(2, 3), ivec(2, 3, 4))},
	{op: "Mod", in: in(values([]float64{5.3, -7.1, 2.2}, 3).free(), values([]float64{2, 3, -1.5}, 3).free()), attrs: with(ai("fmod", 1))},
	{op: "Sum", in: in(u(2, 3), u(3), u(2, 1))},
	{op: "Mean", in: in(u(2, 3), u(3), u(2, 1)), single: true, step: wide},
	{op: "Max", in: in(apart(3, 4), konst(within(0.01, 0.04)))},
	{op: "Max", name: "one input", in: in(u(3, 4))},
	{op: "Max", name: "two variables", in: in(apart(3, 4), within(-0.04, 0.04, 4))},
	{op: "Min", in: in(apart(3, 4), within(-0.04, 0.04, 4), within(0.8, 0.84, 3, 1))},
	{op: "Where", in: in(truth(1, 0, 1), u(2, 3), u(3))},
	{op: "Where", name: "scalar branch", in: in(truth(1, 0, 1), u(), batch(u(2, 3)))},
	{op: "Expand", in: in(u(3, 1), ivec(2, 3, 4))},
	{op: "Expand", name: "one way only", in: in(u(2, 3), ivec(3))},
}

// free makes given values differentiable.
func (a arg) free() arg { a.konst = false; return a }

var matrixForms = []form{
	{op: "Gemm", in: in(batch(u(2, 3)), u(3, 4), u(4))},
	{op: "Gemm", name: "transposed A", in: in(u(3, 2), u(3, 4), u(2, 1)), attrs: with(ai("transA", 1), af("alpha", 0.5), af("beta", 2))},
	{op: "Gemm", name: "transposed B", in: in(u(2, 3), u(4, 3), u()), attrs: with(ai("transB", 1), af("alpha", 1.5))},
	{op: "Gemm", name: "both transposed, no C", in: in(u(3, 2), u(4, 3)), attrs: with(ai("transA", 1), ai("transB", 1))},
	{op: "MatMul", in: in(u(2, 3), u(3, 4))},
	{op: "MatMul", name: "stack", in: in(batch(u(2, 5, 3, 4)), batch(u(2, 5, 4, 2)))},
	{op: "MatMul", name: "stack by matrix", in: in(batch(u(2, 3, 4)), u(4, 5))},
	{op: "MatMul", name: "matrix by stack", in: in(u(3, 4), batch(u(2, 4, 5)))},
	{op: "MatMul", name: "broadcast both", in: in(u(2, 1, 3, 4), u(5, 4, 2))},
	{op: "MatMul", name: "vector by matrix", in: in(u(3), u(3, 4))},
	{op: "MatMul", name: "matrix by vector", in: in(u(2, 3), u(3))},
	{op: "MatMul", name: "vectors", in: in(u(3), u(3))},
	{op: "MatMul", name: "stack by vector", in: in(batch(u(2, 3, 4)), u(4))},
	{op: "MatMul", name: "vector by stack", in: in(u(4), batch(u(2, 4, 3)))},
	{op: "Einsum", name: "matrices", in: in(u(2, 3), u(3, 4)), attrs: with(as("equation", "ij,jk->ik"))},
	{op: "Einsum", name: "attention scores", in: in(u(2, 3, 4, 5), u(2, 6, 4, 5)), attrs: with(as("equation", "bqhd,bkhd->bhqk"))},
	{op: "Einsum", name: "implicit", in: in(u(2, 3), u(3, 4)), attrs: with(as("equation", "ij, jk"))},
	{op: "Einsum", name: "sums away", in: in(u(2, 3, 4)), attrs: with(as("equation", "ijk->j"))},
	{op: "Einsum", name: "lost label", in: in(u(2, 3), u(3, 4)), attrs: with(as("equation", "ij,jk->j"))},
	{op: "Einsum", name: "transpose", in: in(u(2, 3, 4)), attrs: with(as("equation", "ijk->kij"))},
	{op: "Einsum", name: "ellipsis", in: in(u(2, 5, 3, 4), u(2, 5, 4, 6)), attrs: with(as("equation", "...ij,...jk->...ik"))},
	{op: "Einsum", name: "ellipsis on one side", in: in(u(2, 5, 4), u(4, 6)), attrs: with(as("equation", "...j,jk->...k"))},
	{op: "Einsum", name: "three operands", in: in(u(2, 3), u(3, 4), u(4, 5)), attrs: with(as("equation", "ij,jk,kl->il"))},
}

// Convolutions are linear in each argument, so a wide step is exact.
const wide = 0.5

var convForms = []form{
	{op: "Conv", name: "plain", in: in(batch(u(2, 3, 6, 6)), u(4, 3, 3, 3), u(4)), single: true, step: wide},
	{op: "Conv", name: "constant weights", in: in(batch(u(2, 3, 6, 6)), konst(u(4, 3, 3, 3))), single: true, step: wide},
	{op: "Conv", name: "1x1", in: in(u(2, 3, 5, 5), u(4, 3, 1, 1)), single: true, step: wide},
	{op: "Conv", name: "1x1 stride 2", in: in(u(2, 3, 5, 6), u(4, 3, 1, 1)), attrs: with(ais("strides", 2, 2)), single: true, step: wide},
	{op: "Conv", name: "padded", in: in(u(2, 3, 5, 6), u(4, 3, 3, 3), u(4)), attrs: with(ais("pads", 1, 1, 1, 1)), single: true, step: wide},
	{op: "Conv", name: "uneven pads", in: in(u(2, 3, 5, 6), u(4, 3, 3, 2)), attrs: with(ais("pads", 0, 1, 2, 0)), single: true, step: wide},
	{op: "Conv", name: "pads beyond the kernel", in: in(u(1, 2, 4, 4), u(3, 2, 2, 2)), attrs: with(ais("pads", 2, 2, 3, 2)), single: true, step: wide},
	{op: "Conv", name: "stride 2", in: in(u(2, 3, 7, 8), u(4, 3, 3, 3), u(4)), attrs: with(ais("strides", 2, 2), ais("pads", 1, 1, 1, 1)), single: true, step: wide},
	{op: "Conv", name: "stride 3, kernel 2", in: in(u(2, 3, 9, 10), u(4, 3, 2, 2)), attrs: with(ais("strides", 3, 3)), single: true, step: wide},
	{op: "Conv", name: "dilated", in: in(u(2, 3, 8, 9), u(4, 3, 3, 2)), attrs: with(ais("dilations", 2, 3), ais("pads", 2, 1, 2, 1)), single: true, step: wide},
	{op: "Conv", name: "dilated, stride 2", in: in(u(2, 3, 9, 10), u(4, 3, 3, 3)), attrs: with(ais("dilations", 2, 2), ais("strides", 2, 2), ais("pads", 1, 1, 1, 1)), single: true, step: wide},
	{op: "Conv", name: "groups", in: in(u(2, 4, 6, 6), u(6, 2, 3, 3), u(6)), attrs: with(ai("group", 2), ais("pads", 1, 1, 1, 1)), single: true, step: wide},
	{op: "Conv", name: "groups, constant weights", in: in(batch(u(2, 4, 6, 6)), konst(u(6, 2, 3, 2))), attrs: with(ai("group", 2)), single: true, step: wide},
	{op: "Conv", name: "depthwise", in: in(batch(u(2, 4, 6, 6)), u(4, 1, 3, 3)), attrs: with(ai("group", 4), ais("pads", 1, 1, 1, 1)), single: true, step: wide},
	{op: "Conv", name: "depthwise stride 2", in: in(u(2, 4, 7, 6), u(4, 1, 3, 3)), attrs: with(ai("group", 4), ais("strides", 2, 2), ais("pads", 1, 1, 1, 1)), single: true, step: wide},
	{op: "Conv", name: "depthwise, two a channel", in: in(u(2, 3, 6, 6), u(6, 1, 3, 3)), attrs: with(ai("group", 3)), single: true, step: wide},
	{op: "Conv", name: "7x7 stride 2", in: in(batch(u(2, 3, 15, 16)), u(4, 3, 7, 7)), attrs: with(ais("strides", 2, 2), ais("pads", 3, 3, 3, 3)), single: true, step: wide},
	{op: "Conv", name: "same upper", in: in(u(2, 3, 7, 8), u(4, 3, 4, 3)), attrs: with(as("auto_pad", "SAME_UPPER"), ais("strides", 2, 2)), single: true, step: wide},
	{op: "Conv", name: "same lower", in: in(u(2, 3, 7, 8), u(4, 3, 4, 2)), attrs: with(as("auto_pad", "SAME_LOWER")), single: true, step: wide},
	{op: "Conv", name: "valid", in: in(u(2, 3, 7, 8), u(4, 3, 4, 2)), attrs: with(as("auto_pad", "VALID"), ais("strides", 1, 2)), single: true, step: wide},
	{op: "Conv", name: "subpixel", in: in(batch(u(2, 1, 8, 12)), konst(u(4, 1, 5, 5))), attrs: with(ais("pads", 2, 2, 2, 2)), single: true, step: wide},
	{op: "Conv", name: "subpixel, uneven", in: in(batch(u(2, 3, 8, 6)), konst(u(4, 3, 3, 2))), attrs: with(ais("pads", 0, 1, 2, 0)), single: true, step: wide},
	{op: "Conv", name: "subpixel, dilated", in: in(u(2, 1, 8, 8), konst(u(4, 1, 3, 3))), attrs: with(ais("dilations", 2, 3)), single: true, step: wide},
	{op: "Conv", name: "subpixel, stride 2", in: in(u(2, 3, 16, 12), konst(u(4, 3, 7, 7))), attrs: with(ais("strides", 2, 2), ais("pads", 3, 3, 3, 3)), single: true, step: wide},
	{op: "Conv", name: "subpixel, stride 2, rest unused", in: in(u(2, 3, 12, 12), konst(u(4, 3, 3, 3))), attrs: with(ais("strides", 2, 2)), single: true, step: wide},
	{op: "Conv", name: "subpixel, stride 3, kernel 2", in: in(u(2, 3, 12, 12), konst(u(4, 3, 2, 2))), attrs: with(ais("strides", 3, 3)), single: true, step: wide},
	{op: "Conv", name: "subpixel, padding beyond the kernel", in: in(u(2, 1, 4, 4), konst(u(4, 1, 2, 2))), attrs: with(ais("pads", 3, 3, 3, 3)), single: true, step: wide},
	{op: "Conv", name: "1-D", in: in(batch(u(2, 3, 9)), u(4, 3, 3), u(4)), attrs: with(ais("pads", 1, 1)), single: true, step: wide},
	{op: "Conv", name: "1-D stride 2", in: in(u(2, 3, 9), u(4, 3, 4)), attrs: with(ais("strides", 2), ais("pads", 1, 2)), single: true, step: wide},
	{op: "Conv", name: "3-D", in: in(u(1, 2, 4, 5, 4), u(3, 2, 2, 3, 2), u(3)), attrs: with(ais("pads", 0, 1, 1, 1, 1, 0)), single: true, step: wide},
	{op: "Conv", name: "3-D stride 2", in: in(u(1, 2, 5, 5, 4), u(3, 2, 2, 3, 2)), attrs: with(ais("strides", 2, 2, 1)), single: true, step: wide},
	{op: "ConvTranspose", name: "plain", in: in(batch(u(2, 3, 4, 4)), u(3, 5, 3, 3), u(5)), single: true, step: wide},
	{op: "ConvTranspose", name: "stride 2", in: in(batch(u(2, 3, 4, 5)), u(3, 5, 2, 2)), attrs: with(ais("strides", 2, 2)), single: true, step: wide},
	{op: "ConvTranspose", name: "padded with output padding", in: in(u(2, 3, 4, 5), u(3, 5, 3, 3)), attrs: with(ais("strides", 2, 2), ais("pads", 1, 1, 1, 1), ais("output_padding", 1, 1)), single: true, step: wide},
	{op: "ConvTranspose", name: "groups", in: in(u(2, 4, 4, 5), u(4, 3, 3, 3)), attrs: with(ai("group", 2), ais("strides", 2, 1)), single: true, step: wide},
	{op: "ConvTranspose", name: "dilated", in: in(u(2, 3, 4, 5), u(3, 2, 3, 3)), attrs: with(ais("dilations", 2, 2), ais("pads", 1, 0, 2, 1)), single: true, step: wide},
	{op: "ConvTranspose", name: "output shape", in: in(u(2, 3, 4, 5), u(3, 2, 3, 3)), attrs: with(ais("strides", 3, 2), ais("output_shape", 10, 10)), single: true, step: wide},
	{op: "ConvTranspose", name: "same upper", in: in(u(2, 3, 4, 5), u(3, 2, 3, 3)), attrs: with(ais("strides", 2, 2), as("auto_pad", "SAME_UPPER")), single: true, step: wide},
	{op: "ConvTranspose", name: "same lower", in: in(u(2, 3, 4, 5), u(3, 2, 3, 3)), attrs: with(ais("strides", 2, 2), as("auto_pad", "SAME_LOWER")), single: true, step: wide},
	{op: "ConvTranspose", name: "1-D", in: in(u(2, 3, 5), u(3, 2, 4), u(2)), attrs: with(ais("strides", 2), ais("pads", 1, 1)), single: true, step: wide},
	{op: "ConvTranspose", name: "3-D", in: in(u(1, 3, 3, 2, 3), u(3, 2, 2, 2, 2)), attrs: with(ais("strides", 2, 1, 2)), single: true, step: wide},
}

var poolForms = []form{
	{op: "MaxPool", name: "tiling", in: in(batch(apart(2, 3, 4, 6))), attrs: with(ais("kernel_shape", 2, 3), ais("strides", 2, 3))},
	{op: "MaxPool", name: "after a Relu", in: in(batch(apart(2, 3, 4, 4))), single: true, nodes: []*onnx.Node{
		onnx.NewNode("Relu", []string{"x0"}, []string{"r"}),
		onnx.NewNode("MaxPool", []string{"r"}, []string{"y0"}, ais("kernel_shape", 2, 2), ais("strides", 2, 2))}},
	{op: "MaxPool", name: "after a Relu that something else reads", in: in(batch(apart(2, 3, 4, 4))), single: true, outputs: 2, nodes: []*onnx.Node{
		onnx.NewNode("Relu", []string{"x0"}, []string{"r"}),
		onnx.NewNode("MaxPool", []string{"r"}, []string{"y0"}, ais("kernel_shape", 2, 2), ais("strides", 2, 2)),
		onnx.NewNode("Mul", []string{"r", "r"}, []string{"y1"})}},
	{op: "MaxPool", name: "rest left over", in: in(batch(apart(2, 3, 5, 5))), attrs: with(ais("kernel_shape", 2, 2), ais("strides", 2, 2))},
	{op: "MaxPool", name: "overlapping", in: in(batch(apart(2, 3, 6, 6))), attrs: with(ais("kernel_shape", 3, 3), ais("strides", 2, 2), ais("pads", 1, 1, 1, 1))},
	{op: "MaxPool", name: "stride 1", in: in(apart(1, 2, 5, 5)), attrs: with(ais("kernel_shape", 3, 3))},
	{op: "MaxPool", name: "dilated", in: in(apart(1, 2, 7, 7)), attrs: with(ais("kernel_shape", 2, 3), ais("dilations", 2, 2))},
	{op: "MaxPool", name: "ceil", in: in(apart(1, 2, 6, 6)), attrs: with(ais("kernel_shape", 3, 3), ais("strides", 2, 2), ai("ceil_mode", 1))},
	{op: "MaxPool", name: "same", in: in(apart(1, 2, 5, 5)), attrs: with(ais("kernel_shape", 3, 3), ais("strides", 2, 2), as("auto_pad", "SAME_UPPER"))},
	{op: "MaxPool", name: "1-D", in: in(apart(2, 2, 8)), attrs: with(ais("kernel_shape", 2), ais("strides", 2))},
	{op: "MaxPool", name: "3-D", in: in(apart(1, 2, 4, 4, 4)), attrs: with(ais("kernel_shape", 2, 2, 2), ais("strides", 2, 2, 1))},
	{op: "AveragePool", name: "tiling", in: in(batch(u(2, 3, 4, 6))), attrs: with(ais("kernel_shape", 2, 3), ais("strides", 2, 3)), single: true, step: wide},
	{op: "AveragePool", name: "overlapping", in: in(batch(u(2, 3, 6, 7))), attrs: with(ais("kernel_shape", 3, 3), ais("strides", 2, 2)), single: true, step: wide},
	{op: "AveragePool", name: "padded", in: in(u(2, 3, 6, 6)), attrs: with(ais("kernel_shape", 3, 3), ais("pads", 1, 1, 1, 1)), single: true, step: wide},
	{op: "AveragePool", name: "padding counted", in: in(u(2, 3, 6, 6)), attrs: with(ais("kernel_shape", 3, 3), ais("pads", 1, 1, 1, 1), ai("count_include_pad", 1)), single: true, step: wide},
	{op: "AveragePool", name: "ceil", in: in(u(2, 3, 6, 6)), attrs: with(ais("kernel_shape", 3, 3), ais("strides", 2, 2), ai("ceil_mode", 1)), opset: 19, single: true, step: wide},
	{op: "AveragePool", name: "ceil, padding counted", in: in(u(1, 2, 6, 6)), attrs: with(ais("kernel_shape", 3, 3), ais("strides", 2, 2), ais("pads", 1, 1, 1, 1), ai("ceil_mode", 1), ai("count_include_pad", 1)), opset: 19, single: true, step: wide},
	{op: "AveragePool", name: "dilated", in: in(u(1, 2, 7, 7)), attrs: with(ais("kernel_shape", 2, 3), ais("dilations", 2, 2)), opset: 19, single: true, step: wide},
	{op: "AveragePool", name: "1-D", in: in(u(2, 3, 7)), attrs: with(ais("kernel_shape", 3), ais("strides", 2)), single: true, step: wide},
	{op: "AveragePool", name: "3-D", in: in(u(1, 2, 4, 5, 4)), attrs: with(ais("kernel_shape", 2, 3, 2), ais("pads", 0, 1, 0, 0, 1, 0)), single: true, step: wide},
	{op: "LpPool", name: "p 2", in: in(u(1, 2, 6, 6)), attrs: with(ais("kernel_shape", 3, 3), ais("strides", 2, 2)), single: true},
	{op: "LpPool", name: "p 3", in: in(pos(1, 2, 5, 5)), attrs: with(ais("kernel_shape", 2, 2), ai("p", 3)), single: true},
	{op: "LpPool", name: "p 1", in: in(off(zero, 1, 2, 5, 5)), attrs: with(ais("kernel_shape", 2, 2), ai("p", 1)), single: true},
	{op: "GlobalAveragePool", in: in(batch(u(2, 3, 4, 5))), single: true, step: wide},
	{op: "GlobalMaxPool", in: in(batch(apart(2, 3, 4, 5))), single: true},
	{op: "GlobalLpPool", in: in(u(2, 3, 4, 5)), single: true},
}

var normForms = []form{
	{op: "BatchNormalization", name: "constants", in: in(batch(u(2, 3, 4, 4)), konst(u(3)), konst(u(3)), konst(u(3)), konst(pos(3)))},
	{op: "BatchNormalization", name: "all wanted", in: in(batch(u(2, 3, 4, 4)), u(3), u(3), u(3), pos(3)), attrs: with(af("epsilon", 0.01))},
	{op: "BatchNormalization", name: "matrix", in: in(batch(u(2, 3)), u(3), u(3), u(3), pos(3))},
	{op: "BatchNormalization", name: "training", in: in(batch(u(4, 3, 2, 2)), u(3), u(3), konst(u(3)), konst(pos(3))), single: true, nodes: []*onnx.Node{
		onnx.NewNode("BatchNormalization", []string{"x0", "x1", "x2", "x3", "x4"}, []string{"y0", "m", "v"}, ai("training_mode", 1))}},
	{op: "InstanceNormalization", in: in(batch(u(2, 3, 4, 4)), u(3), u(3)), single: true},
	{op: "GroupNormalization", name: "per group", in: in(u(2, 4, 3, 3), u(2), u(2)), attrs: with(ai("num_groups", 2)), single: true},
	{op: "GroupNormalization", name: "per channel", in: in(batch(u(2, 4, 3, 3)), u(4), u(4)), attrs: with(ai("num_groups", 2)), opset: 21, single: true},
	{op: "LayerNormalization", in: in(batch(u(2, 3, 8)), u(8), u(8))},
	{op: "LayerNormalization", name: "axis 1, no bias", in: in(u(2, 3, 4), u(3, 4)), attrs: with(ai("axis", 1), af("epsilon", 0.01))},
	{op: "RMSNormalization", in: in(batch(u(2, 3, 8)), u(8)), opset: 23},
	{op: "MeanVarianceNormalization", in: in(u(2, 3, 4, 4)), single: true},
	{op: "LpNormalization", name: "p 2", in: in(u(3, 5)), attrs: with(ai("axis", 1))},
	{op: "LpNormalization", name: "p 1", in: in(off(zero, 3, 5)), attrs: with(ai("axis", 0), ai("p", 1))},
	{op: "LRN", in: in(batch(pos(2, 6, 3, 3))), attrs: with(ai("size", 3), af("alpha", 0.3), af("beta", 0.6), af("bias", 1.5)), single: true},
	{op: "Softmax", in: in(batch(u(2, 3, 4)))},
	{op: "Softmax", name: "inner axis", in: in(u(2, 3, 4)), attrs: with(ai("axis", 1))},
	{op: "LogSoftmax", in: in(u(2, 3, 4))},
	{op: "LogSoftmax", name: "first axis", in: in(u(2, 3)), attrs: with(ai("axis", 0))},
}

var reduceForms = []form{
	{op: "ReduceSum", in: in(batch(u(2, 3, 4)), ivec(1))},
	{op: "ReduceSum", name: "no keepdims", in: in(batch(u(2, 3, 4)), ivec(0, -1)), attrs: with(ai("keepdims", 0))},
	{op: "ReduceSum", name: "everything", in: in(batch(u(2, 3))), attrs: with(ai("keepdims", 0))},
	{op: "ReduceSum", name: "nothing", in: in(u(2, 3)), attrs: with(ai("noop_with_empty_axes", 1))},
	{op: "ReduceMean", in: in(u(2, 3, 4), ivec(2)), attrs: with(ai("keepdims", 0))},
	{op: "ReduceMean", name: "over the batch", in: in(batch(u(2, 3, 4)), ivec(0, 1))},
	{op: "ReduceMean", name: "axes at run time", in: in(batch(u(2, 3, 4))), nodes: []*onnx.Node{
		onnx.NewNode("Constant", nil, []string{"lo"}, ai("value_int", 1)),
		onnx.NewNode("Constant", nil, []string{"hi"}, ai("value_int", 3)),
		onnx.NewNode("Constant", nil, []string{"by"}, ai("value_int", 1)),
		onnx.NewNode("Range", []string{"lo", "hi", "by"}, []string{"axes"}),
		onnx.NewNode("ReduceMean", []string{"x0", "axes"}, []string{"y0"})}},
	{op: "ReduceMax", in: in(apart(3, 4), ivec(1)), attrs: with(ai("keepdims", 0))},
	{op: "ReduceMin", in: in(apart(3, 4), ivec(0))},
	{op: "ReduceL1", in: in(off(zero, 3, 4), ivec(1)), attrs: with(ai("keepdims", 0)), single: true},
	{op: "ReduceL2", in: in(u(3, 4), ivec(1)), single: true},
	{op: "ReduceSumSquare", in: in(u(3, 4), ivec(1)), attrs: with(ai("keepdims", 0))},
	{op: "ReduceLogSum", in: in(pos(3, 4), ivec(1)), single: true},
	{op: "ReduceLogSumExp", in: in(u(3, 4), ivec(1)), attrs: with(ai("keepdims", 0))},
	{op: "ReduceProd", in: in(pos(3, 4), ivec(1)), attrs: with(ai("keepdims", 0)), single: true},
	{op: "ReduceProd", name: "with zeros", in: in(values([]float64{0, 2, 3, 0, 0, 4, 5, 6, 7}, 3, 3).free(), ivec(1)), single: true},
}

var moveForms = []form{
	{op: "Reshape", in: in(batch(u(2, 6)), ivec(-1, 2, 3))},
	{op: "Reshape", name: "copied dimension", in: in(batch(u(2, 3, 4)), ivec(0, -1))},
	{op: "Flatten", in: in(batch(u(2, 3, 4)))},
	{op: "Squeeze", in: in(batch(u(2, 1, 3, 1)), ivec(1, 3))},
	{op: "Unsqueeze", in: in(batch(u(2, 3)), ivec(0, -1))},
	{op: "Transpose", in: in(u(2, 3, 4))},
	{op: "Transpose", name: "perm", in: in(u(2, 3, 4)), attrs: with(ais("perm", 1, 2, 0))},
	{op: "Concat", in: in(batch(u(2, 3)), batch(u(2, 4))), attrs: with(ai("axis", -1))},
	{op: "Concat", name: "one wanted", in: in(konst(u(2, 3)), u(2, 4), konst(u(2, 2))), attrs: with(ai("axis", 1))},
	{op: "Concat", name: "batches", in: in(batch(u(2, 3)), konst(u(1, 3)), batch(u(3, 3))), attrs: with(ai("axis", 0))},
	{op: "Concat", name: "after a batch", in: in(batch(u(2, 3)), konst(u(1, 3)), u(2, 3)), attrs: with(ai("axis", 0))},
	{op: "Split", name: "even", in: in(batch(u(2, 6))), attrs: with(ai("axis", 1), ai("num_outputs", 3)), outputs: 3},
	{op: "Split", name: "sizes", in: in(u(2, 6), ivec(2, 4)), attrs: with(ai("axis", 1)), outputs: 2},
	{op: "Split", name: "one part used", in: in(batch(u(2, 6)), ivec(2, 4)), nodes: []*onnx.Node{
		onnx.NewNode("Split", []string{"x0", "x1"}, []string{"a", "y0"}, ai("axis", 1))}},
	{op: "Slice", in: in(u(4, 5), ivec(1), ivec(3), ivec(1))},
	{op: "Slice", name: "all axes, negative ends", in: in(u(4, 5), ivec(1, -4), ivec(-1, 1<<40))},
	{op: "Slice", name: "steps", in: in(u(6, 7), ivec(1, 0), ivec(6, 7), ivec(0, 1), ivec(2, 3))},
	{op: "Slice", name: "backwards", in: in(u(5, 3), ivec(-1), ivec(-1<<40), ivec(0), ivec(-1))},
	{op: "Slice", name: "backwards by 2, from outside", in: in(u(6, 3), ivec(100), ivec(1), ivec(0), ivec(-2))},
	{op: "Slice", name: "steps within a batch", in: in(batch(u(2, 3, 8)), ivec(1), ivec(8), ivec(2), ivec(3))},
	{op: "Slice", name: "along the batch", in: in(batch(u(4, 3)), ivec(1), ivec(1<<40), ivec(0))},
	{op: "Slice", name: "end of the batch", in: in(batch(u(4, 3)), ivec(-2), ivec(-1), ivec(0))},
	{op: "Slice", name: "starts at run time", in: in(batch(u(4, 5))), nodes: []*onnx.Node{
		onnx.NewNode("Shape", []string{"x0"}, []string{"s"}),
		onnx.NewNode("Constant", nil, []string{"one"}, onnx.IntsAttr("value_ints", 1, 1)),
		onnx.NewNode("Sub", []string{"s", "one"}, []string{"from"}),
		onnx.NewNode("Slice", []string{"x0", "from", "s"}, []string{"y0"}),
	}},
	{op: "Pad", in: in(batch(u(2, 3)), ivec(0, 1, 0, 2))},
	{op: "Pad", name: "value and axes", in: in(batch(u(2, 3)), ivec(1, 2), u(), ivec(-1))},
	{op: "Pad", name: "negative", in: in(u(4, 5), ivec(-1, 1, 2, -2))},
	{op: "Pad", name: "reflect", in: in(batch(u(2, 3, 5, 6)), ivec(0, 0, 2, 1, 0, 0, 3, 2)), attrs: with(as("mode", "reflect"))},
	{op: "Pad", name: "edge", in: in(batch(u(2, 2, 3, 4)), ivec(0, 1, 2, 1, 0, 0, 1, 3)), attrs: with(as("mode", "edge"))},
	{op: "Pad", name: "reflect, pads at run time", in: in(batch(u(2, 3, 5, 6))), nodes: []*onnx.Node{
		onnx.NewNode("Shape", []string{"x0"}, []string{"s"}),
		onnx.NewNode("Constant", nil, []string{"less"}, onnx.IntsAttr("value_ints", 2, 3, 3, 5)),
		onnx.NewNode("Constant", nil, []string{"half"}, onnx.IntsAttr("value_ints", 9, 1, 1, 1)),
		onnx.NewNode("Sub", []string{"s", "less"}, []string{"d"}),
		onnx.NewNode("Div", []string{"d", "half"}, []string{"p"}),
		onnx.NewNode("Concat", []string{"p", "p"}, []string{"pads"}, ai("axis", 0)),
		onnx.NewNode("Pad", []string{"x0", "pads"}, []string{"y0"}, as("mode", "reflect"))}},
	{op: "Pad", name: "wrap", in: in(u(2, 5), ivec(1, 2), none, ivec(1)), attrs: with(as("mode", "wrap")), opset: 19},
	{op: "Tile", in: in(batch(u(2, 3)), ivec(1, 3))},
	{op: "Tile", name: "several axes", in: in(u(2, 3, 1), ivec(2, 1, 4))},
	{op: "Tile", name: "along the batch", in: in(batch(u(2, 3)), ivec(2, 1))},
	{op: "Trilu", in: in(u(2, 4, 4))},
	{op: "Trilu", name: "lower, shifted", in: in(u(4, 4), arg{fixed: onnx.IntTensor("", []int64{-1})}), attrs: with(ai("upper", 0))},
	{op: "DepthToSpace", in: in(batch(u(2, 8, 2, 3))), attrs: with(ai("blocksize", 2))},
	{op: "DepthToSpace", name: "CRD", in: in(batch(u(2, 8, 2, 3))), attrs: with(ai("blocksize", 2), as("mode", "CRD"))},
	{op: "SpaceToDepth", in: in(u(2, 3, 4, 6)), attrs: with(ai("blocksize", 2))},
}

var gatherForms = []form{
	{op: "Gather", in: in(u(5, 3), iarr([]int64{0, 2, 2, -1}, 2, 2))},
	{op: "Gather", name: "axis 1", in: in(batch(u(2, 5, 3)), iarr([]int64{0, 2, 2, 1, 4, 3}, 2, 3)), attrs: with(ai("axis", 1))},
	{op: "Gather", name: "one, axis 1", in: in(batch(u(2, 5, 3)), iarr([]int64{-2})), attrs: with(ai("axis", 1))},
	{op: "Gather", name: "one, kept", in: in(batch(u(2, 5, 3)), ivec(1)), attrs: with(ai("axis", 1))},
	{op: "Gather", name: "one of the batch", in: in(batch(u(3, 4)), iarr([]int64{-1}))},
	{op: "GatherElements", in: in(u(3, 4), iarr([]int64{0, 1, 1, 3, 3, 2}, 3, 2)), attrs: with(ai("axis", 1))},
	{op: "GatherND", in: in(u(3, 4, 2), iarr([]int64{0, 1, 2, 3, 0, 1}, 3, 2))},
	{op: "ScatterElements", in: in(u(3, 4), iarr([]int64{0, 1, 3, 2}, 2, 2), u(2, 2)), attrs: with(ai("axis", 1))},
	{op: "ScatterElements", name: "add", in: in(u(3, 4), iarr([]int64{1, 1, 3, 2}, 2, 2), u(2, 2)), attrs: with(ai("axis", 1), as("reduction", "add"))},
	{op: "ScatterND", in: in(u(4, 3), iarr([]int64{2, 0}, 2, 1), u(2, 3))},
	{op: "ScatterND", name: "add", in: in(u(4, 3), iarr([]int64{2, 2}, 2, 1), u(2, 3)), attrs: with(as("reduction", "add"))},
	{op: "CumSum", in: in(batch(u(2, 5)), arg{fixed: onnx.IntTensor("", []int64{1})})},
	{op: "CumSum", name: "exclusive, backwards", in: in(u(2, 5), arg{fixed: onnx.IntTensor("", []int64{0})}), attrs: with(ai("exclusive", 1), ai("reverse", 1))},
	{op: "TopK", in: in(batch(apart(2, 6)), ivec(3)), nodes: []*onnx.Node{
		onnx.NewNode("TopK", []string{"x0", "x1"}, []string{"y0", "at"})}},
	{op: "TopK", name: "smallest, first axis", in: in(apart(6, 2), ivec(2)), nodes: []*onnx.Node{
		onnx.NewNode("TopK", []string{"x0", "x1"}, []string{"y0", "at"}, ai("axis", 0), ai("largest", 0))}},
}

var resizeForms = []form{
	{op: "Resize", name: "nearest 2x3", in: in(batch(u(2, 3, 3, 2)), none, f32s(1, 1, 2, 3)), attrs: with(as("coordinate_transformation_mode", "asymmetric"), as("nearest_mode", "floor")), single: true, step: wide},
	{op: "Resize", name: "nearest half pixel", in: in(batch(u(2, 3, 3, 2)), none, f32s(1, 1, 2, 2)), single: true, step: wide},
	scaled(form{op: "Resize", name: "nearest 1.5", in: in(u(2, 3, 4, 6)), attrs: with(as("nearest_mode", "ceil")), single: true, step: wide}, 1, 1, 1.5, 0.5),
	{op: "Resize", name: "nearest prefer ceil, sizes", in: in(u(1, 2, 4, 5), none, none, ivec(1, 2, 7, 3)), attrs: with(as("nearest_mode", "round_prefer_ceil")), single: true, step: wide},
	scaled(form{op: "Resize", name: "linear 2", in: in(batch(u(2, 3, 3, 4))), attrs: with(as("mode", "linear")), single: true, step: wide}, 1, 1, 2, 2),
	{op: "Resize", name: "linear align corners", in: in(u(2, 3, 3, 4), none, none, ivec(2, 3, 5, 7)), attrs: with(as("mode", "linear"), as("coordinate_transformation_mode", "align_corners")), single: true, step: wide},
	scaled(form{op: "Resize", name: "linear asymmetric, shrinking", in: in(u(2, 3, 6, 8)), attrs: with(as("mode", "linear"), as("coordinate_transformation_mode", "asymmetric")), single: true, step: wide}, 1, 1, 0.6, 0.7),
	scaled(form{op: "Resize", name: "linear pytorch, fractional", in: in(u(2, 3, 5, 4)), attrs: with(as("mode", "linear"), as("coordinate_transformation_mode", "pytorch_half_pixel")), single: true, step: wide}, 1, 1, 1.7, 2.3),
	scaled(form{op: "Resize", name: "half pixel symmetric", in: in(u(1, 2, 5, 4)), attrs: with(as("mode", "linear"), as("coordinate_transformation_mode", "half_pixel_symmetric")), opset: 19, single: true, step: wide}, 1, 1, 1.7, 2.3),
	scaled(form{op: "Resize", name: "cubic", in: in(u(2, 3, 4, 5)), attrs: with(as("mode", "cubic")), single: true, step: wide}, 1, 1, 2, 1.5),
	scaled(form{op: "Resize", name: "cubic, outside excluded", in: in(u(1, 1, 4, 5)), attrs: with(as("mode", "cubic"), ai("exclude_outside", 1), af("cubic_coeff_a", -0.5)), single: true, step: wide}, 1, 1, 2, 2),
	{op: "Resize", name: "axes", in: in(batch(u(2, 3, 3, 4)), none, f32s(2, 3)), attrs: with(ais("axes", 2, 3), as("mode", "linear")), single: true, step: wide},
	{op: "Resize", name: "1-D", in: in(u(2, 3, 5), none, f32s(1, 1, 2)), attrs: with(as("mode", "linear")), single: true, step: wide},
}

// scaled adds the scales that a Resize takes as its third input.
func scaled(f form, by ...float32) form {
	f.in = append(f.in, none, f32s(by...))
	return f
}

var recurrentForms = []form{
	{op: "RNN", in: in(sequence(u(3, 2, 4)), u(1, 5, 4), u(1, 5, 5), u(1, 10)), attrs: with(ai("hidden_size", 5)), outputs: 2, single: true},
	{op: "RNN", name: "reverse, relu, initial state", in: in(u(3, 2, 4), konst(u(1, 5, 4)), konst(u(1, 5, 5)), none, none, u(1, 2, 5)), attrs: with(ai("hidden_size", 5), as("direction", "reverse"), stringsAttr("activations", "Sigmoid")), outputs: 2, single: true},
	{op: "GRU", in: in(u(3, 2, 4), u(1, 15, 4), u(1, 15, 5), u(1, 30), none, u(1, 2, 5)), attrs: with(ai("hidden_size", 5)), outputs: 2, single: true},
	{op: "GRU", name: "linear before reset", in: in(u(3, 2, 4), u(2, 15, 4), u(2, 15, 5), u(2, 30)), attrs: with(ai("hidden_size", 5), ai("linear_before_reset", 1), as("direction", "bidirectional")), outputs: 2, single: true},
	{op: "Attention", in: in(batch(u(2, 2, 3, 4)), batch(u(2, 2, 5, 4)), batch(u(2, 2, 5, 6))), opset: 23, single: true},
	{op: "Attention", name: "scale and cap", in: in(u(2, 2, 3, 4), u(2, 2, 5, 4), u(2, 2, 5, 4)), attrs: with(af("scale", 0.7), af("softcap", 2)), opset: 23, single: true},
	{op: "Attention", name: "added mask", in: in(u(2, 2, 3, 4), u(2, 2, 5, 4), u(2, 2, 5, 4), u(3, 5)), opset: 23, single: true},
	{op: "Attention", name: "mask of booleans", in: in(u(2, 2, 2, 4), u(2, 2, 3, 4), u(2, 2, 3, 4), arg{fixed: onnx.RawTensor("", onnx.Bool, []byte{1, 0, 1, 1, 1, 0}, 2, 3)}), opset: 23, single: true},
	{op: "Attention", name: "causal", in: in(u(2, 2, 4, 3), u(2, 2, 4, 3), u(2, 2, 4, 3)), attrs: with(ai("is_causal", 1)), opset: 23, single: true},
	{op: "Attention", name: "joined heads", in: in(batch(u(2, 3, 8)), batch(u(2, 5, 8)), batch(u(2, 5, 12))), attrs: with(ai("q_num_heads", 2), ai("kv_num_heads", 2)), opset: 23, single: true},
	{op: "Attention", name: "heads that share keys", in: in(batch(u(2, 4, 3, 4)), batch(u(2, 2, 5, 4)), batch(u(2, 2, 5, 4))), opset: 23, single: true},
	{op: "LSTM", in: in(sequence(u(3, 2, 4)), u(1, 20, 4), u(1, 20, 5), u(1, 40)), attrs: with(ai("hidden_size", 5)), outputs: 3, single: true},
	{op: "LSTM", name: "bidirectional, initial states", in: in(u(3, 2, 4), u(2, 20, 4), u(2, 20, 5), none, none, u(2, 2, 5), u(2, 2, 5)), attrs: with(ai("hidden_size", 5), as("direction", "bidirectional")), outputs: 3, single: true},
	{op: "LSTM", name: "last state only", in: in(u(4, 2, 3), u(1, 20, 3), u(1, 20, 5)), single: true, nodes: []*onnx.Node{
		onnx.NewNode("LSTM", []string{"x0", "x1", "x2"}, []string{"", "y0"}, ai("hidden_size", 5))}},
}

func stringsAttr(name string, v ...string) *onnx.Attr {
	a := &onnx.Attr{Name: name, Type: onnx.AttrStrings}
	for _, s := range v {
		a.Strings = append(a.Strings, []byte(s))
	}
	return a
}

// A step of 1/64 keeps every value used here exact in float32.
var grain = narrow(onnx.Float, bits32(1.0/64)...)

var otherForms = []form{
	{op: "QuantizeLinear", name: "straight through", single: true, step: 4.0 / 64, steady: true,
		in: in(values([]float64{-2.5, -1, -0.25, 0, 0.5, 1.5}, 2, 3).free(), grain, narrow(onnx.Int8, 3)),
		nodes: []*onnx.Node{
			onnx.NewNode("QuantizeLinear", []string{"x0", "x1", "x2"}, []string{"q"}),
			onnx.NewNode("DequantizeLinear", []string{"q", "x1", "x2"}, []string{"y0"}),
		}},
	{op: "DequantizeLinear", name: "scale a channel", single: true, step: 8.0 / 64, steady: true,
		in: in(values([]float64{-0.5, -1, -0.25, 0, 0.5, 0.75}, 2, 3).free(), f32s(1.0/64, 1.0/32, 1.0/128), arg{fixed: onnx.RawTensor("", onnx.Uint8, []byte{90, 128, 100}, 3)}),
		nodes: []*onnx.Node{
			onnx.NewNode("QuantizeLinear", []string{"x0", "x1", "x2"}, []string{"q"}, ai("axis", 1)),
			onnx.NewNode("Constant", nil, []string{"shape"}, onnx.IntsAttr("value_ints", 3, 2)),
			onnx.NewNode("Constant", nil, []string{"back"}, onnx.IntsAttr("value_ints", 2, 3)),
			onnx.NewNode("Reshape", []string{"q", "shape"}, []string{"r"}),
			onnx.NewNode("Reshape", []string{"r", "back"}, []string{"b"}),
			onnx.NewNode("DequantizeLinear", []string{"b", "x1", "x2"}, []string{"y0"}, ai("axis", -1)),
		}},
	{op: "DequantizeLinear", name: "wanting the scale", in: in(arg{fixed: onnx.RawTensor("", onnx.Uint8, []byte{1, 9, 200, 30, 77, 128}, 2, 3)}, pos(3), arg{fixed: onnx.RawTensor("", onnx.Uint8, []byte{90, 128, 100}, 3)}), single: true},
	{op: "DequantizeLinear", name: "wanting one scale", in: in(arg{fixed: onnx.RawTensor("", onnx.Int8, []byte{1, 9, 200, 30}, 2, 2)}, pos()), single: true},
	{op: "Scaler", domain: "ai.onnx.ml", in: in(batch(u(2, 3))), single: true, step: wide,
		attrs: with(floatsAttr("offset", 0.1, 0.2, 0.3), floatsAttr("scale", 2, 3, -4))},
	{op: "Normalizer", name: "L2", domain: "ai.onnx.ml", in: in(batch(u(2, 5))), single: true, attrs: with(as("norm", "L2"))},
	{op: "Normalizer", name: "L1", domain: "ai.onnx.ml", in: in(off(zero, 2, 5)), single: true, attrs: with(as("norm", "L1"))},
	{op: "Normalizer", name: "MAX", domain: "ai.onnx.ml", in: in(apart(2, 5)), single: true, attrs: with(as("norm", "MAX"))},
	{op: "Imputer", domain: "ai.onnx.ml", in: in(values([]float64{1, 7, 2, 7}, 2, 2).free()), single: true,
		attrs: with(floatsAttr("imputed_value_floats", 0.5), af("replaced_value_float", 9))},
	{op: "LinearRegressor", domain: "ai.onnx.ml", in: in(batch(u(2, 3))), single: true, step: wide,
		attrs: with(floatsAttr("coefficients", 1, 2, 3, 4, 5, 6), floatsAttr("intercepts", 0.5, -0.5), ai("targets", 2))},
	linearClassifier("NONE"), linearClassifier("LOGISTIC"), linearClassifier("SOFTMAX"),
	{op: "FeatureVectorizer", domain: "ai.onnx.ml", in: in(u(2, 3), u(2, 2)), attrs: with(ais("inputdimensions", 3, 2)), single: true, step: wide},
}

func linearClassifier(post string) form {
	n := onnx.NewNode("LinearClassifier", []string{"x0"}, []string{"label", "y0"},
		floatsAttr("coefficients", 1, 2, 3, 4, -5, 6, 1, -1, 0.5), floatsAttr("intercepts", 0.5, -0.5, 0),
		ais("classlabels_ints", 0, 1, 2), as("post_transform", post))
	n.Domain = "ai.onnx.ml"
	return form{op: "LinearClassifier", name: post, domain: "ai.onnx.ml", in: in(batch(u(2, 3))), single: true, nodes: []*onnx.Node{n}}
}

func floatsAttr(name string, v ...float32) *onnx.Attr {
	return &onnx.Attr{Name: name, Type: onnx.AttrFloats, Floats: v}
}
