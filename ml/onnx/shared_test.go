package onnx_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/redoubt-ml/redoubt/internal/need"
	"github.com/redoubt-ml/redoubt/ml/onnx"
)

// sharedModels lists every network among the shared test data.
func sharedModels(t *testing.T) []string {
	t.Helper()
	var paths []string
	for _, dir := range []string{"models", "vnncomp"} {
		err := filepath.WalkDir(need.Data(t, dir), func(p string, d fs.DirEntry, err error) error {
			if strings.HasSuffix(strings.TrimSuffix(p, ".gz"), ".onnx") {
				paths = append(paths, p)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(paths) < 50 {
		t.Fatalf("found %d shared models, want at least 50", len(paths))
	}
	return paths
}

// nodeTests reads ONNX's own operator tests: file contents by test and name,
// such as ["test_abs"]["test_data_set_0/input_0.pb"].
func nodeTests(t *testing.T) map[string]map[string][]byte {
	t.Helper()
	f, err := os.Open(need.Data(t, "onnx-node-tests/node.tar.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	tests := make(map[string]map[string][]byte)
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimPrefix(path.Clean(h.Name), "node/")
		test, file, _ := strings.Cut(name, "/")
		if tests[test] == nil {
			tests[test] = make(map[string][]byte)
		}
		tests[test][file] = b
	}
	if len(tests) != 936 {
		t.Fatalf("found %d node tests, want 936", len(tests))
	}
	return tests
}

// roundTrip checks the law of the codec: what is decoded from an encoding is
// equal to what was encoded, and encodes to the same bytes.
func roundTrip(t *testing.T, m *onnx.Model) {
	t.Helper()
	if again := stable(t, m); !reflect.DeepEqual(m, again) {
		t.Error("the model changed on the way through its encoding")
	}
}

// stable is the half of the law that also holds where an attribute is NaN,
// which equals nothing.
func stable(t *testing.T, m *onnx.Model) *onnx.Model {
	t.Helper()
	b, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	again, err := onnx.Decode(b, onnx.DefaultLimits)
	if err != nil {
		t.Fatalf("decode what was encoded: %v", err)
	}
	b2, err := again.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b, b2) {
		t.Error("encoding twice gave different bytes")
	}
	return again
}

func TestSharedModelsRoundTrip(t *testing.T) {
	for _, p := range sharedModels(t) {
		m, err := onnx.Read(p, onnx.DefaultLimits)
		if err != nil {
			t.Error(err)
			continue
		}
		t.Run(filepath.Base(p), func(t *testing.T) { roundTrip(t, m) })
	}
}

func TestNodeTestsRoundTrip(t *testing.T) {
	for name, files := range nodeTests(t) {
		t.Run(name, func(t *testing.T) {
			m, err := onnx.Decode(files["model.onnx"], onnx.DefaultLimits)
			if err != nil {
				t.Fatal(err)
			}
			roundTrip(t, m)
			err = onnx.Check(m)
			supported := true
			for _, o := range m.Opsets {
				supported = supported && (o.Domain != "" || o.Version >= onnx.MinOpset && o.Version <= onnx.MaxOpset)
			}
			if (err == nil) != supported {
				t.Errorf("opsets %v: check says %v", m.Opsets, err)
			}
			if err == nil {
				roundTrip(t, m)
			}
		})
	}
}
