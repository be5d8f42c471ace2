package risk

import (
	"cmp"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/redoubt-ml/redoubt/privacy/anon"
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
	}{{0.1, 0.27684993883653597, "pitman"}, {0.01, 0.1446083531167384, "pitman"}, {0.2, 0, ""}, {1, 0.5142895033485844, ""}} {
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
		if c.fraction == 0.2 {
			// ARX's SNB has no solution here, and it takes Zayatz: see snb.
			if math.Abs(deref(u.Zayatz)-0.3577099234829125) > 1e-9 || u.Chosen != "snb" || !(u.Share < *u.Zayatz) {
				t.Errorf("sample of 0.2: Zayatz %.10f, chosen %s %.6f", deref(u.Zayatz), u.Chosen, u.Share)
			}
			continue
		}
		if math.Abs(u.Share-c.want) > 1e-4*c.want || c.chosen != "" && u.Chosen != c.chosen {
			t.Errorf("sample of %v: %s says %.6f, want %s %.6f", c.fraction, u.Chosen, u.Share, c.chosen, c.want)
		}
	}
}

// The equations of SNB, held against the expected sample of 60,000 classes of one
// more than a geometric number of people, added up term by term.
func TestSNBSolvesItsModel(t *testing.T) {
	const k, a, b, f = 60_000, 1.0, 0.3, 0.25
	shown := func(j float64) (sum float64) {
		for size := j; size < 400; size++ {
			sum += k * b * math.Pow(1-b, size-1) * math.Exp(logChoose(size, j)) * math.Pow(f, j) * math.Pow(1-f, size-j)
		}
		return sum
	}
	if got := snbUniques(k, f, shown(1), shown(2), k/b); math.Abs(got-k*b) > 1 {
		t.Errorf("%v uniques, want %v", got, k*b)
	}
}

// Samples of Adult, for which the whole of Adult is the population whose uniques are
// counted: the chosen estimate is within 0.09 of the truth for samples from 5 % on
// and within 0.03 from half on. The draws are fixed.
func TestEstimatesOfACountedPopulation(t *testing.T) {
	table, err := anon.ReadTable(context.Background(), adult(t, "adult.csv"), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 2))
	for _, columns := range [][]int{{0, 1, 2, 3, 4, 5, 6, 7, 8}, {0, 1, 2, 4}, {1, 4, 5, 7}, {1, 3, 4, 6, 7}} {
		ids, groups := make([]uint32, table.Rows), 1
		for _, c := range columns {
			ids, groups = number(ids, groups, &table.Columns[c])
		}
		counts, truth := make([]int, groups), 0.0
		for _, id := range ids {
			counts[id]++
		}
		for _, n := range counts {
			if n == 1 {
				truth += 1 / float64(table.Rows)
			}
		}
		for _, f := range []float64{0.05, 0.15, 0.3, 0.5, 0.8} {
			rows := int(f * float64(table.Rows))
			sample, bySize := map[uint32]int64{}, map[int64]int64{}
			for _, i := range r.Perm(table.Rows)[:rows] {
				sample[ids[i]]++
			}
			for _, n := range sample {
				bySize[n]++
			}
			var sizes []Size
			for n, classes := range bySize {
				sizes = append(sizes, Size{n, classes})
			}
			slices.SortFunc(sizes, func(a, b Size) int { return cmp.Compare(a.Rows, b.Rows) })
			u, tolerance := estimate(sizes, int64(rows), int64(table.Rows)), 0.09
			if f >= 0.5 {
				tolerance = 0.03
			}
			if math.Abs(u.Share-truth) > tolerance {
				t.Errorf("columns %v, sample of %v: %s says %.4f, counted %.4f", columns, f, u.Chosen, u.Share, truth)
			}
		}
	}
}

// digamma and trigamma against Abramowitz and Stegun, table 6.1 and 6.4.
func TestGammas(t *testing.T) {
	for _, c := range []struct{ x, di, tri float64 }{{1, -0.5772156649015329, 1.6449340668482264}, {0.5, -1.9635100260214235, 4.934802200544679}, {2, 0.42278433509846714, 0.6449340668482264}, {100, 4.600161852738087, 0.010050166663333571}} {
		if math.Abs(digamma(c.x)-c.di) > 1e-12 || math.Abs(trigamma(c.x)-c.tri) > 1e-12 {
			t.Errorf("at %v: %v %v, want %v %v", c.x, digamma(c.x), trigamma(c.x), c.di, c.tri)
		}
	}
}

// Figures of small random tables against the definitions, with and without a
// population, in memory that holds nearly nothing.
func TestMeasureAsDefinitions(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		row := rapid.Custom(func(t *rapid.T) [2]int {
			return [2]int{rapid.IntRange(0, 3).Draw(t, "a"), rapid.IntRange(0, 3).Draw(t, "b")}
		})
		rows := rapid.SliceOfN(row, 1, 30).Draw(t, "rows")
		people := append(slices.Clone(rows), rapid.SliceOfN(row, 0, 30).Draw(t, "others")...)
		write := func(name string, rows [][2]int) string {
			text := "a,b,c\n"
			for i, r := range rows {
				text += fmt.Sprintf("%d,%d,%d\n", r[0], r[1], i)
			}
			path := filepath.Join(dir, name)
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			return path
		}
		got, err := Measure(context.Background(), write("t.csv", rows), Options{Quasi: []string{"a", "b"}, Population: write("p.csv", people), Memory: 1, Threshold: 0.3})
		if err != nil {
			t.Fatal(err)
		}
		inTable, inPopulation := map[[2]int]float64{}, map[[2]int]float64{}
		for _, r := range rows {
			inTable[r]++
		}
		for _, r := range people {
			inPopulation[r]++
		}
		n := float64(len(rows))
		var want Report
		want.Journalist = &Attacker{}
		for _, r := range rows {
			p, j := 1/inTable[r], 1/inPopulation[r]
			want.Prosecutor.Highest, want.Journalist.Highest = max(want.Prosecutor.Highest, p), max(want.Journalist.Highest, j)
			want.Prosecutor.Average += p / n
			want.Journalist.Average += j / n
			if p > 0.3 {
				want.Prosecutor.Above += 1 / n
			}
			if j > 0.3 {
				want.Journalist.Above += 1 / n
			}
			if p == 1 {
				want.Uniques++
			}
		}
		near := func(a, b Attacker) bool {
			return math.Abs(a.Highest-b.Highest) < 1e-12 && math.Abs(a.Average-b.Average) < 1e-12 && math.Abs(a.Above-b.Above) < 1e-12
		}
		if !near(got.Prosecutor, want.Prosecutor) || !near(*got.Journalist, *want.Journalist) || math.Abs(got.Marketer-want.Journalist.Average) > 1e-12 || got.Uniques != want.Uniques || got.Classes != int64(len(inTable)) {
			t.Fatalf("got %+v %+v, want %+v %+v", got, got.Journalist, want, want.Journalist)
		}
	})
}

func TestMeasureRefuses(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	table := write("t.csv", "a,b\n1,2\n3,4\n")
	for _, c := range []struct {
		path string
		opt  Options
		want string
	}{
		{table, Options{}, "at least one quasi-identifier"},
		{table, Options{Quasi: []string{"c"}}, `there is no column "c"`},
		{table, Options{Quasi: []string{"a", "a"}}, "named twice"},
		{table, Options{Quasi: []string{"a"}, Threshold: 2}, "between 0 and 1"},
		{table, Options{Quasi: []string{"a"}, PopulationSize: 1}, "cannot have a sample of 2 rows"},
		{table, Options{Quasi: []string{"a"}, Population: write("p.csv", "a\n1\n")}, "1 rows of the table are not in the population"},
		{write("e.csv", "a,b\n"), Options{Quasi: []string{"a"}}, "it has no rows"},
		{filepath.Join(dir, "none.csv"), Options{Quasi: []string{"a"}}, "none.csv"},
	} {
		if _, err := Measure(context.Background(), c.path, c.opt); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %q", c.opt, err, c.want)
		}
	}
}

func readTable(t *testing.T, text string) *anon.Table {
	t.Helper()
	path := filepath.Join(t.TempDir(), "t.csv")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	table, err := anon.ReadTable(context.Background(), path, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// No column alone is unique here, a with b is, and what contains them is left out.
func TestDiscoverFindsTheKey(t *testing.T) {
	table := readTable(t, "a,b,c,d\n1,1,x,k\n1,2,x,k\n2,1,x,k\n2,2,y,k\n")
	d, err := Discover(context.Background(), table, DiscoverOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(d.Keys) != 1 || !slices.Equal(d.Keys[0].Columns, []string{"a", "b"}) || !d.Complete {
		t.Errorf("keys %+v, complete %v", d.Keys, d.Complete)
	}
	i := slices.IndexFunc(d.Columns, func(s Set) bool { return s.Columns[0] == "c" })
	if c := d.Columns[i]; c.Distinct != 0.5 || c.Separation != 0.5 || c.Unique != 0.25 {
		t.Errorf("column c: %+v", c) // 2 values of 4 rows; 3 of 6 pairs; 1 row
	}
	for _, s := range d.Sets {
		if len(s.Columns) > 2 && slices.Contains(s.Columns, "a") && slices.Contains(s.Columns, "b") {
			t.Errorf("%v contains a unique set", s.Columns)
		}
	}
	short, err := Discover(context.Background(), table, DiscoverOptions{Sets: 5})
	if err != nil || short.Complete || short.Looked != 5 {
		t.Errorf("with a budget of 5: %+v %v", short, err)
	}
}

func TestHints(t *testing.T) {
	table := readTable(t, "patientName,zip_code,height,contact,note,ip,clipboard\nA,12345,180,a@b.org,2020-01-02,10.0.0.1,x\nB,12346,170,c@d.org,2021-03-04,10.0.0.2,y\n")
	got := map[string]string{}
	for _, h := range Hints(table) {
		got[h.Column] = h.Identifier[:3]
	}
	want := map[string]string{"patientName": "(A)", "zip_code": "(B)", "contact": "(F)", "note": "(C)", "ip": "(O)"}
	if !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
