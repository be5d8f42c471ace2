// Command clients runs the Python clients of Triton and KServe against a gateway
// as users have it: it makes the models of the clients' own examples, starts the
// redoubt that it is given with an account and a token, and runs run.sh.
//
//	go run ./bench/clients [-redoubt bin/redoubt] [-only WORD]
//
// It exits with 1 if a check failed. CLIENTS_VENV names a virtual environment to
// keep between runs.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	"github.com/redoubt-ml/redoubt/ml/onnx"
)

func main() {
	redoubt := flag.String("redoubt", "bin/redoubt", "the program to run the clients against")
	script := flag.String("script", "bench/clients/run.sh", "what runs them")
	only := flag.String("only", "", "run the checks whose names hold this word")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *redoubt, *script, *only); err != nil {
		fmt.Fprintln(os.Stderr, "clients:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, redoubt, script, only string) (err error) {
	dir, err := os.MkdirTemp("", "clients-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	s := &server{program: redoubt, dir: dir}
	if s.rest, s.grpc, s.admin, err = addresses(); err != nil {
		return err
	}
	if err := s.start(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	if err := s.token(ctx); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, script, "--http", s.rest, "--grpc", s.grpc,
		"--token-file", filepath.Join(dir, "token"), "--ca", filepath.Join(dir, "data", "tls.crt"), "--only", only)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	return cmd.Run()
}

// addresses are three that nobody listens at. The clients compare names with the
// certificate's, so they are those of localhost.
func addresses() (rest, grpc, admin string, err error) {
	for _, to := range []*string{&rest, &grpc, &admin} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return "", "", "", err
		}
		defer l.Close()
		*to = fmt.Sprintf("localhost:%d", l.Addr().(*net.TCPAddr).Port)
	}
	return rest, grpc, admin, nil
}

// server is a gateway in a folder of its own.
type server struct {
	program, dir, rest, grpc, admin string
	cmd                             *exec.Cmd
}

func (s *server) start(ctx context.Context) error {
	config := fmt.Sprintf("data: data\nlisten: {rest: %s, grpc: %s, admin: %s}\nmodels:\n", s.rest, s.grpc, s.admin)
	for name, m := range models() {
		b, err := m.Encode()
		if err != nil {
			return fmt.Errorf("encode model %s: %w", name, err)
		}
		if err := os.WriteFile(filepath.Join(s.dir, name+".onnx"), b, 0o600); err != nil {
			return err
		}
		config += fmt.Sprintf("  - {name: %s, path: %s.onnx}\n", name, name)
	}
	path := filepath.Join(s.dir, "gateway.yaml")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		return err
	}
	s.cmd = exec.Command(s.program, "serve", "--config", path, "--data", filepath.Join(s.dir, "data"))
	var said strings.Builder
	s.cmd.Stdout, s.cmd.Stderr = &said, &said
	if err := s.cmd.Start(); err != nil {
		return err
	}
	for began := time.Now(); time.Since(began) < 30*time.Second && ctx.Err() == nil; time.Sleep(50 * time.Millisecond) {
		a, err := http.Get("http://" + s.admin + "/readyz")
		if err != nil {
			continue
		}
		a.Body.Close()
		if a.StatusCode == http.StatusOK {
			return nil
		}
	}
	return errors.Join(fmt.Errorf("%s serve does not get ready", s.program), s.stop(), errors.New(said.String()))
}

// stop ends the server as an operator would, and waits for it.
func (s *server) stop() error {
	if err := s.cmd.Process.Signal(os.Interrupt); err != nil {
		return err
	}
	return s.cmd.Wait()
}

// token makes an account for the clients, and writes its token into a file.
func (s *server) token(ctx context.Context) error {
	var out []byte
	for _, args := range [][]string{
		{"user", "add", "--service", "clients", "--role", "model_user"},
		{"token", "create", "--account", "clients", "python"},
	} {
		cmd := exec.CommandContext(ctx, s.program, append(args, "--data", filepath.Join(s.dir, "data"))...)
		cmd.Stderr = os.Stderr
		var err error
		if out, err = cmd.Output(); err != nil {
			return fmt.Errorf("%s %s: %w", s.program, strings.Join(args, " "), err)
		}
	}
	return os.WriteFile(filepath.Join(s.dir, "token"), out, 0o600)
}

// models are those of the examples of Triton's clients.
func models() map[string]*onnx.Model {
	cast := func(from, to string, elem onnx.DataType) *onnx.Node {
		return onnx.NewNode("Cast", []string{from}, []string{to}, onnx.IntAttr("to", int64(elem)))
	}
	pair := func(a, b, sum, difference string) []*onnx.Node {
		in := []string{a, b}
		return []*onnx.Node{onnx.NewNode("Add", in, []string{sum}), onnx.NewNode("Sub", in, []string{difference})}
	}
	two := func(elem onnx.DataType, nodes []*onnx.Node) *onnx.Model {
		sixteen := onnx.Dim{Size: 16}
		return graph(nodes,
			[]*onnx.Value{value("INPUT0", elem, sixteen), value("INPUT1", elem, sixteen)},
			[]*onnx.Value{value("OUTPUT0", elem, sixteen), value("OUTPUT1", elem, sixteen)})
	}
	identity := func(elem onnx.DataType) *onnx.Model {
		any := onnx.Dim{Size: -1, Symbol: "k"}
		return graph([]*onnx.Node{onnx.NewNode("Identity", []string{"INPUT0"}, []string{"OUTPUT0"})},
			[]*onnx.Value{value("INPUT0", elem, any)}, []*onnx.Value{value("OUTPUT0", elem, any)})
	}
	words := append([]*onnx.Node{cast("INPUT0", "a", onnx.Int32), cast("INPUT1", "b", onnx.Int32)}, pair("a", "b", "sum", "difference")...)
	return map[string]*onnx.Model{
		"simple":          two(onnx.Int32, pair("INPUT0", "INPUT1", "OUTPUT0", "OUTPUT1")),
		"simple_string":   two(onnx.String, append(words, cast("sum", "OUTPUT0", onnx.String), cast("difference", "OUTPUT1", onnx.String))),
		"simple_identity": identity(onnx.String),
		"identity_fp32":   identity(onnx.Float),
		"identity_fp16":   identity(onnx.Float16),
	}
}

func graph(nodes []*onnx.Node, in, out []*onnx.Value) *onnx.Model {
	return &onnx.Model{IRVersion: 8, Opsets: []onnx.Opset{{Version: 13}}, Graph: &onnx.Graph{Name: "clients", Nodes: nodes, Inputs: in, Outputs: out}}
}

// value has rows of so many elements.
func value(name string, elem onnx.DataType, width onnx.Dim) *onnx.Value {
	dims := []onnx.Dim{{Size: -1, Symbol: "batch"}, width}
	return &onnx.Value{Name: name, Type: &onnx.Type{Kind: "tensor", Tensor: &onnx.TensorType{Elem: elem, HasShape: true, Dims: dims}}}
}
