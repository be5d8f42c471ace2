package release

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"math"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"unsafe"
)

// Options say how data is read. The zero value is ready for use.
type Options struct {
	// Memory is how many bytes of rows are held before they go to a file in Temp;
	// 1 GiB when 0.
	Memory int64
	// Temp is a folder for that file, the system's when empty. The file has no
	// name, so that nothing of it is left when the process ends in any way.
	Temp string
	// Workers is how many goroutines work; the number of processors when 0.
	Workers int
	// Shard of Shards: only people who fall into it count, by a hash of who they
	// are. Each of Shards workers takes one over all the data, and their states
	// merge. From 0; Shards of 0 is 1.
	Shard, Shards int
	// Progress is told now and then which part of a file was read, from 0 to 1; may
	// be nil. How many rows that is, it is not told.
	Progress func(part float64)
}

const (
	partitions = 256     // of people, by hash, so that one fits in memory
	chunkRows  = 4096    // records that are allocated together
	maxRows    = 1 << 32 // codes below 2^30 add up in 64 bits
	maxCells   = 1 << 27 // of all groups together, 1 GiB
	maxShards  = 1024
)

// batch is some rows, column by column.
type batch struct {
	n      int
	people []person
	group  []uint32
	// nums are values of numeric statistics and hashes those of distinct, by slot;
	// a slot has one or the other. No number is NaN, no hash is 0.
	nums   [][]float64
	hashes [][]uint64
	shard  []uint64 // hash of people that is the same everywhere; only if sharded
}

// person is whose a row is: a number as it is, text as 128 bits of a hash with
// keys of this process, so that nobody can make two people meet.
type person struct{ hi, lo uint64 }

// collector takes rows and bounds what each person contributes.
type collector struct {
	*plan
	Options
	dict     *dictionary
	seeds    [2]maphash.Seed
	number   uint64 // hi of people that are numbers
	salt     uint64
	parts    [partitions]partition
	rows     atomic.Int64
	size     int64 // of the file, in bytes or rows; 0 if it is not known
	done     atomic.Int64
	held     atomic.Int64 // bytes
	spilling sync.Mutex
}

// partition is the records of some people.
type partition struct {
	mu     sync.Mutex
	chunks []*chunk
	file   *os.File
	stored int // chunks in the file
}

// chunk is chunkRows records, column by column, codes side by side.
type chunk struct {
	n      int
	people []person
	group  []uint32
	codes  []int32
}

func newCollector(p *plan, o Options) (*collector, error) {
	if o.Memory == 0 {
		o.Memory = 1 << 30
	}
	if o.Workers <= 0 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
	if o.Shards == 0 {
		o.Shards = 1
	}
	if o.Shards < 1 || o.Shards > maxShards || o.Shard < 0 || o.Shard >= o.Shards {
		return nil, fmt.Errorf("shard %d of %d: must be from 0 to one less than their number, which is at most %d", o.Shard, o.Shards, maxShards)
	}
	c := &collector{plan: p, Options: o, dict: newDictionary(p), seeds: [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}}
	c.number, c.salt = maphash.String(c.seeds[0], "number"), maphash.String(c.seeds[1], "salt")
	return c, nil
}

// textPerson is a person named by text; numbers in text are numbers.
func (c *collector) textPerson(s []byte) person {
	if n, ok := integer(unsafe.String(unsafe.SliceData(s), len(s))); ok {
		return person{c.number, uint64(n)}
	}
	return person{maphash.Bytes(c.seeds[0], s), maphash.Bytes(c.seeds[1], s)}
}

func (c *chunk) bytes() int64 { return int64(cap(c.people)*16 + cap(c.group)*4 + cap(c.codes)*4) }

var errRows = fmt.Errorf("more than %d rows: add up parts of the data, by people, and merge their states", int64(maxRows))

// blockRows are sorted at once: few enough that what is looked up stays in the
// processor's cache.
const blockRows = 32 << 10

// add takes the rows of a batch.
func (c *collector) add(b *batch) error {
	if c.rows.Add(int64(b.n)) > maxRows {
		return errRows
	}
	for from := 0; from < b.n; from += blockRows {
		c.addBlock(b, from, min(from+blockRows, b.n))
	}
	if c.held.Load() > c.Memory {
		return c.spill()
	}
	return nil
}

// addBlock sorts some rows by partition, so that each is locked once for them.
func (c *collector) addBlock(b *batch, from, to int) {
	var start [partitions + 1]int32
	var which [blockRows]uint8
	keep := func(i int) bool {
		return b.group[i] != dropped && (c.Shards == 1 || b.shard[i]%uint64(c.Shards) == uint64(c.Shard))
	}
	for i := from; i < to; i++ {
		if keep(i) {
			p := b.people[i]
			which[i-from] = uint8(mix(p.lo^p.hi^c.salt) >> 56)
			start[int(which[i-from])+1]++
		}
	}
	for i := range partitions {
		start[i+1] += start[i]
	}
	order, next := make([]int32, start[partitions]), start
	for i := from; i < to; i++ {
		if keep(i) {
			p := which[i-from]
			order[next[p]] = int32(i)
			next[p]++
		}
	}
	codes := c.encode(b, order)
	for p := range partitions {
		if lo, hi := start[p], start[p+1]; lo < hi {
			c.append(&c.parts[p], b, order[lo:hi], codes[int(lo)*c.codes:int(hi)*c.codes])
		}
	}
}

// progress says that more of the file was read, in the unit of size.
func (c *collector) progress(more int64) {
	if done := c.done.Add(more); c.Progress != nil && c.size > 0 {
		c.Progress(min(1, float64(done)/float64(c.size)))
	}
}

// encode makes the codes of the rows in order, side by side.
func (c *collector) encode(b *batch, order []int32) []int32 {
	codes := make([]int32, len(order)*c.codes)
	for k := range c.stats {
		st, slot := &c.stats[k], c.slots[k]
		switch {
		case slot < 0:
		case st.hashed:
			for j, i := range order {
				code := int32(missing)
				if h := b.hashes[slot][i]; h != 0 {
					code = int32(h & uint64(st.Bits-1))
				}
				codes[j*c.codes+slot] = code
			}
		default:
			for j, i := range order {
				codes[j*c.codes+slot] = st.encode(b.nums[slot][i])
			}
		}
	}
	return codes
}

func (c *collector) append(p *partition, b *batch, order []int32, codes []int32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(order) > 0 {
		if len(p.chunks) == 0 || p.chunks[len(p.chunks)-1].n == chunkRows {
			fresh := &chunk{people: make([]person, chunkRows), group: make([]uint32, chunkRows), codes: make([]int32, chunkRows*c.codes)}
			c.held.Add(fresh.bytes())
			p.chunks = append(p.chunks, fresh)
		}
		to := p.chunks[len(p.chunks)-1]
		n := min(chunkRows-to.n, len(order))
		for j, i := range order[:n] {
			to.people[to.n+j] = b.people[i]
			to.group[to.n+j] = b.group[i]
		}
		copy(to.codes[to.n*c.codes:], codes[:n*c.codes])
		to.n += n
		order, codes = order[n:], codes[n*c.codes:]
	}
}

// spill writes full chunks to the partitions' files, one goroutine at a time.
func (c *collector) spill() error {
	c.spilling.Lock()
	defer c.spilling.Unlock()
	if c.held.Load() <= c.Memory {
		return nil // another has done it
	}
	for i := range c.parts {
		if err := c.parts[i].spill(c); err != nil {
			return fmt.Errorf("set rows aside in a temporary file: %w", err)
		}
	}
	return nil
}

func (p *partition) spill(c *collector) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.file == nil {
		f, err := os.CreateTemp(c.Temp, ".redoubt-rows-*")
		if err != nil {
			return err
		}
		p.file = f
		if err := os.Remove(f.Name()); err != nil {
			return err
		}
	}
	var kept []*chunk
	var buf []byte
	for _, k := range p.chunks {
		if k.n < chunkRows {
			kept = append(kept, k)
			continue
		}
		buf = k.encode(buf[:0])
		if _, err := p.file.Write(buf); err != nil {
			return err
		}
		p.stored++
		c.held.Add(-k.bytes())
	}
	p.chunks = kept
	return nil
}

func (k *chunk) encode(b []byte) []byte {
	for _, p := range k.people {
		b = binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(b, p.hi), p.lo)
	}
	for _, g := range k.group {
		b = binary.LittleEndian.AppendUint32(b, g)
	}
	for _, v := range k.codes {
		b = binary.LittleEndian.AppendUint32(b, uint32(v))
	}
	return b
}

func (k *chunk) decode(b []byte) {
	for i := range k.people {
		k.people[i] = person{binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:])}
		b = b[16:]
	}
	for i := range k.group {
		k.group[i] = binary.LittleEndian.Uint32(b)
		b = b[4:]
	}
	for i := range k.codes {
		k.codes[i] = int32(binary.LittleEndian.Uint32(b))
		b = b[4:]
	}
	k.n = chunkRows
}

// load brings a partition's records back.
func (p *partition) load(codes int) error {
	if p.stored == 0 {
		return nil
	}
	if _, err := p.file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	buf := make([]byte, chunkRows*(16+4+4*codes))
	rest := p.chunks // not full
	p.chunks = nil
	for range p.stored {
		if _, err := io.ReadFull(p.file, buf); err != nil {
			return err
		}
		k := &chunk{people: make([]person, chunkRows), group: make([]uint32, chunkRows), codes: make([]int32, chunkRows*codes)}
		k.decode(buf)
		p.chunks = append(p.chunks, k)
	}
	p.chunks, p.stored = append(p.chunks, rest...), 0
	return nil
}

// close gives the temporary files up.
func (c *collector) close() {
	for i := range c.parts {
		if f := c.parts[i].file; f != nil {
			f.Close() // it has no name and nobody reads it again
		}
	}
}

// finish bounds what each person contributes and adds it up.
func (c *collector) finish(ctx context.Context) (*State, error) {
	if c.dict.full {
		return nil, fmt.Errorf("more than %d groups: name the groups as keys, or group by fewer columns", maxGroups)
	}
	groups := c.dict.size()
	if int64(groups)*int64(c.cells) > maxCells {
		return nil, fmt.Errorf("the groups and statistics need more than %d numbers: name the groups as keys, or ask for less in one query", maxCells)
	}
	ranks := make([]uint64, groups)
	for i := range ranks {
		ranks[i] = maphash.String(c.seeds[0], joined(c.dict.key(uint32(i))))
	}
	workers := max(1, min(c.Workers, partitions, maxCells/max(1, groups*c.cells)))
	sums := make([]*sums, workers)
	errs := make([]error, workers)
	var next atomic.Int64
	var wg sync.WaitGroup
	for w := range workers {
		sums[w] = newSums(groups, c.cells)
		wg.Go(func() {
			b := &bounder{collector: c, sums: sums[w], ranks: ranks}
			for {
				i := next.Add(1) - 1
				if i >= partitions {
					return
				}
				if err := ctx.Err(); err != nil {
					errs[w] = err
					return
				}
				if err := c.parts[i].load(c.codes); err != nil {
					errs[w] = fmt.Errorf("read rows back from a temporary file: %w", err)
					return
				}
				if errs[w] = b.partition(c.parts[i].chunks); errs[w] != nil {
					return
				}
				c.parts[i].chunks = nil
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return c.state(sums), nil
}

// sums are the cells of all groups.
type sums struct {
	people []int64
	cells  []int64
	rows   int64
}

func newSums(groups, cells int) *sums {
	return &sums{people: make([]int64, groups), cells: make([]int64, groups*cells)}
}

// bounder takes the records of some people apart by person.
type bounder struct {
	*collector
	sums  *sums
	ranks []uint64 // of groups, from their names
	head  []int32  // hash table: the last record of a person, plus 1
	link  []int32  // of each record: the one before of the same person, plus 1
	mine  []record
}

// record is one of a person's, with the ranks by which some are chosen.
type record struct {
	at      int32
	group   uint32
	byGroup uint64
	byRow   uint64
}

func (b *bounder) partition(chunks []*chunk) error {
	n := 0
	for _, k := range chunks {
		n += k.n
	}
	if n == 0 {
		return nil
	}
	if n > math.MaxInt32/2 {
		return errors.New("too many rows of too few people: add up shards of the people, and merge their states")
	}
	size := 1
	for size < 2*n {
		size *= 2
	}
	b.head = slices.Grow(b.head[:0], size)[:size]
	clear(b.head)
	b.link = slices.Grow(b.link[:0], n)[:n]
	var places []int32 // in the table, of people as they come
	at := int32(0)
	index := index(chunks)
	for _, k := range chunks {
		for i := range k.n {
			p := k.people[i]
			slot := int(mix(p.lo+p.hi*3+b.salt)) & (size - 1)
			for b.head[slot] != 0 && index.person(b.head[slot]-1) != p {
				slot = (slot + 1) & (size - 1)
			}
			if b.head[slot] == 0 {
				places = append(places, int32(slot))
			}
			b.link[at], b.head[slot] = b.head[slot], at+1
			at++
		}
	}
	for _, slot := range places {
		b.person(index, b.head[slot])
	}
	return nil
}

// index finds records by number. Of a partition's chunks one at most is not full,
// and it is the last.
type index []*chunk

func (x index) find(at int32) (*chunk, int) { return x[at/chunkRows], int(at % chunkRows) }

func (x index) person(at int32) person {
	k, i := x.find(at)
	return k.people[i]
}

// person adds up one person's rows, at most RowsPerGroup in each of at most
// GroupsPerPerson groups. Which ones is decided by ranks that depend on nothing
// but this person's rows and secret numbers: what others do does not matter, as it
// must not.
func (b *bounder) person(x index, head int32) {
	if b.link[head-1] == 0 { // one row, as most often
		b.row(x, head-1, true)
		return
	}
	b.mine = b.mine[:0]
	who := x.person(head - 1)
	seed := mix(who.lo ^ mix(who.hi^b.salt))
	for at := head; at != 0; at = b.link[at-1] {
		k, i := x.find(at - 1)
		g := k.group[i]
		b.mine = append(b.mine, record{at - 1, g, mix(seed ^ b.ranks[g]), mix(seed + uint64(len(b.mine))*0x9e3779b97f4a7c15)})
	}
	inOrder(b.mine)
	groups, rows := int64(0), int64(0)
	for i, r := range b.mine {
		first := i == 0 || r.group != b.mine[i-1].group
		if first {
			if groups++; groups > b.GroupsPerPerson {
				return
			}
			rows = 0
		}
		if rows++; rows <= b.RowsPerGroup {
			b.row(x, r.at, first)
		}
	}
}

// few is up to how many rows insertion is the faster way to sort. Most people have
// no more.
const few = 16

// inOrder sorts a person's rows by their ranks.
func inOrder(rows []record) {
	if len(rows) > few {
		slices.SortFunc(rows, func(p, q record) int { return p.compare(&q) })
		return
	}
	for i := 1; i < len(rows); i++ {
		r := rows[i]
		j := i
		for ; j > 0 && r.compare(&rows[j-1]) < 0; j-- {
			rows[j] = rows[j-1]
		}
		rows[j] = r
	}
}

func (p *record) compare(q *record) int {
	if p.byGroup != q.byGroup {
		return order(p.byGroup, q.byGroup)
	}
	if p.group != q.group {
		return order(uint64(p.group), uint64(q.group))
	}
	return order(p.byRow, q.byRow)
}

func order(a, b uint64) int {
	if a < b {
		return -1
	} else if a > b {
		return 1
	}
	return 0
}

// row adds one record; first is whether it is its person's first in the group.
func (b *bounder) row(x index, at int32, first bool) {
	k, i := x.find(at)
	g := int(k.group[i])
	if first {
		b.sums.people[g]++
	}
	b.sums.rows++
	cells := b.sums.cells[g*b.cells : (g+1)*b.cells]
	codes := k.codes[i*b.codes : (i+1)*b.codes]
	for s := range b.stats {
		st := &b.stats[s]
		code := int32(0)
		if slot := b.slots[s]; slot >= 0 {
			if code = codes[slot]; code == missing {
				continue
			}
		}
		if !st.people || first {
			st.add(cells[b.offset[s]:], code)
		}
	}
}
