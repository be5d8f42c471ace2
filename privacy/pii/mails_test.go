package pii_test

import (
	"bufio"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"testing"

	"github.com/redoubt-ml/redoubt/internal/need"
	"github.com/redoubt-ml/redoubt/privacy/pii"
)

func mails(t testing.TB) (texts []string) {
	f, err := os.Open(need.Data(t, "text/spamassassin_sample.jsonl.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(z)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var m struct{ Text string }
		if err := json.Unmarshal(lines.Bytes(), &m); err != nil {
			t.Fatal(err)
		}
		texts = append(texts, m.Text)
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return texts
}

func TestMails(t *testing.T) {
	s, err := pii.New(pii.Settings{Explain: true})
	if err != nil {
		t.Fatal(err)
	}
	out, _ := os.Create("/tmp/mails.txt")
	defer out.Close()
	for i, m := range mails(t) {
		found, err := s.Scan(context.Background(), []byte(m))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range found {
			fmt.Fprintf(out, "%s\t%s\t%.2f\t%d\t%q\t%q\t%s\n", f.Type, f.Recognizer, f.Score, i, m[f.Start:f.End], m[max(0, f.Start-40):min(len(m), f.End+15)], f.Why)
		}
	}
}

func BenchmarkScanMails(b *testing.B) {
	s, err := pii.New(pii.Settings{})
	if err != nil {
		b.Fatal(err)
	}
	texts, size := mails(b), 0
	for _, m := range texts {
		size += len(m)
	}
	all := make([][]byte, len(texts))
	for i, m := range texts {
		all[i] = []byte(m)
	}
	b.SetBytes(int64(size))
	b.ReportAllocs()
	for b.Loop() {
		for _, m := range all {
			if _, err := s.Scan(context.Background(), m); err != nil {
				b.Fatal(err)
			}
		}
	}
}
