package risk

import (
	"compress/gzip"
	"context"
	"io"
	"math"
	"os"
	"path/filepath"
	"testing"
)

var adultColumns = []string{"sex", "age", "race", "marital-status", "education", "native-country", "workclass", "occupation", "salary-class"}

func adult(t testing.TB, name string) string {
	t.Helper()
	f, err := os.Open(filepath.Join("..", "testdata", "adult", name+".gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), name)
	b, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// The average risk is ARX's (TestRiskMetrics.testAverageRisk2), to the last digit;
// classes and uniques were counted independently.
func TestAdultUntouched(t *testing.T) {
	r, err := Measure(context.Background(), adult(t, "adult.csv"), Options{Quasi: adultColumns})
	if err != nil {
		t.Fatal(err)
	}
	if r.Rows != 30162 || r.Classes != 19502 || r.Uniques != 15512 || r.Smallest != 1 {
		t.Errorf("%d rows, %d classes, %d uniques, smallest %d", r.Rows, r.Classes, r.Uniques, r.Smallest)
	}
	if r.Prosecutor.Average != 0.6465751607983555 || r.Prosecutor.Highest != 1 || r.Marketer != r.Prosecutor.Average {
		t.Errorf("prosecutor %+v, marketer %v", r.Prosecutor, r.Marketer)
	}
}

// Four significant digits of ARX's TestRiskMetrics.testDecisionRule2.
func TestPopulationUniqueness(t *testing.T) {
	path := adult(t, "adult.csv")
	for _, c := range []struct {
		fraction, want float64
		chosen         string
	}{{0.1, 0.27684993883653597, "pitman"}, {0.01, 0.1446083531167384, "pitman"}, {0.2, 0.3577099234829125, "zayatz"}, {1, 0.5142895033485844, ""}} {
		r, err := Measure(context.Background(), path, Options{Quasi: adultColumns, PopulationSize: int64(math.Round(30162 / c.fraction))})
		if err != nil {
			t.Fatal(err)
		}
		u := r.Uniqueness
		deref := func(p *float64) float64 {
			if p == nil {
				return math.NaN()
			}
			return *p
		}
		t.Logf("fraction %v: chosen %s %.10f; pitman %v zayatz %v snb %v", c.fraction, u.Chosen, u.Share, deref(u.Pitman), deref(u.Zayatz), deref(u.SNB))
		if math.Abs(u.Share-c.want) > 1e-4*c.want || c.chosen != "" && u.Chosen != c.chosen {
			t.Errorf("sample of %v: %s says %.6f, want %s %.6f", c.fraction, u.Chosen, u.Share, c.chosen, c.want)
		}
	}
}
