package serve

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redoubt-ml/redoubt/ml/ort/orttest"
)

// As many large bodies are worked on at once as the configuration allows, or as there
// is memory for.
func TestBodies(t *testing.T) {
	for name, c := range map[string]struct {
		bodies, memory int64
		want           int64 // at once
	}{
		"configured":  {bodies: 250_000, want: 2},
		"by memory":   {memory: 16 * 350_000, want: 3},
		"none is set": {want: 6},
	} {
		t.Run(name, func(t *testing.T) {
			var now, most atomic.Int64
			behind := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				answer := `{"name":"m","platform":"","inputs":[{"name":"x","datatype":"FP32","shape":[1]}],"outputs":[{"name":"y","datatype":"FP32","shape":[1]}]}`
				if strings.HasSuffix(r.URL.Path, "/infer") {
					n := now.Add(1)
					for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
					}
					for begun := time.Now(); most.Load() < c.want && time.Since(begun) < 10*time.Second; {
						time.Sleep(time.Millisecond)
					}
					time.Sleep(20 * time.Millisecond) // for one too many to come
					now.Add(-1)
					answer = `{"model_name":"m","outputs":[{"name":"y","datatype":"FP32","shape":[1],"data":[1]}]}`
				}
				fmt.Fprint(w, answer)
			}))
			defer behind.Close()
			cfg := &Config{
				Data: t.TempDir(), Listen: Listen{REST: "127.0.0.1:0", GRPC: "127.0.0.1:0", Admin: "127.0.0.1:0"},
				Limits: Limits{Bodies: c.bodies},
				Models: []Model{{Name: "simple", Upstream: behind.URL + "/v2/models/m"}},
			}
			if err := cfg.Check(); err != nil {
				t.Fatal(err)
			}
			s, err := Start(t.Context(), cfg, Options{Runtime: orttest.Runtime(t), Memory: c.memory})
			if err != nil {
				t.Fatal(err)
			}
			defer s.closeAll()
			body := `{"inputs":[{"name":"x","datatype":"FP32","shape":[1],"data":[1]}]}` + strings.Repeat(" ", 100_000)
			var calls sync.WaitGroup
			for i := range 6 { // each by somebody else: nobody has more than half
				caller := callerOf(t, s, userOf(t, s, fmt.Sprint("ci", i)))
				calls.Go(func() {
					if code, answer := caller.rest("POST", "/v2/models/simple/infer", body); code != http.StatusOK {
						t.Errorf("%d %s", code, answer)
					}
				})
			}
			calls.Wait()
			if got := most.Load(); got != c.want {
				t.Errorf("%d at once, want %d", got, c.want)
			}
		})
	}
}
