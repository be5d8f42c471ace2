package onnx

import (
	"errors"
	"fmt"
)

// Limits bounds what reading a model may take. A model that asks for more is
// refused before the memory is allocated, so that a file of a few bytes cannot
// claim the machine. A field left at zero allows none of its kind; start from
// [DefaultLimits].
type Limits struct {
	// FileBytes is the largest file, counted after decompression.
	FileBytes int64
	// TensorBytes is the memory of all tensor elements together, those in
	// external files included.
	TensorBytes int64
	// StructureBytes is the memory of everything else: nodes, names,
	// attributes, types. An empty message takes two bytes in a file and a
	// hundred in memory, so the file's size alone does not bound it.
	StructureBytes int64
	// Nodes counts the nodes of the graph, its subgraphs and its functions.
	Nodes int
	// Depth is how deep graphs may nest; the model's own graph has depth 1.
	Depth int
}

// DefaultLimits suits models of any published architecture that fits the
// memory of a workstation.
var DefaultLimits = Limits{
	FileBytes:      4 << 30,
	TensorBytes:    16 << 30,
	StructureBytes: 1 << 30,
	Nodes:          1 << 20,
	Depth:          16,
}

// ErrLimit is wrapped by every error that says a model exceeds its [Limits].
var ErrLimit = errors.New("limit exceeded")

// budget is what is left of the limits while a model is read.
type budget struct {
	left Limits
	lim  Limits
}

func newBudget(lim Limits) *budget { return &budget{left: lim, lim: lim} }

// tensor takes n bytes of tensor elements; n is -1 where a size overflowed.
func (b *budget) tensor(n int64) error {
	if n < 0 || n > b.left.TensorBytes {
		return fmt.Errorf("%w: tensors take more than %d bytes; raise TensorBytes if the file is trusted", ErrLimit, b.lim.TensorBytes)
	}
	b.left.TensorBytes -= n
	return nil
}

func (b *budget) structure(n int) error {
	if int64(n) > b.left.StructureBytes {
		return fmt.Errorf("%w: the model's structure takes more than %d bytes; raise StructureBytes if the file is trusted", ErrLimit, b.lim.StructureBytes)
	}
	b.left.StructureBytes -= int64(n)
	return nil
}

func (b *budget) node() error {
	if b.left.Nodes <= 0 {
		return fmt.Errorf("%w: more than %d nodes; raise Nodes if the file is trusted", ErrLimit, b.lim.Nodes)
	}
	b.left.Nodes--
	return nil
}

// enter goes one graph deeper; leave with b.left.Depth++.
func (b *budget) enter() error {
	if b.left.Depth <= 0 {
		return fmt.Errorf("%w: graphs nest deeper than %d; raise Depth if the file is trusted", ErrLimit, b.lim.Depth)
	}
	b.left.Depth--
	return nil
}
