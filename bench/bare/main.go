// Command bare serves one model to everybody over TLS, with ONNX Runtime and
// nothing around it but net/http and the protocol: what the gateway's speed is
// held against.
//
//	go run ./bench/bare -listen 127.0.0.1:9443 -data FOLDER [MODEL.onnx]
//
// With -plain it is a Go handler that reads and writes with encoding/json and runs
// the model once for each call. Without, it has the gateway's own decoder, encoder
// and engine, which joins calls into batches: what is left between it and the gateway
// are the guards. With -reverse it has no model, and passes all calls on to another
// server, as net/http/httputil does: what a gateway in front of one is held against.
//
// Without a model it makes Triton's fixture "simple", two vectors of 16 numbers
// in, their sum and difference out, and leaves it in the folder, as it does its
// certificate, tls.crt; with -write that is all it does.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"syscall"

	"github.com/redoubt-ml/redoubt/ml/onnx"
	"github.com/redoubt-ml/redoubt/ml/ort"
	"github.com/redoubt-ml/redoubt/serve/engine"
	"github.com/redoubt-ml/redoubt/serve/gateway"
	"github.com/redoubt-ml/redoubt/serve/oip"
)

const fixture = "simple.onnx"

func main() {
	listen := flag.String("listen", "127.0.0.1:9443", "address")
	data := flag.String("data", ".", "folder of the certificate and the model")
	plainly := flag.Bool("plain", false, "use encoding/json and a run for each call (models of INT32 alone)")
	write := flag.Bool("write", false, "make the model, and end")
	server := flag.String("reverse", "", "pass calls on to the server at this address, https://HOST:PORT")
	ca := flag.String("ca", "", "PEM file of that server's certificate")
	flag.Parse()
	if *write {
		if err := writeSimple(filepath.Join(*data, fixture)); err != nil {
			log.Fatal("bare: ", err)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(400) // as redoubt serve does
	}
	var err error
	if *server != "" {
		var h http.Handler
		if h, err = reverse(*server, *ca); err == nil {
			err = serve(ctx, *listen, *data, h)
		}
	} else {
		err = run(ctx, *listen, *data, flag.Arg(0), *plainly)
	}
	if err != nil {
		log.Fatal("bare: ", err)
	}
}

// run serves a model.
func run(ctx context.Context, listen, data, model string, plainly bool) error {
	if model == "" {
		model = filepath.Join(data, fixture)
		if err := writeSimple(model); err != nil {
			return err
		}
	}
	rt, err := ort.Open("")
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	closed, err := open(ctx, mux, rt, model, plainly)
	if err != nil {
		return err
	}
	defer closed()
	return serve(ctx, listen, data, mux)
}

// serve answers over TLS until the context ends.
func serve(ctx context.Context, listen, data string, h http.Handler) error {
	cert, err := gateway.OwnCertificate(data, []string{"127.0.0.1", "localhost"})
	if err != nil {
		return err
	}
	srv := &http.Server{Addr: listen, Handler: h, TLSConfig: cert.Config(nil)}
	stop := context.AfterFunc(ctx, func() { srv.Close() })
	defer stop()
	fmt.Println("serving at", listen)
	if err = srv.ListenAndServeTLS("", ""); errors.Is(err, http.ErrServerClosed) {
		err = nil
	}
	return err
}

const path = "/v2/models/simple"

// open has the model answer, and tells of it as a gateway in front asks.
func open(ctx context.Context, mux *http.ServeMux, rt *ort.Runtime, file string, plainly bool) (closed func(), _ error) {
	if plainly {
		m, err := onnx.Read(file, onnx.DefaultLimits)
		if err != nil {
			return nil, err
		}
		s, err := rt.NewSession(m, ort.Options{Threads: 1})
		if err != nil {
			return nil, err
		}
		mux.HandleFunc("POST "+path+"/infer", plain(s))
		return s.Close, nil
	}
	e, err := engine.Open(ctx, rt, file, engine.LocalConfig{Name: "simple", Version: "1"})
	if err != nil {
		return nil, err
	}
	mux.HandleFunc("POST "+path+"/infer", infer(e))
	metadata, _ := e.Metadata(ctx) // it returns no error
	mux.HandleFunc("GET "+path, tell(metadata))
	mux.HandleFunc("GET /v2", tell(oip.ServerMetadata{Name: "bare", Extensions: []string{"binary_tensor_data"}}))
	return func() { _ = e.Close() }, nil // nor does this
}

func tell(what any) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(what) // the client may be gone
	}
}

func infer(e *engine.Local) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		q, err := oip.ReadRequest(r, nil, oip.Limits{})
		if err == nil {
			var a *oip.Response
			if a, err = e.Infer(r.Context(), q); err == nil {
				err = oip.WriteResponse(w, r, q, a)
			}
		}
		if err != nil {
			oip.WriteError(w, err, "")
		}
	}
}

// writeSimple makes the fixture.
func writeSimple(path string) error {
	value := func(name string) *onnx.Value {
		dims := []onnx.Dim{{Size: -1, Symbol: "n"}, {Size: 16}}
		return &onnx.Value{Name: name, Type: &onnx.Type{Kind: "tensor", Tensor: &onnx.TensorType{Elem: onnx.Int32, HasShape: true, Dims: dims}}}
	}
	m := &onnx.Model{IRVersion: 8, Opsets: []onnx.Opset{{Version: 13}}, Graph: &onnx.Graph{
		Name:    "simple",
		Inputs:  []*onnx.Value{value("INPUT0"), value("INPUT1")},
		Outputs: []*onnx.Value{value("OUTPUT0"), value("OUTPUT1")},
		Nodes: []*onnx.Node{
			onnx.NewNode("Add", []string{"INPUT0", "INPUT1"}, []string{"OUTPUT0"}),
			onnx.NewNode("Sub", []string{"INPUT0", "INPUT1"}, []string{"OUTPUT1"}),
		},
	}}
	b, err := m.Encode()
	if err != nil {
		return err
	}
	return os.WriteFile(path, b, 0o644)
}
