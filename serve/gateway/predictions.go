package gateway

import (
	"math"

	"github.com/redoubt-ml/redoubt/serve/oip"
)

// predictions are an answer row by row: under "prediction" the class, by name
// where the feature schema names them, or the number of a regression; under
// "scores" those of the classes; under "outputs" everything by its name.
func (s *Served) predictions(a *oip.Response) []map[string]any {
	rows := 1
	if len(a.Outputs) > 0 && len(a.Outputs[0].Shape) > 0 {
		rows = int(a.Outputs[0].Shape[0])
		for i := range a.Outputs {
			if sh := a.Outputs[i].Shape; len(sh) == 0 || sh[0] != int64(rows) {
				rows = 1 // the outputs are not one a row
			}
		}
	}
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
