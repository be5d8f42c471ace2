// Package group counts equal rows of streams that do not fit into memory.
//
//	g := group.New(group.Options{Memory: 256 << 20, Columns: 1})
//	defer g.Close()
//	for each row {
//		err = g.Add(key, values) // key as bytes, the code of each other column
//	}
//	err = g.Each(ctx, func(c *group.Group) error { ... })
//
// Rows are counted in memory as they come. When the counts no longer fit, they go
// to a temporary file in order, and in the end the files are merged. So memory is
// bounded whatever the number of rows or groups is, and few groups never touch the
// disk.
//
// # What is promised
//
// Keys are told apart by 128 bits of keyed hashing with a key that is drawn anew
// each time and never leaves the process: rows of two different keys are counted as
// one with a chance below 2^-70 for 10^8 keys, and nobody can choose keys that
// collide. Groups come in an order that means nothing.
package group

import (
	"bufio"
	"cmp"
	"container/heap"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"os"
	"slices"
)

// Options bound a grouper.
type Options struct {
	Memory  int64  // bytes, about; 0 for 1 GiB
	Temp    string // folder of the temporary file; "" for the system's
	Columns int    // how many codes each row has beside its key
}

// entry is how often a key has a code in a column; column 0 counts rows.
type entry struct {
	hi, lo uint64
	column uint32
	code   uint32
}

func (e entry) compare(o entry) int {
	if e.hi != o.hi { // nearly always
		return cmp.Compare(e.hi, o.hi)
	}
	return cmp.Or(cmp.Compare(e.lo, o.lo), cmp.Compare(e.column, o.column), cmp.Compare(e.code, o.code))
}

const (
	entryBytes  = 32  // in the file
	memoryBytes = 200 // in a map, beside it when it is sorted, and what the collector leaves lying
)

// Grouper counts rows.
type Grouper struct {
	opt     Options
	a, b    maphash.Seed
	counts  map[entry]int64
	most    int
	file    *os.File
	runs    []run
	end     int64
	rows    int64
	started bool
}

type run struct{ at, size int64 }

// New makes one.
func New(opt Options) *Grouper {
	if opt.Memory <= 0 {
		opt.Memory = 1 << 30
	}
	return &Grouper{opt: opt, a: maphash.MakeSeed(), b: maphash.MakeSeed(), counts: map[entry]int64{}, most: int(max(1024, opt.Memory/memoryBytes))}
}

// Add counts a row: its key, and a code for each column.
func (g *Grouper) Add(key []byte, codes []uint32) error {
	if len(codes) != g.opt.Columns {
		panic(fmt.Sprintf("group: %d codes for %d columns", len(codes), g.opt.Columns))
	}
	e := entry{hi: maphash.Bytes(g.a, key), lo: maphash.Bytes(g.b, key)}
	g.rows++
	g.counts[e]++
	for i, code := range codes {
		e.column, e.code = uint32(i+1), code
		g.counts[e]++
	}
	if len(g.counts) >= g.most {
		return g.spill()
	}
	return nil
}

// Rows is how many were added.
func (g *Grouper) Rows() int64 { return g.rows }

// Spilled is how many bytes went to disk.
func (g *Grouper) Spilled() int64 { return g.end }

func (g *Grouper) sorted() []entry {
	out := make([]entry, 0, len(g.counts))
	for e := range g.counts {
		out = append(out, e)
	}
	slices.SortFunc(out, entry.compare)
	return out
}

// spill writes the counts as a run and forgets them.
func (g *Grouper) spill() error {
	if g.file == nil {
		f, err := os.CreateTemp(g.opt.Temp, "redoubt-group-*")
		if err != nil {
			return fmt.Errorf("group rows on disk: %w", err)
		}
		os.Remove(f.Name()) // it lives as long as it is open
		g.file = f
	}
	w := bufio.NewWriterSize(io.NewOffsetWriter(g.file, g.end), 1<<18)
	var b [entryBytes]byte
	for _, e := range g.sorted() {
		binary.LittleEndian.PutUint64(b[:], e.hi)
		binary.LittleEndian.PutUint64(b[8:], e.lo)
		binary.LittleEndian.PutUint32(b[16:], e.column)
		binary.LittleEndian.PutUint32(b[20:], e.code)
		binary.LittleEndian.PutUint64(b[24:], uint64(g.counts[e]))
		if _, err := w.Write(b[:]); err != nil {
			return fmt.Errorf("group rows on disk: %w", err)
		}
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("group rows on disk: %w", err)
	}
	size := int64(len(g.counts)) * entryBytes
	g.runs = append(g.runs, run{g.end, size})
	g.end += size
	clear(g.counts)
	return nil
}

// Group is a set of rows with one key.
type Group struct {
	Count   int64
	Columns [][]Code // of each column, in rising order of code
}

// Code is how many rows of a group have a code.
type Code struct {
	Code  uint32
	Count int64
}

// Each calls do for each group. The group is valid during the call. Nothing can be
// added afterwards.
func (g *Grouper) Each(ctx context.Context, do func(*Group) error) error {
	if g.started {
		return errors.New("group: the groups were read already")
	}
	g.started = true
	sources := merge{}
	if len(g.runs) > 0 && len(g.counts) > 0 {
		if err := g.spill(); err != nil {
			return err
		}
	}
	if len(g.runs) == 0 {
		sources = append(sources, &source{memory: g.sorted(), counts: g.counts})
	}
	// The readers share what is left of the memory.
	buffer := int(min(1<<18, max(entryBytes*16, g.opt.Memory/int64(2*len(g.runs)+1))))
	for _, r := range g.runs {
		sources = append(sources, &source{disk: bufio.NewReaderSize(io.NewSectionReader(g.file, r.at, r.size), buffer)})
	}
	for _, s := range sources {
		if err := s.next(); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
	}
	sources = slices.DeleteFunc(sources, func(s *source) bool { return s.done })
	heap.Init(&sources)
	now := &Group{Columns: make([][]Code, g.opt.Columns)}
	var key entry
	for n := 0; len(sources) > 0; n++ {
		s := sources[0]
		e, count := s.entry, s.count
		if err := s.next(); err == nil {
			heap.Fix(&sources, 0)
		} else if errors.Is(err, io.EOF) {
			heap.Pop(&sources)
		} else {
			return err
		}
		if now.Count > 0 && (e.hi != key.hi || e.lo != key.lo) {
			if err := do(now); err != nil {
				return err
			}
			now.Count = 0
			for i := range now.Columns {
				now.Columns[i] = now.Columns[i][:0]
			}
		}
		key = e
		now.add(e, count)
		if n%(1<<16) == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
	}
	if now.Count > 0 {
		return do(now)
	}
	return nil
}

func (now *Group) add(e entry, count int64) {
	if e.column == 0 {
		now.Count += count
		return
	}
	codes := &now.Columns[e.column-1]
	if n := len(*codes); n > 0 && (*codes)[n-1].Code == e.code {
		(*codes)[n-1].Count += count
		return
	}
	*codes = append(*codes, Code{e.code, count})
}

// Close frees memory and disk.
func (g *Grouper) Close() error {
	g.counts = nil
	if g.file == nil {
		return nil
	}
	return g.file.Close()
}

// source is a sorted run, in memory or on disk, and its first entry.
type source struct {
	memory []entry
	counts map[entry]int64
	disk   *bufio.Reader
	entry  entry
	count  int64
	done   bool
}

func (s *source) next() error {
	if s.disk == nil {
		if len(s.memory) == 0 {
			s.done = true
			return io.EOF
		}
		s.entry, s.memory = s.memory[0], s.memory[1:]
		s.count = s.counts[s.entry]
		return nil
	}
	var b [entryBytes]byte
	if _, err := io.ReadFull(s.disk, b[:]); err != nil {
		s.done = true
		return err
	}
	s.entry = entry{binary.LittleEndian.Uint64(b[:]), binary.LittleEndian.Uint64(b[8:]), binary.LittleEndian.Uint32(b[16:]), binary.LittleEndian.Uint32(b[20:])}
	s.count = int64(binary.LittleEndian.Uint64(b[24:]))
	return nil
}

// merge is a heap of runs by their first entries.
type merge []*source

func (m merge) Len() int           { return len(m) }
func (m merge) Less(i, j int) bool { return m[i].entry.compare(m[j].entry) < 0 }
func (m merge) Swap(i, j int)      { m[i], m[j] = m[j], m[i] }

// Push is not used: runs are only taken away.
func (m *merge) Push(x any) { *m = append(*m, x.(*source)) }

// Pop takes the last run away.
func (m *merge) Pop() any {
	last := (*m)[len(*m)-1]
	*m = (*m)[:len(*m)-1]
	return last
}
