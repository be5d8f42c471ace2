package engine

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/redoubt-ml/redoubt/serve/oip"
)

var mlserver = flag.String("mlserver", "", "record the exchanges with the MLServer at this address anew")

// exchange replays what MLServer said, or records it: file NN.request holds
// what we sent, NN.answer the bytes that came back.
func exchange(t *testing.T, dir string) *httptest.Server {
	n := 0
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		sent := fmt.Appendf(nil, "%s %s\nContent-Type: %s\n\n%s", r.Method, r.URL.Path, r.Header.Get("Content-Type"), body)
		path := filepath.Join(dir, fmt.Sprintf("%02d", n))
		if n++; *mlserver != "" {
			recordExchange(t, path, sent, r, body)
		}
		want, err := os.ReadFile(path + ".request")
		if err != nil || !bytes.Equal(sent, want) {
			t.Errorf("%v: sent %s, want %s", err, sent, want)
		}
		answer, err := os.Open(path + ".answer")
		if err != nil {
			t.Error(err)
			return
		}
		defer answer.Close()
		a, err := http.ReadResponse(bufio.NewReader(answer), r)
		if err != nil {
			t.Error(err)
			return
		}
		for name, v := range a.Header {
			w.Header()[name] = v
		}
		w.WriteHeader(a.StatusCode)
		_, _ = io.Copy(w, a.Body)
	}))
	t.Cleanup(web.Close)
	return web
}

func recordExchange(t *testing.T, path string, sent []byte, r *http.Request, body []byte) {
	u, err := url.Parse(*mlserver)
	if err != nil {
		t.Fatal(err)
	}
	out, err := http.NewRequestWithContext(t.Context(), r.Method, u.JoinPath(r.URL.Path).String(), bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	out.Header = r.Header.Clone()
	a, err := http.DefaultTransport.RoundTrip(out)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	answer, err := httputil.DumpResponse(a, true)
	if err != nil {
		t.Fatal(err)
	}
	for suffix, b := range map[string][]byte{".request": sent, ".answer": answer} {
		if err := os.WriteFile(path+suffix, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// MLServer 1.7.1 with a logistic regression of scikit-learn on the Iris data,
// named iris and declared to take FP32 [-1, 4], answered this: two flowers, one
// of each end, sent in JSON although we were asked in binary form; and a refusal.
func TestMLServer(t *testing.T) {
	web := exchange(t, filepath.Join("testdata", "mlserver"))
	u := upstream(t, UpstreamConfig{URL: web.URL + "/v2/models/iris"})
	if err := u.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	m, err := u.Metadata(t.Context())
	if err != nil || len(m.Inputs) != 1 || m.Inputs[0].Datatype != oip.FP32 || m.Name != "ours" {
		t.Fatal(m, err)
	}
	a, err := u.Infer(t.Context(), &oip.Request{ID: "mine", BinaryOutput: true, Inputs: []oip.Tensor{floats("x", []int64{2, 4}, 5.1, 3.5, 1.4, 0.2, 6.3, 3.3, 6, 2.5)}})
	if err != nil {
		t.Fatal(err)
	}
	y := a.Outputs[0]
	if a.ID != "mine" || a.ModelName != "ours" || y.Name != "predict" || y.Datatype != oip.INT64 || binary.LittleEndian.Uint64(y.Raw) != 0 || binary.LittleEndian.Uint64(y.Raw[8:]) != 2 {
		t.Errorf("%+v, want classes 0 and 2", a)
	}
	over := upstream(t, UpstreamConfig{URL: web.URL + "/v2/models/nothing"})
	if _, err := over.Metadata(t.Context()); code(err) != oip.Unavailable || strings.Contains(err.(*oip.Error).Message, "nothing") {
		t.Errorf("a model that is not there: error %v, want unavailable", err)
	}
}
