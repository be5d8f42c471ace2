package oip

import (
	"math"

	"github.com/redoubt-ml/redoubt/serve/oip/oippb"
)

// Config is what the model configuration extension tells of a model: as much of
// Triton's as clients read.
type Config struct {
	Name     string `json:"name"`
	Platform string `json:"platform"`
	Backend  string `json:"backend"`
	// MaxBatch is how many rows a request may hold; with 0 the shapes have no
	// batch dimension of their own.
	MaxBatch int32          `json:"max_batch_size"`
	Inputs   []ConfigTensor `json:"input"`
	Outputs  []ConfigTensor `json:"output"`
}

// ConfigTensor describes an input or output in a [Config].
type ConfigTensor struct {
	Name string `json:"name"`
	// Type is the name of the datatype in configurations, such as "TYPE_FP32".
	Type string `json:"data_type"`
	// Dims has -1 for each dimension that may vary. The batch is not among them
	// if MaxBatch is not 0.
	Dims []int64 `json:"dims"`
}

// ConfigOf makes the configuration of a model that takes at most maxBatch rows.
// Models whose first dimension is not everywhere free have none.
func ConfigOf(m *Metadata, maxBatch int) *Config {
	c := &Config{Name: m.Name, Platform: m.Platform, Backend: "onnxruntime"}
	c.MaxBatch = int32(min(max(maxBatch, 0), math.MaxInt32))
	for _, side := range [][]TensorMetadata{m.Inputs, m.Outputs} {
		for _, t := range side {
			if len(t.Shape) == 0 || t.Shape[0] != -1 {
				c.MaxBatch = 0
			}
		}
	}
	side := func(tensors []TensorMetadata) []ConfigTensor {
		out := make([]ConfigTensor, len(tensors))
		for i, t := range tensors {
			out[i] = ConfigTensor{t.Name, configType(t.Datatype), t.Shape}
			if c.MaxBatch > 0 {
				out[i].Dims = t.Shape[1:]
			}
		}
		return out
	}
	c.Inputs, c.Outputs = side(m.Inputs), side(m.Outputs)
	return c
}

func configType(d Datatype) string {
	if d == BYTES {
		return "TYPE_STRING"
	}
	return "TYPE_" + string(d)
}

// ConfigToGRPC makes the gRPC message of a configuration.
func ConfigToGRPC(c *Config) *oippb.ModelConfig {
	m := &oippb.ModelConfig{Name: c.Name, Platform: c.Platform, Backend: c.Backend, MaxBatchSize: c.MaxBatch}
	for _, t := range c.Inputs {
		m.Input = append(m.Input, &oippb.ModelInput{Name: t.Name, DataType: oippb.DataType(oippb.DataType_value[t.Type]), Dims: t.Dims})
	}
	for _, t := range c.Outputs {
		m.Output = append(m.Output, &oippb.ModelOutput{Name: t.Name, DataType: oippb.DataType(oippb.DataType_value[t.Type]), Dims: t.Dims})
	}
	return m
}
