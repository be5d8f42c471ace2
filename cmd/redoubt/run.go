package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"github.com/redoubt-ml/redoubt/ml/data"
	"github.com/redoubt-ml/redoubt/ml/onnx"
	"github.com/redoubt-ml/redoubt/ml/ort"
)

func newRun(a *app) *cobra.Command {
	var input, output string
	var threads int
	cmd := &cobra.Command{
		Use:   "run MODEL --input IN.npz --output OUT.npz",
		Short: "Run a model once: arrays by input name in, by output name out",
		Long: `Run a model once. The input file is an NPZ with one array for each input of the
model, under its name; the output file gets one for each output. Every element
type of ONNX passes: float16 as numpy has it, bfloat16, float8 and int4 as raw
bytes of their width, strings as text. Where scikit-learn's exporter zips the
scores into maps by class (ZipMap), the output is the array of scores, a column
a class in the order of the labels.

The model is read and written by Redoubt before it runs, so what is computed
here is what every other verb computes with.`,
		Example: "  redoubt run model.onnx --input in.npz --output out.npz",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := a.modelArg(args)
			if err != nil {
				return err
			}
			if input == "" || output == "" {
				return errors.New("run needs --input and --output, each an .npz file")
			}
			m, err := onnx.Read(path, onnx.DefaultLimits)
			if err != nil {
				return err
			}
			if err := denseOutputs(m.Graph); err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
			in, err := arrays(m, input)
			if err != nil {
				return err
			}
			rt, err := ort.Open(a.ort)
			if err != nil {
				return err
			}
			s, err := rt.NewSession(m, ort.Options{Threads: threads})
			if err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
			defer s.Close()
			out, err := s.RunTensors(cmd.Context(), in)
			if err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
			return data.WriteNPZ(output, out)
		},
	}
	cmd.Flags().StringVar(&input, "input", "", "NPZ file of inputs by name")
	cmd.Flags().StringVar(&output, "output", "", "NPZ file to write the outputs to")
	cmd.Flags().IntVar(&threads, "threads", 1, "threads to run on")
	return cmd
}

// arrays reads the model's inputs from an NPZ file, each in the type that the
// model declares: numpy has no names for some of them.
func arrays(m *onnx.Model, path string) (map[string]*onnx.Tensor, error) {
	in, err := data.ReadNPZ(path, data.Limits{})
	if err != nil {
		return nil, err
	}
	for _, v := range m.Graph.Feeds() {
		if v.Type == nil || v.Type.Tensor == nil {
			return nil, fmt.Errorf("input %q is not a dense tensor: models with %s inputs cannot be run from an NPZ file; export the model with tensors as inputs", v.Name, kind(v))
		}
		t, ok := in[v.Name]
		if !ok {
			return nil, fmt.Errorf("%s: no array for input %q, only for %q", path, v.Name, slices.Sorted(maps.Keys(in)))
		}
		if in[v.Name], err = data.Retype(t, v.Type.Tensor.Elem); err != nil {
			return nil, fmt.Errorf("%s: array %q: %w", path, v.Name, err)
		}
	}
	return in, nil
}

// denseOutputs makes a ZipMap's output the array that it zips, and refuses other
// outputs that an NPZ file cannot hold before the model runs.
func denseOutputs(g *onnx.Graph) error {
	for _, v := range g.Outputs {
		i := slices.IndexFunc(g.Nodes, func(n *onnx.Node) bool {
			return n.Op == "ZipMap" && len(n.Inputs) == 1 && slices.Contains(n.Outputs, v.Name)
		})
		if i >= 0 {
			g.Nodes[i] = onnx.NewNode("Identity", g.Nodes[i].Inputs, []string{v.Name})
			v.Type = nil // follows from the node
			continue
		}
		if v.Type != nil && v.Type.Tensor == nil {
			return fmt.Errorf("output %q is a %s, which an NPZ file cannot hold; export the model with tensors as outputs", v.Name, kind(v))
		}
	}
	return nil
}

func kind(v *onnx.Value) string {
	if v.Type == nil {
		return "untyped"
	}
	return v.Type.Kind
}
