package limit

import (
	"context"
	"fmt"
	"math/big"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// exact is the rule in the other form in which ITU-T I.371 gives it, the virtual
// schedule: a time at which the next call is expected, in fractions without
// rounding.
type exact struct {
	limit    Limit
	expected *big.Rat // nanoseconds
}

func (e *exact) fits(now int64) bool {
	step := big.NewRat(int64(e.limit.Window), int64(e.limit.Count))
	// A call may come earlier than expected by the window less one step.
	early := new(big.Rat).Sub(e.expected, new(big.Rat).Sub(big.NewRat(int64(e.limit.Window), 1), step))
	return early.Cmp(big.NewRat(now, 1)) <= 0
}

func (e *exact) charge(now int64) {
	if n := big.NewRat(now, 1); e.expected.Cmp(n) < 0 {
		e.expected = n
	}
	e.expected = new(big.Rat).Add(e.expected, big.NewRat(int64(e.limit.Window), int64(e.limit.Count)))
}

func TestMemoryAgainstExact(t *testing.T) { synctest.Test(t, againstExact) }

func againstExact(t *testing.T) {
	// Within a bubble nobody may ask a test for its deadline, which rapid does
	// where there is one.
	rapid.Check(struct{ rapid.TB }{t}, func(t *rapid.T) {
		limit := rapid.Custom(func(t *rapid.T) Limit {
			return Limit{rapid.IntRange(1, 7).Draw(t, "count"), time.Duration(rapid.IntRange(1, 30_000).Draw(t, "ms")) * time.Millisecond}
		})
		var buckets []Bucket
		var want [][]*exact
		for i := range rapid.IntRange(1, 3).Draw(t, "buckets") {
			limits := rapid.SliceOfNDistinct(limit, 1, 3, func(l Limit) time.Duration { return l.Window }).Draw(t, "limits")
			buckets = append(buckets, Bucket{Name: "b", Key: fmt.Sprint(i), Limits: limits})
			var es []*exact
			for _, l := range limits {
				es = append(es, &exact{l, new(big.Rat)})
			}
			want = append(want, es)
		}
		m := NewMemory(MemoryConfig{})
		began := time.Now()
		for range rapid.IntRange(1, 40).Draw(t, "calls") {
			time.Sleep(time.Duration(rapid.IntRange(0, 5_000_000).Draw(t, "pause")) * time.Microsecond)
			now := int64(time.Since(began))
			// Not always all buckets.
			n := rapid.IntRange(1, len(buckets)).Draw(t, "n")
			fits := true
			for _, es := range want[:n] {
				for _, e := range es {
					fits = fits && e.fits(now)
				}
			}
			a := m.Take(t.Context(), buckets[:n])
			if a.Allowed != fits {
				t.Fatalf("after %v: allowed %v, want %v: %+v", time.Since(began), a.Allowed, fits, a)
			}
			checkWait(t, m, buckets[:n], a)
			if fits {
				for _, es := range want[:n] {
					for _, e := range es {
						e.charge(now)
					}
				}
			}
		}
	})
}

// checkWait sees that a refused take is refused until RetryAfter and not then,
// which takes a copy of the limiter at another time to tell.
func checkWait(t *rapid.T, m *Memory, buckets []Bucket, a Answer) {
	if a.Allowed {
		if a.RetryAfter != 0 || a.Refused != -1 {
			t.Fatalf("allowed, and yet %+v", a)
		}
		return
	}
	if a.RetryAfter <= 0 || a.States[a.Refused].Wait != a.RetryAfter {
		t.Fatalf("refused without a time to wait: %+v", a)
	}
	copied := NewMemory(MemoryConfig{})
	copied.began, copied.seed = m.began, m.seed
	for i := range m.shards {
		for k, c := range m.shards[i].counters {
			d := copied.newCounter(k, c.limits)
			copy(d.cells, c.cells)
			copied.shards[i].counters[k] = d
		}
	}
	copied.began = m.began.Add(-a.RetryAfter + time.Microsecond)
	if b := copied.Take(t.Context(), buckets); b.Allowed {
		t.Fatalf("allowed a microsecond before %v: %+v", a.RetryAfter, a)
	}
	copied.began = m.began.Add(-a.RetryAfter)
	if b := copied.Take(t.Context(), buckets); !b.Allowed {
		t.Fatalf("refused after %v: %+v, then %+v", a.RetryAfter, a, b)
	}
}

func TestWindows(t *testing.T) { synctest.Test(t, windows) }

func windows(t *testing.T) {
	limits, err := ParseLimits("5/minute, 50/hour, 200/day")
	if err != nil {
		t.Fatal(err)
	}
	m := NewMemory(MemoryConfig{})
	allowed := 0
	for range 2 * 24 * 60 * 60 {
		if m.Take(t.Context(), []Bucket{{Name: "principal", Key: "user:a", Limits: limits}}).Allowed {
			allowed++
		}
		time.Sleep(time.Second)
	}
	// The whole burst of 200 and what two days give back, less one interval.
	if allowed != 600-1 {
		t.Errorf("%d calls in two days", allowed)
	}
}

// What one limit refuses, another is not charged for.
func TestAllOrNothing(t *testing.T) {
	m := NewMemory(MemoryConfig{})
	mine := Bucket{Name: "principal", Key: "a", Limits: []Limit{{10, time.Hour}}}
	tight := Bucket{Name: "model", Key: "loans", Limits: []Limit{{1, time.Hour}}, Shared: true}
	for i := range 20 {
		a := m.Take(t.Context(), []Bucket{mine, tight})
		if a.Allowed != (i == 0) {
			t.Fatal(i, a)
		}
		if !a.Allowed && (a.Refused != 1 || a.States[a.Refused].Bucket != "model") {
			t.Fatal(a)
		}
	}
	if a := m.Take(t.Context(), []Bucket{mine}); !a.Allowed || a.States[0].Remaining != 8 {
		t.Error(a)
	}
}

// Goroutines that take from keys in every order get as many calls as there are,
// not one more.
func TestExactUnderRaces(t *testing.T) {
	m := NewMemory(MemoryConfig{})
	global := Bucket{Name: "global", Limits: []Limit{{5000, 24 * time.Hour}}, Shared: true}
	var allowed atomic.Int64
	var wg sync.WaitGroup
	for g := range 16 {
		wg.Go(func() {
			for i := range 1000 {
				buckets := []Bucket{global, {Name: "principal", Key: fmt.Sprint((g + i) % 4), Limits: []Limit{{2000, 24 * time.Hour}}}}
				if i%2 == 0 {
					buckets[0], buckets[1] = buckets[1], buckets[0]
				}
				if m.Take(context.Background(), buckets).Allowed {
					allowed.Add(1)
				}
			}
		})
	}
	wg.Wait()
	// One call returns in 17 s, which the test does not take.
	if n := allowed.Load(); n != 5000 {
		t.Errorf("%d calls, want 5000", n)
	}
}

// Pushing in keys gives nobody back what he used up.
func TestManyKeys(t *testing.T) { synctest.Test(t, manyKeys) }

func manyKeys(t *testing.T) {
	const keys = 1024
	m := NewMemory(MemoryConfig{Keys: keys})
	limits := []Limit{{3, time.Minute}}
	take := func(key string) bool {
		return m.Take(t.Context(), []Bucket{{Name: "address", Key: key, Limits: limits}}).Allowed
	}
	for range 3 {
		take("victim")
	}
	for i := range 50 * keys {
		take(fmt.Sprint("pushed ", i))
		if i%keys == 0 && take("victim") {
			t.Fatalf("after %d other keys the limit was forgotten", i)
		}
	}
	held := 0
	for i := range m.shards {
		if len(m.shards[i].counters) != len(m.shards[i].ring) {
			t.Error("the ring and the counters differ")
		}
		held += len(m.shards[i].counters) + len(m.shards[i].together)
	}
	if held > keys+shardCount {
		t.Errorf("%d keys are held, more than %d", held, keys)
	}
	// Those who came too late share what one gets.
	allowed := 0
	for i := range 1000 {
		if take(fmt.Sprint("late ", i)) {
			allowed++
		}
	}
	if allowed > 3*shardCount {
		t.Errorf("%d calls by keys that are not counted", allowed)
	}
	// When the windows have run out there is room again.
	time.Sleep(time.Minute)
	for i := range keys / 4 {
		for n := range 4 {
			if got := take(fmt.Sprint("new ", i)); got != (n < 3) {
				t.Fatalf("key %d, call %d: allowed %v", i, n, got)
			}
		}
	}
}

// What comes between finding a counter and charging it is that others have it
// forgotten: it is looked for again. One that was charged stays.
func TestForgottenMeanwhile(t *testing.T) {
	m := NewMemory(MemoryConfig{Keys: 1}) // one for each shard
	once := []Limit{{1, time.Hour}}
	mine := []Bucket{{Name: "principal", Limits: once}}
	others := []Bucket{{Name: "address", Limits: once}} // of the same key, and so of the same shard
	found := m.find(&mine[0], 0)
	if !m.Take(t.Context(), others).Allowed {
		t.Fatal("refused")
	}
	if _, _, ok := take(mine, []*counter{found}, 0, nil); ok {
		t.Error("a counter that nobody finds any more was charged")
	}
	if !m.Take(t.Context(), mine).Allowed || m.Take(t.Context(), mine).Allowed || m.Take(t.Context(), others).Allowed {
		t.Error("not one call each")
	}
}

// Whoever waited for a lock comes with a time that is past.
func TestChargedLate(t *testing.T) {
	l := Limit{10, time.Millisecond}
	var c cell
	c.charge(l, 100)
	c.charge(l, 50)
	if got := c.at(l, 150); got != 2*1000-50*10 {
		t.Errorf("level %d: what sank until 100 sank again", got)
	}
}

func TestNewLimitsKeepUse(t *testing.T) {
	m := NewMemory(MemoryConfig{})
	take := func(l ...Limit) Answer {
		return m.Take(t.Context(), []Bucket{{Name: "principal", Key: "a", Limits: l}})
	}
	for range 5 {
		take(Limit{10, time.Hour})
	}
	if a := take(Limit{100, time.Hour}, Limit{5, time.Minute}); a.States[0].Remaining != 49 || a.States[1].Remaining != 4 {
		t.Error(a)
	}
	if a := take(Limit{}); a.Allowed {
		t.Error("a limit of nothing lets through", a)
	}
}

func TestConcurrency(t *testing.T) {
	c := NewConcurrency(3, 2)
	a1, ok1 := c.Acquire("a")
	_, ok2 := c.Acquire("a")
	_, ok3 := c.Acquire("a")
	_, ok4 := c.Acquire("b")
	_, ok5 := c.Acquire("c")
	if !ok1 || !ok2 || ok3 || !ok4 || ok5 {
		t.Fatal(ok1, ok2, ok3, ok4, ok5)
	}
	a1()
	a1() // gives back once
	if _, ok := c.Acquire("c"); !ok {
		t.Error("the place was not given back")
	}
	if _, ok := c.Acquire("d"); ok {
		t.Error("a place was given back twice")
	}
	if len(c.byKey) != 3 {
		t.Errorf("%v", c.byKey)
	}
}

func BenchmarkMemory(b *testing.B) {
	m := NewMemory(MemoryConfig{})
	limits := []Limit{{1 << 30, time.Hour}}
	buckets := []Bucket{
		{Name: "principal", Key: "user:4f1c", Limits: limits}, {Name: "model", Key: "loans", Limits: limits},
		{Name: "address", Key: "192.0.2.1", Limits: limits}, {Name: "global", Limits: limits},
	}
	take := func(b *testing.B) {
		if !m.Take(b.Context(), buckets).Allowed {
			b.Error("refused")
		}
	}
	b.Run("alone", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			take(b)
		}
	})
	// All of them meet in the same counters.
	b.Run("at once", func(b *testing.B) {
		b.SetParallelism(32)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				take(b)
			}
		})
	})
}
