package scan

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite docs/scanner-scorecard.md")

// verdictOf scans a sample as a user would.
func verdictOf(t *testing.T, s sample) (Verdict, *Report) {
	t.Helper()
	if s.disk == nil {
		r, err := Reader(t.Context(), s.name, bytes.NewReader(s.body), int64(len(s.body)), Config{Limits: s.limits})
		try(t, err)
		return r.Verdict(), r
	}
	dir := t.TempDir()
	try(t, os.WriteFile(filepath.Join(dir, "m.onnx"), s.body, 0o600))
	s.disk(t, dir)
	r, err := Path(t.Context(), dir, Config{})
	try(t, err)
	return r.Verdict(), r
}

type score struct {
	family string
	n      int
	by     map[Verdict]int
}

func tally(t *testing.T, samples []sample, wrong func(sample, Verdict, *Report)) (rows []*score, total score) {
	t.Helper()
	total.by = map[Verdict]int{}
	for _, s := range samples {
		if len(rows) == 0 || rows[len(rows)-1].family != s.family {
			var row *score
			for _, r := range rows {
				if r.family == s.family {
					row = r
				}
			}
			if row == nil {
				row = &score{family: s.family, by: map[Verdict]int{}}
			}
			rows = append(rows, row)
		}
		row := rows[len(rows)-1]
		v, r := verdictOf(t, s)
		row.n, total.n = row.n+1, total.n+1
		row.by[v]++
		total.by[v]++
		wrong(s, v, r)
	}
	seen := map[*score]bool{}
	unique := rows[:0]
	for _, r := range rows {
		if !seen[r] {
			seen[r] = true
			unique = append(unique, r)
		}
	}
	return unique, total
}

// TestScorecard holds the scanner against every published family of malicious
// files and the layouts of every framework, and keeps the page that says so.
func TestScorecard(t *testing.T) {
	var misses, alarms []string
	bad, badTotal := tally(t, evil(), func(s sample, v Verdict, _ *Report) {
		if v == Safe {
			misses = append(misses, s.family+": "+s.name)
		}
	})
	good, goodTotal := tally(t, benign(), func(s sample, v Verdict, r *Report) {
		if v != Safe {
			alarms = append(alarms, fmt.Sprintf("%s: %s is %s", s.family, s.name, v))
			for _, f := range r.Files {
				for _, x := range f.Findings {
					t.Logf("%s: %d: %s", f.Path, x.Offset, x.Message)
				}
			}
		}
	})
	for _, m := range misses {
		t.Errorf("a malicious file is safe: %s", m)
	}
	if n := goodTotal.by[Unsafe]; 100*n >= 2*goodTotal.n {
		t.Errorf("%d of %d benign files are unsafe, want under 2 %%: %v", n, goodTotal.n, alarms)
	}
	if n := goodTotal.by[Unproven]; 100*n >= 10*goodTotal.n {
		t.Errorf("%d of %d benign files are unproven, want under 10 %%: %v", n, goodTotal.n, alarms)
	}
	page := scorecard(bad, badTotal, good, goodTotal, misses, alarms)
	path := filepath.Join("..", "..", "docs", "scanner-scorecard.md")
	if *update {
		try(t, os.WriteFile(path, []byte(page), 0o644))
	}
	if have, err := os.ReadFile(path); err != nil || string(have) != page {
		t.Errorf("docs/scanner-scorecard.md is out of date: run go test ./supply/scan -run Scorecard -update")
	}
}

func scorecard(bad []*score, badTotal score, good []*score, goodTotal score, misses, alarms []string) string {
	var b strings.Builder
	b.WriteString(`# The scanner's scorecard

Made by ` + "`go test ./supply/scan -run Scorecard -update`" + `, which fails when a malicious file is safe. The files are generated: an assembler in the tests writes one for each published way of hiding a payload, with a payload that does nothing. None is stored.

## Malicious files

A file of this table must never be *safe*. *Unsafe* means that something forbidden was recognised, *unproven* that the file was not cleared; a pipeline stops at both.

| family | files | unsafe | unproven | missed (safe) |
| --- | ---: | ---: | ---: | ---: |
`)
	for _, r := range append(bad, &score{"**all**", badTotal.n, badTotal.by}) {
		fmt.Fprintf(&b, "| %s | %d | %d | %d | %d |\n", r.family, r.n, r.by[Unsafe], r.by[Unproven], r.by[Safe])
	}
	b.WriteString(`
## Benign files

The layouts that frameworks write, assembled in the same way. What the frameworks themselves write is measured in [benchmarks.md](benchmarks.md).

| layout | files | safe | unproven | unsafe |
| --- | ---: | ---: | ---: | ---: |
`)
	for _, r := range append(good, &score{"**all**", goodTotal.n, goodTotal.by}) {
		fmt.Fprintf(&b, "| %s | %d | %d | %d | %d |\n", r.family, r.n, r.by[Safe], r.by[Unproven], r.by[Unsafe])
	}
	fmt.Fprintf(&b, "\nMisses: %s. False alarms: %s.\n", listed(misses), listed(alarms))
	return b.String()
}

func listed(s []string) string {
	if len(s) == 0 {
		return "none"
	}
	return strings.Join(s, "; ")
}

var write = flag.String("write", "", "folder to write the generated files to, for bench/peers/scan.sh")

// TestWrite writes the generated files into two folders, evil and benign, for
// other scanners to look at. It does so only when it is asked to.
func TestWrite(t *testing.T) {
	if *write == "" {
		t.Skip("no -write")
	}
	for kind, samples := range map[string][]sample{"evil": evil(), "benign": benign()} {
		for _, s := range samples {
			if s.disk != nil || s.limits != (Limits{}) {
				continue // what matters is beside the file, or in our settings
			}
			path := filepath.Join(*write, kind, strings.Map(func(r rune) rune {
				if strings.ContainsRune(" :,/", r) {
					return '_'
				}
				return r
			}, s.family), filepath.FromSlash(s.name))
			try(t, os.MkdirAll(filepath.Dir(path), 0o755))
			try(t, os.WriteFile(path, s.body, 0o644))
		}
	}
}
