package release

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"
	"go.uber.org/goleak"

	"github.com/redoubt-ml/redoubt/privacy/dp"
	"github.com/redoubt-ml/redoubt/privacy/dp/dptest"
	"github.com/redoubt-ml/redoubt/privacy/dp/ledger"
	"github.com/redoubt-ml/redoubt/store"
	"github.com/redoubt-ml/redoubt/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(storetest.M{M: m}) }

// everything is a query with all statistics. Its epsilon is absurd, so that
// answers are near the truth.
const everything = `
dataset: visits
unit: patient
person: patient
adjacency: add-remove
epsilon: 100
delta: 1e-6
group_by: [ward]
groups_per_person: 2
rows_per_group: 3
statistics:
  - of: count
  - of: people
  - {of: sum, column: cost, low: -10, high: 100}
  - {of: mean, column: cost, low: -10, high: 100}
  - {of: variance, column: cost, low: -10, high: 100}
  - {of: quantiles, column: cost, low: -10, high: 100, quantiles: [0.25, 0.5, 0.9]}
  - {of: histogram, column: cost, edges: [-10, 0, 50, 101]}
  - {of: distinct, column: doctor}
`

func parse(t testing.TB, text string) *Query {
	t.Helper()
	q, err := Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return q
}

func file(t testing.TB, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func aggregate(t testing.TB, q *Query, path string, o Options) *State {
	t.Helper()
	s, err := Aggregate(t.Context(), q, path, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// table is made-up data in which nobody exceeds the bounds of everything: 600
// people, two visits each, to one of three wards.
func table(t testing.TB) (rows [][]string, cost map[string][]float64) {
	rng := rand.New(rand.NewPCG(5, 6))
	cost = map[string][]float64{}
	for person := range 600 {
		ward := fmt.Sprintf("w%d", person%3)
		for range 2 {
			x := math.Round(1000*(rng.Float64()*110-10)) / 1000
			cost[ward] = append(cost[ward], x)
			rows = append(rows, []string{fmt.Sprint(person), ward, fmt.Sprint(x), fmt.Sprintf("d%d", rng.IntN(50))})
		}
	}
	return rows, cost
}

func csvOf(rows [][]string) string {
	var b strings.Builder
	b.WriteString("patient,ward,cost,doctor\n")
	for _, r := range rows {
		b.WriteString(strings.Join(r, ",") + "\n")
	}
	return b.String()
}

// TestAnswers holds each statistic against its definition, computed plainly.
func TestAnswers(t *testing.T) {
	rows, cost := table(t)
	for _, noise := range []string{"laplace", "gaussian"} {
		q := parse(t, everything+"noise: "+noise+"\n")
		s := aggregate(t, q, file(t, "v.csv", csvOf(rows)), Options{})
		r, err := s.draw(dp.Source{})
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]Row{}
		for _, row := range r.Rows {
			got[row.Group[0]+" "+row.Name] = row
			if row.Epsilon <= 0 || row.Unit != "patient" || row.Adjacency != dp.AddRemove || row.Low > row.Value || row.High < row.Value {
				t.Errorf("%s: %+v: a number without what it takes to read it", noise, row)
			}
		}
		for ward, xs := range cost {
			n, sum, squares := float64(len(xs)), 0.0, 0.0
			below, low, mid := map[float64]float64{}, 0.0, 0.0
			for _, x := range xs {
				sum, squares = sum+x, squares+x*x
				if x < 0 {
					low++
				} else if x < 50 {
					mid++
				}
			}
			for _, p := range []float64{0.25, 0.5, 0.9} {
				below[p] = exactQuantile(xs, p)
			}
			for name, c := range map[string]struct{ want, near float64 }{
				"count": {n, 8}, "people": {n / 2, 8}, "sum of cost": {sum, 600}, "mean of cost": {sum / n, 2},
				"variance of cost":      {squares/n - sum*sum/n/n, 100},
				"quantiles of cost 0.5": {below[0.5], 8}, "quantiles of cost 0.25": {below[0.25], 8}, "quantiles of cost 0.9": {below[0.9], 8},
				"histogram of cost [-10, 0)": {low, 8}, "histogram of cost [0, 50)": {mid, 8}, "histogram of cost [50, 101)": {n - low - mid, 8},
				"distinct of doctor": {50, 10},
			} {
				row, ok := got[ward+" "+name]
				if !ok || math.Abs(row.Value-c.want) > c.near {
					t.Errorf("%s, %s, %s: %v, want %v give or take %v", noise, ward, name, row.Value, c.want, c.near)
				}
			}
		}
	}
}

func exactQuantile(xs []float64, p float64) float64 {
	s := append([]float64{}, xs...)
	for i := range s { // insertion: a definition, not a routine
		for j := i; j > 0 && s[j] < s[j-1]; j-- {
			s[j], s[j-1] = s[j-1], s[j]
		}
	}
	return s[min(len(s)-1, int(p*float64(len(s))))]
}

// TestIntervals counts how often the truth lies outside, over many releases with
// much noise. Of 2,000 intervals of 90 % more than 260 miss by chance less than
// once in 10^5 runs, for there are 200 expected at most and the tail of the
// binomial at 260 is that of 4.4 deviations.
func TestIntervals(t *testing.T) {
	rows, cost := table(t)
	sum, squares := 0.0, 0.0
	for _, x := range cost["w0"] {
		sum, squares = sum+x, squares+x*x
	}
	n := float64(len(cost["w0"]))
	truth := map[string]float64{"count": n, "people": n / 2, "sum of cost": sum, "mean of cost": sum / n,
		"variance of cost": squares/n - sum*sum/n/n, "quantiles of cost 0.5": exactQuantile(cost["w0"], 0.5)}
	text := strings.Replace(everything, "epsilon: 100", "epsilon: 4\nconfidence: 0.9\nkeys: [[w0]]", 1)
	for _, noise := range []string{"laplace", "gaussian"} {
		s := aggregate(t, parse(t, text+"noise: "+noise+"\n"), file(t, "v.csv", csvOf(rows)), Options{})
		missed := map[string]int{}
		for range 2000 {
			r, err := s.draw(dp.Source{})
			if err != nil {
				t.Fatal(err)
			}
			for _, row := range r.Rows {
				if want, ok := truth[row.Name]; ok && (want < row.Low || want > row.High) {
					missed[row.Name]++
				}
			}
		}
		for name, n := range missed {
			if n > 260 {
				t.Errorf("%s: the interval of %s missed the truth %d times of 2000, want 200 at most", noise, name, n)
			}
		}
		if noise == "laplace" && missed["count"] < 100 { // and it is not just wide
			t.Errorf("the interval of count missed %d times of 2000, want about 200", missed["count"])
		}
	}
}

// TestSameFromEverySource reads the same rows from CSV, TSV, Parquet plain and
// with dictionaries, and a database, held in memory and not: the sums are equal.
func TestSameFromEverySource(t *testing.T) {
	rows, _ := table(t)
	rows = append(rows, []string{"", "w0", "5", "d1"}, []string{"999", "w1", "", ""}, []string{"998", "w1", "none", "d3"},
		[]string{"997", "w2", "Inf", "d3"}, []string{"996", "w2", "-1e999", "d3"}, []string{"995", "w2", "NaN", "d3"})
	q := parse(t, everything+"table: visits\n")
	want, err := aggregate(t, q, file(t, "v.csv", csvOf(rows)), Options{}).MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	same := func(name, path string, o Options) {
		t.Helper()
		got, err := aggregate(t, q, path, o).MarshalBinary()
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: the sums differ from those of CSV (%v)", name, err)
		}
	}
	same("quotes", file(t, "v.csv", "\ufeff"+strings.ReplaceAll(csvOf(rows), "w1", `"w1"`)), Options{Workers: 1})
	same("tabs", file(t, "v.tsv", strings.ReplaceAll(csvOf(rows), ",", "\t")), Options{})
	same("returns", file(t, "v.csv", strings.ReplaceAll(csvOf(rows), "\n", "\r\n")), Options{})
	same("spilled", file(t, "v.csv", csvOf(rows)), Options{Memory: 1, Temp: t.TempDir()})
	type dict struct {
		Patient *int64   `parquet:"patient"`
		Ward    string   `parquet:"ward,dict"`
		Cost    *float64 `parquet:"cost"`
		Doctor  *string  `parquet:"doctor,dict"`
	}
	type plain struct {
		Cost    *string `parquet:"cost,dict"`
		Ward    *string `parquet:"ward"`
		Patient string  `parquet:"patient"`
		Doctor  string  `parquet:"doctor"`
	}
	var dicts []dict
	var plains []plain
	for _, r := range rows {
		var id int64
		var x float64
		_, err := fmt.Sscan(r[0], &id)
		d := dict{Patient: &id, Ward: r[1], Cost: &x, Doctor: &r[3]}
		if err != nil {
			d.Patient = nil
		}
		switch _, err := fmt.Sscan(r[2], &x); {
		case r[2] == "-1e999":
			x = math.Inf(-1)
		case err != nil:
			d.Cost = nil
		}
		if r[3] == "" {
			d.Doctor = nil
		}
		dicts, plains = append(dicts, d), append(plains, plain{&r[2], &r[1], r[0], r[3]})
	}
	path := filepath.Join(t.TempDir(), "v.parquet")
	if err := parquet.WriteFile(path, dicts, parquet.MaxRowsPerRowGroup(100)); err != nil {
		t.Fatal(err)
	}
	same("Parquet with dictionaries", path, Options{})
	if err := parquet.WriteFile(path, plains, parquet.MaxRowsPerRowGroup(333)); err != nil {
		t.Fatal(err)
	}
	same("Parquet of text", path, Options{})
	t.Run("postgres", func(t *testing.T) {
		url := storetest.StartPostgres(t).Database(t)
		db := storetest.Open(t, url)
		err := db.Update(t.Context(), func(tx *store.Tx) error {
			if _, err := tx.Exec(`CREATE TABLE visits (patient BIGINT, ward TEXT, cost TEXT, doctor TEXT)`); err != nil {
				return err
			}
			for _, r := range rows {
				if _, err := tx.Exec(`INSERT INTO visits VALUES (CAST(NULLIF($1, '') AS BIGINT), $2, $3, $4)`, r[0], r[1], r[2], r[3]); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		same("PostgreSQL", url, Options{})
	})
}

// TestContributionIsBounded has one person do all he can: the sums move by no
// more than the bounds say, whoever else is there.
func TestContributionIsBounded(t *testing.T) {
	q := parse(t, everything)
	rows, _ := table(t)
	with := csvOf(rows)
	for i := range 5000 {
		with += fmt.Sprintf("greedy,w%d,%v,d%d\n", i%7, []string{"1e300", "Inf", "-Inf", "50"}[i%4], i)
	}
	for _, o := range []Options{{}, {Memory: 1, Temp: t.TempDir()}, {Workers: 1}} {
		a := aggregate(t, q, file(t, "a.csv", csvOf(rows)), o)
		b := aggregate(t, q, file(t, "b.csv", with), o)
		moved := int64(0)
		for g, name := range b.names {
			people, cells := int64(0), make([]int64, b.plan.cells)
			for k := range a.names {
				if a.names[k] == name {
					people, cells = a.people[k], a.cells[k*b.plan.cells:(k+1)*b.plan.cells]
				}
			}
			now := b.cells[g*b.plan.cells : (g+1)*b.plan.cells]
			if d := b.people[g] - people; d < 0 || d > 1 {
				t.Errorf("%q: people moved by %d", name, d)
			}
			if d := now[0] - cells[0]; d < 0 || d > q.RowsPerGroup {
				t.Errorf("%q: the count moved by %d, want at most %d", name, d, q.RowsPerGroup)
			} else if d > 0 {
				moved++
			}
			for i, st := range b.plan.stats {
				for k, part := range st.parts {
					lo, hi := b.plan.offset[i], b.plan.offset[i]+st.cells
					x, y := part.numbers(cells[lo:hi]), part.numbers(now[lo:hi])
					l1 := int64(0)
					for j := range x {
						l1 += max(x[j]-y[j], y[j]-x[j])
					}
					if s := b.plan.parts[i][k].Sensitivity(); l1 > s.Linf() {
						t.Errorf("%q: part %d of %s moved by %d, and its sensitivity is %d a group", name, k, st.Name, l1, s.Linf())
					}
				}
			}
		}
		if moved != q.GroupsPerPerson {
			t.Errorf("%d groups moved, want %d", moved, q.GroupsPerPerson)
		}
	}
}

// TestShardsMerge adds up in three shards what one would add up.
func TestShardsMerge(t *testing.T) {
	q := parse(t, everything)
	rows, _ := table(t)
	path := file(t, "v.csv", csvOf(rows))
	whole := aggregate(t, q, path, Options{})
	var parts []*State
	for i := range 3 {
		s := aggregate(t, q, path, Options{Shard: i, Shards: 3})
		b, err := s.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		read, err := ReadState(q, b)
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, read)
	}
	if err := parts[0].ready(parts[0].plan); err == nil || !strings.Contains(err.Error(), "shard 1 of 3 is missing") {
		t.Errorf("release one of three shards: %v", err)
	}
	if err := parts[0].Merge(parts[1], parts[2]); err != nil {
		t.Fatal(err)
	}
	if err := parts[0].Merge(parts[2]); err == nil || !strings.Contains(err.Error(), "shard 2 comes twice") {
		t.Errorf("merge a shard twice: %v", err)
	}
	if err := whole.Merge(parts[2]); err == nil {
		t.Error("a shard of three was merged with the whole")
	}
	parts[0].shards = whole.shards // how it was divided is all that differs
	a, err := parts[0].MarshalBinary()
	b, err2 := whole.MarshalBinary()
	if err := errors.Join(err, err2); err != nil || !bytes.Equal(a, b) {
		t.Errorf("the merged shards are not the whole (%v)", err)
	}
	other := parse(t, strings.Replace(everything, "rows_per_group: 3", "rows_per_group: 4", 1))
	if _, err := ReadState(other, b); err == nil || !strings.Contains(err.Error(), "another query") {
		t.Errorf("a state of another query: %v", err)
	}
}

func FuzzReadState(f *testing.F) {
	q := parse(f, everything)
	rows, _ := table(f)
	s := aggregate(f, q, file(f, "v.csv", csvOf(rows[:20])), Options{})
	good, err := s.MarshalBinary()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good[:len(good)-32])
	f.Add(good[:60])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		// The checksum is put right, so that what is behind it is reached.
		s, err := ReadState(q, sealed(q, b))
		if err != nil {
			return
		}
		again, err := s.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ReadState(q, again); err != nil {
			t.Fatalf("what was read and written cannot be read: %v", err)
		}
		if _, err := s.draw(dp.Source{}); err != nil {
			t.Fatalf("a state that was read cannot be released: %v", err)
		}
	})
}

// sealed gives a fuzzed body the right beginning and checksum.
func sealed(q *Query, b []byte) []byte {
	digest := q.Digest()
	head := append([]byte(magic), digest[:]...)
	if len(b) > len(head) {
		b = append(head, b[len(head):]...)
	} else {
		b = append(head, b...)
	}
	sum := sha256.Sum256(b)
	return append(b, sum[:]...)
}

// TestNoNoiseBeforeCommit has the ledger refuse, and the coins count.
func TestNoNoiseBeforeCommit(t *testing.T) {
	ctx := t.Context()
	l, err := ledger.Open(ctx, storetest.Open(t, storetest.SQLite(t)))
	if err != nil {
		t.Fatal(err)
	}
	q := parse(t, strings.Replace(everything, "epsilon: 100", "epsilon: 1", 1))
	rows, _ := table(t)
	path := file(t, "v.csv", csvOf(rows))
	coins := &counter{}
	read := 0
	run := func(key string, add func(context.Context) (*State, error)) error {
		_, err := Run(ctx, q, Payment{Ledger: l, By: "alice", Key: key}, dp.Source{Rand: coins}, func(ctx context.Context) (*State, error) {
			read++
			return add(ctx)
		})
		return err
	}
	good := func(ctx context.Context) (*State, error) { return Aggregate(ctx, q, path, Options{}) }
	if err := run("a", good); !errors.Is(err, ledger.ErrNone) || read > 0 {
		t.Errorf("a release without a budget: %v, and the data was read %d times", err, read)
	}
	b := ledger.Budget{Dataset: "visits", Unit: "patient", Adjacency: dp.AddRemove, Guarantee: dp.Guarantee{Epsilon: 1.5, Delta: 1e-5}}
	if err := l.Create(ctx, b, "root"); err != nil {
		t.Fatal(err)
	}
	if err := run("b", func(context.Context) (*State, error) { return nil, errors.New("the disk is full") }); err == nil || coins.n > 0 {
		t.Errorf("a release whose data cannot be read: %v, %d coins", err, coins.n)
	}
	expire := func(ctx context.Context) (*State, error) {
		for e := range l.History(ctx, "visits", "patient", 0) {
			if e.Key == "c" { // refunded behind its back
				if err := l.Refund(ctx, e.ID, "alice", ""); err != nil {
					t.Fatal(err)
				}
			}
		}
		return good(ctx)
	}
	if err := run("c", expire); !errors.Is(err, ledger.ErrEnded) || coins.n > 0 {
		t.Errorf("a release whose reservation is gone: %v, %d coins", err, coins.n)
	}
	if err := run("d", good); err != nil || coins.n == 0 {
		t.Errorf("a release: %v, %d coins", err, coins.n)
	}
	drawn := coins.n
	if err := run("d", good); err == nil || coins.n != drawn {
		t.Errorf("the same again: %v, %d more coins", err, coins.n-drawn)
	}
	if err := run("e", good); !errors.Is(err, ledger.ErrExhausted) || coins.n != drawn {
		t.Errorf("more than is left: %v, %d more coins", err, coins.n-drawn)
	}
}

// counter counts the coins that are drawn.
type counter struct{ n int }

func (c *counter) Read(b []byte) (int, error) {
	c.n += len(b)
	for i := range b {
		b[i] = byte(rand.Uint32())
	}
	return len(b), nil
}

// TestAudit has the stochastic tester look for the one person by whom two data
// sets differ, in whole releases; and finds planted faults.
func TestAudit(t *testing.T) {
	const text = `
dataset: visits
unit: patient
person: patient
adjacency: %s
epsilon: 1
delta: 1e-3
group_by: [ward]
groups_per_person: 2
rows_per_group: 2
noise: %s
statistics:
  - of: count
  - {of: sum, column: cost, low: -1, high: 3}
`
	others := "patient,ward,cost,doctor\na,w0,2,d\nb,w0,1,d\nc,w1,3,d\n"
	greedy := strings.Repeat("x,w0,9,d\n", 50) + strings.Repeat("x,w1,9,d\n", 50) + strings.Repeat("x,w2,9,d\n", 50)
	meek := strings.Repeat("y,w0,-9,d\n", 50) + strings.Repeat("y,w3,-9,d\n", 50)
	const keys = "keys: [[w0], [w1], [w2], [w3]]\n"
	for _, c := range []struct{ adjacency, noise, keys, a, b string }{
		{"add-remove", "laplace", keys, others, others + greedy},
		{"add-remove", "laplace", "", others, others + greedy},
		{"add-remove", "gaussian", keys, others, others + greedy},
		{"add-remove", "gaussian", "", others, others + greedy},
		{"replace", "laplace", keys, others + meek, others + greedy},
		{"replace", "gaussian", keys, others + meek, others + greedy},
	} {
		name := c.adjacency + " " + c.noise + " " + c.keys
		q := parse(t, fmt.Sprintf(text, c.adjacency, c.noise)+c.keys)
		pairs := []dptest.Pair[*State]{{Name: name,
			A: aggregate(t, q, file(t, "a.csv", c.a), Options{}), B: aggregate(t, q, file(t, "b.csv", c.b), Options{})}}
		auditor := dptest.Auditor{Runs: 10_000}
		claim := dp.Guarantee{Epsilon: q.Epsilon, Delta: q.Delta}
		if f := dptest.Find(auditor, outputs(t), pairs, claim); f.Broken {
			t.Errorf("%s: %v", name, f)
		}
		if c.keys == "" {
			continue // groups of three are not named often enough to see the fault in their numbers
		}
		// The fault: contributions that were never bounded.
		loose := *q
		loose.RowsPerGroup, loose.GroupsPerPerson = 50, 50
		faulty := func(text string) *State {
			s := aggregate(t, &loose, file(t, "a.csv", text), Options{})
			s.plan = pairs[0].A.plan
			return s
		}
		pairs[0].A, pairs[0].B = faulty(c.a), faulty(c.b)
		if f := dptest.Find(auditor, outputs(t), pairs, claim); !f.Broken {
			t.Errorf("%s: unbounded contributions were not found: %v", name, f)
		}
	}
}

// outputs are the numbers of a release by ward, and which wards are named.
func outputs(t *testing.T) func(*State) []float64 {
	return func(s *State) []float64 {
		r, err := s.draw(dp.Source{})
		if err != nil {
			t.Fatal(err)
		}
		out := make([]float64, 9)
		for i := range out {
			out[i] = -1e6
		}
		for i, row := range r.Rows {
			ward := int(row.Group[0][1] - '0')
			out[2*ward+i%2] = row.Value
		}
		out[8] = float64(len(r.Rows))
		return out
	}
}

func TestRefused(t *testing.T) {
	for want, change := range map[string][2]string{
		"epsilon 0:":          {"epsilon: 100", "epsilon: 0"},
		"epsilon -1":          {"epsilon: 100", "epsilon: -1"},
		"epsilon NaN":         {"epsilon: 100", "epsilon: .nan"},
		"epsilon +Inf":        {"epsilon: 100", "epsilon: .inf"},
		"epsilon 1e+06":       {"epsilon: 100", "epsilon: 1e6"},
		"delta is 0":          {"delta: 1e-6", "delta: 0"},
		"delta 0.5":           {"delta: 1e-6", "delta: 0.5"},
		`adjacency "both"`:    {"add-remove", "both"},
		"no adjacency":        {"adjacency: add-remove\n", ""},
		"person is missing":   {"person: patient\n", ""},
		"rows_per_group 0":    {"rows_per_group: 3\n", ""},
		"groups_per_person 0": {"groups_per_person: 2\n", ""},
		"low 5 and high 5":    {"low: -10, high: 100}\n  - {of: mean", "low: 5, high: 5}\n  - {of: mean"},
		"low 5 and high +Inf": {"low: -10, high: 100}\n  - {of: mean", "low: 5, high: .inf}\n  - {of: mean"},
		"low and high are":    {"{of: sum, column: cost, low: -10, high: 100}", "{of: sum, column: cost}"},
		"low and high do not": {"{of: distinct, column: doctor}", "{of: distinct, column: doctor, low: 1, high: 2}"},
		`of "median"`:         {"of: count", "of: median"},
		"count has none":      {"of: count", "{of: count, column: cost}"},
		"distinct needs one":  {", column: doctor", ""},
		"is taken":            {"of: people", "{of: people, name: count}"},
		"edges[1] -10":        {"edges: [-10, 0,", "edges: [-10, -10,"},
		"quantiles[2] 2":      {"0.5, 0.9]", "0.5, 2]"},
		"unknown field":       {"of: people", "{of: people, colour: red}"},
		"noise \"float\"":     {"delta: 1e-6", "delta: 1e-6\nnoise: float"},
		"minimum":             {"delta: 1e-6", "delta: 1e-6\nminimum: 5\nkeys: [[w1]]"},
		"keys[1]":             {"delta: 1e-6", "delta: 1e-6\nkeys: [[w1], [w1]]"},
		"keys and minimum":    {"group_by: [ward]\ngroups_per_person: 2", "minimum: 3"},
		"group_by[0]":         {"[ward]", "[patient]"},
		"dataset: must":       {"dataset: visits", "dataset: \"vi\\u0000sits\""},
		"bits 100":            {"column: doctor}", "column: doctor, bits: 100}"},
		"weight -1":           {"of: people", "{of: people, weight: -1}"},
		"[2:3]":               {"dataset: visits", "[[["}, // line and column
		"line 2 is too long":  {"dataset: visits", strings.Repeat("[", 1000)},
		"within 1e15 of zero": {"low: -10, high: 100}\n  - {of: mean", "low: 5, high: 1e300}\n  - {of: mean"},
	} {
		text := strings.Replace(everything, change[0], change[1], 1)
		if text == everything {
			t.Errorf("%q: the fault was not planted", want)
		}
		if _, err := Parse([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v\nwant %q", err, want)
		}
	}
}

// TestFiles are files that are none; what they hold is never in the error.
func TestFiles(t *testing.T) {
	q := parse(t, everything)
	for name, c := range map[string]struct{ text, want string }{
		"empty.csv":    {"", "the file is empty"},
		"short.csv":    {"patient,ward\nsecret,w1\n", `no column is called "cost"`},
		"twice.csv":    {"patient,ward,cost,cost,doctor\nsecret,w1,1,1,d\n", `two columns are called "cost"`},
		"x.parquet":    {"PAR1secretsecretPAR1", "Parquet"},
		"tiny.parquet": {"PAR1", "too short"},
		"x.doc":        {"secret", `no format ends in ".doc"`},
	} {
		_, err := Aggregate(t.Context(), q, file(t, name, c.text), Options{})
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	if _, err := Aggregate(t.Context(), q, filepath.Join(t.TempDir(), "none.csv"), Options{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	if _, err := Aggregate(t.Context(), q, file(t, "v.csv", "patient,ward,cost,doctor\n"), Options{Shard: 3, Shards: 2}); err == nil {
		t.Error("shard 3 of 2 was taken")
	}
}

// TestNobody and a group of one: nothing is named, totals are noise.
func TestNobody(t *testing.T) {
	q := parse(t, strings.Replace(everything, "epsilon: 100", "epsilon: 1", 1))
	for _, text := range []string{"patient,ward,cost,doctor\n", "patient,ward,cost,doctor\nalone,w9,5,d\n", "patient,ward,cost,doctor\n\n,,,\n\"\nx\n"} {
		s := aggregate(t, q, file(t, "v.csv", text), Options{})
		r, err := s.draw(dp.Source{})
		if err != nil || len(r.Rows) != 0 { // by chance once in a million
			t.Errorf("%q: %v, %v", text, r, err)
		}
	}
	total := parse(t, strings.NewReplacer("group_by: [ward]\n", "", "groups_per_person: 2\n", "").Replace(everything))
	r, err := aggregate(t, total, file(t, "v.csv", "patient,cost,doctor\n"), Options{}).draw(dp.Source{})
	if err != nil || len(r.Rows) != 12 {
		t.Fatalf("totals of nobody: %v, %v", r, err)
	}
	for _, row := range r.Rows {
		if !finite(row.Value) || !finite(row.Low) || !finite(row.High) {
			t.Errorf("%+v: no number", row)
		}
	}
	floor := parse(t, strings.Replace(everything, "delta: 1e-6", "delta: 1e-6\nminimum: 201", 1))
	rows, _ := table(t)
	if r, err := aggregate(t, floor, file(t, "v.csv", csvOf(rows)), Options{}).draw(dp.Source{}); err != nil || len(r.Rows) != 0 {
		t.Errorf("groups of 200 were named with a minimum of 201: %d rows, %v", len(r.Rows), err)
	}
}

// TestHostileKeys are names that would break a table.
func TestHostileKeys(t *testing.T) {
	var text strings.Builder
	text.WriteString("patient,ward,cost,doctor\n")
	keys := []string{"\x1b[31mred", "a\tb", "\xff\xfe", `"; DROP TABLE`, strings.Repeat("k", 300), "1:a", "1:", ""}
	for i := range 4000 {
		fmt.Fprintf(&text, "p%d,%s,1,d\n", i, keys[i%len(keys)])
	}
	q := parse(t, everything)
	r, err := aggregate(t, q, file(t, "v.csv", text.String()), Options{}).draw(dp.Source{})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := errors.Join(JSON(io.Discard, r), CSV(io.Discard, r), Text(&out, r)); err != nil || strings.Contains(out.String(), "\x1b") {
		t.Errorf("a key reached the terminal as it was (%v)", err)
	}
	named := map[string]bool{}
	for _, row := range r.Rows {
		named[row.Group[0]] = true
	}
	if len(named) != len(keys)-1 || named[keys[4]] {
		t.Errorf("%d keys are named, want all but the one of 300 bytes", len(named))
	}
}

func FuzzCSV(f *testing.F) {
	q := parse(f, everything)
	f.Add([]byte("1,w,3,d\n\"a\"\"b\",w,x,\n,,,,,,\n\"unclosed,w"))
	f.Add([]byte("\r\n\"\"\n\"\",\"\"\"\",\"\"x"))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := newPlan(q)
		if err != nil {
			t.Fatal(err)
		}
		c, err := newCollector(p, Options{Workers: 1})
		if err != nil {
			t.Fatal(err)
		}
		defer c.close()
		err = c.readCSV(t.Context(), bytes.NewReader(append([]byte("patient,ward,cost,doctor\n"), b...)), ',')
		if err != nil {
			t.Fatalf("a row made reading fail: %v", err)
		}
		if _, err := c.finish(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(everything))
	f.Add([]byte(sumQuery))
	f.Add([]byte("group_by: !x\ndataset: 1")) // made the YAML parser panic
	f.Fuzz(func(t *testing.T, text []byte) {
		q, err := Parse(text)
		if err != nil {
			return
		}
		if _, err := newPlan(q); err != nil {
			return
		}
		q.Digest()
	})
}

// TestMemoryIsGivenBack has rows that do not fit set aside, and their memory used
// again.
func TestMemoryIsGivenBack(t *testing.T) {
	s := newSlabs(1000)
	seen := map[*byte]bool{}
	for range 10 {
		var held [][]byte
		for range 100 {
			chunk, err := s.get()
			if err != nil {
				t.Fatal(err)
			}
			chunk = append(chunk, make([]byte, 1000)...)
			held, seen[&chunk[0]] = append(held, chunk), true
		}
		if s.held() != 100*1000 {
			t.Fatalf("%d bytes are held, want 100,000", s.held())
		}
		for _, chunk := range held {
			s.put(chunk)
		}
	}
	if len(seen) != 100 || s.held() != 0 {
		t.Errorf("%d chunks were made and %d bytes are held, want 100 and 0", len(seen), s.held())
	}
	s.free()
}

// TestIntegers are those that strconv writes, and no other way to write them.
func TestIntegers(t *testing.T) {
	for _, n := range []int64{0, 1, -1, 999_999_999_999_999_999, 1_000_000_000_000_000_000, math.MaxInt64, math.MinInt64} {
		if got, ok := integer(fmt.Sprint(n)); !ok || got != n {
			t.Errorf("%d: read %d, %v", n, got, ok)
		}
	}
	for _, s := range []string{"", "-", "+1", "01", "-0", " 1", "1 ", "1e3", "0x1", "9223372036854775808", "-9223372036854775809", "+922337203685477580", "+9223372036854775807", "-+22337203685477580", "99999999999999999999", "1_0"} {
		if n, ok := integer(s); ok {
			t.Errorf("%q: read %d", s, n)
		}
	}
}
