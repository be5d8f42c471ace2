package gateway

import (
	"encoding/binary"
	"math"

	"github.com/redoubt-ml/redoubt/serve/oip"
)

// predictions are an answer row by row: under "prediction" the class, by name
// where the feature schema names them, or the number of a regression; under
// "scores" those of the classes; under "outputs" everything by its name. Outputs that
// are of all rows together are returned as whole.
func (s *Served) predictions(q *oip.Request, a *oip.Response) (list []map[string]any, whole map[string]any) {
	rows := s.rows(q, a)
	list, whole = make([]map[string]any, rows), map[string]any{}
	for i := range list {
		list[i] = map[string]any{"outputs": map[string]any{}}
	}
	for k := range a.Outputs {
		t := &a.Outputs[k]
		values := valuesOf(t)
		n := len(values) / rows
		switch {
		case n == 0:
			continue
		case rows > 1 && !s.perRow(q, t):
			whole[t.Name] = values
			continue
		}
		for i, row := range list {
			part := values[i*n : (i+1)*n]
			told := any(part)
			if n == 1 {
				told = part[0]
			}
			row["outputs"].(map[string]any)[t.Name] = told
			s.interpret(row, t, part)
		}
	}
	return list, whole
}

// rows is how many samples an answer is about: as many as its outputs have parts for, if
// they agree, and otherwise one.
func (s *Served) rows(q *oip.Request, a *oip.Response) int {
	n := int64(-1)
	for i := range a.Outputs {
		switch out := &a.Outputs[i]; {
		case !s.perRow(q, out):
		case n >= 0 && out.Shape[0] != n:
			return 1
		default:
			n = out.Shape[0]
		}
	}
	return int(max(n, 1))
}

// interpret enters what an output means: a class that the model itself names
// wins over one that is read off the scores.
func (s *Served) interpret(row map[string]any, t *oip.Tensor, values []any) {
	var classes []string
	if s.Model.Settings.Rows != nil {
		classes = s.Model.Settings.Rows.Classes()
	}
	named := func(class int) any {
		if class >= 0 && class < len(classes) {
			return classes[class]
		}
		return class
	}
	switch {
	case len(values) == 1 && (t.Datatype == oip.INT64 || t.Datatype == oip.INT32):
		class, ok := values[0].(int64)
		if ok {
			row["prediction"] = named(int(class))
		}
	case len(values) == 1 && t.Datatype == oip.BYTES:
		row["prediction"] = values[0]
	case !s.Model.Settings.scores(t):
	case len(values) == 1:
		if _, have := row["prediction"]; !have {
			row["prediction"] = values[0]
		}
	case len(values) > 1:
		scores := make([]float64, len(values))
		for j, v := range values {
			score, ok := v.(float64)
			if !ok { // not a number, so that none of them wins
				return
			}
			scores[j] = score
		}
		if _, have := row["prediction"]; !have {
			row["prediction"] = named(first(scores))
		}
		if len(classes) == len(scores) {
			byName := map[string]float64{}
			for j, class := range classes {
				byName[class] = scores[j]
			}
			row["scores"] = byName
		} else {
			row["scores"] = scores
		}
	}
}

// valuesOf are the elements of a tensor as JSON has them: float64, int64,
// uint64, bool or string.
func valuesOf(t *oip.Tensor) []any {
	var out []any
	switch t.Datatype {
	case oip.BYTES:
		for _, s := range t.Strings {
			out = append(out, string(s))
		}
	case oip.BOOL:
		for _, b := range t.Raw {
			out = append(out, b != 0)
		}
	case oip.INT64: // which float64 does not hold
		for b := t.Raw; len(b) >= 8; b = b[8:] {
			out = append(out, int64(binary.LittleEndian.Uint64(b)))
		}
	case oip.UINT64:
		for b := t.Raw; len(b) >= 8; b = b[8:] {
			out = append(out, binary.LittleEndian.Uint64(b))
		}
	default:
		numbers := numbersOf(t)
		whole := !floating(t.Datatype)
		for i := range numbers.n {
			if v := numbers.at(i); whole {
				out = append(out, int64(v))
			} else if math.IsNaN(v) || math.IsInf(v, 0) {
				out = append(out, nil) // JSON has no such number
			} else {
				out = append(out, v)
			}
		}
	}
	return out
}
