package oip

import "github.com/redoubt-ml/redoubt/serve/oip/oippb"

// Metadata is what a model says of itself.
type Metadata struct {
	Name     string   `json:"name"`
	Versions []string `json:"versions,omitempty"`
	// Platform names the framework and format, such as "onnxruntime_onnx".
	Platform string           `json:"platform"`
	Inputs   []TensorMetadata `json:"inputs"`
	Outputs  []TensorMetadata `json:"outputs"`
}

// TensorMetadata describes an input or output.
type TensorMetadata struct {
	Name     string   `json:"name"`
	Datatype Datatype `json:"datatype"`
	// Shape has -1 for each dimension that may vary.
	Shape []int64 `json:"shape"`
}

// ServerMetadata is what a server says of itself.
type ServerMetadata struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	// Extensions are the parts beyond the protocol's core, such as
	// "binary_tensor_data".
	Extensions []string `json:"extensions"`
}

// Statistics counts what became of a model's requests, in the form of the
// statistics extension. Times are sums in nanoseconds.
type Statistics struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	// LastInference is when the last request ended, in milliseconds since 1970.
	LastInference uint64 `json:"last_inference"`
	// InferenceCount counts answered samples (rows of a batch), ExecutionCount
	// runs of the model: their quotient is the mean batch.
	InferenceCount uint64 `json:"inference_count"`
	ExecutionCount uint64 `json:"execution_count"`
	Inference      struct {
		Success       Duration `json:"success"`
		Fail          Duration `json:"fail"`
		Queue         Duration `json:"queue"`
		ComputeInput  Duration `json:"compute_input"`
		ComputeInfer  Duration `json:"compute_infer"`
		ComputeOutput Duration `json:"compute_output"`
	} `json:"inference_stats"`
	// Batches tells runs apart by their size.
	Batches []BatchStatistics `json:"batch_stats"`
}

// BatchStatistics counts the runs of one batch size.
type BatchStatistics struct {
	Size          uint64   `json:"batch_size"`
	ComputeInput  Duration `json:"compute_input"`
	ComputeInfer  Duration `json:"compute_infer"`
	ComputeOutput Duration `json:"compute_output"`
}

// Duration is how often something happened, and the nanoseconds it took in all.
type Duration struct {
	Count uint64 `json:"count"`
	NS    uint64 `json:"ns"`
}

// MetadataToGRPC makes the gRPC message of a model's metadata.
func MetadataToGRPC(m *Metadata) *oippb.ModelMetadataResponse {
	side := func(tensors []TensorMetadata) (out []*oippb.ModelMetadataResponse_TensorMetadata) {
		for _, t := range tensors {
			out = append(out, &oippb.ModelMetadataResponse_TensorMetadata{Name: t.Name, Datatype: string(t.Datatype), Shape: t.Shape})
		}
		return out
	}
	return &oippb.ModelMetadataResponse{Name: m.Name, Versions: m.Versions, Platform: m.Platform, Inputs: side(m.Inputs), Outputs: side(m.Outputs)}
}

// MetadataFromGRPC reads a model's metadata from its gRPC message.
func MetadataFromGRPC(m *oippb.ModelMetadataResponse) *Metadata {
	side := func(tensors []*oippb.ModelMetadataResponse_TensorMetadata) (out []TensorMetadata) {
		for _, t := range tensors {
			out = append(out, TensorMetadata{t.GetName(), Datatype(t.GetDatatype()), t.GetShape()})
		}
		return out
	}
	return &Metadata{Name: m.GetName(), Versions: m.GetVersions(), Platform: m.GetPlatform(), Inputs: side(m.GetInputs()), Outputs: side(m.GetOutputs())}
}

// StatisticsToGRPC makes the gRPC message of a model's statistics.
func StatisticsToGRPC(s *Statistics) *oippb.ModelStatistics {
	d := func(d Duration) *oippb.StatisticDuration { return &oippb.StatisticDuration{Count: d.Count, Ns: d.NS} }
	m := &oippb.ModelStatistics{
		Name: s.Name, Version: s.Version, LastInference: s.LastInference, InferenceCount: s.InferenceCount, ExecutionCount: s.ExecutionCount,
		InferenceStats: &oippb.InferStatistics{
			Success: d(s.Inference.Success), Fail: d(s.Inference.Fail), Queue: d(s.Inference.Queue), ComputeInput: d(s.Inference.ComputeInput),
			ComputeInfer: d(s.Inference.ComputeInfer), ComputeOutput: d(s.Inference.ComputeOutput),
		},
	}
	for _, b := range s.Batches {
		m.BatchStats = append(m.BatchStats, &oippb.InferBatchStatistics{
			BatchSize: b.Size, ComputeInput: d(b.ComputeInput), ComputeInfer: d(b.ComputeInfer), ComputeOutput: d(b.ComputeOutput)})
	}
	return m
}
