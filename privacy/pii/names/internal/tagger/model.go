// Package tagger is the machine behind names: tokens, features, weights and the
// search for the best labels. The program that trains the weights uses it too,
// so that what is learnt is what is asked.
package tagger

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// A Model is a gazetteer, the weights of features, and the weights of one label
// after another. It is not changed once it is made.
type Model struct {
	Gazetteer *Gazetteer

	index index
	rows  []byte // rowSize bytes a slot: a weight a label, and 128 more
	steps [Labels][Labels]int32
}

const rowSize = 16

// NewModel makes a model of weights by feature. Weights lie between -127 and 127,
// steps are in the same unit: from a label to the next.
func NewModel(g *Gazetteer, weights map[uint32][Labels]int8, steps [Labels][Labels]int16) *Model {
	x := newIndex(len(weights))
	m := &Model{Gazetteer: g, index: x, rows: bytes.Repeat([]byte{128}, rowSize*x.slots())}
	for _, hash := range sorted(weights) {
		row := m.rows[rowSize*x.add(hash):]
		for label, w := range weights[hash] {
			row[label] = byte(int(w) + 128)
		}
	}
	for a := range steps {
		for b, w := range steps[a] {
			m.steps[a][b] = int32(w)
		}
	}
	m.forbid()
	return m
}

const never = -1 << 24

// forbid makes the steps that no sequence may take lose against every other.
func (m *Model) forbid() {
	for a := range m.steps {
		for b := range m.steps[a] {
			if !Follows(uint8(a), uint8(b)) {
				m.steps[a][b] = never
			}
		}
	}
}

const magic = "redoubt names 1\n"

type header struct {
	Gazetteer, Weights uint32 // buckets
	Steps              [Labels][Labels]int16
}

// Encode writes a model as Open reads it.
func (m *Model) Encode() []byte {
	h := header{Gazetteer: m.Gazetteer.index.buckets, Weights: m.index.buckets}
	for a := range m.steps {
		for b, w := range m.steps[a] {
			h.Steps[a][b] = int16(max(w, -1<<15))
		}
	}
	out := bytes.NewBufferString(magic)
	binary.Write(out, binary.LittleEndian, h) // of fixed size: cannot fail
	for _, part := range [][]byte{m.Gazetteer.index.keys, m.Gazetteer.words, m.index.keys, m.rows} {
		out.Write(part)
	}
	return out.Bytes()
}

// Open reads a model. It keeps data and copies nothing, so that it takes no time.
func Open(data []byte) (*Model, error) {
	rest, ok := bytes.CutPrefix(data, []byte(magic))
	if !ok {
		return nil, errors.New("open the weights of names: not a file of weights, or of another version")
	}
	var h header
	size := binary.Size(h)
	if len(rest) < size {
		return nil, errors.New("open the weights of names: the file ends in its header")
	}
	if _, err := binary.Decode(rest, binary.LittleEndian, &h); err != nil {
		return nil, fmt.Errorf("open the weights of names: %w", err)
	}
	rest = rest[size:]
	want := int64(h.Gazetteer)*(8+2*bucketSlots) + int64(h.Weights)*(8+rowSize*bucketSlots)
	if int64(len(rest)) != want || h.Gazetteer == 0 || h.Weights == 0 {
		return nil, fmt.Errorf("open the weights of names: %d bytes behind the header, want %d", len(rest), want)
	}
	part := func(n uint32) []byte {
		p := rest[:n]
		rest = rest[n:]
		return p
	}
	m := &Model{Gazetteer: &Gazetteer{
		index: index{part(8 * h.Gazetteer), h.Gazetteer},
		words: part(2 * bucketSlots * h.Gazetteer),
	}}
	m.index = index{part(8 * h.Weights), h.Weights}
	m.rows = rest
	if m.index.full() || m.Gazetteer.index.full() {
		return nil, errors.New("open the weights of names: a table without an empty place, in which no search would end")
	}
	for a := range h.Steps {
		for b, w := range h.Steps[a] {
			m.steps[a][b] = int32(w)
		}
	}
	m.forbid()
	return m, nil
}

// score adds up the weights of features for each label. All labels get the same
// amount too much.
func (m *Model) score(features []uint32) (out [Labels + 1]int32) {
	// Eight weights of a byte lie in a word. Added in two halves of four lanes of
	// 16 bits: 257 features fit before a lane overflows.
	const even = 0x00ff_00ff_00ff_00ff
	var s [4]uint64
	for _, f := range features {
		slot := m.index.find(f)
		if slot < 0 {
			continue
		}
		row := m.rows[rowSize*slot : rowSize*slot+rowSize]
		lo, hi := binary.LittleEndian.Uint64(row), binary.LittleEndian.Uint64(row[8:])
		s[0] += lo & even
		s[1] += lo >> 8 & even
		s[2] += hi & even
		s[3] += hi >> 8 & even
	}
	for i := range out {
		out[i] = int32(s[i>>3<<1|i&1] >> (i >> 1 & 3 * 16) & 0xffff)
	}
	return out
}
