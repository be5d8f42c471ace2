package oip_test

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/redoubt-ml/redoubt/serve/oip"
	"github.com/redoubt-ml/redoubt/serve/oip/oippb"
	"google.golang.org/protobuf/proto"
)

// counted is the clients' tensor number i: in rows of 16 the numbers from 0, or
// ones.
func counted(i, rows int) oip.Tensor {
	t := oip.Tensor{Name: "INPUT" + strconv.Itoa(i), Datatype: oip.INT32, Shape: []int64{int64(rows), 16}}
	for range rows {
		for v := range uint32(16) {
			if i == 1 {
				v = 1
			}
			t.Raw = binary.LittleEndian.AppendUint32(t.Raw, v)
		}
	}
	return t
}

// worded is the same in words.
func worded(i int) oip.Tensor {
	t := counted(i, 1)
	for b := t.Raw; len(b) > 0; b = b[4:] {
		t.Strings = append(t.Strings, strconv.AppendUint(nil, uint64(binary.LittleEndian.Uint32(b)), 10))
	}
	t.Datatype, t.Raw = oip.BYTES, nil
	return t
}

// sevenths is the clients' image: the numbers from 0 to 47, divided by 7.
func sevenths() oip.Tensor {
	t := oip.Tensor{Name: "INPUT0", Datatype: oip.FP32, Shape: []int64{1, 48}}
	for i := range 48 {
		t.Raw = binary.LittleEndian.AppendUint32(t.Raw, math.Float32bits(float32(i)/7))
	}
	return t
}

// What the clients of Triton and KServe sent, byte by byte, when bench/clients
// ran against the server of package engine's tests (its -record), means what
// they were told to send.
func TestRecordedClients(t *testing.T) {
	pair := []oip.Tensor{counted(0, 1), counted(1, 1)}
	words := []oip.Tensor{worded(0), worded(1)}
	asked := func(first, second bool) []oip.Output {
		return []oip.Output{{Name: "OUTPUT0", Binary: first}, {Name: "OUTPUT1", Binary: second}}
	}
	one := func(binary bool) []oip.Output { return []oip.Output{{Name: "OUTPUT0", Binary: binary}} }
	want := map[string]*oip.Request{
		"triton_http_binary":         {Inputs: pair, Outputs: asked(true, true)},
		"triton_http_json":           {Inputs: pair, Outputs: asked(false, false)},
		"triton_http_mixed":          {Inputs: pair, Outputs: []oip.Output{{Name: "OUTPUT1", Binary: true}, {Name: "OUTPUT0"}}},
		"triton_http_all_outputs":    {Inputs: pair, BinaryOutput: true},
		"triton_http_aio":            {Inputs: pair, BinaryOutput: true},
		"triton_http_gzip":           {Inputs: pair, BinaryOutput: true},
		"triton_http_deflate":        {Inputs: []oip.Tensor{counted(0, 64), counted(1, 64)}, BinaryOutput: true},
		"triton_http_strings_binary": {Inputs: words, Outputs: asked(true, true)},
		"triton_http_strings_json":   {Inputs: words, Outputs: asked(false, false)},
		"triton_http_floats_binary":  {Inputs: []oip.Tensor{sevenths()}, Outputs: one(true)},
		"triton_http_floats_json":    {Inputs: []oip.Tensor{sevenths()}, Outputs: one(false)},
		"kserve_rest_json":           {Inputs: pair, Outputs: asked(false, false)},
		"kserve_rest_binary":         {Inputs: pair, Outputs: asked(true, true)},
		"triton_grpc_infer":          {Inputs: pair, Outputs: asked(true, true), BinaryOutput: true, Model: "simple"},
		"triton_grpc_strings":        {Inputs: words, BinaryOutput: true, Model: "simple_string"},
		"triton_grpc_explicit":       {Inputs: pair, Model: "simple"},
		"triton_grpc_explicit_bytes": {Inputs: words, Model: "simple_string"},
		"kserve_grpc_typed":          {Inputs: pair, Model: "simple"},
		"kserve_grpc_raw":            {Inputs: pair, BinaryOutput: true, Model: "simple"},
	}
	files, err := filepath.Glob("testdata/clients/*")
	if err != nil || len(files) != len(want)+1 {
		t.Fatalf("%d recordings, want %d: %v", len(files), len(want)+1, err)
	}
	for _, file := range files {
		name, _, _ := strings.Cut(filepath.Base(file), ".")
		q, err := readRecorded(t, file)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if name == "triton_http_half" { // FP16 has no literal here: 1/7 rounds to 0x3092
			if x := q.Inputs[0]; x.Datatype != oip.FP16 || len(x.Raw) != 96 || binary.LittleEndian.Uint16(x.Raw[2:]) != 0x3092 {
				t.Errorf("%s: %+v", name, x)
			}
			continue
		}
		w := want[name]
		w.ID = name
		if !reflect.DeepEqual(plain(q.Inputs), plain(w.Inputs)) || !reflect.DeepEqual(q.Outputs, w.Outputs) || q.BinaryOutput != w.BinaryOutput || q.ID != w.ID || q.Model != w.Model {
			t.Errorf("%s: %+v, want %+v", name, q, w)
		}
	}
}

func readRecorded(t *testing.T, file string) (*oip.Request, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if strings.HasSuffix(file, ".pb") {
		m := &oippb.ModelInferRequest{}
		if err := proto.Unmarshal(b, m); err != nil {
			return nil, err
		}
		return oip.RequestFromGRPC(m)
	}
	r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(b)))
	if err != nil {
		return nil, err
	}
	return oip.ReadRequest(r, nil, oip.Limits{})
}
