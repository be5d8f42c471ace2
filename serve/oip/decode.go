package oip

// decoder reads the JSON of a request or an answer.
type decoder struct {
	scanner
	answer bool // an answer may hold null for a float that JSON cannot write
	params int  // parameters so far
}

// DecodeRequest reads a request: JSON, and behind it the tensors that the JSON
// says are in binary form (nil if none may be). The result shares memory with
// both. Errors are of type [*Error].
func DecodeRequest(json, binary []byte) (*Request, error) {
	d := &decoder{scanner: scanner{b: json}}
	q := &Request{}
	if err := d.request(q, binary); err != nil {
		return nil, err
	}
	return q, q.Check()
}

// DecodeResponse reads an answer in the same way. It takes null for NaN in
// tensors of floats, which is how servers write what JSON cannot.
func DecodeResponse(json, binary []byte) (*Response, error) {
	d := &decoder{scanner: scanner{b: json}, answer: true}
	a := &Response{}
	if err := d.response(a, binary); err != nil {
		return nil, err
	}
	return a, a.Check()
}

var requestMembers = []string{"id", "inputs", "outputs", "parameters"}

func (d *decoder) request(q *Request, binary []byte) error {
	var tensors []pending
	outputs := []wanted{}
	all := &framing{}
	err := d.object(requestMembers, func(i int) (err error) {
		switch requestMembers[i] {
		case "id":
			q.ID, err = d.text("id")
		case "inputs":
			tensors, err = d.tensors()
		case "outputs":
			outputs, err = d.outputs()
		case "parameters":
			q.Parameters, err = d.parameters(all)
		}
		return err
	})
	if err == nil {
		err = d.end()
	}
	if err != nil {
		return err
	}
	q.BinaryOutput = all.all == yes
	for _, o := range outputs {
		o.Binary = o.binary == yes || o.binary == unsaid && q.BinaryOutput
		q.Outputs = append(q.Outputs, o.Output)
	}
	q.Inputs, err = unpack(tensors, binary)
	return err
}

var responseMembers = []string{"model_name", "model_version", "id", "outputs", "parameters"}

func (d *decoder) response(a *Response, binary []byte) error {
	var tensors []pending
	err := d.object(responseMembers, func(i int) (err error) {
		switch responseMembers[i] {
		case "model_name":
			a.ModelName, err = d.text("model_name")
		case "model_version":
			a.ModelVersion, err = d.text("model_version")
		case "id":
			a.ID, err = d.text("id")
		case "outputs":
			tensors, err = d.tensors()
		case "parameters":
			a.Parameters, err = d.parameters(&framing{})
		}
		return err
	})
	if err == nil {
		err = d.end()
	}
	if err == nil {
		a.Outputs, err = unpack(tensors, binary)
	}
	return err
}

// end is where nothing but space may follow.
func (d *decoder) end() error {
	if d.space(); d.i < len(d.b) {
		return d.syntax("something after the end")
	}
	return nil
}

// text reads a string, or null for none.
func (d *decoder) text(what string) (string, error) {
	if none, err := d.null(); none {
		return "", err
	}
	if d.peek() != '"' {
		return "", Errorf(BadInput, "%s is not a string", what)
	}
	b, err := d.str()
	if err == nil && len(b) > maxName {
		err = Errorf(BadInput, "%s is longer than %d bytes", what, maxName)
	}
	return string(b), err
}

// pending is a tensor whose elements may stand elsewhere.
type pending struct {
	Tensor
	data   int // where its JSON elements begin; -1 if there are none
	binary int64
	filled bool
}

func (d *decoder) tensors() (out []pending, err error) {
	err = d.array(func() error {
		if len(out) == maxTensors {
			return Errorf(BadInput, "more than %d tensors", maxTensors)
		}
		t, err := d.tensor()
		out = append(out, t)
		return err
	})
	return out, err
}

var tensorMembers = []string{"name", "datatype", "shape", "parameters", "data"}

func (d *decoder) tensor() (pending, error) {
	t := pending{data: -1}
	f := framing{size: -1}
	shape := false
	err := d.object(tensorMembers, func(i int) (err error) {
		switch tensorMembers[i] {
		case "name":
			t.Name, err = d.text("name of a tensor")
		case "datatype":
			var s string
			s, err = d.text("datatype")
			t.Datatype = Datatype(s)
		case "shape":
			shape = true
			t.Shape, err = d.shape()
		case "parameters":
			t.Parameters, err = d.parameters(&f)
		case "data":
			t.data = d.i
			// The elements can be read now if it is known what they are; members
			// may come in any order.
			if t.filled = shape && t.Name != "" && t.Datatype.Known(); t.filled {
				return d.elements(&t.Tensor)
			}
			return d.skip()
		}
		return err
	})
	if err != nil {
		return t, err
	}
	t.binary = f.size
	switch {
	case !shape:
		return t, Errorf(BadInput, "tensor %s has no shape", excerpt(t.Name))
	case t.data >= 0 && t.binary >= 0:
		return t, Errorf(BadInput, "tensor %s has both data and binary_data_size", excerpt(t.Name))
	case t.data < 0 && t.binary < 0:
		return t, Errorf(BadInput, "tensor %s has neither data nor binary_data_size", excerpt(t.Name))
	case t.data >= 0 && !t.filled:
		behind := d.i
		d.i = t.data
		err = d.elements(&t.Tensor)
		d.i = behind
	}
	return t, err
}

func (d *decoder) shape() ([]int64, error) {
	out := make([]int64, 0, 4)
	err := d.array(func() error {
		n, err := d.number()
		if err != nil {
			return err
		}
		bits, ok := n.integer(d.b, 8, true)
		if !ok || int64(bits) < 0 {
			return Errorf(BadInput, "%s is not the size of a dimension", excerpt(string(n.text.of(d.b))))
		}
		if len(out) == maxRank {
			return Errorf(BadInput, "a shape has more than %d dimensions", maxRank)
		}
		out = append(out, int64(bits))
		return nil
	})
	return out, err
}

// wanted is an output asked for, before it is settled in which form.
type wanted struct {
	Output
	binary tristate
}

type tristate uint8

const (
	unsaid tristate = iota
	no
	yes
)

var outputMembers = []string{"name", "parameters"}

func (d *decoder) outputs() (out []wanted, err error) {
	if none, err := d.null(); none {
		return nil, err
	}
	err = d.array(func() error {
		if len(out) == maxTensors {
			return Errorf(BadInput, "more than %d outputs asked for", maxTensors)
		}
		w := wanted{}
		f := framing{}
		err := d.object(outputMembers, func(i int) (err error) {
			if outputMembers[i] == "name" {
				w.Name, err = d.text("name of an output")
			} else {
				w.Parameters, err = d.parameters(&f)
			}
			return err
		})
		w.binary = f.one
		out = append(out, w)
		return err
	})
	return out, err
}

// framing is what parameters say about the form of tensors.
type framing struct {
	size     int64    // binary_data_size
	one, all tristate // binary_data, binary_data_output
}

// parameters reads an object of strings, numbers and booleans.
func (d *decoder) parameters(f *framing) (Parameters, error) {
	if none, err := d.null(); none {
		return nil, err
	}
	if err := d.take('{'); err != nil {
		return nil, err
	}
	p := Parameters{}
	for first := true; ; first = false {
		if err := d.next('}', first); err == errEnd {
			err = f.take(p)
			return p.orNil(), err
		} else if err != nil {
			return nil, err
		}
		if d.params++; len(p) == maxParameters || d.params > maxTensors {
			return nil, Errorf(BadInput, "too many parameters: at most %d in one place, and %d in all", maxParameters, maxTensors)
		}
		key, err := d.key()
		if err != nil {
			return nil, err
		}
		name := string(key)
		if _, twice := p[name]; twice || name == "" || len(name) > maxName {
			return nil, Errorf(BadInput, "parameter %s stands twice, or is no name", excerpt(name))
		}
		if p[name], err = d.parameter(name); err != nil {
			return nil, err
		}
	}
}

func (p Parameters) orNil() Parameters {
	if len(p) == 0 {
		return nil
	}
	return p
}

func (d *decoder) parameter(name string) (any, error) {
	switch d.peek() {
	case '"':
		b, err := d.str()
		return string(b), err
	case 't':
		return true, d.literal("true")
	case 'f':
		return false, d.literal("false")
	case '{', '[', 'n':
		return nil, Errorf(BadInput, "parameter %s is not a string, a number or a boolean", excerpt(name))
	}
	n, err := d.number()
	if err != nil {
		return nil, err
	}
	if bits, ok := n.integer(d.b, 8, true); ok {
		return int64(bits), nil
	}
	if bits, ok := n.integer(d.b, 8, false); ok {
		return bits, nil
	}
	v, ok := n.float64(d.b)
	if !ok {
		return nil, Errorf(BadInput, "parameter %s is too large a number", excerpt(name))
	}
	return v, nil
}

// take moves the parameters of the binary tensor extension out of p, and
// refuses those that name shared memory.
func (f *framing) take(p Parameters) error {
	for name, v := range p {
		switch name {
		case "binary_data_size":
			n, ok := v.(int64)
			if !ok || n < 0 {
				return Errorf(BadInput, "binary_data_size is not a number of bytes")
			}
			f.size = n
		case "binary_data", "binary_data_output":
			b, ok := v.(bool)
			if !ok {
				return Errorf(BadInput, "%s is not a boolean", name)
			}
			said := no
			if b {
				said = yes
			}
			if name == "binary_data" {
				f.one = said
			} else {
				f.all = said
			}
		case "shared_memory_region", "shared_memory_offset", "shared_memory_byte_size":
			return errSharedMemory
		default:
			continue
		}
		delete(p, name)
	}
	return nil
}

var errSharedMemory = Errorf(Unsupported, "tensors in shared memory are not offered: send the elements")
