package gateway

import (
	"encoding/binary"
	"math"

	"github.com/redoubt-ml/redoubt/serve/oip"
)

// predictions are an answer row by row: under "prediction" the class, by name
// where the feature schema names them, or the number of a regression; under
// "scores" those of the classes; under "outputs" everything by its name.
func (s *Served) predictions(q *oip.Request, a *oip.Response) []map[string]any {
	rows := s.rows(q, a)
	out := make([]map[string]any, rows)
	for i := range out {
		row := map[string]any{}
		outputs := map[string]any{}
		for k := range a.Outputs {
			t := &a.Outputs[k]
			values := valuesOf(t)
			n := len(values) / rows
			if n == 0 {
				continue
			}
			values = values[i*n : (i+1)*n]
			outputs[t.Name] = values
			if n == 1 {
				outputs[t.Name] = values[0]
			}
			s.interpret(row, t, values)
		}
		row["outputs"] = outputs
		out[i] = row
	}
	return out
}

// rows is how many samples an answer is about: as many as were asked about, where each
// output has a part for each, and otherwise one.
func (s *Served) rows(q *oip.Request, a *oip.Response) int {
	if len(a.Outputs) == 0 || len(a.Outputs[0].Shape) == 0 {
		return 1
	}
	n := a.Outputs[0].Shape[0]
	for i := range a.Outputs {
		if out := &a.Outputs[i]; !s.perRow(q, out) || out.Shape[0] != n {
			return 1
		}
	}
	return int(n)
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
