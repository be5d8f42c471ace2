package release

import (
	"bytes"
	"cmp"
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
	partitions = 256     // of people, by hash, so that one fits in the processor's cache
	blockRows  = 8 << 10 // read and sorted at once, for the same reason
	chunkRows  = 1 << 10 // records that are allocated together
	maxRows    = 1 << 32 // codes below 2^30 add up in 64 bits
	maxCells   = 1 << 27 // of all groups together, 1 GiB
	maxShards  = 1024
)

// person is whose a row is: a number as it is, text as 128 bits of a hash with
// keys of this process, so that nobody can make two people meet.
type person struct{ hi, lo uint64 }

// A record is a row in bytes: lo of the person in 8, the number of the group in 4,
// 4 for each code, and hi of the person in 8. That of a person who is a number ends
// before hi.
const (
	groupAt = 8
	codesAt = 12
)

// short is the size of a record of a person who is a number, long of another's.
func (p *plan) short() int { return codesAt + 4*len(p.coded) }
func (p *plan) long() int  { return p.short() + 8 }

func putPerson(record []byte, p person) {
	binary.LittleEndian.PutUint64(record, p.lo)
	binary.LittleEndian.PutUint64(record[len(record)-8:], p.hi)
}

func (c *collector) personOf(record []byte) person {
	p := person{lo: binary.LittleEndian.Uint64(record), hi: c.number}
	if len(record) == c.long() {
		p.hi = binary.LittleEndian.Uint64(record[len(record)-8:])
	}
	return p
}

func putGroup(record []byte, group uint32) {
	binary.LittleEndian.PutUint32(record[groupAt:], group)
}

func groupOf(record []byte) uint32 { return binary.LittleEndian.Uint32(record[groupAt:]) }

func putCode(record []byte, slot int, code int32) {
	binary.LittleEndian.PutUint32(record[codesAt+4*slot:], uint32(code))
}

func codeOf(record []byte, slot int) int32 {
	return int32(binary.LittleEndian.Uint32(record[codesAt+4*slot:]))
}

// copyRecord copies one; records with one code are the most frequent.
func copyRecord(to, from []byte) {
	switch len(from) {
	case 16:
		*(*[16]byte)(to) = [16]byte(from)
	case 24:
		*(*[24]byte)(to) = [24]byte(from)
	default:
		copy(to, from)
	}
}

// batch is some rows, at most blockRows, as long records.
type batch struct {
	n       int
	width   int
	records []byte
	shard   []uint64 // hash of people that is the same everywhere; only if sharded
}

func (c *collector) newBatch() *batch {
	b := &batch{width: c.long(), records: make([]byte, blockRows*c.long())}
	if c.Shards > 1 {
		b.shard = make([]uint64, blockRows)
	}
	return b
}

func (b *batch) record(i int) []byte { return b.records[i*b.width:][:b.width] }

// collector takes rows and bounds what each person contributes.
type collector struct {
	*plan
	Options
	dict     *dictionary
	seeds    [2]maphash.Seed
	number   uint64 // hi of people that are numbers
	salt     uint64
	memory   *slabs
	parts    [2 * partitions]partition // first of people who are numbers, then of others
	rows     atomic.Int64
	size     int64 // of the file, in bytes or rows; 0 if it is not known
	done     atomic.Int64
	spilling sync.Mutex
}

// partition is the records of some people. All of its chunks but the last are
// full.
type partition struct {
	mu     sync.Mutex
	width  int // of a record
	chunks [][]byte
	file   *os.File
	stored int // chunks in the file
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
	c.memory = newSlabs(chunkRows * c.long())
	for i := range c.parts {
		c.parts[i].width = c.short()
		if i >= partitions {
			c.parts[i].width = c.long()
		}
	}
	return c, nil
}

// textPerson is a person named by text; numbers in text are numbers.
func (c *collector) textPerson(s []byte) person {
	if n, ok := integer(unsafe.String(unsafe.SliceData(s), len(s))); ok {
		return person{c.number, uint64(n)}
	}
	return person{maphash.Bytes(c.seeds[0], s), maphash.Bytes(c.seeds[1], s)}
}

// hash is what people are spread by. It is one to one for people that are numbers.
func (c *collector) hash(p person) uint64 { return mix(p.lo ^ p.hi ^ c.salt) }

var errRows = fmt.Errorf("more than %d rows: add up parts of the data, by people, and merge their states", int64(maxRows))

// add takes the rows of a batch, sorted by partition, so that each is locked once
// for them.
func (c *collector) add(b *batch) error {
	if c.rows.Add(int64(b.n)) > maxRows {
		return errRows
	}
	const none = 2 * partitions
	var which [blockRows]uint16
	var start [none + 2]int32
	for i := range b.n {
		r := b.record(i)
		which[i] = none
		if groupOf(r) != dropped && (c.Shards == 1 || b.shard[i]%uint64(c.Shards) == uint64(c.Shard)) {
			p := c.personOf(r)
			which[i] = uint16(c.hash(p) >> 56)
			if p.hi != c.number {
				which[i] += partitions
			}
		}
		start[which[i]+1]++
	}
	for i := range none {
		start[i+1] += start[i]
	}
	next := start
	var order [blockRows]int32
	for i := range b.n {
		p := which[i]
		order[next[p]] = int32(i)
		next[p]++
	}
	for p := range c.parts {
		if lo, hi := start[p], start[p+1]; lo < hi {
			if err := c.append(&c.parts[p], b, order[lo:hi]); err != nil {
				return err
			}
		}
	}
	if c.memory.held() > c.Memory {
		return c.spill()
	}
	return nil
}

// progress says that more of the file was read, in the unit of size.
func (c *collector) progress(more int64) {
	if done := c.done.Add(more); c.Progress != nil && c.size > 0 {
		c.Progress(min(1, float64(done)/float64(c.size)))
	}
}

func (c *collector) append(p *partition, b *batch, order []int32) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(order) > 0 {
		last := len(p.chunks) - 1
		if last < 0 || p.full(p.chunks[last]) {
			fresh, err := c.memory.get()
			if err != nil {
				return err
			}
			p.chunks = append(p.chunks, fresh)
			last++
		}
		to := p.chunks[last]
		at := len(to)
		n := min((cap(to)-at)/p.width, len(order))
		to = to[:at+n*p.width]
		for _, i := range order[:n] {
			copyRecord(to[at:at+p.width], b.record(int(i))[:p.width])
			at += p.width
		}
		p.chunks[last], order = to, order[n:]
	}
	return nil
}

// full reports whether no other record fits in a chunk.
func (p *partition) full(chunk []byte) bool { return cap(chunk)-len(chunk) < p.width }

// spill writes full chunks to the partitions' files, one goroutine at a time.
func (c *collector) spill() error {
	c.spilling.Lock()
	defer c.spilling.Unlock()
	if c.memory.held() <= c.Memory {
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
	var kept [][]byte
	for _, k := range p.chunks {
		if !p.full(k) {
			kept = append(kept, k)
			continue
		}
		if err := p.store(k, c.Temp); err != nil {
			return err
		}
		c.memory.put(k)
	}
	p.chunks = kept
	return nil
}

func (p *partition) store(chunk []byte, folder string) error {
	if p.file == nil {
		f, err := os.CreateTemp(folder, ".redoubt-rows-*")
		if err != nil {
			return err
		}
		p.file = f
		if err := os.Remove(f.Name()); err != nil {
			return err
		}
	}
	if _, err := p.file.Write(chunk); err != nil {
		return err
	}
	p.stored++
	return nil
}

// load brings a partition's records back.
func (p *partition) load(memory *slabs) error {
	if p.stored == 0 {
		return nil
	}
	if _, err := p.file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	rest := p.chunks // not full
	p.chunks = nil
	for range p.stored {
		k, err := memory.get()
		if err != nil {
			return err
		}
		k = k[:cap(k)/p.width*p.width]
		if _, err := io.ReadFull(p.file, k); err != nil {
			return err
		}
		p.chunks = append(p.chunks, k)
	}
	p.chunks, p.stored = append(p.chunks, rest...), 0
	return nil
}

// close gives the memory and the temporary files up.
func (c *collector) close() {
	for i := range c.parts {
		if f := c.parts[i].file; f != nil {
			f.Close() // it has no name and nobody reads it again
		}
	}
	c.memory.free()
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
	workers := max(1, min(c.Workers, len(c.parts), maxCells/max(1, groups*c.cells)))
	sums := make([]*sums, workers)
	errs := make([]error, workers)
	var next atomic.Int64
	var wg sync.WaitGroup
	for w := range workers {
		sums[w] = newSums(groups, c.cells)
		wg.Go(func() {
			b := &bounder{collector: c, sums: sums[w], ranks: ranks}
			for {
				i := int(next.Add(1) - 1)
				if i >= len(c.parts) {
					return
				}
				p := &c.parts[i]
				if err := ctx.Err(); err != nil {
					errs[w] = err
					return
				}
				if err := p.load(c.memory); err != nil {
					errs[w] = fmt.Errorf("read rows back from a temporary file: %w", err)
					return
				}
				if errs[w] = b.partition(p); errs[w] != nil {
					return
				}
				for _, k := range p.chunks {
					c.memory.put(k)
				}
				p.chunks = nil
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
	sums    *sums
	ranks   []uint64 // of groups, from their names
	width   int      // of a record of the partition
	records []byte   // of the partition, those of a bucket side by side
	ends    []int32  // of buckets
	keys    []key    // of a bucket
	visits  []inGroup
	order   []ranked
}

// key is what a record is sorted by, and where it is.
type key struct {
	person
	group uint32
	at    int32
}

// inGroup are one person's keys of one group.
type inGroup struct {
	rank uint64
	keys []key
}

// ranked is a key with the number that decides whether its record counts.
type ranked struct {
	rank uint64
	key
}

// partition spreads the records over buckets of about bucketRows by the hash of
// their people, and sorts each bucket.
func (b *bounder) partition(p *partition) error {
	n := 0
	for _, k := range p.chunks {
		n += len(k) / p.width
	}
	if n == 0 {
		return nil
	}
	if n > math.MaxInt32/2 {
		return errors.New("too many rows of too few people: add up shards of the people, and merge their states")
	}
	const bucketRows = 4
	buckets := 1
	for buckets*bucketRows < n {
		buckets *= 2
	}
	mask := uint64(buckets - 1)
	b.width = p.width
	b.records = slices.Grow(b.records[:0], n*p.width)[:n*p.width]
	b.ends = slices.Grow(b.ends[:0], buckets)[:buckets]
	clear(b.ends)
	for _, k := range p.chunks {
		for ; len(k) > 0; k = k[p.width:] {
			b.ends[b.hash(b.personOf(k[:p.width]))&mask]++
		}
	}
	sum := int32(0)
	for i, n := range b.ends { // now their beginnings
		b.ends[i], sum = sum, sum+n
	}
	for _, k := range p.chunks {
		for ; len(k) > 0; k = k[p.width:] {
			r := k[:p.width]
			end := &b.ends[b.hash(b.personOf(r))&mask]
			copyRecord(b.record(*end), r)
			*end++
		}
	}
	from := int32(0)
	for _, to := range b.ends {
		if from < to {
			b.bucket(from, to)
		}
		from = to
	}
	return nil
}

func (b *bounder) record(at int32) []byte { return b.records[int(at)*b.width:][:b.width] }

// bucket adds up records of a few people.
func (b *bounder) bucket(from, to int32) {
	b.keys = b.keys[:0]
	for at := from; at < to; at++ {
		r := b.record(at)
		b.keys = append(b.keys, key{b.personOf(r), groupOf(r), at})
	}
	sortKeys(b.keys)
	for rest := b.keys; len(rest) > 0; {
		n := 1
		for n < len(rest) && rest[n].person == rest[0].person {
			n++
		}
		b.person(rest[:n])
		rest = rest[n:]
	}
}

func (k *key) less(l *key) bool {
	if k.lo != l.lo {
		return k.lo < l.lo
	}
	if k.hi != l.hi {
		return k.hi < l.hi
	}
	return k.group < l.group
}

// person adds up one person's rows, at most RowsPerGroup in each of at most
// GroupsPerPerson groups. Which ones is decided by ranks that depend on nothing
// but this person's rows and secret numbers: what others do does not matter, nor
// in which order rows come, as it must not.
func (b *bounder) person(keys []key) {
	if n := int64(len(keys)); n <= b.GroupsPerPerson && n <= b.RowsPerGroup {
		for i, k := range keys {
			b.add(b.record(k.at), i == 0 || k.group != keys[i-1].group)
		}
		return
	}
	b.visits = b.visits[:0]
	for rest := keys; len(rest) > 0; {
		n := 1
		for n < len(rest) && rest[n].group == rest[0].group {
			n++
		}
		b.visits = append(b.visits, inGroup{keys: rest[:n]})
		rest = rest[n:]
	}
	seed := mix(keys[0].lo ^ mix(keys[0].hi^b.salt))
	if int64(len(b.visits)) > b.GroupsPerPerson {
		for i := range b.visits {
			v := &b.visits[i]
			v.rank = mix(seed ^ b.ranks[v.keys[0].group])
		}
		sortVisits(b.visits)
		b.visits = b.visits[:b.GroupsPerPerson]
	}
	for _, v := range b.visits {
		if int64(len(v.keys)) > b.RowsPerGroup {
			b.some(v.keys, mix(seed^b.ranks[v.keys[0].group]))
			continue
		}
		for i, k := range v.keys {
			b.add(b.record(k.at), i == 0)
		}
	}
}

// some adds RowsPerGroup of a person's rows in one group. They get their ranks in
// the order of what is in them: those with the same in them are the same.
func (b *bounder) some(keys []key, seed uint64) {
	slices.SortFunc(keys, func(k, l key) int { return bytes.Compare(b.record(k.at)[codesAt:], b.record(l.at)[codesAt:]) })
	b.order = b.order[:0]
	for i, k := range keys {
		b.order = append(b.order, ranked{mix(seed + uint64(i+1)*0x9e3779b97f4a7c15), k})
	}
	slices.SortFunc(b.order, func(r, s ranked) int { return cmp.Compare(r.rank, s.rank) })
	for i, r := range b.order[:b.RowsPerGroup] {
		b.add(b.record(r.at), i == 0)
	}
}

// few is up to how many keys insertion is the faster way to sort. Most buckets have
// no more.
const few = 24

func sortKeys(keys []key) {
	if len(keys) > few {
		slices.SortFunc(keys, func(k, l key) int {
			return cmp.Or(cmp.Compare(k.lo, l.lo), cmp.Compare(k.hi, l.hi), cmp.Compare(k.group, l.group))
		})
		return
	}
	for i := 1; i < len(keys); i++ {
		k := keys[i]
		j := i
		for ; j > 0 && k.less(&keys[j-1]); j-- {
			keys[j] = keys[j-1]
		}
		keys[j] = k
	}
}

func sortVisits(v []inGroup) {
	if len(v) > few {
		slices.SortFunc(v, func(v, w inGroup) int { return cmp.Compare(v.rank, w.rank) })
		return
	}
	for i := 1; i < len(v); i++ {
		x := v[i]
		j := i
		for ; j > 0 && x.rank < v[j-1].rank; j-- {
			v[j] = v[j-1]
		}
		v[j] = x
	}
}

// add adds one record; first is whether it is its person's first in the group.
func (b *bounder) add(record []byte, first bool) {
	g := int(groupOf(record))
	if first {
		b.sums.people[g]++
	}
	b.sums.rows++
	cells := b.sums.cells[g*b.cells : (g+1)*b.cells]
	for s := range b.stats {
		st := &b.stats[s]
		code := int32(0)
		if slot := b.slots[s]; slot >= 0 {
			if code = codeOf(record, slot); code == missing {
				continue
			}
		}
		if !st.people || first {
			st.add(cells[b.offset[s]:], code)
		}
	}
}
