package remote

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/redoubt-ml/redoubt/ml/tensor"
)

// known are the plain JSON protocols that an address shows.
var known = []struct{ suffix, request, response string }{
	{":predict", `{"instances": $x}`, "predictions"},  // TensorFlow Serving, KServe v1
	{"/invocations", `{"inputs": $x}`, "predictions"}, // MLflow
}

// template is an endpoint that takes JSON.
type template struct {
	url           string
	before, after string // what stands around the samples
	row           bool   // one sample in each request
	path          path
}

func newTemplate(u *url.URL, cfg Config) (*template, error) {
	request, response := cfg.Request, cfg.Response
	for _, k := range known {
		if strings.HasSuffix(u.Path, k.suffix) {
			if request == "" {
				request = k.request
			}
			if response == "" {
				response = k.response
			}
		}
	}
	if request == "" || response == "" {
		return nil, fmt.Errorf("%s is no address of a protocol that is known (.../v2/models/NAME, .../NAME:predict, .../invocations): "+
			`say what to send and what to read, such as --request '{"instances": $x}' --response 'predictions[*].scores'`, u)
	}
	if cfg.Input != "" || cfg.Output != "" {
		return nil, errors.New("--input and --output name tensors of the Open Inference Protocol: write the names into --request and --response")
	}
	t := &template{url: u.String()}
	mark := "$x"
	if t.row = strings.Contains(request, "$row"); t.row {
		mark = "$row"
	}
	if strings.Count(request, "$x")+strings.Count(request, "$row") != 1 {
		return nil, fmt.Errorf("--request %q: want $x once, where all samples go, or $row, where one goes", request)
	}
	t.before, t.after, _ = strings.Cut(request, mark)
	// An empty string is valid where a value may stand, and not inside another
	// string.
	if !json.Valid([]byte(t.before + `""` + t.after)) {
		return nil, fmt.Errorf("--request %q is not JSON with %s in place of a value", request, mark)
	}
	var err error
	t.path, err = parsePath(response)
	return t, err
}

func (t *template) single() bool { return t.row }

// call implements wire.
func (t *template) call(x *tensor.Tensor) (*call, error) {
	if err := finite(x); err != nil {
		return nil, err
	}
	dims := x.Shape
	if t.row {
		dims = dims[1:]
	}
	body := nested([]byte(t.before), x.Data, dims)
	return &call{
		method: http.MethodPost, url: t.url, rows: x.Rows(), limit: answerLimit(x.Rows()),
		header: map[string]string{"Content-Type": "application/json"}, body: append(body, t.after...),
	}, nil
}

// nested appends data as arrays of arrays of the given dimensions.
func nested(b []byte, data []float32, dims []int) []byte {
	if len(dims) == 0 {
		return kinds[0].appendJSON(b, data[0])
	}
	width := tensor.Len(dims[1:])
	b = append(b, '[')
	for i := range dims[0] {
		if i > 0 {
			b = append(b, ',')
		}
		b = nested(b, data[i*width:(i+1)*width], dims[1:])
	}
	return append(b, ']')
}

// read implements wire.
func (t *template) read(r *reply, n int) (*answer, error) {
	rows, err := t.path.find(r.body, t.row)
	if err != nil {
		return nil, malformed("%v", err)
	}
	if len(rows) != n {
		return nil, malformed("%d answers for %d samples at %q", len(rows), n, t.path)
	}
	all, k := &values{}, 0
	for i, raw := range rows {
		v, err := flat(raw)
		if err != nil {
			return nil, malformed("answer %d: %v", i, err)
		}
		if i == 0 {
			k = len(v.numbers) + len(v.words)
		} else if len(v.numbers)+len(v.words) != k {
			return nil, malformed("answer %d has %d values, the first has %d", i, len(v.numbers)+len(v.words), k)
		}
		all.numbers, all.words = append(all.numbers, v.numbers...), append(all.words, v.words...)
		all.fraction = all.fraction || v.fraction
	}
	if len(all.numbers) > 0 && len(all.words) > 0 {
		return nil, malformed("numbers for some samples, words for others")
	}
	return all.answer(n)
}

// path is where answers stand in a document: a small part of JSONPath. Names
// are separated by points, [2] is an element of an array, and [*], once, is
// all elements: one a sample. A leading $ is the document and may be left out.
// Names with points or brackets cannot be written.
type path []step

// step is a member by name, an element by index, or every element.
type step struct {
	name  string
	index int // where name is ""; every for all
}

const every = -1

func (p path) String() string {
	var b strings.Builder
	b.WriteString("$")
	for _, s := range p {
		switch {
		case s.name != "":
			b.WriteString("." + s.name)
		case s.index == every:
			b.WriteString("[*]")
		default:
			fmt.Fprintf(&b, "[%d]", s.index)
		}
	}
	return b.String()
}

func parsePath(s string) (path, error) {
	var p path
	bad := fmt.Errorf("--response %q: want names, [2] or one [*], such as predictions[*].scores", s)
	rest := strings.TrimPrefix(s, "$")
	stars := 0
	for first := rest == s; rest != ""; first = false {
		if inner, ok := strings.CutPrefix(rest, "["); ok {
			index, after, closed := strings.Cut(inner, "]")
			n, err := strconv.Atoi(index)
			if index == "*" {
				n, err = every, nil
				stars++
			} else if n < 0 {
				return nil, bad
			}
			if err != nil || !closed || stars > 1 {
				return nil, bad
			}
			p, rest = append(p, step{index: n}), after
			continue
		}
		if !first {
			var ok bool
			if rest, ok = strings.CutPrefix(rest, "."); !ok {
				return nil, bad
			}
		}
		end := strings.IndexAny(rest, ".[")
		if end < 0 {
			end = len(rest)
		}
		if end == 0 || strings.ContainsAny(rest[:end], "]*$") {
			return nil, bad
		}
		p, rest = append(p, step{name: rest[:end]}), rest[end:]
	}
	return p, nil
}

// find returns the answer of each sample. Without [*], what stands at the path
// is an array with one element a sample, or the answer itself where a request
// holds one sample.
func (p path) find(doc []byte, row bool) ([]json.RawMessage, error) {
	raw := json.RawMessage(doc)
	for i, s := range p {
		if s.name == "" && s.index == every {
			elements, err := array(raw, p[:i])
			if err != nil {
				return nil, err
			}
			for j, e := range elements {
				if elements[j], err = p[i+1:].one(e, p[:i+1]); err != nil {
					return nil, err
				}
			}
			return elements, nil
		}
		var err error
		if raw, err = s.into(raw, p[:i]); err != nil {
			return nil, err
		}
	}
	if row {
		if !json.Valid(raw) {
			return nil, errors.New("the answer is not JSON")
		}
		return []json.RawMessage{raw}, nil
	}
	return array(raw, p)
}

// one follows a path without [*].
func (p path) one(raw json.RawMessage, at path) (json.RawMessage, error) {
	for i, s := range p {
		var err error
		if raw, err = s.into(raw, append(at[:len(at):len(at)], p[:i]...)); err != nil {
			return nil, err
		}
	}
	return raw, nil
}

func array(raw json.RawMessage, at path) ([]json.RawMessage, error) {
	var elements []json.RawMessage
	if err := json.Unmarshal(raw, &elements); err != nil || elements == nil {
		return nil, fmt.Errorf("there is no array at %q", at)
	}
	return elements, nil
}

// into takes one step from what stands at a path.
func (s step) into(raw json.RawMessage, at path) (json.RawMessage, error) {
	if s.name == "" {
		elements, err := array(raw, at)
		if err == nil && s.index >= len(elements) {
			err = fmt.Errorf("the array at %q has %d elements, --response asks for number %d", at, len(elements), s.index)
		}
		if err != nil {
			return nil, err
		}
		return elements[s.index], nil
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(raw, &members); err != nil {
		return nil, fmt.Errorf("there is no object at %q", at)
	}
	v, ok := members[s.name]
	if !ok {
		return nil, fmt.Errorf("the object at %q has no member %q", at, s.name)
	}
	return v, nil
}
