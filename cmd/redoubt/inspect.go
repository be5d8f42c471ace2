package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/ml/grad"
	"github.com/redoubt-ml/redoubt/ml/onnx"
)

// inspection is what inspect prints: the JSON document "redoubt.inspect/v1".
type inspection struct {
	Schema         string           `json:"schema"`
	Path           string           `json:"path"`
	SHA256         redoubt.Digest   `json:"sha256"`
	Producer       string           `json:"producer"`
	IRVersion      int64            `json:"ir_version"`
	Opsets         map[string]int64 `json:"opsets"`
	Inputs         []port           `json:"inputs"`
	Outputs        []port           `json:"outputs"`
	Parameters     int64            `json:"parameters"`
	ParameterBytes int64            `json:"parameter_bytes"`
	Nodes          int              `json:"nodes"`
	Operators      map[string]int   `json:"operators"`
	// Differentiable says whether gradients of the outputs reach an input;
	// Obstacles says what is in the way.
	Differentiable bool     `json:"differentiable"`
	Obstacles      []string `json:"obstacles"`
}

type port struct {
	Name  string   `json:"name"`
	Type  string   `json:"type"`
	Shape []string `json:"shape"`
}

func newInspect(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "inspect MODEL",
		Short: "Say what a model takes, gives and is made of, and whether it can be differentiated",
		Long: `Say what a model takes and gives, which operators and how many parameters it is
made of, and whether its gradients can be had; if not, which node is in the
way. Needs no ONNX Runtime.`,
		Example: "  redoubt inspect model.onnx\n  redoubt inspect model.onnx --json",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := a.modelArg(args)
			if err != nil {
				return err
			}
			in, err := inspect(path)
			if err != nil {
				return err
			}
			if asJSON {
				e := json.NewEncoder(cmd.OutOrStdout())
				e.SetIndent("", "  ")
				return e.Encode(in)
			}
			return in.print(cmd.OutOrStdout())
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func inspect(path string) (*inspection, error) {
	m, err := onnx.Read(path, onnx.DefaultLimits)
	if err != nil {
		return nil, err
	}
	digest, err := redoubt.DigestFile(path)
	if err != nil {
		return nil, err
	}
	in := &inspection{
		Schema: "redoubt.inspect/v1", Path: path, SHA256: digest, IRVersion: m.IRVersion,
		Producer: strings.TrimSpace(m.ProducerName + " " + m.ProducerVersion),
		Opsets:   map[string]int64{}, Operators: map[string]int{}, Nodes: len(m.Graph.Nodes), Obstacles: []string{},
	}
	for _, o := range m.Opsets {
		in.Opsets[domain(o.Domain)] = o.Version
	}
	for _, v := range m.Graph.Feeds() {
		in.Inputs = append(in.Inputs, portOf(v))
	}
	for _, v := range m.Graph.Outputs {
		in.Outputs = append(in.Outputs, portOf(v))
	}
	for _, t := range m.Graph.Initializers {
		in.Parameters += t.Len()
		in.ParameterBytes += int64(len(t.Raw))
	}
	for _, n := range m.Graph.Nodes {
		op := n.Op
		if n.Domain != "" {
			op = n.Domain + "." + op
		}
		in.Operators[op]++
	}
	in.Differentiable, in.Obstacles = differentiable(m)
	return in, nil
}

func domain(d string) string {
	if d == "" {
		return "ai.onnx"
	}
	return d
}

func portOf(v *onnx.Value) port {
	p := port{Name: v.Name, Type: kind(v), Shape: []string{}}
	if v.Type != nil && v.Type.Tensor != nil {
		p.Type = v.Type.Tensor.Elem.String()
		for _, d := range v.Type.Tensor.Dims {
			p.Shape = append(p.Shape, d.String())
		}
	}
	return p
}

// differentiable asks from every float output back to every float input.
func differentiable(m *onnx.Model) (bool, []string) {
	m = m.Clone()
	if err := onnx.Upgrade(m, 18); err != nil {
		return false, []string{err.Error()}
	}
	if err := onnx.Simplify(m); err != nil {
		return false, []string{err.Error()}
	}
	names := func(values []*onnx.Value) (out []string) {
		for _, v := range values {
			if v.Type != nil && v.Type.Tensor != nil && v.Type.Tensor.Elem.IsFloat() {
				out = append(out, v.Name)
			}
		}
		return out
	}
	inputs, outputs := names(m.Graph.Feeds()), names(m.Graph.Outputs)
	if len(inputs) == 0 {
		return false, []string{"no input holds floats: there is nothing to differentiate by; use attacks that need scores or labels only"}
	}
	if len(outputs) == 0 {
		return false, []string{"no output is a tensor of floats"}
	}
	obstacles := []string{}
	for _, p := range grad.Check(m.Graph, outputs, inputs) {
		obstacles = append(obstacles, p.Error())
	}
	return len(obstacles) == 0, obstacles
}

func (in *inspection) print(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n  sha256      %s\n", in.Path, in.SHA256)
	if in.Producer != "" {
		fmt.Fprintf(&b, "  producer    %s\n", in.Producer)
	}
	var opsets []string
	for _, d := range slices.Sorted(maps.Keys(in.Opsets)) {
		opsets = append(opsets, fmt.Sprintf("%s %d", d, in.Opsets[d]))
	}
	fmt.Fprintf(&b, "  format      ONNX IR %d, opset %s\n", in.IRVersion, strings.Join(opsets, ", "))
	for _, p := range in.Inputs {
		fmt.Fprintf(&b, "  input       %s %s[%s]\n", p.Name, p.Type, strings.Join(p.Shape, ", "))
	}
	for _, p := range in.Outputs {
		fmt.Fprintf(&b, "  output      %s %s[%s]\n", p.Name, p.Type, strings.Join(p.Shape, ", "))
	}
	fmt.Fprintf(&b, "  parameters  %d (%.1f MB)\n", in.Parameters, float64(in.ParameterBytes)/1e6)
	fmt.Fprintf(&b, "  nodes       %d\n", in.Nodes)
	for _, op := range slices.Sorted(maps.Keys(in.Operators)) {
		fmt.Fprintf(&b, "    %4d  %s\n", in.Operators[op], op)
	}
	if in.Differentiable {
		b.WriteString("  gradients   available: white-box attacks can be used\n")
	} else {
		b.WriteString("  gradients   not available\n")
		for _, o := range in.Obstacles {
			fmt.Fprintf(&b, "    %s\n", o)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}
