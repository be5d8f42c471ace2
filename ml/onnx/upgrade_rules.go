package onnx

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/redoubt-ml/redoubt/ml/half"
)

type upgradeKey struct {
	version int64
	op      string
}

// upgrades says what to do to an operator on the way to a version. Left out
// are versions that only widened an operator: more element types, negative
// axes, optional inputs and attributes whose default is the old behaviour.
var upgrades = map[upgradeKey]func(*upgrader, *Node) error{
	{9, "BatchNormalization"}: batchNormalization9,
	{9, "Scan"}:               scan9,
	{9, "Upsample"}:           upsample9,

	{10, "Dropout"}:  dropout10,
	{10, "Slice"}:    slice10,
	{10, "TopK"}:     topK10,
	{10, "Upsample"}: upsample10,

	{11, "Clip"}:    clip11,
	{11, "Pad"}:     pad11,
	{11, "Resize"}:  resize11,
	{11, "Scatter"}: scatter11,

	{12, "Dropout"}: dropout12,

	{13, "Hardmax"}:    softmax13,
	{13, "LogSoftmax"}: softmax13,
	{13, "Softmax"}:    softmax13,
	{13, "ReduceSum"}:  axesToInput,
	{13, "Resize"}:     resize13,
	{13, "Split"}:      split13,
	{13, "Squeeze"}:    axesToInput,
	{13, "Unsqueeze"}:  axesToInput,

	{14, "BatchNormalization"}: batchNormalization14,

	{16, "RoiAlign"}: roiAlign16,

	{18, "ReduceL1"}:        axesToInput,
	{18, "ReduceL2"}:        axesToInput,
	{18, "ReduceLogSum"}:    axesToInput,
	{18, "ReduceLogSumExp"}: axesToInput,
	{18, "ReduceMax"}:       axesToInput,
	{18, "ReduceMean"}:      axesToInput,
	{18, "ReduceMin"}:       axesToInput,
	{18, "ReduceProd"}:      axesToInput,
	{18, "ReduceSumSquare"}: axesToInput,
	{18, "Split"}:           split18,
}

func axesToInput(u *upgrader, n *Node) error {
	u.moveInts(n, "axes", 1)
	return nil
}

// Before version 9, spatial=0 kept statistics of every activation.
func batchNormalization9(_ *upgrader, n *Node) error {
	if n.Int("spatial", 1) != 1 {
		return fmt.Errorf("spatial=0 has no counterpart in later versions; export the model again")
	}
	n.drop("spatial")
	return nil
}

// Version 14 replaced the choice of mode by the number of outputs with an
// attribute, and dropped the saved mean and variance.
func batchNormalization14(u *upgrader, n *Node) error {
	for i := 1; i < len(n.Outputs); i++ {
		if u.used(n, i) {
			return fmt.Errorf("it is in training mode; export the model for inference")
		}
	}
	n.Outputs = n.Outputs[:1]
	return nil
}

func scan9(*upgrader, *Node) error {
	return fmt.Errorf("the batch axis and sequence lengths of Scan version 8 have no counterpart; export the model again")
}

func upsample9(u *upgrader, n *Node) error {
	a := n.Attr("scales")
	if a == nil {
		return fmt.Errorf("it has no scales")
	}
	n.setInput(1, u.add(n, "scales", FloatTensor("", a.Floats, int64(len(a.Floats)))))
	n.drop("scales")
	return nil
}

// Upsample became Resize, which may also scale down.
func upsample10(u *upgrader, n *Node) error {
	n.Op = "Resize"
	u.magnifies[n] = true
	return nil
}

// Until version 10 the mask had the type of the data, and what it holds at
// inference was never said.
func dropout10(u *upgrader, n *Node) error {
	if u.used(n, 1) {
		return fmt.Errorf("its mask is used, which inference does not define before version 12; export the model for inference")
	}
	n.Outputs = n.Outputs[:1]
	return nil
}

func dropout12(u *upgrader, n *Node) error {
	n.drop("ratio") // an input from here on, and of no effect at inference
	return dropout10(u, n)
}

func slice10(u *upgrader, n *Node) error {
	for i, attr := range []string{"starts", "ends", "axes"} {
		u.moveInts(n, attr, i+1)
	}
	return nil
}

func topK10(u *upgrader, n *Node) error {
	a := n.Attr("k")
	if a == nil {
		return fmt.Errorf("it has no k")
	}
	n.setInput(1, u.add(n, "k", IntTensor("", []int64{a.Int}, 1)))
	n.drop("k")
	return nil
}

// clip11 gives the bounds the type of the data, which version 6 allows to be
// floating point only. Where the type cannot be told it is float32: a wrong
// guess is refused by the runtime.
func clip11(u *upgrader, n *Node) error {
	elem, ok := u.elem.at(n.Input(0))
	if !ok {
		elem = Float
	}
	for i, attr := range []string{"min", "max"} {
		if a := n.Attr(attr); a != nil {
			bound, err := floatScalar(elem, a.Float)
			if err != nil {
				return err
			}
			n.setInput(i+1, u.add(n, attr, bound))
		}
	}
	n.drop("min", "max")
	return nil
}

// floatScalar makes a scalar of a floating-point type.
func floatScalar(elem DataType, v float32) (*Tensor, error) {
	switch elem {
	case Float:
		return FloatTensor("", []float32{v}), nil
	case Double:
		return RawTensor("", Double, binary.LittleEndian.AppendUint64(nil, math.Float64bits(float64(v)))), nil
	case Float16:
		return RawTensor("", Float16, binary.LittleEndian.AppendUint16(nil, half.Float16(v))), nil
	}
	return nil, fmt.Errorf("its data is %v, where this version allows floating point only", elem)
}

func pad11(u *upgrader, n *Node) error {
	u.moveInts(n, "pads", 1)
	if v := n.Float("value", 0); v != 0 {
		elem, ok := u.elem.at(n.Input(0))
		if !ok {
			elem = Float
		}
		t, err := floatScalar(elem, v)
		if err != nil {
			return err
		}
		n.setInput(2, u.add(n, "value", t))
	}
	n.drop("value")
	return nil
}

// resize11 states what version 10 left unsaid and ONNX Runtime does: output
// pixel i comes from i/scale, and the nearest pixel is the one below when
// scaling up and the one above when scaling down.
func resize11(u *upgrader, n *Node) error {
	if len(n.Inputs) < 2 {
		return fmt.Errorf("it has no scales")
	}
	scales := n.Inputs[1]
	n.Inputs = []string{n.Inputs[0], u.add(n, "roi", FloatTensor("", nil, 0)), scales}
	n.Attrs = append(n.Attrs, StringAttr("coordinate_transformation_mode", "asymmetric"))
	if n.Str("mode", "nearest") != "nearest" {
		return nil
	}
	t := u.constant.get(scales)
	if u.magnifies[n] {
		t = FloatTensor("", []float32{2}, 1) // whatever it is, it scales up
	}
	if t == nil || t.Type != Float {
		return fmt.Errorf("its scales are computed, and nearest-neighbour rounding of version 10 depends on them; fix them or export the model again")
	}
	up, down := false, false
	for _, s := range t.Floats() {
		up, down = up || s > 1, down || s < 1
	}
	switch {
	case up && down:
		return fmt.Errorf("it scales some axes up and others down, which later versions round differently; export the model again")
	case down:
		n.Attrs = append(n.Attrs, StringAttr("nearest_mode", "ceil"))
	default:
		n.Attrs = append(n.Attrs, StringAttr("nearest_mode", "floor"))
	}
	return nil
}

// resize13 drops empty tensors, which until then stood for absent inputs, and
// refuses the one coordinate mode that was dropped.
func resize13(u *upgrader, n *Node) error {
	if n.Str("coordinate_transformation_mode", "") == "tf_half_pixel_for_nn" {
		return fmt.Errorf("the coordinate mode tf_half_pixel_for_nn was dropped from the standard; export the model again")
	}
	for i := 1; i < len(n.Inputs); i++ {
		if t := u.constant.get(n.Inputs[i]); t != nil && t.Len() == 0 {
			n.Inputs[i] = ""
		}
	}
	if n.Input(2) != "" && n.Input(3) != "" {
		return fmt.Errorf("it has both scales and sizes; export the model again")
	}
	return nil
}

func scatter11(_ *upgrader, n *Node) error {
	n.Op = "ScatterElements"
	return nil
}

// softmax13: until then the operator saw a matrix, whose rows were everything
// from the axis on; from then on it works along the one axis.
func softmax13(u *upgrader, n *Node) error {
	axis := n.Int("axis", 1)
	rank, known := u.rank.at(n.Input(0))
	n.drop("axis")
	if axis == -1 || known && (axis == int64(rank)-1 || rank == 1 && axis == 0) {
		n.Attrs = append(n.Attrs, IntAttr("axis", -1))
		return nil
	}
	x, y := n.Inputs[0], n.Outputs[0]
	shape, flat, result := u.names.name(y+"_shape"), u.names.name(y+"_flat"), u.names.name(y+"_rows")
	u.before(NewNode("Shape", []string{x}, []string{shape}))
	u.before(NewNode("Flatten", []string{x}, []string{flat}, IntAttr("axis", axis)))
	n.Inputs = []string{flat}
	n.Outputs = []string{result}
	n.Attrs = append(n.Attrs, IntAttr("axis", -1))
	u.after = append(u.after, NewNode("Reshape", []string{result, shape}, []string{y}))
	return nil
}

func split13(u *upgrader, n *Node) error {
	u.moveInts(n, "split", 1)
	return nil
}

// Version 18 asks for the number of parts where their sizes are not given.
func split18(_ *upgrader, n *Node) error {
	if n.Input(1) == "" {
		n.Inputs = n.Inputs[:1]
		n.Attrs = append(n.Attrs, IntAttr("num_outputs", int64(len(n.Outputs))))
	}
	return nil
}

// Version 16 shifted coordinates by half a pixel unless told not to.
func roiAlign16(_ *upgrader, n *Node) error {
	if n.Attr("coordinate_transformation_mode") == nil {
		n.Attrs = append(n.Attrs, StringAttr("coordinate_transformation_mode", "output_half_pixel"))
	}
	return nil
}
