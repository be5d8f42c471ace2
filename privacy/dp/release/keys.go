package release

import (
	"strconv"
	"strings"
	"sync"
)

// dropped is the group of rows that belong to none.
const dropped = ^uint32(0)

// maxGroups bounds how many groups are kept track of.
const maxGroups = 50_000_000

// dictionary numbers the values of group columns, and the combinations of them.
// Numbers depend on the order of rows, so that nothing that is random for a
// person may depend on them; ranks are from names alone.
type dictionary struct {
	mu      sync.RWMutex
	columns []names
	pairs   []map[uint64]uint32 // of the i-th: number of the columns before, and of column i
	tuples  [][]uint64          // the same, backwards
	frozen  bool                // the keys are public: no others come
	full    bool                // there are more groups than maxGroups
}

type names struct {
	number map[string]uint32
	name   []string
}

func newDictionary(p *plan) *dictionary {
	n := len(p.GroupBy)
	d := &dictionary{columns: make([]names, n), pairs: make([]map[uint64]uint32, n), tuples: make([][]uint64, n)}
	for i := range n {
		d.columns[i].number, d.pairs[i] = map[string]uint32{}, map[uint64]uint32{}
	}
	for _, key := range p.Keys {
		group := uint32(0)
		for i, name := range key {
			group = d.fold(i, group, d.number(i, name))
		}
	}
	d.frozen = len(p.Keys) > 0
	return d
}

// number is that of a column's value.
func (d *dictionary) number(column int, name string) uint32 {
	if len(name) > maxKey {
		return dropped
	}
	c := &d.columns[column]
	d.mu.RLock()
	n, ok := c.number[name]
	d.mu.RUnlock()
	if ok {
		return n
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if n, ok := c.number[name]; ok {
		return n
	}
	if d.frozen || len(c.name) >= maxGroups {
		d.full = d.full || !d.frozen
		return dropped
	}
	name = strings.Clone(name)
	n = uint32(len(c.name))
	c.number[name], c.name = n, append(c.name, name)
	return n
}

// fold is the number of a combination: of the columns before i, and of column i.
func (d *dictionary) fold(i int, before, number uint32) uint32 {
	if i == 0 || before == dropped || number == dropped {
		if before == dropped {
			return dropped
		}
		return number
	}
	key := uint64(before)<<32 | uint64(number)
	d.mu.RLock()
	n, ok := d.pairs[i][key]
	d.mu.RUnlock()
	if ok {
		return n
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if n, ok := d.pairs[i][key]; ok {
		return n
	}
	if d.frozen || len(d.tuples[i]) >= maxGroups {
		d.full = d.full || !d.frozen
		return dropped
	}
	n = uint32(len(d.tuples[i]))
	d.pairs[i][key], d.tuples[i] = n, append(d.tuples[i], key)
	return n
}

// size is the number of groups.
func (d *dictionary) size() int {
	switch n := len(d.columns); n {
	case 0:
		return 1
	case 1:
		return len(d.columns[0].name)
	default:
		return len(d.tuples[n-1])
	}
}

// key is the name of a group, a value for each column.
func (d *dictionary) key(group uint32) []string {
	key := make([]string, len(d.columns))
	for i := len(key) - 1; i > 0; i-- {
		pair := d.tuples[i][group]
		key[i], group = d.columns[i].name[uint32(pair)], uint32(pair>>32)
	}
	if len(key) > 0 {
		key[0] = d.columns[0].name[group]
	}
	return key
}

// joined is a key as one string; different keys are different strings.
func joined(key []string) string {
	var b strings.Builder
	for _, k := range key {
		b.WriteString(strconv.Itoa(len(k)))
		b.WriteByte(':')
		b.WriteString(k)
	}
	return b.String()
}

// mix spreads the bits of a number (the finaliser of Steele, Lea and Flood 2014,
// "Fast splittable pseudorandom number generators").
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// hashText is the same everywhere and always: shards and sketches are made by it.
// Whole numbers are hashed as such, so that "17" in CSV is 17 in Parquet.
func hashText(s string) uint64 {
	if n, ok := integer(s); ok {
		return hashInt(n)
	}
	h := uint64(14695981039346656037) // FNV-1a
	for i := 0; i < len(s); i++ {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	return mix(h ^ 0x9e3779b97f4a7c15)
}

func hashInt(n int64) uint64 { return mix(uint64(n) + 0x9e3779b97f4a7c15) }

// integer reads what strconv.Itoa writes, and nothing else.
func integer(s string) (int64, bool) {
	digits := strings.TrimPrefix(s, "-")
	if digits == "" || len(digits) > 19 || digits[0] == '0' && s != "0" {
		return 0, false
	}
	if len(digits) == 19 && digits[0] != '+' { // it may be too large
		n, err := strconv.ParseInt(s, 10, 64)
		return n, err == nil
	}
	n := int64(0)
	for i := 0; i < len(digits); i++ {
		c := digits[i] - '0'
		if c > 9 {
			return 0, false
		}
		n = 10*n + int64(c)
	}
	if len(digits) != len(s) {
		n = -n
	}
	return n, true
}
