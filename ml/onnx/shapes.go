package onnx

// Shape is the element type and dimensions of a value. A dimension of -1
// varies with the batch or is unknown; no dimensions make a scalar.
type Shape struct {
	Elem DataType
	Dims []int64
}

// Shapes maps the names of values to their measured shapes. Measuring is
// running the model at two batch sizes: a dimension that came out the same is
// that number, any other is -1. Package ort does it, because declared shapes
// are optional, often absent from intermediate values and sometimes wrong.
type Shapes map[string]Shape
