package tagger

import (
	"encoding/binary"
	"math/bits"
	"slices"
)

// An index finds hashes: each has a slot of its own, under which the caller
// keeps what belongs to it. It is used where it lies. Of a hash it keeps 16 bits,
// so of those that are not in it about one in ten thousand is found too.
type index struct {
	keys    []byte // buckets of four fingerprints of 2 bytes; 0 is empty
	buckets uint32
}

const (
	bucketSlots = 4
	lanes       = 0x0001_0001_0001_0001
	tops        = 0x8000_8000_8000_8000
)

func newIndex(n int) index {
	buckets := uint32(n)*5/4/bucketSlots + 1
	return index{make([]byte, 8*buckets), buckets}
}

func (x index) place(hash uint32) (bucket uint32, check uint64) {
	h := uint64(hash) * 0x9E3779B97F4A7C15
	check = h >> 8 & 0xffff
	if check == 0 {
		check = 1
	}
	return uint32((h >> 32) * uint64(x.buckets) >> 32), check
}

// find gives the slot of a hash, -1 if it is not there.
func (x index) find(hash uint32) int {
	b, check := x.place(hash)
	for {
		keys := binary.LittleEndian.Uint64(x.keys[8*b:])
		// The lowest lane that equals check: of a lane that is zero after the
		// difference, and of no lane below it, subtraction borrows the top bit.
		d := keys ^ check*lanes
		if z := (d - lanes) &^ d & tops; z != 0 {
			return int(b)*bucketSlots + bits.TrailingZeros64(z)/16
		}
		if keys>>48 == 0 { // filled from below, so there is no more
			return -1
		}
		if b++; b == x.buckets {
			b = 0
		}
	}
}

// add gives a hash a slot. One that cannot be told from another shares its slot.
func (x index) add(hash uint32) int {
	b, check := x.place(hash)
	for {
		keys := binary.LittleEndian.Uint64(x.keys[8*b:])
		for i := range bucketSlots {
			switch keys >> (16 * i) & 0xffff {
			case 0:
				binary.LittleEndian.PutUint64(x.keys[8*b:], keys|check<<(16*i))
				return int(b)*bucketSlots + i
			case check:
				return int(b)*bucketSlots + i
			}
		}
		if b++; b == x.buckets {
			b = 0
		}
	}
}

func (x index) slots() int { return int(x.buckets) * bucketSlots }

func sorted[V any](m map[uint32]V) []uint32 {
	keys := make([]uint32, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// full tells whether no bucket has an empty place.
func (x index) full() bool {
	for b := range x.buckets {
		if binary.LittleEndian.Uint64(x.keys[8*b:])>>48 == 0 {
			return false
		}
	}
	return true
}
