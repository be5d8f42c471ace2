package release

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// State is what was added up over some of the people, before any noise: it is as
// secret as the data. States of the same query over different shards merge into
// one, which [Draw] can release.
type State struct {
	plan   *plan
	shards []bool // which were seen
	rows   int64
	keys   [][]string // sorted by joined
	names  []string   // joined keys
	people []int64
	cells  []int64
}

// state gathers what the workers have added up, in the order of keys.
func (c *collector) state(all []*sums) *State {
	total := all[0]
	for _, s := range all[1:] {
		total.rows += s.rows
		for g := range total.people {
			total.people[g] += s.people[g]
			c.merge(total.cells[g*c.cells:(g+1)*c.cells], s.cells[g*c.cells:])
		}
	}
	type group struct {
		name string
		at   int
	}
	var groups []group
	for g, n := range total.people {
		if n > 0 || !c.discovers() {
			groups = append(groups, group{joined(c.dict.key(uint32(g))), g})
		}
	}
	slices.SortFunc(groups, func(a, b group) int { return bytes.Compare([]byte(a.name), []byte(b.name)) })
	s := &State{plan: c.plan, shards: make([]bool, c.Shards), rows: total.rows}
	s.shards[c.Shard] = true
	for _, g := range groups {
		s.keys = append(s.keys, c.dict.key(uint32(g.at)))
		s.names = append(s.names, g.name)
		s.people = append(s.people, total.people[g.at])
		s.cells = append(s.cells, total.cells[g.at*c.cells:(g.at+1)*c.cells]...)
	}
	return s
}

// merge adds the cells of a group.
func (p *plan) merge(to, from []int64) {
	for i, st := range p.stats {
		for k := p.offset[i]; k < p.offset[i]+st.cells; k++ {
			if st.or {
				to[k] |= from[k]
			} else {
				to[k] += from[k]
			}
		}
	}
}

// Merge adds other states to s, all of the same query. A shard that comes twice is
// refused: its people would count twice.
func (s *State) Merge(others ...*State) error {
	for _, o := range others {
		if s.plan.Digest() != o.plan.Digest() {
			return errors.New("merge partial states: they are of different queries")
		}
		if len(s.shards) != len(o.shards) {
			return fmt.Errorf("merge partial states: one is a shard of %d, another of %d", len(s.shards), len(o.shards))
		}
		for i, seen := range o.shards {
			if seen && s.shards[i] {
				return fmt.Errorf("merge partial states: shard %d comes twice, and its people would count twice", i)
			}
			s.shards[i] = s.shards[i] || seen
		}
		if s.rows += o.rows; s.rows > maxRows {
			return errors.New("merge partial states: " + errRows.Error())
		}
		s.add(o)
	}
	return nil
}

// add merges two sorted lists of groups.
func (s *State) add(o *State) {
	w := s.plan.cells
	out := &State{}
	take := func(from *State, i int) {
		out.keys, out.names = append(out.keys, from.keys[i]), append(out.names, from.names[i])
		out.people = append(out.people, from.people[i])
		out.cells = append(out.cells, from.cells[i*w:(i+1)*w]...)
	}
	i, j := 0, 0
	for i < len(s.keys) || j < len(o.keys) {
		switch {
		case j == len(o.keys) || i < len(s.keys) && s.names[i] < o.names[j]:
			take(s, i)
			i++
		case i == len(s.keys) || o.names[j] < s.names[i]:
			take(o, j)
			j++
		default:
			take(s, i)
			k := len(out.people) - 1
			out.people[k] += o.people[j]
			s.plan.merge(out.cells[k*w:], o.cells[j*w:(j+1)*w])
			i, j = i+1, j+1
		}
	}
	s.keys, s.names, s.people, s.cells = out.keys, out.names, out.people, out.cells
}

// complete reports which shard was not seen, -1 for none.
func (s *State) lacks() int { return slices.Index(s.shards, false) }

// magic begins a serialised state; the last byte is the version.
const magic = "redoubt dp state\x01"

// MarshalBinary writes a state: magic, digest of the query, shards, rows, groups
// with their keys, people and cells as varints, and the SHA-256 of all of it.
func (s *State) MarshalBinary() ([]byte, error) {
	digest := s.plan.Digest()
	b := append([]byte(magic), digest[:]...)
	b = binary.AppendUvarint(b, uint64(len(s.shards)))
	for _, seen := range s.shards {
		b = append(b, map[bool]byte{true: 1}[seen])
	}
	b = binary.AppendUvarint(b, uint64(s.rows))
	b = binary.AppendUvarint(b, uint64(len(s.keys)))
	for i, key := range s.keys {
		for _, k := range key {
			b = append(binary.AppendUvarint(b, uint64(len(k))), k...)
		}
		b = binary.AppendUvarint(b, uint64(s.people[i]))
		for _, c := range s.cells[i*s.plan.cells : (i+1)*s.plan.cells] {
			b = binary.AppendVarint(b, c)
		}
	}
	sum := sha256.Sum256(b)
	return append(b, sum[:]...), nil
}

// errState says that a state cannot be read, without saying what it holds.
var errState = errors.New("it is damaged or no partial state: make it again")

// ReadState reads what MarshalBinary wrote for the same query. The checksum finds
// accidents, not forgers: whoever can write states can make up data.
func ReadState(q *Query, b []byte) (*State, error) {
	p, err := newPlan(q)
	if err != nil {
		return nil, err
	}
	n := len(b) - sha256.Size
	if n < len(magic)+sha256.Size || string(b[:len(magic)]) != magic {
		return nil, fmt.Errorf("read a partial state: %w", errState)
	}
	if sum := sha256.Sum256(b[:n]); !bytes.Equal(sum[:], b[n:]) {
		return nil, fmt.Errorf("read a partial state: %w", errState)
	}
	if digest := q.Digest(); !bytes.Equal(digest[:], b[len(magic):len(magic)+sha256.Size]) {
		return nil, errors.New("read a partial state: it is of another query")
	}
	r := &reader{rest: b[len(magic)+sha256.Size : n]}
	s := r.state(p)
	if r.bad || len(r.rest) > 0 {
		return nil, fmt.Errorf("read a partial state: %w", errState)
	}
	return s, nil
}

// reader decodes; once bad, it stays bad.
type reader struct {
	rest []byte
	bad  bool
}

func (r *reader) uvarint(limit uint64) uint64 {
	v, n := binary.Uvarint(r.rest)
	if n <= 0 || v > limit {
		r.bad, r.rest = true, nil
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.rest)
	if n <= 0 {
		r.bad, r.rest = true, nil
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

func (r *reader) text() string {
	n := int(r.uvarint(maxKey))
	if n > len(r.rest) {
		r.bad, r.rest = true, nil
		return ""
	}
	text := string(r.rest[:n])
	r.rest = r.rest[n:]
	return text
}

func (r *reader) state(p *plan) *State {
	s := &State{plan: p}
	for range r.uvarint(maxShards) {
		s.shards = append(s.shards, r.uvarint(1) == 1)
	}
	s.rows = int64(r.uvarint(maxRows))
	r.bad = r.bad || len(s.shards) == 0
	groups := r.uvarint(maxGroups)
	if groups*uint64(p.cells) > maxCells || groups > uint64(len(r.rest)) {
		r.bad = true
	}
	for range groups {
		if r.bad {
			return nil // before memory is made for what is not there
		}
		key := make([]string, len(p.GroupBy))
		for i := range key {
			key[i] = r.text()
		}
		name := joined(key)
		if k := len(s.names); k > 0 && s.names[k-1] >= name {
			r.bad = true
		}
		s.keys, s.names = append(s.keys, key), append(s.names, name)
		s.people = append(s.people, int64(r.uvarint(maxRows)))
		for range p.cells {
			s.cells = append(s.cells, r.varint())
		}
	}
	r.check(p, s)
	return s
}

// check sees to it that the cells can be those of so many rows, so that sums of
// states stay within 64 bits.
func (r *reader) check(p *plan, s *State) {
	public := map[string]bool{}
	for _, k := range p.Keys {
		public[joined(k)] = true
	}
	if len(p.Keys) > 0 && len(s.names) != len(p.Keys) || len(p.GroupBy) == 0 && len(s.names) != 1 {
		r.bad = true
	}
	limit := s.rows << codeBits
	for g := range s.names {
		r.bad = r.bad || len(public) > 0 && !public[s.names[g]] || s.people[g] > s.rows
		for i, st := range p.stats {
			for k := range st.cells {
				c := s.cells[g*p.cells+p.offset[i]+k]
				r.bad = r.bad || !st.or && (c > limit || c < -limit)
			}
		}
	}
}
