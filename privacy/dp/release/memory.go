package release

import (
	"fmt"
	"sync"
)

// slabBytes is what is asked of the system at once; only what is used of it is
// there.
const slabBytes = 32 << 20

// slabs give out chunks of memory of one size. It is not the garbage collector's:
// a chunk that was given back, and all of them after free, must not be used again.
type slabs struct {
	size  int
	mu    sync.Mutex
	all   [][]byte
	fresh []byte   // the rest of the last slab
	spare [][]byte // given back
	out   int      // chunks
}

func newSlabs(size int) *slabs { return &slabs{size: size} }

// get gives an empty chunk with the capacity of all of it.
func (s *slabs) get() ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.out++
	if n := len(s.spare); n > 0 {
		chunk := s.spare[n-1]
		s.spare = s.spare[:n-1]
		return chunk, nil
	}
	if len(s.fresh) < s.size {
		slab, err := allocate(max(slabBytes, s.size))
		if err != nil {
			return nil, fmt.Errorf("get memory for rows: %w", err)
		}
		s.all, s.fresh = append(s.all, slab), slab
	}
	chunk := s.fresh[:0:s.size]
	s.fresh = s.fresh[s.size:]
	return chunk, nil
}

// put takes a chunk back.
func (s *slabs) put(chunk []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.out--
	s.spare = append(s.spare, chunk[:0])
}

// held is how many bytes are given out.
func (s *slabs) held() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return int64(s.out) * int64(s.size)
}

// free gives all memory back to the system.
func (s *slabs) free() {
	for _, slab := range s.all {
		release(slab)
	}
	s.all, s.fresh, s.spare = nil, nil, nil
}
