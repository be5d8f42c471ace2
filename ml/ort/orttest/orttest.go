// Package orttest gives tests an ONNX Runtime, or skips them.
package orttest

import (
	"sync"
	"testing"

	"github.com/redoubt-ml/redoubt/internal/need"
	"github.com/redoubt-ml/redoubt/ml/ort"
)

var open = sync.OnceValues(func() (*ort.Runtime, error) { return ort.Open("") })

// Runtime is the runtime that [ort.Open] finds. A test without one is skipped,
// or fails where REDOUBT_REQUIRE names "ort".
func Runtime(t testing.TB) *ort.Runtime {
	t.Helper()
	rt, err := open()
	if err != nil {
		need.Missing(t, "ort", "ONNX Runtime ("+err.Error()+")")
	}
	return rt
}
