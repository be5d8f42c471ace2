// Package remotetest serves a model to tests the way real servers do: the Open
// Inference Protocol with JSON or binary tensors, and the plain JSON of
// TensorFlow Serving and MLflow. It reads requests with code of its own, so that
// a client's mistake is not repeated in the server.
//
//	s := &remotetest.Server{Model: m, Sample: []int{784}}
//	web := httptest.NewTLSServer(s)
//	remote.Open(ctx, web.URL+"/v2/models/net", remote.Config{...})
package remotetest

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/redoubt-ml/redoubt/ml/model"
	"github.com/redoubt-ml/redoubt/ml/tensor"
)

// Server answers for a model at /v2/models/net, /v2/models/net/versions/1,
// /v1/models/net:predict and /invocations. Its fields are set before it serves.
type Server struct {
	Model  model.Scores // Required; asked by one request at a time
	Sample []int        // Required: shape of one sample
	Token  string       // wanted in "Authorization: Bearer"; "" wants none
	Binary bool         // take and give binary tensors
	// Softmax answers with probabilities; Labels with the class alone, by name
	// where there are Names; Winner with scores of one for the class and zero for
	// the others, as a gateway that withholds scores does.
	Softmax, Labels, Winner bool
	Names                   []string
	// Datatype of the input; "" means FP32.
	Datatype string
	// Batch is the most samples taken in a request; 0 means any.
	Batch int
	// Fault may answer a request in the server's place, and then returns true.
	Fault func(w http.ResponseWriter, r *http.Request) bool

	mu      sync.Mutex
	samples int64
}

// Samples is how many samples were answered.
func (s *Server) Samples() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.samples
}

// ServeHTTP implements [http.Handler].
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.Token != "" && r.Header.Get("Authorization") != "Bearer "+s.Token {
		refuse(w, http.StatusUnauthorized, "no such token: "+r.Header.Get("Authorization"))
		return
	}
	if s.Fault != nil && s.Fault(w, r) {
		return
	}
	path := strings.Replace(r.URL.Path, "/versions/1", "", 1)
	switch r.Method + " " + path {
	case "GET /v2":
		extensions := []string{"statistics"}
		if s.Binary {
			extensions = append(extensions, "binary_tensor_data")
		}
		send(w, map[string]any{"name": "test", "version": "1", "extensions": extensions})
	case "GET /v2/models/net":
		s.metadata(w)
	case "POST /v2/models/net/infer":
		s.infer(w, r)
	case "POST /v1/models/net:predict":
		s.predict(w, r, "instances")
	case "POST /invocations":
		s.predict(w, r, "inputs")
	default:
		refuse(w, http.StatusNotFound, "Request for unknown model")
	}
}

func send(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(v); err != nil {
		panic(err) // plain data only
	}
}

func refuse(w http.ResponseWriter, status int, why string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	fmt.Fprintf(w, "{\"error\":%q}", why)
}

func (s *Server) datatype() string {
	if s.Datatype == "" {
		return "FP32"
	}
	return s.Datatype
}

func (s *Server) metadata(w http.ResponseWriter) {
	out := map[string]any{"name": "scores", "datatype": "FP32", "shape": []int{-1, -1}}
	if s.Labels {
		out = map[string]any{"name": "label", "datatype": "INT64", "shape": []int{-1}}
		if s.Names != nil {
			out["datatype"] = "BYTES"
		}
	}
	send(w, map[string]any{
		"name": "net", "platform": "onnxruntime_onnx",
		"inputs":  []any{map[string]any{"name": "x", "datatype": s.datatype(), "shape": append([]int{-1}, s.Sample...)}},
		"outputs": []any{out},
	})
}

// infer answers in the form of the request.
func (s *Server) infer(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	head := len(body)
	if h := r.Header["Inference-Header-Content-Length"]; len(h) == 1 && s.Binary {
		if head, err = strconv.Atoi(h[0]); err != nil || head < 0 || head > len(body) {
			http.Error(w, `{"error":"the length of the JSON header is wrong"}`, http.StatusBadRequest)
			return
		}
	}
	var q struct {
		Inputs []struct {
			Name, Datatype string
			Shape          []int
			Data           []float64
			Parameters     struct {
				Size int `json:"binary_data_size"`
			}
		}
	}
	if err := json.Unmarshal(body[:head], &q); err != nil || len(q.Inputs) != 1 || q.Inputs[0].Name != "x" || q.Inputs[0].Datatype != s.datatype() {
		refuse(w, http.StatusBadRequest, fmt.Sprintf("unexpected request: %v", err))
		return
	}
	in, data := q.Inputs[0], q.Inputs[0].Data
	if head < len(body) {
		if in.Parameters.Size != len(body)-head {
			refuse(w, http.StatusBadRequest, "binary_data_size does not fit the body")
			return
		}
		data = decode(in.Datatype, body[head:])
	}
	z, ok := s.answer(w, r, in.Shape, data)
	if !ok {
		return
	}
	if s.Labels {
		s.sendLabels(w, z)
		return
	}
	out := map[string]any{"name": "scores", "datatype": "FP32", "shape": z.Shape}
	var tail []byte
	if head < len(body) {
		for _, v := range z.Data {
			tail = binary.LittleEndian.AppendUint32(tail, math.Float32bits(v))
		}
		out["parameters"] = map[string]any{"binary_data_size": len(tail)}
	} else {
		out["data"] = z.Data
	}
	b, err := json.Marshal(map[string]any{"model_name": "net", "outputs": []any{out}})
	if err != nil {
		refuse(w, http.StatusInternalServerError, err.Error())
		return
	}
	if tail != nil {
		w.Header().Set("Inference-Header-Content-Length", strconv.Itoa(len(b)))
	}
	_, _ = w.Write(append(b, tail...)) // the client may be gone
}

// decode reads the types that tests send.
func decode(datatype string, b []byte) []float64 {
	var out []float64
	switch datatype {
	case "FP32":
		for ; len(b) >= 4; b = b[4:] {
			out = append(out, float64(math.Float32frombits(binary.LittleEndian.Uint32(b))))
		}
	case "UINT8":
		for _, v := range b {
			out = append(out, float64(v))
		}
	}
	return out
}

func (s *Server) sendLabels(w http.ResponseWriter, z *tensor.Tensor) {
	out := map[string]any{"name": "label", "datatype": "INT64", "shape": []int{z.Rows()}}
	data := []any{}
	for i := range z.Rows() {
		data = append(data, s.label(z.Row(i)))
	}
	if s.Names != nil {
		out["datatype"] = "BYTES"
	}
	out["data"] = data
	send(w, map[string]any{"model_name": "net", "outputs": []any{out}})
}

func (s *Server) label(row []float32) any {
	c := tensor.ArgMax(row)
	if s.Names != nil {
		return s.Names[c]
	}
	return c
}

// predict answers plain JSON: scores are objects with a member "scores", labels
// stand alone.
func (s *Server) predict(w http.ResponseWriter, r *http.Request, member string) {
	var q map[string][]any
	if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
		refuse(w, http.StatusBadRequest, err.Error())
		return
	}
	var data []float64
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case float64:
			data = append(data, v)
		case []any:
			for _, e := range v {
				walk(e)
			}
		}
	}
	walk(q[member])
	z, ok := s.answer(w, r, append([]int{len(q[member])}, s.Sample...), data)
	if !ok {
		return
	}
	out := []any{}
	for i := range z.Rows() {
		if s.Labels {
			out = append(out, s.label(z.Row(i)))
		} else {
			out = append(out, map[string]any{"id": i, "scores": z.Row(i)})
		}
	}
	send(w, map[string]any{"predictions": out})
}

// answer asks the model; false if the request was refused.
func (s *Server) answer(w http.ResponseWriter, r *http.Request, shape []int, data []float64) (*tensor.Tensor, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	want := tensor.Len(s.Sample)
	if len(shape) == 0 || tensor.Len(shape) != len(data) || len(data) != shape[0]*want || shape[0] == 0 {
		refuse(w, http.StatusBadRequest, fmt.Sprintf("unexpected shape %v with %d elements", shape, len(data)))
		return nil, false
	}
	if s.Batch > 0 && shape[0] > s.Batch {
		refuse(w, http.StatusBadRequest, fmt.Sprintf("inference request batch-size must be <= %d", s.Batch))
		return nil, false
	}
	x := tensor.New(append([]int{shape[0]}, s.Sample...)...)
	for i, v := range data {
		x.Data[i] = float32(v)
	}
	z, err := s.Model.Scores(r.Context(), x)
	if err != nil {
		refuse(w, http.StatusInternalServerError, err.Error())
		return nil, false
	}
	s.samples += int64(shape[0])
	z = z.Clone()
	if s.Softmax {
		softmax(z)
	}
	if s.Winner {
		for i := range z.Rows() {
			best := tensor.ArgMax(z.Row(i))
			clear(z.Row(i))
			z.Row(i)[best] = 1
		}
	}
	return z, true
}

func softmax(z *tensor.Tensor) {
	for i := range z.Rows() {
		row, sum := z.Row(i), 0.0
		top := row[tensor.ArgMax(row)]
		for j, v := range row {
			row[j] = float32(math.Exp(float64(v - top)))
			sum += float64(row[j])
		}
		for j := range row {
			row[j] = float32(float64(row[j]) / sum)
		}
	}
}
