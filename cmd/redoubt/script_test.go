package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/redoubt-ml/redoubt/cmd/redoubt/demodata"
	"github.com/redoubt-ml/redoubt/internal/need"
	"github.com/redoubt-ml/redoubt/ml/data"
	"github.com/redoubt-ml/redoubt/ml/onnx"
	"github.com/redoubt-ml/redoubt/ml/ort"
	"github.com/redoubt-ml/redoubt/ml/ort/orttest"
	"github.com/redoubt-ml/redoubt/ml/tensor"
	"github.com/redoubt-ml/redoubt/ml/train"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"redoubt": main})
}

// Every verb has a script in testdata/script that runs the real binary. The
// files below are there for all of them; $DATA is the shared test data, $DOCS
// the documentation, $SIGNED models that others signed.
func TestScripts(t *testing.T) {
	rt := orttest.Runtime(t)
	shared := need.Data(t, ".")
	files := t.TempDir()
	makeFiles(t, rt, files)
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"code": code, "interrupt": interrupt, "ready": ready, "keep": keep, "hangup": hangup, "await": await, "manage": manage, "heard": heard,
		},
		// [curl]: whether a program is here; where it must be, its absence is an error.
		Condition: func(name string) (bool, error) {
			if name != "curl" && name != "systemd-analyze" {
				return false, fmt.Errorf("unknown condition %q", name)
			}
			_, err := exec.LookPath(name)
			if err != nil && need.Demanded(name) {
				return false, err
			}
			return err == nil, nil
		},
		Setup: func(e *testscript.Env) error {
			e.Setenv("REDOUBT_ORT", rt.Path())
			e.Setenv("DATA", shared)
			e.Setenv("LOANS", filepath.Join(need.Root(t), "cmd", "redoubt", "testdata", "loans"))
			e.Setenv("DOCS", filepath.Join(need.Root(t), "docs"))
			e.Setenv("SIGNED", filepath.Join(need.Root(t), "supply", "sign", "testdata"))
			for _, name := range []string{"REST", "GRPC", "ADMIN", "REST2", "ADMIN2"} {
				address, err := freeAddress()
				if err != nil {
					return err
				}
				_, port, _ := strings.Cut(address, ":")
				e.Setenv(name, address)
				e.Setenv(name+"PORT", port)
			}
			return os.CopyFS(e.WorkDir, os.DirFS(files))
		},
	})
}

// makeFiles makes a small trained classifier and things done to it.
func makeFiles(t *testing.T, rt *ort.Runtime, dir string) {
	t.Helper()
	rng := rand.New(rand.NewPCG(1, 2))
	x, y := tensor.New(300, 4), make([]int, 300)
	for i := range y {
		y[i] = rng.IntN(3)
		for j := range x.Row(i) {
			x.Row(i)[j] = 0.5 * rng.Float32()
		}
		x.Row(i)[y[i]] += 0.5
	}
	m, err := train.MLP([]int{4}, []int{16}, 3, 1)
	if err != nil {
		t.Fatal(err)
	}
	if m, _, err = train.Fit(t.Context(), rt, m, x, y, train.Config{Epochs: 20, Rate: train.Constant(0.01), Seed: 1}); err != nil {
		t.Fatal(err)
	}
	write := func(name string, b []byte) {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	model := func(name string, m *onnx.Model) []byte {
		b, err := m.Encode()
		if err != nil {
			t.Fatal(err)
		}
		write(name, b)
		return b
	}
	b := model("net.onnx", m)
	write("cut.onnx", b[:len(b)/2])
	write("text.onnx", []byte("this is not a model"))
	flipped := append([]byte(nil), b...)
	flipped[len(flipped)/3] ^= 0x55
	write("flipped.onnx", flipped)
	model("cycle.onnx", cyclic(m.Clone()))
	model("huge.onnx", huge(m.Clone()))
	model("pixels.onnx", ofBytes(m.Clone()))
	write("outside.onnx", escape(t, m.Clone()))

	labels := make([]int64, len(y))
	for i, v := range y {
		labels[i] = int64(v)
	}
	wrong := append([]int64(nil), labels...)
	wrong[5] = 7
	nan := append([]float32(nil), x.Data...)
	nan[13] = float32(math.NaN())
	npz(t, filepath.Join(dir, "data.npz"), x.Data, 300, 4, labels)
	raw := &onnx.Tensor{Type: onnx.Uint8, Dims: []int64{300, 2, 2}}
	for _, v := range x.Data {
		raw.Raw = append(raw.Raw, byte(math.Round(float64(255*v))))
	}
	if err := data.WriteNPZ(filepath.Join(dir, "pixels.npz"), map[string]*onnx.Tensor{"x": raw, "y": onnx.IntTensor("y", labels, 300)}); err != nil {
		t.Fatal(err)
	}
	npz(t, filepath.Join(dir, "wrong.npz"), x.Data, 300, 4, wrong)
	npz(t, filepath.Join(dir, "nan.npz"), nan, 300, 4, labels)
	npz(t, filepath.Join(dir, "shape.npz"), x.Data, 240, 5, labels[:240])
	digits, err := demodata.Digits()
	if err != nil {
		t.Fatal(err)
	}
	pixels, digit := make([]float32, 64*50), make([]int64, 50)
	for i := range digit {
		digit[i] = int64(digits.Y[i])
		for j, v := range digits.X.Row(i) {
			pixels[64*i+j] = 16 * v
		}
	}
	npz(t, filepath.Join(dir, "digits.npz"), pixels, 50, 64, digit)
	makeBytes(t, filepath.Join(dir, "bytes.npz"))
	if err := data.WriteNPZ(filepath.Join(dir, "in.npz"), map[string]*onnx.Tensor{"x": onnx.FloatTensor("x", x.Data[:8], 2, 4)}); err != nil {
		t.Fatal(err)
	}
}

// makeBytes makes samples of magika's input from its own examples: the first
// and the last 1,024 bytes of a file without the white space around them, 256
// where there are fewer.
func makeBytes(t *testing.T, path string) {
	t.Helper()
	var cfg struct {
		Labels []string `json:"target_labels_space"`
	}
	readJSON(t, need.Data(t, "models/magika/standard_v3_3_config.min.json"), &cfg)
	var examples []struct {
		Content    []byte `json:"content_base64"`
		Prediction struct {
			Label string `json:"dl"`
		} `json:"prediction"`
	}
	readJSON(t, need.Data(t, "models/magika/standard_v3_3-inference_examples_by_content.json.gz"), &examples)
	var x, y []int64
	for _, e := range examples {
		class := slices.Index(cfg.Labels, e.Prediction.Label)
		if class < 0 || len(y) == 3 {
			continue
		}
		row := slices.Repeat([]int64{256}, 2048)
		begin, end := bytes.TrimLeft(e.Content, " \n\t"), bytes.TrimRight(e.Content, " \n\t")
		for i, c := range begin[:min(len(begin), 1024)] {
			row[i] = int64(c)
		}
		end = end[max(0, len(end)-1024):]
		for i, c := range end {
			row[2048-len(end)+i] = int64(c)
		}
		x, y = append(x, row...), append(y, int64(class))
	}
	n := int64(len(y))
	if err := data.WriteNPZ(path, map[string]*onnx.Tensor{"x": onnx.IntTensor("x", x, n, 2048), "y": onnx.IntTensor("y", y, n)}); err != nil {
		t.Fatal(err)
	}
}

func readJSON(t *testing.T, path string, v any) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if strings.HasSuffix(path, ".gz") {
		r, err := gzip.NewReader(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		if b, err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := json.Unmarshal(b, v); err != nil {
		t.Fatal(err)
	}
}

func npz(t *testing.T, path string, x []float32, n, d int64, y []int64) {
	t.Helper()
	err := data.WriteNPZ(path, map[string]*onnx.Tensor{"x": onnx.FloatTensor("x", x, n, d), "y": onnx.IntTensor("y", y, n)})
	if err != nil {
		t.Fatal(err)
	}
}

// cyclic makes the first node wait for the last.
func cyclic(m *onnx.Model) *onnx.Model {
	last := m.Graph.Nodes[len(m.Graph.Nodes)-1]
	m.Graph.Nodes[0].Inputs[0] = last.Outputs[0]
	return m
}

// huge claims a weight of 2^50 elements.
func huge(m *onnx.Model) *onnx.Model {
	w := *m.Graph.Initializers[0]
	w.Dims = []int64{1 << 25, 1 << 25}
	m.Graph.Initializers[0] = &w
	return m
}

// ofBytes makes a model of numbers in [0,1] take the bytes of 0 to 255 that they were.
func ofBytes(m *onnx.Model) *onnx.Model {
	in := m.Graph.Feeds()[0]
	in.Type.Tensor.Elem = onnx.Uint8
	for _, n := range m.Graph.Nodes {
		for i, name := range n.Inputs {
			if name == in.Name {
				n.Inputs[i] = "scaled"
			}
		}
	}
	m.Graph.Nodes = append([]*onnx.Node{
		onnx.NewNode("Cast", []string{in.Name}, []string{"real"}, onnx.IntAttr("to", int64(onnx.Float))),
		onnx.NewNode("Div", []string{"real", "white"}, []string{"scaled"}),
	}, m.Graph.Nodes...)
	m.Graph.Initializers = append(m.Graph.Initializers, onnx.FloatTensor("white", []float32{255}))
	m.Graph.Values = nil
	return m
}

// escape moves the first weight to a file outside the model's folder. The
// package that writes models would not do that, so the message is put together
// here.
func escape(t *testing.T, m *onnx.Model) []byte {
	t.Helper()
	w := m.Graph.Initializers[0]
	m.Graph.Initializers = m.Graph.Initializers[1:]
	b, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	field := func(b []byte, n protowire.Number, v []byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(b, n, protowire.BytesType), v)
	}
	number := func(b []byte, n protowire.Number, v uint64) []byte {
		return protowire.AppendVarint(protowire.AppendTag(b, n, protowire.VarintType), v)
	}
	var tensor []byte // dims=1, data_type=2, name=8, external_data=13, data_location=14
	for _, d := range w.Dims {
		tensor = number(tensor, 1, uint64(d))
	}
	tensor = field(number(tensor, 2, uint64(onnx.Float)), 8, []byte(w.Name))
	tensor = field(tensor, 13, field(field(nil, 1, []byte("location")), 2, []byte("../../etc/passwd")))
	tensor = number(tensor, 14, 1)
	var out []byte
	for len(b) > 0 {
		n, typ, tag := protowire.ConsumeTag(b)
		size := protowire.ConsumeFieldValue(n, typ, b[tag:])
		if n == 7 { // the graph: one initializer more
			graph, _ := protowire.ConsumeBytes(b[tag:])
			out = field(out, 7, field(append([]byte(nil), graph...), 5, tensor))
		} else {
			out = append(out, b[:tag+size]...)
		}
		b = b[tag+size:]
	}
	return out
}

// code runs a command and checks its exit code: code 2 redoubt assess ...
func code(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code N command...")
	}
	err := ts.Exec(args[1], args[2:]...)
	got := "0"
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		got = strings.TrimPrefix(exit.String(), "exit status ")
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if got != args[0] {
		ts.Fatalf("exit code %s, want %s", got, args[0])
	}
	if out := ts.ReadFile("stderr"); strings.Contains(out, "goroutine ") {
		ts.Fatalf("a stack trace reached the user")
	}
}

// freeAddress is one that nobody listens at, on this machine.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// ready waits until the server whose admin address is given is: ready ADDRESS.
func ready(ts *testscript.TestScript, neg bool, args []string) {
	for began := time.Now(); time.Since(began) < 20*time.Second; time.Sleep(20 * time.Millisecond) {
		a, err := http.Get("http://" + args[0] + "/readyz")
		if err != nil {
			continue
		}
		a.Body.Close()
		if a.StatusCode == http.StatusOK {
			return
		}
	}
	ts.Fatalf("the server at %s does not get ready", args[0])
}

// keep sets a variable to what was printed last, or to what a pattern's group finds
// in it: keep NAME [PATTERN].
func keep(ts *testscript.TestScript, neg bool, args []string) {
	text := strings.TrimSpace(ts.ReadFile("stdout"))
	if len(args) > 1 {
		found := regexp.MustCompile("(?m)" + args[1]).FindStringSubmatch(text)
		if found == nil {
			ts.Fatalf("nothing like %s was printed", args[1])
		}
		text = found[1]
	}
	ts.Setenv(args[0], text)
}

// hangup sends SIGHUP to what runs in the background: hangup.
func hangup(ts *testscript.TestScript, neg bool, args []string) {
	for _, c := range ts.BackgroundCmds() {
		ts.Check(c.Process.Signal(syscall.SIGHUP))
	}
}

// await runs a command until it prints a text: await TEXT command...
func await(ts *testscript.TestScript, neg bool, args []string) {
	for began := time.Now(); time.Since(began) < 20*time.Second; time.Sleep(20 * time.Millisecond) {
		if ts.Exec(args[1], args[2:]...) == nil && strings.Contains(ts.ReadFile("stdout"), args[0]) {
			return
		}
	}
	ts.Fatalf("%s does not print %q", args[1], args[0])
}

// manage has what runs from now on tell a service manager how it is: manage.
func manage(ts *testscript.TestScript, neg bool, args []string) {
	path := ts.MkAbs("notify")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	ts.Check(err)
	ts.Defer(func() { c.Close() })
	managers.Store(path, c)
	ts.Setenv("NOTIFY_SOCKET", path)
}

// managers are the sockets by their paths.
var managers sync.Map

// heard waits for the next that the manager is told, which has all these lines:
// heard LINE...
func heard(ts *testscript.TestScript, neg bool, args []string) {
	c, _ := managers.Load(ts.Getenv("NOTIFY_SOCKET"))
	ts.Check(c.(*net.UnixConn).SetReadDeadline(time.Now().Add(20 * time.Second)))
	var b [4096]byte
	n, err := c.(*net.UnixConn).Read(b[:])
	ts.Check(err)
	for _, line := range args {
		if ok, err := regexp.Match("(?m)^"+line+"$", b[:n]); err != nil || !ok {
			ts.Fatalf("the service manager is told %q, not %s", b[:n], line)
		}
	}
}

// interrupt runs a command, sends it Ctrl-C after a time, and checks that it
// ends within a second with code 130: interrupt 500ms redoubt assess ...
func interrupt(ts *testscript.TestScript, neg bool, args []string) {
	after, err := time.ParseDuration(args[0])
	ts.Check(err)
	path, err := exec.LookPath(args[1])
	ts.Check(err)
	cmd := exec.Command(path, args[2:]...)
	cmd.Dir = ts.MkAbs(".")
	cmd.Env = append(os.Environ(), "REDOUBT_ORT="+ts.Getenv("REDOUBT_ORT"))
	ts.Check(cmd.Start())
	time.Sleep(after)
	ts.Check(cmd.Process.Signal(syscall.SIGINT))
	sent := time.Now()
	err = cmd.Wait()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 130 {
		ts.Fatalf("ended with %v, want exit code 130", err)
	}
	if d := time.Since(sent); d > 3*time.Second {
		ts.Fatalf("took %v to stop", d)
	}
}
