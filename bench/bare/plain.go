package main

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net/http"

	"github.com/redoubt-ml/redoubt/ml/onnx"
	"github.com/redoubt-ml/redoubt/ml/ort"
)

// tensor is one of the protocol whose elements are INT32, which is all that the
// plain handler knows.
type tensor struct {
	Name     string  `json:"name"`
	Shape    []int64 `json:"shape"`
	Datatype string  `json:"datatype"`
	Data     []int32 `json:"data"`
}

// plain answers as one would write it in an afternoon: encoding/json, and a run of
// the session for each call.
func plain(s *ort.Session) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
		if err == nil {
			b, err = answer(s, r, b)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(b) // the client may be gone
	}
}

func answer(s *ort.Session, r *http.Request, body []byte) ([]byte, error) {
	var q struct {
		ID     string   `json:"id"`
		Inputs []tensor `json:"inputs"`
	}
	if err := json.Unmarshal(body, &q); err != nil {
		return nil, err
	}
	in := make(map[string]*onnx.Tensor, len(q.Inputs))
	for _, t := range q.Inputs {
		if t.Datatype != "INT32" {
			return nil, fmt.Errorf("input %q is not INT32", t.Name)
		}
		raw := make([]byte, 0, 4*len(t.Data))
		for _, v := range t.Data {
			raw = binary.LittleEndian.AppendUint32(raw, uint32(v))
		}
		in[t.Name] = &onnx.Tensor{Name: t.Name, Type: onnx.Int32, Dims: t.Shape, Raw: raw}
	}
	out, err := s.RunTensors(r.Context(), in)
	if err != nil {
		return nil, err
	}
	var a struct {
		ID      string   `json:"id,omitempty"`
		Model   string   `json:"model_name"`
		Version string   `json:"model_version"`
		Outputs []tensor `json:"outputs"`
	}
	a.ID, a.Model, a.Version = q.ID, "simple", "1"
	for _, name := range s.Outputs() {
		t := out[name]
		data := make([]int32, len(t.Raw)/4)
		for i := range data {
			data[i] = int32(binary.LittleEndian.Uint32(t.Raw[4*i:]))
		}
		a.Outputs = append(a.Outputs, tensor{name, t.Dims, "INT32", data})
	}
	return json.Marshal(a)
}
