package oip

import (
	"bytes"
	"math"
	"strings"
)

// elements reads a tensor's elements, flat or nested as its shape is.
func (d *decoder) elements(t *Tensor) error {
	n, err := t.count()
	if err != nil {
		return err
	}
	if t.Datatype.BinaryOnly() {
		return Errorf(BadInput, "tensor %s: %s has no form in JSON: send it as a binary tensor", excerpt(t.Name), t.Datatype)
	}
	// Elements are two bytes at least, with what separates them: a shape that
	// asks for more than there are costs nothing.
	if n > int64(len(d.b)-d.i+1)/2 {
		return Errorf(BadInput, "tensor %s: shape %v takes %d elements, the request is too short for them", excerpt(t.Name), t.Shape, n)
	}
	e := &elements{decoder: d, tensor: t, left: int(n)}
	if t.Datatype == BYTES {
		t.Strings = make([][]byte, 0, n)
	} else {
		t.Raw = make([]byte, int(n)*t.Datatype.Size())
	}
	if err := e.nest(); err != nil {
		return err
	}
	if e.left > 0 {
		return t.wrongCount(n-int64(e.left), n)
	}
	return nil
}

// elements is a tensor being filled.
type elements struct {
	*decoder
	tensor *Tensor
	left   int // elements still to come
	at     int // where in Raw the next one goes
}

// nest reads arrays within arrays. Either there is one array that holds all, or
// they are exactly as the shape says.
func (e *elements) nest() error {
	var counts [maxRank + 1]int64
	depth, deepest := 0, 0
	for first := true; ; {
		if e.peek() != '[' {
			return Errorf(BadInput, "tensor %s: data is not an array of elements, flat or nested like its shape", excerpt(e.tensor.Name))
		}
		e.i++
		if depth++; depth > max(1, len(e.tensor.Shape)) {
			return Errorf(BadInput, "tensor %s: data nests deeper than its shape", excerpt(e.tensor.Name))
		}
		deepest = max(deepest, depth)
		counts[depth], first = 0, true
		for depth > 0 {
			if c := e.peek(); first && c != '[' && c != ']' {
				before := e.left
				if err := e.row(); err != nil {
					return err
				}
				counts[depth] = int64(before - e.left)
				if deepest > 1 && depth != len(e.tensor.Shape) {
					return e.ragged()
				}
				first = false
			}
			err := e.next(']', first)
			if err == nil {
				counts[depth]++
				break
			}
			if err != errEnd {
				return err
			}
			if deepest > 1 && counts[depth] != e.tensor.Shape[depth-1] {
				return e.ragged()
			}
			depth--
			first = false
		}
		if depth == 0 {
			return nil
		}
	}
}

func (e *elements) ragged() error {
	return Errorf(BadInput, "tensor %s: data is nested otherwise than its shape %v", excerpt(e.tensor.Name), e.tensor.Shape)
}

// row reads elements up to the end of their array, without its bracket.
func (e *elements) row() error {
	for {
		if e.left == 0 {
			return Errorf(BadInput, "tensor %s: more elements than its shape %v takes", excerpt(e.tensor.Name), e.tensor.Shape)
		}
		e.left--
		if err := e.element(); err != nil {
			return err
		}
		if e.peek() != ',' {
			return nil
		}
		e.i++
	}
}

// element reads one element.
func (e *elements) element() error {
	t := e.tensor
	switch t.Datatype {
	case BYTES:
		return e.word()
	case BOOL:
		if c := e.peek(); c == 't' || c == 'f' {
			return e.boolean(c)
		}
	}
	n, err := e.number()
	if err != nil {
		return e.otherwise(err)
	}
	ok := false
	switch t.Datatype {
	case FP32:
		var v float32
		v, ok = n.float32(e.b)
		e.put(uint64(math.Float32bits(v)), 4)
	case FP64:
		var v float64
		v, ok = n.float64(e.b)
		e.put(math.Float64bits(v), 8)
	default:
		var v uint64
		size := t.Datatype.Size()
		v, ok = n.integer(e.b, size, t.Datatype[0] == 'I')
		ok = ok && (t.Datatype != BOOL || v <= 1)
		e.put(v, size)
	}
	if !ok {
		return Errorf(BadInput, "tensor %s: %s holds no %s", excerpt(t.Name), t.Datatype, excerpt(string(n.text.of(e.b))))
	}
	return nil
}

// put writes the next element: the lowest bytes of v, the lowest first.
func (e *elements) put(v uint64, size int) {
	for i := range size {
		e.tensor.Raw[e.at+i] = byte(v >> (8 * i))
	}
	e.at += size
}

func (e *elements) boolean(c byte) error {
	if c == 't' {
		e.put(1, 1)
		return e.literal("true")
	}
	e.put(0, 1)
	return e.literal("false")
}

// word reads a string; one without escapes stays part of the body.
func (e *elements) word() error {
	if e.peek() != '"' {
		return e.otherwise(e.syntax("expected a string"))
	}
	w, err := e.str()
	if err != nil {
		return err
	}
	if len(w) > 0 && len(e.scanner.word) > 0 && &w[0] == &e.scanner.word[0] {
		w = bytes.Clone(w)
	}
	e.tensor.Strings = append(e.tensor.Strings, w[:len(w):len(w)])
	return nil
}

// otherwise says what is wrong with an element that is not of its type, where
// err is what a scanner thinks of it.
func (e *elements) otherwise(err error) error {
	t, c := e.tensor, e.peek()
	float := t.Datatype == FP32 || t.Datatype == FP64
	switch {
	case c == 'n' && float && e.answer:
		if t.Datatype == FP32 {
			e.put(uint64(math.Float32bits(float32(math.NaN()))), 4)
		} else {
			e.put(math.Float64bits(math.NaN()), 8)
		}
		return e.literal("null")
	case strings.IndexByte("NI", c) >= 0:
		return Errorf(BadInput, "tensor %s: JSON has no NaN and no Infinity: send them as a binary tensor", excerpt(t.Name))
	case strings.IndexByte("\"tfn{[-0123456789", c) >= 0:
		return Errorf(BadInput, "tensor %s: an element is no %s", excerpt(t.Name), t.Datatype)
	}
	return err
}
