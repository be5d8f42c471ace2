package scan

import (
	"fmt"
	"path/filepath"
	"strings"
	"sync"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/redoubt-ml/redoubt"
)

var tensorflowFormat = Format{
	Name:  "tensorflow",
	Doc:   "TensorFlow SavedModel, MetaGraph and GraphDef, function libraries included",
	match: isTensorFlow,
	scan:  scanTensorFlow,
}

// tfKind says which of TensorFlow's messages the bytes are: "saved_model",
// "meta_graph", "graph", or "" for none.
func tfKind(s *scanner, src *source) string {
	if src.size < 4 {
		return ""
	}
	p := s.proto(src)
	top, whole := p.shape(0, src.size)
	if whole && src.base() == "keras_metadata.pb" {
		return "keras_metadata"
	}
	only := func(allowed ...protowire.Number) bool {
		for n := range top {
			ok := false
			for _, a := range allowed {
				ok = ok || a == n
			}
			if !ok {
				return false
			}
		}
		return true
	}
	const varint, bytes = protowire.VarintType, protowire.BytesType
	switch {
	case !whole:
	case top[2] == bytes && has(top, 2) && (!has(top, 1) || top[1] == varint) && only(1, 2):
		return "saved_model"
	case top[1] == bytes && top[2] == bytes && has(top, 1) && has(top, 2) && !has(top, 8) && p.isGraph(src, 2):
		return "meta_graph"
	case has(top, 1) && top[1] == bytes && only(1, 2, 3, 4, 5) && p.isNode():
		return "graph"
	}
	return ""
}

func isTensorFlow(s *scanner, src *source) bool { return tfKind(s, src) != "" }

// isGraph says whether the first field of that number looks like a GraphDef.
func (p *proto) isGraph(src *source, n protowire.Number) (ok bool) {
	done := false
	_ = p.walk(0, src.size, func(f protoField) error {
		if f.num == n && !done {
			top, whole := p.shape(f.off, f.n)
			ok, done = whole && has(top, 1) && top[1] == protowire.BytesType, true
		}
		return nil
	})
	return ok
}

// isNode says whether the first field 1 looks like a NodeDef: a name and an
// operation, both text.
func (p *proto) isNode() (ok bool) {
	done := false
	_ = p.walk(0, p.c.src.size, func(f protoField) error {
		if f.num == 1 && !done {
			top, whole := p.shape(f.off, f.n)
			done = true
			ok = whole && has(top, 1) && has(top, 2) && top[1] == protowire.BytesType && top[2] == protowire.BytesType
		}
		return nil
	})
	return ok
}

var (
	tfAllowed   = sync.OnceValue(func() map[string]string { return readPairs("allow/tensorflow-ops.txt") })
	tfForbidden = sync.OnceValue(func() map[string]string { return readPairs("allow/tensorflow-forbidden.txt") })
)

// tfScan looks at a graph of TensorFlow and its functions.
type tfScan struct {
	*proto
	f     *File
	calls map[string][]tfNode // who calls a function, "" the graph itself
	local map[string]bool     // functions of the library
	ops   []tfNode
}

type tfNode struct {
	op, in string
	off    int64
	saves  bool // an input is the placeholder saver_filename
}

func scanTensorFlow(s *scanner, src *source, f *File) {
	t := &tfScan{proto: s.proto(src), f: f, calls: map[string][]tfNode{}, local: map[string]bool{}}
	kind := tfKind(s, src)
	var err error
	switch kind {
	case "keras_metadata":
		err = t.walk(0, src.size, func(n protoField) error { return t.nested(n, []protowire.Number{1}, 5) })
	case "saved_model":
		err = t.walk(0, src.size, func(m protoField) error {
			if m.num == 2 {
				return t.walk(m.off, m.n, t.meta)
			}
			return nil
		})
	case "meta_graph":
		err = t.walk(0, src.size, t.meta)
	default:
		err = t.walk(0, src.size, t.graph)
	}
	if err != nil {
		f.unread("tensorflow/damaged", 0, err)
		return
	}
	t.judge()
	if kind == "saved_model" && src.disk != "" { // hashes of the model, of no use to code
		s.claims[filepath.Join(filepath.Dir(src.disk), "fingerprint.pb")] = "tensorflow-fingerprint"
	}
}

// meta is a field of a MetaGraphDef: its graph, and the files it reads.
func (t *tfScan) meta(m protoField) error {
	switch m.num {
	case 2:
		return t.walk(m.off, m.n, t.graph)
	case 6: // asset_file_def: tensor_info, filename
		return t.walk(m.off, m.n, func(f protoField) error {
			if f.num != 2 {
				return nil
			}
			name, err := t.text(f)
			if err == nil {
				checkName(t.f, f.off, name)
			}
			return err
		})
	case 7: // object_graph_def: nodes, user_object, metadata
		return t.walk(m.off, m.n, func(n protoField) error {
			return t.nested(n, []protowire.Number{1, 4}, 3)
		})
	}
	return nil
}

// nested follows a field through messages to the metadata of Keras, which are
// JSON and name the classes that its loader makes.
func (t *tfScan) nested(f protoField, through []protowire.Number, last protowire.Number) error {
	if f.typ != protowire.BytesType {
		return nil
	}
	if len(through) == 0 {
		if f.num != last {
			return nil
		}
		if f.n > t.s.limits.Text {
			return fmt.Errorf("metadata of %d bytes: %w", f.n, errLimit)
		}
		b, err := t.c.src.read(f.off, f.n)
		if v, jsonErr := decodeJSON(b); err == nil && jsonErr == nil {
			(&kerasScan{s: t.s, f: t.f, at: f.off}).walk(v, 0)
		}
		return err
	}
	if f.num != through[0] {
		return nil
	}
	return t.walk(f.off, f.n, func(inner protoField) error { return t.nested(inner, through[1:], last) })
}

func (t *tfScan) graph(g protoField) error {
	switch g.num {
	case 1:
		return t.node(g, "")
	case 2: // library: function, each signature and node_def
		return t.walk(g.off, g.n, func(fn protoField) error {
			if fn.num != 1 {
				return nil
			}
			name := ""
			return t.walk(fn.off, fn.n, func(f protoField) error {
				switch f.num {
				case 1:
					return t.walk(f.off, f.n, func(sig protoField) (err error) {
						if sig.num == 1 {
							name, err = t.text(sig)
							t.local[name] = true
						}
						return err
					})
				case 3:
					return t.node(f, name)
				}
				return nil
			})
		})
	}
	return nil
}

// node is a NodeDef: name, op, input, device, attr.
func (t *tfScan) node(n protoField, in string) error {
	node := tfNode{in: in, off: n.off}
	var called []string
	err := t.walk(n.off, n.n, func(f protoField) (err error) {
		switch f.num {
		case 2:
			node.op, err = t.text(f)
		case 3:
			input, err := t.text(f)
			node.saves = node.saves || strings.HasPrefix(input, "saver_filename")
			return err
		case 5:
			return t.attr(f, &called)
		}
		return err
	})
	for _, name := range called {
		t.calls[name] = append(t.calls[name], node)
	}
	t.ops = append(t.ops, node)
	if len(t.ops) > 1<<21 {
		return errLimit
	}
	return err
}

// attr finds the functions that an attribute names: AttrValue.func (10), or a
// list of them (1, field 9).
func (t *tfScan) attr(a protoField, called *[]string) error {
	return t.walk(a.off, a.n, func(kv protoField) error {
		if kv.num != 2 {
			return nil
		}
		return t.walk(kv.off, kv.n, func(v protoField) error {
			switch {
			case v.num == 10 && v.typ == protowire.BytesType:
				return t.funcName(v, called)
			case v.num == 1 && v.typ == protowire.BytesType:
				return t.walk(v.off, v.n, func(l protoField) error {
					if l.num == 9 && l.typ == protowire.BytesType {
						return t.funcName(l, called)
					}
					return nil
				})
			}
			return nil
		})
	})
}

func (t *tfScan) funcName(v protoField, called *[]string) error {
	return t.walk(v.off, v.n, func(f protoField) error {
		if f.num != 1 {
			return nil
		}
		name, err := t.text(f)
		*called = append(*called, name)
		return err
	})
}

// judge looks at every operation, now that it is known who calls whom.
func (t *tfScan) judge() {
	for _, n := range t.ops {
		if t.local[n.op] {
			t.calls[n.op] = append(t.calls[n.op], n)
		}
	}
	for _, n := range t.ops {
		_, fine := tfAllowed()[n.op]
		switch why := tfForbidden()[n.op]; {
		case fine || t.local[n.op]:
		case (n.op == "SaveV2" || n.op == "RestoreV2" || n.op == "MergeV2Checkpoints" || n.op == "ShardedFilename") && t.savesItself(n.in):
		case why != "":
			t.f.add(Unsafe, redoubt.High, "tensorflow/forbidden", n.off, "operation %s %s", n.op, why)
		default:
			t.f.add(Unproven, redoubt.Medium, "tensorflow/unknown", n.off, "operation %s is not on the allow-list", n.op)
		}
	}
}

// savesItself says whether a function is called only by what a SavedModel saves
// and restores itself with: nodes of the graph that take the saver's file name.
func (t *tfScan) savesItself(function string) bool {
	callers := t.calls[function]
	if function == "" || len(callers) == 0 {
		return false
	}
	for _, c := range callers {
		if c.in != "" || !c.saves {
			return false
		}
	}
	return true
}
