package group

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// signature is a group as text, to compare sets of groups.
func signature(count int64, columns [][]Code) string { return fmt.Sprint(count, columns) }

// collect groups rows within a bound of memory.
func collect(t interface{ Fatal(...any) }, rows [][3]uint32, memory int64, most int) (out []string, spilled int64) {
	g := New(Options{Memory: memory, Columns: 2})
	if most > 0 {
		g.most = most
	}
	defer g.Close()
	for _, r := range rows {
		if err := g.Add(fmt.Append(nil, r[0]), r[1:]); err != nil {
			t.Fatal(err)
		}
	}
	if err := g.Each(context.Background(), func(c *Group) error {
		out = append(out, signature(c.Count, c.Columns))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	slices.Sort(out)
	return out, g.Spilled()
}

// naive is the same with maps.
func naive(rows [][3]uint32) (out []string) {
	groups := map[uint32][][3]uint32{}
	for _, r := range rows {
		groups[r[0]] = append(groups[r[0]], r)
	}
	for _, g := range groups {
		columns := make([][]Code, 2)
		for i := range columns {
			counts := map[uint32]int64{}
			for _, r := range g {
				counts[r[i+1]]++
			}
			for code, n := range counts {
				columns[i] = append(columns[i], Code{code, n})
			}
			slices.SortFunc(columns[i], func(a, b Code) int { return int(a.Code) - int(b.Code) })
		}
		out = append(out, signature(int64(len(g)), columns))
	}
	slices.Sort(out)
	return out
}

// Whatever the memory is, the groups are those of counting with maps.
func TestGroupsAsNaiveCounting(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rows := rapid.SliceOf(rapid.Custom(func(t *rapid.T) [3]uint32 {
			return [3]uint32{rapid.Uint32Range(0, 9).Draw(t, "key"), rapid.Uint32Range(0, 3).Draw(t, "a"), rapid.Uint32Range(0, 3).Draw(t, "b")}
		})).Draw(t, "rows")
		got, _ := collect(t, rows, 0, rapid.IntRange(1, 40).Draw(t, "entries"))
		if want := naive(rows); !slices.Equal(got, want) {
			t.Fatalf("got %q, want %q", got, want)
		}
	})
}

// A bound far below what the groups need sends them to disk and back.
func TestSpills(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	rows := make([][3]uint32, 200_000)
	for i := range rows {
		rows[i] = [3]uint32{r.Uint32N(50_000), r.Uint32N(5), r.Uint32N(7)}
	}
	got, spilled := collect(t, rows, 1<<20, 0)
	if spilled == 0 {
		t.Error("nothing went to disk")
	}
	if !slices.Equal(got, naive(rows)) {
		t.Error("the groups differ from those of counting in memory")
	}
}

func BenchmarkAdd(b *testing.B) {
	g := New(Options{Memory: 64 << 20, Columns: 1})
	defer g.Close()
	r := rand.New(rand.NewPCG(3, 4))
	key, codes := make([]byte, 4), make([]uint32, 1)
	for b.Loop() {
		x := r.Uint32N(1 << 22)
		key[0], key[1], key[2] = byte(x), byte(x>>8), byte(x>>16)
		codes[0] = x % 10
		if err := g.Add(key, codes); err != nil {
			b.Fatal(err)
		}
	}
}
