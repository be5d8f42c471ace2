package release

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
)

// Format is a way to write results.
type Format struct {
	Name  string
	Write func(io.Writer, *Result) error
}

// Formats lists them, the default first.
var Formats = []Format{{"text", Text}, {"json", JSON}, {"csv", CSV}}

// Text writes a table for people.
func Text(w io.Writer, r *Result) error {
	fmt.Fprintf(w, "%s, per %s: epsilon %g, delta %g, %v neighbours, %s noise\n", show(r.Dataset), show(r.Unit), r.Epsilon, r.Delta, r.Adjacency, r.Noise)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, g := range r.Groups {
		fmt.Fprintf(t, "%s\t", show(g))
	}
	fmt.Fprintf(t, "statistic\tvalue\t%g %% interval\tepsilon\tdelta\tunit\tadjacency\n", 100*r.Confidence)
	for _, row := range r.Rows {
		for _, g := range row.Group {
			fmt.Fprintf(t, "%s\t", show(g))
		}
		fmt.Fprintf(t, "%s\t%.6g\t[%.6g, %.6g]\t%.4g\t%.4g\t%s\t%v\n",
			show(row.Name), row.Value, row.Low, row.High, row.Epsilon, row.Delta, show(row.Unit), row.Adjacency)
	}
	return t.Flush()
}

// show quotes what would disturb a table: a group's name is whatever somebody
// entered.
func show(s string) string {
	if s == "" || !printable(s, maxKey) || strings.TrimSpace(s) != s {
		return strconv.Quote(s)
	}
	return s
}

// JSON writes the result as it is.
func JSON(w io.Writer, r *Result) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// CSV writes a line a number, with everything that it takes to read it alone.
func CSV(w io.Writer, r *Result) error {
	c := csv.NewWriter(w)
	lines := [][]string{append(append([]string{}, r.Groups...), "statistic", "value", "low", "high", "confidence",
		"epsilon", "delta", "unit", "adjacency", "release_epsilon", "release_delta")}
	for _, row := range r.Rows {
		lines = append(lines, append(append([]string{}, row.Group...), row.Name, short(row.Value), short(row.Low), short(row.High),
			short(r.Confidence), short(row.Epsilon), short(row.Delta), row.Unit, row.Adjacency.String(), short(r.Epsilon), short(r.Delta)))
	}
	return c.WriteAll(lines)
}
