module github.com/redoubt-ml/redoubt

go 1.26

// The wire primitives (varints, tags) that ml/onnx decodes models with.
require google.golang.org/protobuf v1.36.12
