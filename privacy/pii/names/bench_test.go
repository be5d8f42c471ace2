package names_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/redoubt-ml/redoubt/privacy/pii"
	"github.com/redoubt-ml/redoubt/privacy/pii/names"
)

func BenchmarkTagMail(b *testing.B) {
	mails := mailTexts(b)
	size := 0
	for _, m := range mails {
		size += len(m)
	}
	t := names.Default()
	b.SetBytes(int64(size))
	b.ReportAllocs()
	for b.Loop() {
		for _, m := range mails {
			if _, err := t.Tag(context.Background(), m, nil); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// With all recognisers, as pii scan works.
func BenchmarkScanMail(b *testing.B) {
	mails := mailTexts(b)
	size := 0
	for _, m := range mails {
		size += len(m)
	}
	scanner, err := pii.New(pii.Settings{Tagger: names.Default()})
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(size))
	for b.Loop() {
		for _, m := range mails {
			if _, err := scanner.Scan(context.Background(), m); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// Texts of 4 KB one after another, as the request path sees them: the slowest of a
// hundred.
func BenchmarkScan4K(b *testing.B) {
	var texts [][]byte
	for _, m := range mailTexts(b) {
		for ; len(m) >= 4096; m = m[4096:] {
			texts = append(texts, m[:4096])
		}
	}
	scanner, err := pii.New(pii.Settings{Tagger: names.Default()})
	if err != nil {
		b.Fatal(err)
	}
	var took []time.Duration
	for i := 0; b.Loop(); i++ {
		start := time.Now()
		if _, err := scanner.Scan(context.Background(), texts[i%len(texts)]); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1e3, "median-ms")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1e3, "p99-ms")
}
