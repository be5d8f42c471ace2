package main

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/redoubt-ml/redoubt/internal/need"
	"github.com/redoubt-ml/redoubt/ml/ort/orttest"
)

// Every differentiable shared network passes gradcheck as a user would run it.
// The others hold trees, take integers, or have several inputs or an If.
func TestGradcheckOnSharedNetworks(t *testing.T) {
	t.Setenv("REDOUBT_ORT", orttest.Runtime(t).Path())
	not := []string{"_rf40", "_gbdt60", "randomforest", "magika", "standard_v3", "silero", "multitype", "several_inputs", "big_compute"}
	for _, p := range []string{"models/*/*.onnx*", "vnncomp/*/*.onnx.gz"} {
		files, err := filepath.Glob(filepath.Join(need.Data(t, "."), p))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			want := 0
			if slices.ContainsFunc(not, func(s string) bool { return strings.Contains(filepath.Base(f), s) }) {
				want = 2
			}
			if filepath.Base(f) == "yalue_example_big_compute.onnx" {
				continue // 50 million elements
			}
			if got := run([]string{"gradcheck", "-q", f}); got != want {
				t.Errorf("gradcheck %s: exit code %d, want %d", f, got, want)
			}
		}
	}
}
