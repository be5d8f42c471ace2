package scan

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/redoubt-ml/redoubt"
)

var onnxFormat = Format{
	Name: "onnx",
	Doc:  "ONNX models: operators, subgraphs, functions, external data",
	match: func(s *scanner, src *source) bool {
		if src.size < 4 {
			return false
		}
		p := s.proto(src)
		top, whole := p.shape(0, src.size)
		return whole && top[7] == protowire.BytesType && (has(top, 1) && top[1] == protowire.VarintType || top[8] == protowire.BytesType) && p.isMessage(7)
	},
	scan: scanONNX,
}

func has(fields map[protowire.Number]protowire.Type, n protowire.Number) bool {
	_, ok := fields[n]
	return ok
}

// onnxAllowed are the operators of the standard.
var onnxAllowed = sync.OnceValue(func() map[string]string { return readPairs("allow/onnx-ops.txt") })

// onnxScan looks at an ONNX model. An operator of the standard has a fixed
// meaning and computes; others are whatever the loading process has installed.
type onnxScan struct {
	*proto
	src   *source
	f     *File
	local map[string]bool // functions of the model itself, "domain:name"
	deep  int
}

// maxGraphs bounds graphs within graphs.
const maxGraphs = 16

func scanONNX(s *scanner, src *source, f *File) {
	o := &onnxScan{proto: s.proto(src), src: src, f: f, local: map[string]bool{}}
	err := o.walk(0, src.size, func(m protoField) error {
		if m.num == 25 {
			return o.function(m)
		}
		return nil
	})
	if err == nil {
		err = o.walk(0, src.size, o.top)
	}
	if err != nil {
		f.unread("onnx/damaged", 0, err)
	}
}

func (o *onnxScan) top(m protoField) error {
	switch m.num {
	case 7: // graph
		return o.graph(m)
	case 25: // functions
		return o.walk(m.off, m.n, func(f protoField) error {
			if f.num == 7 {
				return o.node(f)
			}
			return nil
		})
	case 20: // training_info: initialization and algorithm
		return o.walk(m.off, m.n, func(f protoField) error {
			if f.num == 1 || f.num == 2 {
				return o.graph(f)
			}
			return nil
		})
	case 14: // metadata_props
		return o.metadata(m)
	}
	return nil
}

func (o *onnxScan) function(m protoField) error {
	name, domain := "", ""
	err := o.walk(m.off, m.n, func(f protoField) (err error) {
		switch f.num {
		case 1:
			name, err = o.text(f)
		case 10:
			domain, err = o.text(f)
		}
		return err
	})
	o.local[domain+":"+name] = true
	return err
}

func (o *onnxScan) graph(g protoField) error {
	if g.typ != protowire.BytesType {
		return errors.New("a graph that is no message")
	}
	if o.deep++; o.deep > maxGraphs {
		return fmt.Errorf("%w of %d graphs within one another", errLimit, maxGraphs)
	}
	defer func() { o.deep-- }()
	return o.walk(g.off, g.n, func(f protoField) error {
		switch f.num {
		case 1:
			return o.node(f)
		case 5:
			return o.tensor(f)
		case 15: // sparse_initializer: values, indices
			return o.walk(f.off, f.n, o.sparse)
		}
		return nil
	})
}

func (o *onnxScan) sparse(f protoField) error {
	if f.num == 1 || f.num == 2 {
		return o.tensor(f)
	}
	return nil
}

func (o *onnxScan) node(n protoField) error {
	op, domain := "", ""
	err := o.walk(n.off, n.n, func(f protoField) (err error) {
		switch f.num {
		case 4:
			op, err = o.text(f)
		case 7:
			domain, err = o.text(f)
		case 5:
			err = o.walk(f.off, f.n, o.attribute)
		}
		return err
	})
	if err != nil || o.local[domain+":"+op] {
		return err
	}
	switch domain {
	case "", "ai.onnx", "ai.onnx.ml", "ai.onnx.training", "ai.onnx.preview", "ai.onnx.preview.training":
		name := op
		if domain != "" && domain != "ai.onnx" {
			name = domain + ":" + op
		}
		if _, known := onnxAllowed()[name]; !known {
			o.f.add(Unproven, redoubt.Medium, "onnx/unknown", n.off, "operator %s is none of ONNX's up to version 1.23: who runs the model gives it its meaning", name)
		}
	case "com.microsoft", "com.microsoft.nchwc", "com.ms.internal.nhwc":
		switch op {
		case "PythonOp", "PythonOpGrad":
			o.f.add(Unsafe, redoubt.Critical, "onnx/python", n.off, "operator %s calls a Python function of the loading process", op)
		case "EPContext", "ExternalOp", "TritonOp", "ATen":
			o.f.add(Unproven, redoubt.Medium, "onnx/operator", n.off, "operator %s loads compiled code", op)
		}
	default:
		o.f.add(Unproven, redoubt.Medium, "onnx/custom", n.off, "operator %s of domain %q is no part of ONNX: a library gives it its meaning", op, domain)
	}
	return nil
}

func (o *onnxScan) attribute(f protoField) error {
	switch f.num {
	case 5, 10:
		return o.tensor(f)
	case 22, 23:
		return o.walk(f.off, f.n, o.sparse)
	case 6, 11:
		return o.graph(f)
	}
	return nil
}

// tensor looks for data outside of the file.
func (o *onnxScan) tensor(t protoField) error {
	name, outside := "", map[string]string{}
	external := false
	err := o.walk(t.off, t.n, func(f protoField) (err error) {
		switch f.num {
		case 8:
			name, err = o.text(f)
		case 14:
			external = external || f.bits == 1
		case 13:
			external = true
			key, value := "", ""
			err = o.walk(f.off, f.n, func(e protoField) (err error) {
				switch e.num {
				case 1:
					key, err = o.text(e)
				case 2:
					value, err = o.text(e)
				}
				return err
			})
			outside[key] = value
		}
		return err
	})
	if err == nil && external {
		o.external(t.off, name, outside)
	}
	return err
}

func (o *onnxScan) external(at int64, name string, e map[string]string) {
	location := e["location"]
	if location == "" || !filepath.IsLocal(filepath.FromSlash(location)) || strings.ContainsAny(location, "\\:\x00") {
		o.f.add(Unsafe, redoubt.High, "onnx/external-path", at, "tensor %q reads %q, which is outside of the model's folder", name, location)
		return
	}
	offset, err1 := strconv.ParseInt("0"+e["offset"], 10, 64)
	length, err2 := strconv.ParseInt("0"+e["length"], 10, 64)
	if err1 != nil || err2 != nil {
		o.f.add(Unproven, redoubt.Medium, "onnx/external-size", at, "tensor %q has an offset or a length that is no number", name)
		return
	}
	if o.src.disk == "" {
		return // the archive's members have been looked at by name
	}
	dir := filepath.Dir(o.src.disk)
	size, err := plainFile(dir, location)
	switch {
	case errors.Is(err, errLinked):
		o.f.add(Unsafe, redoubt.High, "onnx/external-link", at, "tensor %q reads %q: %v", name, location, err)
	case err != nil:
		o.f.add(Unproven, redoubt.Medium, "onnx/external-missing", at, "tensor %q reads %q: %v", name, location, err)
	case offset > size || length > size-offset:
		o.f.add(Unproven, redoubt.High, "onnx/external-size", at, "tensor %q reads beyond the end of %q", name, location)
	default:
		o.s.claims[filepath.Join(dir, location)] = "onnx-data"
	}
}

var errLinked = errors.New("a component is a link, or the file has a second name")

// plainFile is the size of a file beneath dir of which no component is a link,
// and which has one name only, so that it cannot stand for a file elsewhere.
func plainFile(dir, location string) (int64, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return 0, err
	}
	defer root.Close()
	name := path.Clean(filepath.ToSlash(location))
	for i := 1; i <= len(name); i++ {
		if i < len(name) && name[i] != '/' {
			continue
		}
		info, err := root.Lstat(name[:i])
		if err != nil {
			return 0, errors.New("there is no such file")
		}
		if info.Mode()&fs.ModeSymlink != 0 {
			return 0, errLinked
		}
		if i < len(name) {
			continue
		}
		if links(info) > 1 {
			return 0, errLinked
		}
		if !info.Mode().IsRegular() {
			return 0, errors.New("it is not a regular file")
		}
		return info.Size(), nil
	}
	return 0, errors.New("there is no such file")
}

// metadata is one key and value: a chance to carry what the file should not.
func (o *onnxScan) metadata(m protoField) error {
	return o.walk(m.off, m.n, func(f protoField) error {
		text, err := o.text(f)
		if err == nil && (strings.Contains(text, "-----BEGIN ") && strings.Contains(text, "PRIVATE KEY")) {
			o.f.add(Unproven, redoubt.Medium, "onnx/secret", m.off, "the metadata hold a private key")
		}
		return err
	})
}
