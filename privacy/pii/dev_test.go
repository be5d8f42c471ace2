package pii_test

import (
	"compress/gzip"
	"context"
	"os"
	"testing"

	"github.com/redoubt-ml/redoubt/internal/need"
	"github.com/redoubt-ml/redoubt/privacy/pii"
	"github.com/redoubt-ml/redoubt/privacy/pii/piitest"
)

func sentences(t *testing.T) []piitest.Sentence {
	f, err := os.Open(need.Data(t, "text/presidio_synth_v2_dev.json.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	set, err := piitest.Load(z)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func TestSentences(t *testing.T) {
	s, err := pii.New(pii.Settings{})
	if err != nil {
		t.Fatal(err)
	}
	scores, err := piitest.Evaluate(sentences(t), piitest.Presidio, func(text []byte) ([]pii.Finding, error) {
		return s.Scan(context.Background(), text)
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("\n%s", scores)
	for _, m := range scores.Missed {
		switch m.Type {
		case "PERSON", "LOCATION", "ORGANIZATION", "STREET_ADDRESS", "NRP", "TITLE":
		default:
			t.Logf("missed %d %s %q", m.Sentence, m.Type, m.Text)
		}
	}
	for _, m := range scores.False {
		t.Logf("false %d %s %q", m.Sentence, m.Type, m.Text)
	}
}
