package remote

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// mostMetadata bounds what a server may say of itself.
const mostMetadata = 1 << 20

// inference speaks the Open Inference Protocol (KServe's "v2") over REST.
type inference struct {
	url           string
	input, output port
	binary        bool // tensors travel in binary
}

// port is an input or an output.
type port struct {
	name string
	kind kind
}

func (v *inference) String() string {
	if v.binary {
		return "Open Inference Protocol, binary tensors"
	}
	return "Open Inference Protocol, JSON"
}

func (v *inference) single() bool { return false }

// inferenceBase is the address up to and including /v2, if the address is that
// of a model of the protocol: .../v2/models/NAME or .../versions/V.
func inferenceBase(u *url.URL) (string, bool) {
	path := u.EscapedPath()
	at := strings.LastIndex(path, "/v2/models/")
	if at < 0 {
		return "", false
	}
	parts := strings.Split(path[at+len("/v2/models/"):], "/")
	if parts[0] == "" || len(parts) != 1 && (len(parts) != 3 || parts[1] != "versions" || parts[2] == "") {
		return "", false
	}
	return u.Scheme + "://" + u.Host + path[:at] + "/v2", true
}

// metadata is what a server says of a model.
type metadata struct {
	Platform string
	Inputs   []declared
	Outputs  []declared
}

type declared struct {
	Name, Datatype string
	Shape          []int64
}

// openInference reads the metadata of server and model.
func (e *Endpoint) openInference(ctx context.Context, u *url.URL, base string) error {
	var m metadata
	if err := e.get(ctx, u.String(), &m); err != nil {
		return err
	}
	v := &inference{url: u.String() + "/infer"}
	in, err := choose("input", m.Inputs, e.cfg.Input)
	if err != nil {
		return fmt.Errorf("%s: %w", u, err)
	}
	if v.input, err = in.port(); err == nil && v.input.kind.size == 0 {
		err = fmt.Errorf("input %q holds words, which cannot be perturbed as numbers", in.Name)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", u, err)
	}
	if e.sample, err = in.sample(); err != nil {
		return fmt.Errorf("%s: %w", u, err)
	}
	if len(in.Shape) > 0 && in.Shape[0] == 1 {
		e.limit = 1
	}
	if v.output, err = chooseOutput(m.Outputs, e.cfg.Output); err != nil {
		return fmt.Errorf("%s: %w", u, err)
	}
	var server struct{ Extensions []string }
	if err := e.get(ctx, base, &server); err != nil {
		var r *refusal
		if !errors.As(err, &r) {
			return err
		}
		// The server's own metadata are for those who run it; the model's suffice.
	}
	v.binary = v.input.kind.binaryOnly || slices.ContainsFunc(server.Extensions, func(s string) bool {
		return strings.HasPrefix(s, "binary_tensor")
	})
	e.wire, e.about = v, v.String()
	return nil
}

// get reads a document about server or model.
func (e *Endpoint) get(ctx context.Context, address string, into any) error {
	r, err := e.client.do(ctx, &call{method: http.MethodGet, url: address, limit: mostMetadata})
	if err != nil {
		return err
	}
	if err := json.Unmarshal(r.body, into); err != nil {
		return fmt.Errorf("read the metadata at %s: %w", address, err)
	}
	return nil
}

// manyInputs is the refusal of a model with inputs that the samples do not fill.
func manyInputs(ports []declared) error {
	var names []string
	for _, p := range ports {
		names = append(names, excerpt(p.Name))
	}
	return fmt.Errorf("the model has %d inputs (%s), and samples fill one: serve it with the others as constants of the graph", len(ports), strings.Join(names, ", "))
}

// choose finds the input. A server that declares none takes what it is given.
func choose(what string, ports []declared, want string) (declared, error) {
	if len(ports) == 0 && want != "" {
		return declared{Name: want, Datatype: "FP32"}, nil
	}
	if len(ports) == 0 {
		return declared{}, fmt.Errorf("the server declares no %s: name it with --%s", what, what)
	}
	var names []string
	for _, p := range ports {
		if names = append(names, excerpt(p.Name)); p.Name == want || want == "" && len(ports) == 1 {
			if len(ports) > 1 {
				return p, manyInputs(ports)
			}
			return p, nil
		}
	}
	if want == "" {
		return declared{}, manyInputs(ports)
	}
	return declared{}, fmt.Errorf("the model has no %s %q, only %s", what, want, strings.Join(names, ", "))
}

// chooseOutput takes the wanted output, else the first of floats, else the
// first.
func chooseOutput(ports []declared, want string) (port, error) {
	if want == "" {
		for _, p := range ports {
			if out, err := p.port(); err == nil && out.kind.float {
				return out, nil
			}
		}
		if len(ports) > 0 {
			return ports[0].port()
		}
		return port{}, nil // whatever comes first
	}
	if len(ports) == 0 {
		return port{name: want}, nil
	}
	var names []string
	for _, p := range ports {
		if names = append(names, excerpt(p.Name)); p.Name == want {
			return p.port()
		}
	}
	return port{}, fmt.Errorf("the model has no output %q, only %s", want, strings.Join(names, ", "))
}

func (d declared) port() (port, error) {
	k, err := kindOf(d.Datatype)
	if err != nil {
		return port{}, fmt.Errorf("%q: %w", excerpt(d.Name), err)
	}
	return port{d.Name, k}, nil
}

// sample is the declared shape without the batch; nil if none is declared.
func (d declared) sample() ([]int64, error) {
	if len(d.Shape) == 0 {
		return nil, nil
	}
	if d.Shape[0] > 1 {
		return nil, fmt.Errorf("input %q takes exactly %d samples at a time: serve the model with a free batch dimension", excerpt(d.Name), d.Shape[0])
	}
	elements := int64(1)
	for _, n := range d.Shape[1:] {
		if n == 0 || n < -1 || n > math.MaxInt32 || elements > math.MaxInt32/max(n, 1) {
			return nil, fmt.Errorf("input %q declares the shape %v, which no sample has", excerpt(d.Name), d.Shape)
		}
		elements *= max(n, 1)
	}
	return slices.Clone(d.Shape[1:]), nil
}
