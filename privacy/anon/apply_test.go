package anon

import (
	"bytes"
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// adultPolicy is about ARX's table, with its hierarchies.
const adultPolicy = `
quasi:
  - {column: sex, hierarchy: {file: sex.csv}}
  - {column: age, hierarchy: {file: age.csv}}
  - {column: race, hierarchy: {file: race.csv}}
  - {column: marital-status, hierarchy: {file: marital-status.csv}}
  - {column: education, hierarchy: {file: education.csv}}
  - {column: native-country, hierarchy: {file: native-country.csv}}
  - {column: workclass, hierarchy: {file: workclass.csv}}
sensitive: [occupation]
keep: [salary-class]
target: salary-class
`

func policyOf(t testing.TB, more string) *Policy {
	t.Helper()
	p, err := ParsePolicy([]byte(adultPolicy+more), filepath.Join("testdata", "adult"))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// release applies a policy, writes the table and derives its claims.
func release(t testing.TB, p *Policy, table *Table, name string) (path string, claims *Claims) {
	t.Helper()
	r, err := Apply(context.Background(), p, table, nil)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := r.Write(&b, name); err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	claims, err = r.Claims(context.Background(), path, VerifyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	// As a reader gets them.
	var text bytes.Buffer
	if err := claims.Write(&text); err != nil {
		t.Fatal(err)
	}
	if claims, err = ReadClaims(&text); err != nil {
		t.Fatal(err)
	}
	return path, claims
}

func failed(checks []Check) (out []string) {
	for _, c := range checks {
		if !c.Holds {
			out = append(out, c.Claim+": "+c.Found)
		}
	}
	return out
}

// Every kind of recoding, promise and format keeps what it claims, and the claims
// are found again in little memory.
func TestReleasesVerify(t *testing.T) {
	table := adultTable(t, "adult_subset.csv")
	population := adultFile(t, "adult.csv")
	for _, c := range []struct{ more, name string }{
		{"models: [{model: k-anonymity, k: 5}]\n", "out.csv"},
		{"models: [{model: k-anonymity, k: 5}]\nsuppression: 0.1\nmetric: loss\n", "out.parquet"},
		{"models: [{model: k-anonymity, k: 5}]\nsuppression: 0.1\nsuppressed: mask\n", "out.tsv"},
		{"models: [{model: distinct-l-diversity, l: 4}, {model: t-closeness, t: 0.35}]\nsuppression: 0.1\n", "out.csv"},
		{"models: [{model: entropy-l-diversity, l: 3}]\nsuppression: 0.1\nmetric: entropy\n", "out.csv"},
		{"models: [{model: recursive-cl-diversity, c: 4, l: 5}]\nsuppression: 0.1\nmetric: class-size\n", "out.csv"},
		{"models: [{model: t-closeness, t: 0.3, distance: hierarchical, hierarchy: {file: occupation.csv}}]\nsuppression: 0.2\nsuppressed: mask\n", "out.csv"},
		{"models: [{model: t-closeness, t: 0.3, distance: ordered}, {model: k-anonymity, k: 3}]\nsuppression: 0.2\nmetric: ambiguity\n", "out.csv"},
		{"models: [{model: k-anonymity, k: 5}, {model: entropy-l-diversity, l: 2}]\nrecoding: strict\n", "out.csv"},
		{"models: [{model: k-anonymity, k: 5}, {model: t-closeness, t: 0.4}]\nrecoding: relaxed\n", "out.csv"},
		{"models: [{model: k-map, k: 20}]\nsuppression: 0.05\npopulation: " + population + "\n", "out.csv"},
		{"models: [{model: k-map, k: 20}, {model: t-closeness, t: 0.3}]\nsuppression: 0.2\npopulation: " + population + "\n", "out.csv"},
		{"models: [{model: delta-presence, min: 0.02, max: 0.2}]\nsuppression: 0.05\npopulation: " + population + "\n", "out.csv"},
	} {
		t.Run(c.more, func(t *testing.T) {
			p := policyOf(t, c.more)
			path, claims := release(t, p, table, c.name)
			for _, memory := range []int64{0, 1} {
				checks, err := Verify(context.Background(), path, claims, VerifyOptions{Memory: memory, Population: p.Population, Hierarchies: "testdata/adult"})
				if err != nil {
					t.Fatal(err)
				}
				if f := failed(checks); len(f) > 0 {
					t.Errorf("fails with %d bytes: %q", memory, f)
				}
			}
			if claims.Table.Rows+claims.Suppressed != int64(table.Rows) && claims.SuppressedAs == "remove" {
				t.Errorf("%d rows and %d suppressed of %d", claims.Table.Rows, claims.Suppressed, table.Rows)
			}
			u := claims.Utility
			if u.Loss < 0 || u.Loss > 1 || u.EntropyLoss < 0 || u.EntropyLoss > 1 || u.Accuracy.Before < 0.75 || u.Accuracy.After < 0.7 {
				t.Errorf("utility %+v %+v", u, u.Accuracy)
			}
		})
	}
}

// Two sensitive columns, each with models of its own; the one that is forgotten is
// named among what is not protected.
func TestTwoSensitiveColumns(t *testing.T) {
	text := strings.Replace(adultPolicy, "sensitive: [occupation]\nkeep: [salary-class]\ntarget: salary-class", "sensitive: [occupation, salary-class]", 1)
	models := "models: [{model: distinct-l-diversity, l: 3, column: occupation}, {model: t-closeness, t: 0.2, column: salary-class}]\nsuppression: 0.1\n"
	p, err := ParsePolicy([]byte(text+models), filepath.Join("testdata", "adult"))
	if err != nil {
		t.Fatal(err)
	}
	path, claims := release(t, p, adultTable(t, "adult_subset.csv"), "out.csv")
	checks, err := Verify(context.Background(), path, claims, VerifyOptions{})
	if err != nil || len(failed(checks)) > 0 {
		t.Errorf("%v %q", err, failed(checks))
	}
	p.Models = p.Models[:1]
	_, claims = release(t, p, adultTable(t, "adult_subset.csv"), "out.csv")
	if !slices.ContainsFunc(claims.Unprotected, func(s string) bool { return strings.Contains(s, "learning the salary-class of a person") }) {
		t.Errorf("not protected: %q", claims.Unprotected)
	}
	p.Models[0].Column = ""
	if _, err := Apply(context.Background(), p, adultTable(t, "adult_subset.csv"), nil); err == nil || !strings.Contains(err.Error(), "say which with column") {
		t.Errorf("which column? %v", err)
	}
}

// One altered cell is found by the digest; and where somebody has digested the
// altered table anew, by the promise that it breaks.
func TestVerifyFindsAlterations(t *testing.T) {
	table := adultTable(t, "adult_subset.csv")
	p := policyOf(t, "models: [{model: k-anonymity, k: 5}, {model: distinct-l-diversity, l: 2}, {model: t-closeness, t: 0.5}]\nsuppression: 0.1\n")
	path, claims := release(t, p, table, "out.csv")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	head := strings.Split(lines[0], ";")
	cell := func(line int, column, value string) string {
		out := slices.Clone(lines)
		f := strings.Split(out[line], ";")
		f[slices.Index(head, column)] = value
		out[line] = strings.Join(f, ";")
		return strings.Join(out, "\n") + "\n"
	}
	altered := filepath.Join(t.TempDir(), "out.csv")
	find := func(t *testing.T, text string, anew bool) string {
		t.Helper()
		if err := os.WriteFile(altered, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c := *claims
		if anew {
			digest, err := fileDigest(context.Background(), altered)
			if err != nil {
				t.Fatal(err)
			}
			c.Table.SHA256 = digest
		}
		checks, err := Verify(context.Background(), altered, &c, VerifyOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(failed(checks), "\n")
	}
	if f := find(t, string(text), false); f != "" {
		t.Errorf("the table itself: %s", f)
	}
	if f := find(t, cell(7, "salary-class", "?"), false); !strings.HasPrefix(f, "sha256 of the table") || strings.Contains(f, "\n") {
		t.Errorf("a kept cell: %q", f)
	}
	if f := find(t, cell(7, "age", "17"), true); !strings.Contains(f, "k-anonymity, k 5: broken in 1 of") {
		t.Errorf("a row of its own: %q", f)
	}
	if f := find(t, cell(7, "occupation", "Astronaut"), true); !strings.Contains(f, `value "Astronaut" of column "occupation" is not among those of the whole table`) {
		t.Errorf("a sensitive value: %q", f)
	}
	// All rows of the first class get one occupation: k still holds, l and t break.
	one := slices.Clone(lines)
	prefix := one[1][:strings.LastIndex(one[1][:strings.LastIndex(one[1], ";")], ";")]
	for i := range one[1:] {
		if strings.HasPrefix(one[i+1], prefix+";") {
			f := strings.Split(one[i+1], ";")
			f[slices.Index(head, "occupation")] = "Armed-Forces"
			one[i+1] = strings.Join(f, ";")
		}
	}
	f := find(t, strings.Join(one, "\n")+"\n", true)
	if !strings.Contains(f, "distinct-l-diversity of occupation, l 2: broken in 1 of") || !strings.Contains(f, "t-closeness of occupation, t 0.5: broken in 1 of") || strings.Contains(f, "k-anonymity, k 5: broken") {
		t.Errorf("a class with one occupation: %q", f)
	}
	if f := find(t, strings.Join(lines[:len(lines)-1], "\n")+"\n", true); !strings.Contains(f, "rows: ") || !strings.Contains(f, `values of column "occupation" of the whole table are not in the release`) {
		t.Errorf("a row less: %q", f)
	}
}

// The optimum of the packages' search is that of the policy, in its columns' order.
func TestApplyGivesTheKnownOptimum(t *testing.T) {
	text := strings.Replace(adultPolicy, "sensitive: [occupation]\nkeep: [salary-class]\ntarget: salary-class", `  - {column: occupation, hierarchy: {file: occupation.csv}}
  - {column: salary-class, hierarchy: {file: salary-class.csv}}
models: [{model: k-anonymity, k: 5}]
metric: entropy-star
suppression: 0.04`, 1)
	p, err := ParsePolicy([]byte(text), filepath.Join("testdata", "adult"))
	if err != nil {
		t.Fatal(err)
	}
	r, err := Apply(context.Background(), p, adultTable(t, "adult.csv"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if want := []int{1, 0, 1, 1, 3, 2, 2, 0, 1}; !slices.Equal(r.Found.Levels, want) || math.Abs(r.Found.Value-255559.85455731067) > 1e-3 || !r.Found.Optimal || r.Suppressed != 906 {
		t.Errorf("%+v", r.Found)
	}
}

// Eleven quasi-identifiers and more than a budget allows: what comes out keeps its
// promise, says that it is a heuristic, and states a bound.
func TestManyQuasiIdentifiers(t *testing.T) {
	rows := 3000
	text := "models: [{model: k-anonymity, k: 10}]\nmetric: loss\nsuppression: 0.1\nsearch: {steps: 3000}\nquasi:\n"
	table := &Table{Rows: rows}
	for i := range 14 {
		c := Column{Name: string(rune('a' + i)), Counts: make([]int64, 16)}
		for v := range 16 {
			c.Values = append(c.Values, numberText(float64(v)))
		}
		for r := range rows {
			code := uint32((r*(i*7+3) + r*r%(i+11)) % 16)
			c.Codes = append(c.Codes, code)
			c.Counts[code]++
		}
		table.Columns = append(table.Columns, c)
		text += "  - {column: " + c.Name + ", hierarchy: {intervals: [2, 4, 8]}}\n"
	}
	p, err := ParsePolicy([]byte(text), "")
	if err != nil {
		t.Fatal(err)
	}
	r, err := Apply(context.Background(), p, table, nil)
	if err != nil {
		t.Fatal(err)
	}
	f := r.Found
	if f.Optimal || !(f.Lower < f.Value) || f.Lattice != math.Pow(5, 14) || !strings.Contains(f.String(), "heuristic: best found; no better than") {
		t.Errorf("%v: %+v", f, f)
	}
	if f.Value > 0.9 {
		t.Errorf("loss %v: nothing was found but the coarsest table", f.Value)
	}
}

func TestNoSolutionSaysWhy(t *testing.T) {
	table := adultTable(t, "adult_subset.csv")
	for more, want := range map[string]string{
		"models: [{model: k-anonymity, k: 4000}]\n":                                                          "k-anonymity fails in 1 of 1 classes with 3016 rows",
		"models: [{model: k-anonymity, k: 4000}]\nsuppression: 1\n":                                          "even the coarsest table",
		"models: [{model: k-anonymity, k: 4000}]\nrecoding: strict\n":                                        "even the whole table as one class",
		"models: [{model: recursive-cl-diversity, c: 0.01, l: 2}]\nsuppression: 0.5\n":                       "no generalisation keeps the promises with at most 1508 of 3016",
		"models: [{model: k-anonymity, k: 5}]\nsuppression: 0\nsearch: {steps: 1}\nmetric: discernibility\n": "",
	} {
		_, err := Apply(context.Background(), policyOf(t, more), table, nil)
		if want == "" {
			if err != nil {
				t.Errorf("%s: %v", more, err)
			}
			continue
		}
		if !errors.Is(err, ErrNoSolution) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", more, err, want)
		}
	}
}

func TestBadPolicies(t *testing.T) {
	table := adultTable(t, "adult_subset.csv")
	models := "models: [{model: k-anonymity, k: 5}]\n"
	for text, want := range map[string]string{
		"":                       "quasi: name at least one quasi-identifier",
		"quas: []":               "unknown field",
		"quasi: [{column: sex}]": `column "age" has no role`,
		adultPolicy:              "models: name at least one",
		adultPolicy + "models: [{model: k-anonymity}]":                                           "k is 0: it must be at least 2",
		adultPolicy + "models: [{model: l-diversity, l: 2}]":                                     "there is no such model",
		adultPolicy + "models: [{model: t-closeness, t: 2}]":                                     "t is 2",
		adultPolicy + "models: [{model: t-closeness, t: 0.1, column: sex}]":                      `column "sex" is not under sensitive`,
		adultPolicy + "models: [{model: t-closeness, t: 0.1, distance: far}]":                    "give equal, ordered or hierarchical",
		adultPolicy + "models: [{model: distinct-l-diversity, l: 90}]":                           "has only 13 values",
		adultPolicy + "models: [{model: k-map, k: 5}]":                                           "k-map needs population",
		adultPolicy + "models: [{model: delta-presence, min: 0.5, max: 0.2}]\npopulation: x.csv": "x.csv",
		adultPolicy + models + "suppression: 1.5":                                                "give a share from 0 to 1",
		adultPolicy + models + "suppression: .nan":                                               "give a share from 0 to 1",
		adultPolicy + models + "metric: beauty":                                                  `metric: "beauty"`,
		adultPolicy + models + "recoding: wild":                                                  `recoding: "wild"`,
		adultPolicy + models + "drop: [nothing]":                                                 `there is no column "nothing"`,
		adultPolicy + models + "drop: [sex]":                                                     `column "sex" is under quasi and under drop`,
		strings.Replace(adultPolicy, "column: sex, ", "column: sex, least: 5, ", 1) + models:     "the hierarchy has levels 0 to 1",
		strings.Replace(adultPolicy, "column: sex, ", "column: sex, weight: -1, ", 1) + models:   "weight -1",
		strings.Replace(adultPolicy, "target: salary-class", "target: shoe", 1) + models:         `target: column "shoe"`,
	} {
		p, err := ParsePolicy([]byte(text), filepath.Join("testdata", "adult"))
		if err == nil {
			_, err = Apply(context.Background(), p, table, nil)
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.300q: %v, want %q", text, err, want)
		}
	}
}

// Claims come from others: what is no claim is refused, what is one but false fails.
func FuzzReadClaims(f *testing.F) {
	f.Add([]byte(`{"schema":"redoubt.anon/v1","table":{"sha256":"","rows":1,"columns":["a"]},"quasi":[{"column":"a","level":0,"levels":1,"hierarchy_sha256":"","from":{}}],"sensitive":["b"],"models":[{"model":"t-closeness","t":0.2,"distance":"hierarchical","paths":[["x","*"]],"least":null,"most":1}],"recoding":"global","classes":1,"smallest_class":1,"suppressed":0,"suppressed_as":"mask","reference":[{"column":"b","values":["x"],"counts":[2]}],"not_protected_against":[]}`))
	path := filepath.Join(f.TempDir(), "t.csv")
	if err := os.WriteFile(path, []byte("a,b\n1,x\n*,*\n"), 0o600); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := ReadClaims(bytes.NewReader(text))
		if err != nil {
			return
		}
		Verify(context.Background(), path, c, VerifyOptions{Memory: 1 << 20}) // no panic
	})
}
