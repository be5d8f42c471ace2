// Package tree reads decision trees and their ensembles out of ONNX models,
// for attacks and proofs that look at thresholds where others look at
// gradients.
//
//	e, err := tree.Read(m)                    // m is an onnx.Model
//	e, err = e.Agree(x, classes)              // and answers as the model does
//	class := e.Decide(row)
//
// [Read] understands TreeEnsembleClassifier and TreeEnsembleRegressor of
// ai.onnx.ml 1 to 3 and TreeEnsemble of version 5, behind scalers and other
// steps that work on one feature at a time. What follows the trees, a softmax,
// a sigmoid or a vote, is not interpreted: [Ensemble.Agree] compares the
// ensemble's decision with the model's answers on samples, and an ensemble
// that decides otherwise is refused.
//
// The sums are computed in float32 and in the order of the trees, as ONNX
// Runtime does on one thread. Files are untrusted: indices are checked, a tree
// that is not one is refused, and nothing is allocated on a claim.
package tree

import (
	"errors"
	"fmt"
	"math"

	"github.com/redoubt-ml/redoubt/ml/tensor"
)

// Ensemble is a sum of trees. It is immutable and may be shared.
type Ensemble struct {
	Features int // elements of a sample
	Outputs  int // sums
	Base     []float32
	Trees    []Tree
	// Cut decides between two classes where there is one sum only: class 1 is
	// above it. It is 0 until Agree finds otherwise.
	Cut float32
}

// Tree is a decision tree; the first node is its root.
type Tree []Node

// Node is a test of one feature, or a leaf.
type Node struct {
	Feature int // -1 in a leaf
	// At is the threshold: a sample whose feature is at most At goes to Yes,
	// another to No. Both are places in the tree, after this node's own.
	At      float32
	Yes, No int
	// Values are a leaf's addends to the sums.
	Values []float32
}

// Leaf is the leaf of a tree that x comes to.
func (t Tree) Leaf(x []float32) *Node {
	n := &t[0]
	for n.Feature >= 0 {
		if x[n.Feature] <= n.At {
			n = &t[n.Yes]
		} else {
			n = &t[n.No]
		}
	}
	return n
}

// Sums writes the sums for a sample to out, of length Outputs.
func (e *Ensemble) Sums(out, x []float32) {
	clear(out)
	for _, t := range e.Trees {
		for k, v := range t.Leaf(x).Values {
			out[k] += v
		}
	}
	for k, b := range e.Base {
		out[k] += b
	}
}

// Decide is the class of a sample: the largest sum, the lowest class on a tie;
// of a single sum, 1 where it is above Cut and else 0.
func (e *Ensemble) Decide(x []float32) int {
	sums := make([]float32, e.Outputs)
	e.Sums(sums, x)
	return e.class(sums)
}

func (e *Ensemble) class(sums []float32) int {
	if e.Outputs > 1 {
		return tensor.ArgMax(sums)
	}
	if sums[0] > e.Cut {
		return 1
	}
	return 0
}

// Classes is how many classes Decide tells apart.
func (e *Ensemble) Classes() int { return max(e.Outputs, 2) }

// Agree returns the ensemble if it decides as the model did on every sample of
// x but for a tie in rounding; one with a single sum tries the usual cuts, 0
// for log-odds and 1/2 for probabilities. It fails where the trees are not all
// there is to the model.
func (e *Ensemble) Agree(x *tensor.Tensor, classes []int) (*Ensemble, error) {
	cuts := []float32{0}
	if e.Outputs == 1 {
		cuts = []float32{0, 0.5}
	}
	least := x.Rows() + 1
	for _, cut := range cuts {
		try := *e
		try.Cut = cut
		wrong := 0
		for i, want := range classes {
			if got := try.Decide(x.Row(i)); got != want && !try.tie(x.Row(i), got, want) {
				wrong++
			}
		}
		if wrong == 0 {
			return &try, nil
		}
		least = min(least, wrong)
	}
	return nil, fmt.Errorf("the trees alone decide otherwise than the model on %d of %d samples", least, x.Rows())
}

// tie reports whether two classes' sums are equal but for rounding.
func (e *Ensemble) tie(x []float32, a, b int) bool {
	sums := make([]float32, e.Outputs)
	e.Sums(sums, x)
	if e.Outputs == 1 {
		return math.Abs(float64(sums[0]-e.Cut)) < 1e-6
	}
	if a >= len(sums) || b >= len(sums) {
		return false
	}
	return math.Abs(float64(sums[a]-sums[b])) <= 1e-6*(1+math.Abs(float64(sums[a])))
}

// Through is the ensemble as seen before a further step: its feature j is g(j,
// x) of the new one. Every g must be monotone in x. Thresholds become the
// largest x that g does not take past them, found exactly.
func (e *Ensemble) Through(g func(j int, x float32) float32) (*Ensemble, error) {
	out := *e
	out.Trees = make([]Tree, len(e.Trees))
	type cut struct {
		feature int
		at      float32
	}
	known := map[cut]float32{}
	falls := make([]bool, e.Features)
	for j := range falls {
		lo, hi := g(j, -math.MaxFloat32), g(j, math.MaxFloat32)
		if lo != lo || hi != hi {
			return nil, errors.New("a step before the trees overflows")
		}
		falls[j] = lo > hi
	}
	for i, t := range e.Trees {
		moved := make(Tree, len(t))
		copy(moved, t)
		for k := range moved {
			n := &moved[k]
			if n.Feature < 0 {
				continue
			}
			at, ok := known[cut{n.Feature, n.At}]
			if !ok {
				at = last(func(x float32) bool { return (g(n.Feature, x) <= n.At) != falls[n.Feature] })
				known[cut{n.Feature, n.At}] = at
			}
			if n.At = at; falls[n.Feature] {
				n.Yes, n.No = n.No, n.Yes
			}
		}
		out.Trees[i] = moved
	}
	return &out, nil
}

// last is the largest number for which a condition holds that, as x grows,
// holds first and then no more; minus infinity if it never does. Floats are in
// order as their bits are, the negative ones backwards.
func last(holds func(x float32) bool) float32 {
	lo, hi := ordered(float32(math.Inf(-1))), ordered(math.MaxFloat32)
	if holds(math.MaxFloat32) {
		return math.MaxFloat32
	}
	for hi-lo > 1 {
		if mid := lo + (hi-lo)/2; holds(unordered(mid)) {
			lo = mid
		} else {
			hi = mid
		}
	}
	return unordered(lo)
}

func ordered(x float32) int64 {
	b := int64(math.Float32bits(x))
	if b >= 1<<31 {
		return 1<<31 - b
	}
	return b
}

func unordered(i int64) float32 {
	if i < 0 {
		return math.Float32frombits(uint32(1<<31 - i))
	}
	return math.Float32frombits(uint32(i))
}
