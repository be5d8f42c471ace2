package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/redoubt-ml/redoubt/ml/onnx"
)

// What ZipMap zips is the output; other sequences are refused with their kind.
func TestDenseOutputs(t *testing.T) {
	zip := onnx.NewNode("ZipMap", []string{"p"}, []string{"zipped"})
	zip.Domain = "ai.onnx.ml"
	scores := &onnx.Value{Name: "zipped", Type: &onnx.Type{Kind: "sequence", Raw: []byte{0}}}
	g := &onnx.Graph{Nodes: []*onnx.Node{zip}, Outputs: []*onnx.Value{scores}}
	if err := denseOutputs(g); err != nil {
		t.Fatal(err)
	}
	if n := g.Nodes[0]; n.Op != "Identity" || n.Domain != "" || !slices.Equal(n.Inputs, []string{"p"}) || scores.Type != nil {
		t.Errorf("got %s%v of type %v, want Identity[p] of no declared type", n.Op, n.Inputs, scores.Type)
	}

	pieces := &onnx.Value{Name: "pieces", Type: &onnx.Type{Kind: "sequence", Raw: []byte{0}}}
	g = &onnx.Graph{Nodes: []*onnx.Node{onnx.NewNode("SplitToSequence", []string{"p"}, []string{"pieces"})}, Outputs: []*onnx.Value{pieces}}
	if err := denseOutputs(g); err == nil || !strings.Contains(err.Error(), `output "pieces" is a sequence`) {
		t.Errorf("got %v, want a refusal that names the output and its kind", err)
	}
}
