package pii_test

import (
	"bufio"
	"compress/gzip"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/redoubt-ml/redoubt/internal/need"
	"github.com/redoubt-ml/redoubt/privacy/pii"
	"github.com/redoubt-ml/redoubt/privacy/pii/piitest"
)

var update = flag.Bool("update", false, "rewrite the part of docs/pii-scorecard.md that is measured here")

func open(t testing.TB, name string) io.Reader {
	t.Helper()
	f, err := os.Open(need.Data(t, name))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	return z
}

func mails(t testing.TB) (texts [][]byte) {
	t.Helper()
	lines := bufio.NewScanner(open(t, "text/spamassassin_sample.jsonl.gz"))
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var m struct{ Text string }
		if err := json.Unmarshal(lines.Bytes(), &m); err != nil {
			t.Fatal(err)
		}
		texts = append(texts, []byte(m.Text))
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return texts
}

// floors are the least F2 by span of the types that have a form. The set is a
// development set: those that are measured on it are higher.
var floors = map[string]float64{
	"AGE": 0.95, "CREDIT_CARD": 0.97, "DATE_TIME": 0.95, "EMAIL_ADDRESS": 0.99, "IBAN_CODE": 0.99, "IP_ADDRESS": 0.99, "PHONE_NUMBER": 0.95, "URL": 0.99,
	"US_DRIVER_LICENSE": 0.95, "US_SSN": 0.99,
}

// The page says what the recognisers find without a tagger. Rewrite its part with:
// go test ./privacy/pii -run Scorecard -update
func TestScorecard(t *testing.T) {
	set, err := piitest.Load(open(t, "text/presidio_synth_v2_dev.json.gz"))
	if err != nil {
		t.Fatal(err)
	}
	s, err := pii.New(pii.Settings{})
	if err != nil {
		t.Fatal(err)
	}
	scores, err := piitest.Evaluate(set, piitest.Presidio, func(text []byte) ([]pii.Finding, error) { return s.Scan(context.Background(), text) })
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "### Sentences\n\n%d sentences of presidio-research (the development part of `synth_dataset_v2`), without a tagger. F2 weighs recall four times as much as precision; a span is right when it has the type and shares half of its bytes.\n\n", len(set))
	b.WriteString("| type | spans | precision | recall | F2 | precision by token | recall by token |\n|---|---|---|---|---|---|---|\n")
	for _, typ := range append(sortedKeys(floors), pii.ZipCode) {
		sp, tk := scores.Spans[typ], scores.Tokens[typ]
		fmt.Fprintf(&b, "| %s | %d | %.3f | %.3f | %.3f | %.3f | %.3f |\n", typ, sp.True, sp.Precision(), sp.Recall(), sp.F2(), tk.Precision(), tk.Recall())
		if sp.F2() < floors[typ] {
			t.Errorf("%s: F2 %.3f, want at least %.3f", typ, sp.F2(), floors[typ])
		}
	}
	fmt.Fprintf(&b, "\nPostal codes within addresses are the tagger's; here are those that are named as such. Findings that are none of the set's: %d of %d.\n\n", len(scores.False), scores.AllSpans.Found)
	b.WriteString(mailTable(t, s))
	piitest.ComparePage(t, "forms", "go test ./privacy/pii -run Scorecard -update", b.String(), *update)
}

func sortedKeys[V any](m map[string]V) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}

// mailTable counts what is found in the shared mails.
func mailTable(t *testing.T, s *pii.Scanner) string {
	type count struct {
		n, mails int
		distinct map[string]bool
	}
	counts := map[string]*count{}
	texts, size := mails(t), 0
	for _, m := range texts {
		size += len(m)
		found, err := s.Scan(context.Background(), m)
		if err != nil {
			t.Fatal(err)
		}
		here := map[string]bool{}
		for _, f := range found {
			c := counts[f.Type]
			if c == nil {
				c = &count{distinct: map[string]bool{}}
				counts[f.Type] = c
			}
			if c.n++; !here[f.Type] {
				c.mails++
			}
			here[f.Type], c.distinct[string(m[f.Start:f.End])] = true, true
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "### Mail\n\n%d real mails of SpamAssassin's corpus, %.1f MB with all their headers, without a tagger. Nobody has marked what is in them; what is found was read through, see below.\n\n", len(texts), float64(size)/1e6)
	b.WriteString("| type | found | distinct | mails with one | a mail |\n|---|---|---|---|---|\n")
	types := sortedKeys(counts)
	slices.SortStableFunc(types, func(a, b string) int { return counts[b].n - counts[a].n })
	for _, typ := range types {
		c := counts[typ]
		fmt.Fprintf(&b, "| %s | %d | %d | %d | %.2f |\n", typ, c.n, len(c.distinct), c.mails, float64(c.n)/float64(len(texts)))
		if !slices.Contains([]string{"EMAIL_ADDRESS", "URL", "IP_ADDRESS", "DATE_TIME", "PHONE_NUMBER"}, typ) && c.n > len(texts)/20 {
			t.Errorf("%s: %d findings in %d mails: is it a pathology?", typ, c.n, len(texts))
		}
	}
	return b.String()
}

func BenchmarkMails(b *testing.B) {
	s, err := pii.New(pii.Settings{})
	if err != nil {
		b.Fatal(err)
	}
	texts, size := mails(b), 0
	for _, m := range texts {
		size += len(m)
	}
	b.SetBytes(int64(size))
	b.ReportAllocs()
	for b.Loop() {
		for _, m := range texts {
			if _, err := s.Scan(context.Background(), m); err != nil {
				b.Fatal(err)
			}
		}
	}
}
