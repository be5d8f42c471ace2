// Package engine holds what answers the gateway's calls: [Local] runs an ONNX
// file in this process, [Upstream] asks a server of the Open Inference
// Protocol. Both have the methods that the gateway wants of an engine:
//
//	Metadata(ctx) (*oip.Metadata, error) // what the model takes and gives
//	Infer(ctx, *oip.Request) (*oip.Response, error)
//	Ready(ctx) error                     // nil if a call could be answered now
//	Close() error                        // frees what it holds
//
// Both may be used by many goroutines at once. Both check a request against the
// model before anything is computed or sent, and encode it afresh: what reaches
// the model are names, types, shapes and elements that were checked, never a
// client's bytes. Their errors are of type [*oip.Error], whose message is for
// the client and names nothing of ours.
//
//	rt, err := ort.Open("")
//	e, err := engine.Open(ctx, rt, "loans.onnx", engine.LocalConfig{Name: "loans"})
//	a, err := e.Infer(ctx, q)
//
// # Batches
//
// While all runs that a Local may have at once are busy, requests wait in a
// queue of bounded length, and those that fit together are answered by one run:
// rows of one batch. That is done only for models whose first dimension is the
// batch, which is tried when the model is loaded: three rows together must be
// answered as they are alone. A request that makes its batch fail fails alone.
package engine

import (
	"slices"
	"strconv"

	"github.com/redoubt-ml/redoubt/serve/oip"
)

// checkRequest holds a request against what a model says of itself: the inputs
// it has and no others, their types, and their shapes where the model fixes
// them. A model that declares no inputs takes any.
func checkRequest(q *oip.Request, m *oip.Metadata) error {
	if err := q.Check(); err != nil {
		return err
	}
	if len(m.Inputs) > 0 {
		for i := range q.Inputs {
			if err := checkInput(&q.Inputs[i], m.Inputs); err != nil {
				return err
			}
		}
		for _, want := range m.Inputs {
			if q.Input(want.Name) == nil {
				return oip.Errorf(oip.BadInput, "input %s is missing", quote(want.Name))
			}
		}
	}
	for _, o := range q.Outputs {
		if _, ok := o.Parameters["classification"]; ok {
			return oip.Errorf(oip.Unsupported, "the classification extension is not offered: ask for the output itself")
		}
		if len(m.Outputs) > 0 && !slices.ContainsFunc(m.Outputs, func(t oip.TensorMetadata) bool { return t.Name == o.Name }) {
			return oip.Errorf(oip.BadInput, "the model has no output %s", quote(o.Name))
		}
	}
	return nil
}

func checkInput(t *oip.Tensor, inputs []oip.TensorMetadata) error {
	i := slices.IndexFunc(inputs, func(m oip.TensorMetadata) bool { return m.Name == t.Name })
	if i < 0 {
		return oip.Errorf(oip.BadInput, "the model has no input %s", quote(t.Name))
	}
	want := inputs[i]
	if t.Datatype != want.Datatype {
		return oip.Errorf(oip.BadInput, "input %s is %s, the model takes %s", quote(t.Name), t.Datatype, want.Datatype)
	}
	if !fits(t.Shape, want.Shape) {
		return oip.Errorf(oip.BadInput, "input %s has the shape %v, the model takes %v", quote(t.Name), t.Shape, want.Shape)
	}
	if t.Len() == 0 && hollow(t.Shape, want.Shape) {
		return oip.Errorf(oip.BadInput, "input %s has the shape %v and no elements: leave out the rows, or give them elements", quote(t.Name), t.Shape)
	}
	return nil
}

// mostHollow is how large the open dimensions of a tensor without elements may be
// together.
const mostHollow = 1024

// hollow reports whether the dimensions that a model leaves open are large although
// one of them is zero: no byte of the request stands for any of them, and a model may
// make a row of numbers for each.
func hollow(shape, want []int64) bool {
	size := int64(1)
	for i, d := range shape {
		if d == 0 || want[i] >= 0 {
			continue
		}
		if d > mostHollow/size {
			return true
		}
		size *= d
	}
	return false
}

// fits compares a shape with one in which -1 stands for any size.
func fits(shape, want []int64) bool {
	if len(shape) != len(want) {
		return false
	}
	for i, d := range want {
		if d >= 0 && d != shape[i] {
			return false
		}
	}
	return true
}

// quote shortens a name for a message.
func quote(name string) string {
	const most = 64
	if len(name) > most {
		name = name[:most] + "..."
	}
	return strconv.Quote(name)
}
