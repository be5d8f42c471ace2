package gateway

import (
	"context"
	"encoding/binary"
	"math"
	"unicode/utf8"

	"github.com/redoubt-ml/redoubt/serve/oip"
)

var schema = &Guard{
	Name: "schema",
	Doc:  "holds the tensors against the model's inputs, the ranges, lengths and patterns of the settings, the feature schema, and the rules for card data",
	Body: true,
	wrap: func(g *Gateway, next Infer) Infer {
		return func(ctx context.Context, c *Call) (*oip.Response, error) {
			if err := c.Served.check(c.Request); err != nil {
				return nil, err
			}
			return next(ctx, c)
		}
	},
}

// check reports the first thing about a request that the model does not take.
func (s *Served) check(q *oip.Request) error {
	if err := s.checkNames(q); err != nil {
		return err
	}
	settings := &s.Model.Settings
	for i := range q.Inputs {
		in := &q.Inputs[i]
		if want := described(s.Metadata.Inputs, in.Name); want != nil {
			if err := fits(in, want); err != nil {
				return err
			}
		}
		rule := settings.Inputs[in.Name]
		if err := rule.check(in); err != nil {
			return err
		}
	}
	if settings.Rows != nil {
		if err := s.checkRows(q); err != nil {
			return err
		}
	}
	if settings.CardData {
		return checkCards(q)
	}
	return nil
}

// checkNames: every input is there and no other, and what is asked for exists. Of a
// model whose server does not say what it takes, the inputs are those that the settings
// speak of, or any.
func (s *Served) checkNames(q *oip.Request) error {
	for i := range q.Inputs {
		name := q.Inputs[i].Name
		known := described(s.Metadata.Inputs, name) != nil
		if len(s.Metadata.Inputs) == 0 {
			_, known = s.Model.Settings.Inputs[name]
			known = known || len(s.Model.Settings.Inputs) == 0
		}
		if !known {
			return oip.Errorf(oip.BadInput, "unexpected inference input '%s' for model '%s'", name, s.Model.Name)
		}
	}
	for _, want := range s.Metadata.Inputs {
		if q.Input(want.Name) == nil {
			return oip.Errorf(oip.BadInput, "expected %d inputs but got %d inputs for model '%s': '%s' is missing",
				len(s.Metadata.Inputs), len(q.Inputs), s.Model.Name, want.Name)
		}
	}
	for _, o := range q.Outputs {
		if len(s.Metadata.Outputs) > 0 && described(s.Metadata.Outputs, o.Name) == nil {
			return oip.Errorf(oip.BadInput, "unexpected inference output '%s' for model '%s'", o.Name, s.Model.Name)
		}
	}
	return nil
}

// fits holds a tensor against what the model declares.
func fits(in *oip.Tensor, want *oip.TensorMetadata) error {
	if in.Datatype != want.Datatype {
		return oip.Errorf(oip.BadInput, "inference input '%s' data-type is '%s', but the model expects '%s'", in.Name, in.Datatype, want.Datatype)
	}
	same := len(in.Shape) == len(want.Shape)
	for i := 0; same && i < len(want.Shape); i++ {
		same = want.Shape[i] < 0 || want.Shape[i] == in.Shape[i]
	}
	if !same {
		return oip.Errorf(oip.BadInput, "unexpected shape for input '%s': expected %v, got %v", in.Name, want.Shape, in.Shape)
	}
	return nil
}

const maxText = 10_000 // characters, unless a rule says otherwise

// check holds a tensor against a rule. The zero rule asks that numbers are
// finite and texts are no longer than 10,000 characters of UTF-8.
func (r *Rule) check(in *oip.Tensor) error {
	if n := in.Len(); r.Elements > 0 && n > r.Elements {
		return oip.Errorf(oip.Unprocessable, "input '%s' has %d elements, at most %d are allowed", in.Name, n, r.Elements)
	}
	if !finite(in, r.Missing) {
		return oip.Errorf(oip.Unprocessable, "input '%s' holds numbers that are infinite or not numbers", in.Name)
	}
	if r.Min != nil || r.Max != nil {
		if err := r.checkRange(in); err != nil {
			return err
		}
	}
	for i, s := range in.Strings {
		if err := r.checkText(in.Name, i, string(s)); err != nil {
			return err
		}
	}
	return nil
}

// checkRange holds every number against bounds of the same precision: 0.1 as FP32 is
// above 0.1, and yet what a client sends who sends the bound itself.
func (r *Rule) checkRange(in *oip.Tensor) error {
	numbers := numbersOf(in)
	least, most := math.Inf(-1), math.Inf(1)
	if r.Min != nil {
		least = rounded(in.Datatype, *r.Min)
	}
	if r.Max != nil {
		most = rounded(in.Datatype, *r.Max)
	}
	for i := range numbers.n {
		v := numbers.at(i)
		if v < least || v > most {
			return oip.Errorf(oip.Unprocessable, "input '%s', element %d: %v is outside its bounds", in.Name, i, v)
		}
	}
	return nil
}

func (r *Rule) checkText(name string, i int, s string) error {
	most := r.MaxLength
	if most == 0 {
		most = maxText
	}
	switch n := utf8.RuneCountInString(s); {
	case !utf8.ValidString(s):
		return oip.Errorf(oip.Unprocessable, "input '%s', text %d is not UTF-8", name, i)
	case n < r.MinLength || n > most:
		return oip.Errorf(oip.Unprocessable, "input '%s', text %d has %d characters, want %d to %d", name, i, n, r.MinLength, most)
	case r.Pattern != nil && !r.Pattern.MatchString(s):
		return oip.Errorf(oip.Unprocessable, "input '%s', text %d holds characters that are not allowed", name, i)
	}
	return nil
}

// checkRows holds the table against its feature schema, row by row.
func (s *Served) checkRows(q *oip.Request) error {
	want, err := s.Model.Settings.table(s.Metadata)
	if err != nil {
		return err
	}
	in := q.Input(want.Name)
	rows := s.Model.Settings.Rows
	if len(in.Shape) != 2 || in.Shape[1] != int64(rows.Width()) {
		return oip.Errorf(oip.BadInput, "unexpected shape for input '%s': rows have %d features", in.Name, rows.Width())
	}
	row := make([]float32, rows.Width())
	for n := range int(in.Shape[0]) {
		for j := range row {
			row[j] = element(in, n*len(row)+j)
		}
		if err := rows.Check(row); err != nil {
			return oip.Errorf(oip.Unprocessable, "input '%s', row %d: %v", in.Name, n, err)
		}
	}
	return nil
}

// element is one of a tensor of floats.
func element(t *oip.Tensor, i int) float32 {
	if t.Datatype == oip.FP64 {
		return float32(math.Float64frombits(binary.LittleEndian.Uint64(t.Raw[8*i:])))
	}
	return math.Float32frombits(binary.LittleEndian.Uint32(t.Raw[4*i:]))
}
