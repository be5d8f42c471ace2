// Package certify proves what a network cannot do: that no input near a sample
// changes its label, or that no input of a box violates a property.
//
// [Read] turns an ONNX graph of affine maps and ReLU-like activations into a
// [Network]. [Network.Robust] proves the label of a sample against every
// perturbation of a norm and radius, [Network.Radius] finds how far that goes,
// and [Network.Prove] proves a VNN-LIB property:
//
//	n, err := certify.Read(local.Prepared())
//	proved, err := n.Robust(ctx, certify.Ball{X: x, Norm: evasion.Linf, Eps: 0.03, Box: box}, label, certify.Options{})
//
// An attack bounds robustness from above, a certificate from below; where both
// say yes of one sample, one of them is wrong. A false answer is never a
// statement about the network: only that no proof was found, in the time there
// was.
//
// A proof holds for what runs, not only for the network of real numbers: the
// bounds of every value are widened by the largest error that evaluating the
// graph in float32 can make, in any order of summation, and by the rounding of
// the bounds themselves, which are computed in float64. It says nothing of
// kernels in lower precision (TensorFloat-32, bfloat16, int8) or of a runtime's
// rewritings that change what is multiplied, such as Winograd convolution.
//
// Three methods bound a network, each tighter and dearer than the one before:
// interval arithmetic, linear bounds carried back from the output (CROWN), and
// those with optimised slopes followed by case distinctions, on the inputs of
// small boxes and on the signs of ReLUs otherwise. The last ends with a proof
// or with the context.
//
// [Smoothing] certifies any model at all, of any size, by asking it about noisy
// copies of a sample. What it certifies is the vote over those, with a stated
// confidence.
package certify

import (
	"math"
	"slices"
)

// Network is a network of affine maps and ReLUs, made by [Read]. It is
// immutable and may be used by several goroutines at once.
type Network struct {
	nodes []node // in order; the first is the input, the last the output
	relus []int  // which of them are ReLUs
	// ordinal is a ReLU's place in relus.
	ordinal []int
	// feeds says which nodes a ReLU takes.
	feeds []bool
	// abs are the magnitudes of each node's maps.
	abs [][]linear
	// sums bounds how many products are added up, going back from a node.
	sums   []int
	width  int // of all nodes together
	widest int
}

// Inputs is the number of elements of a sample.
func (n *Network) Inputs() int { return n.nodes[0].size }

// Outputs is the number of outputs.
func (n *Network) Outputs() int { return n.nodes[len(n.nodes)-1].size }

// Neurons is the number of ReLUs, those that other activations were rewritten
// into included.
func (n *Network) Neurons() int {
	total := 0
	for _, v := range n.relus {
		total += n.nodes[v].size
	}
	return total
}

// finish keeps what the output depends on and prepares the rest.
func (n *Network) finish(out int) {
	n.fuse(out)
	n.keep(out)
	n.ordinal, n.feeds = make([]int, len(n.nodes)), make([]bool, len(n.nodes))
	n.abs, n.sums = make([][]linear, len(n.nodes)), make([]int, len(n.nodes))
	users := make([]int, len(n.nodes))
	for v := range n.nodes {
		d := &n.nodes[v]
		n.width += d.size
		n.widest = max(n.widest, d.size)
		for _, t := range d.terms {
			users[t.from]++
			var abs linear
			if t.op != nil {
				abs = t.op.magnitude()
				n.sums[v] = max(n.sums[v], t.op.sums())
			}
			n.abs[v] = append(n.abs[v], abs)
		}
		if d.relu {
			n.ordinal[v] = len(n.relus)
			n.relus = append(n.relus, v)
			n.feeds[d.terms[0].from] = true
		}
		if d.bias == nil {
			d.bias = make([]float64, d.size)
		}
		if d.biasSize == nil {
			d.biasSize = magnitudes(d.bias)
		}
	}
	// Coefficients of a value that several nodes use are sums of theirs.
	for v := range n.nodes {
		for _, t := range n.nodes[v].terms {
			n.sums[v] = max(n.sums[v], 1) + users[t.from]
		}
	}
}

// fuse joins an affine map to a following one that only adds a bias, as the
// MatMul and Add of many exporters are.
func (n *Network) fuse(out int) {
	users := make([]int, len(n.nodes))
	for v := range n.nodes[:out+1] {
		for _, t := range n.nodes[v].terms {
			users[t.from]++
		}
	}
	for v := range n.nodes[:out+1] {
		d := &n.nodes[v]
		if d.relu || len(d.terms) != 1 || d.terms[0].op != nil {
			continue
		}
		from := &n.nodes[d.terms[0].from]
		if from.relu || from.terms == nil || users[d.terms[0].from] != 1 {
			continue
		}
		d.biasSize = added(size(d), size(from))
		d.bias = added(d.bias, from.bias)
		d.terms, d.roundings = from.terms, d.roundings+from.roundings
	}
}

func size(d *node) []float64 {
	if d.biasSize != nil {
		return d.biasSize
	}
	return magnitudes(d.bias)
}

// added is the sum of two vectors, of which nil is nought.
func added(a, b []float64) []float64 {
	if a == nil {
		return b
	}
	out := slices.Clone(a)
	for i, v := range b {
		out[i] += v
	}
	return out
}

// keep drops the nodes that the output does not depend on.
func (n *Network) keep(out int) {
	needed := make([]bool, out+1)
	needed[0], needed[out] = true, true
	for v := out; v > 0; v-- {
		for _, t := range n.nodes[v].terms {
			needed[t.from] = needed[t.from] || needed[v]
		}
	}
	at := make([]int, out+1)
	var kept []node
	for v := range n.nodes[:out+1] {
		if !needed[v] {
			continue
		}
		at[v] = len(kept)
		d := n.nodes[v]
		d.terms = slices.Clone(d.terms)
		for i := range d.terms {
			d.terms[i].from = at[d.terms[i].from]
		}
		kept = append(kept, d)
	}
	n.nodes = kept
}

// gamma bounds the relative error of a sum of n products of magnitudes that add
// up to one, in arithmetic with unit roundoff u (Higham, Accuracy and Stability
// of Numerical Algorithms, section 3.1), in any order of summation, with or
// without fused multiplication. It is infinite where the bound says nothing.
func gamma(n int, u float64) float64 {
	nu := float64(n) * u
	if nu >= 0.5 {
		return math.Inf(1)
	}
	return nu / (1 - nu)
}

// The unit roundoffs of float64, in which bounds are computed, and of float32,
// in which networks run.
const (
	unit64 = 0x1p-53
	unit32 = 0x1p-24
)
