package scan

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/redoubt-ml/redoubt"
)

var ggufFormat = Format{
	Name:  "gguf",
	Doc:   "GGUF: sizes, offsets, and the chat templates, which are programs in Jinja",
	match: func(_ *scanner, src *source) bool { return src.has(0, "GGUF") },
	scan:  scanGGUF,
}

// ggufBlocks are the elements and bytes of a block of each tensor type, by the
// number of ggml_type; {0, 0} was removed.
var ggufBlocks = map[uint32][2]int64{
	0: {1, 4}, 1: {1, 2}, 2: {32, 18}, 3: {32, 20}, 6: {32, 22}, 7: {32, 24}, 8: {32, 34}, 9: {32, 36},
	10: {256, 84}, 11: {256, 110}, 12: {256, 144}, 13: {256, 176}, 14: {256, 210}, 15: {256, 292},
	16: {256, 66}, 17: {256, 74}, 18: {256, 98}, 19: {256, 50}, 20: {32, 18}, 21: {256, 110}, 22: {256, 82}, 23: {256, 136},
	24: {1, 1}, 25: {1, 2}, 26: {1, 4}, 27: {1, 8}, 28: {1, 8}, 29: {256, 56}, 30: {1, 2}, 34: {256, 54}, 35: {256, 66}, 39: {32, 17},
}

// ggufSizes are the bytes of a metadata value of each type of fixed size.
var ggufSizes = map[uint32]int64{0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}

const (
	ggufString = 8
	ggufArray  = 9
)

// ggufScan reads the header of a GGUF file, version 2 or 3, least significant
// byte first.
type ggufScan struct {
	s     *scanner
	f     *File
	c     *cursor
	align int64
}

func scanGGUF(s *scanner, src *source, f *File) {
	g := &ggufScan{s: s, f: f, c: src.cursor(4), align: 32}
	if err := g.read(); err != nil {
		f.unread("gguf/invalid", g.c.offset(), err)
	}
}

func (g *ggufScan) uint(n int) (uint64, error) {
	b, err := g.c.next(n)
	if err != nil {
		return 0, errors.New("the header is cut short")
	}
	var wide [8]byte
	copy(wide[:], b)
	return binary.LittleEndian.Uint64(wide[:]), nil
}

func (g *ggufScan) read() error {
	version, err := g.uint(4)
	if err != nil {
		return err
	}
	if version != 2 && version != 3 {
		return fmt.Errorf("version %d of GGUF is not read", version)
	}
	tensors, err := g.uint(8)
	if err != nil {
		return err
	}
	pairs, err := g.uint(8)
	if err != nil {
		return err
	}
	if tensors > uint64(g.c.left())/24 || pairs > uint64(g.c.left())/13 {
		return errors.New("it counts more tensors or metadata than fit into the file")
	}
	for range pairs {
		if err := g.pair(); err != nil {
			return err
		}
	}
	return g.tensors(tensors)
}

// text is a string's content, of which the first bytes up to keep are read.
func (g *ggufScan) text(keep int64) (string, int64, error) {
	n, err := g.uint(8)
	if err != nil {
		return "", 0, err
	}
	at := g.c.offset()
	if n > uint64(g.c.left()) {
		return "", at, errors.New("a text is longer than the file")
	}
	b, err := g.c.src.read(at, min(int64(n), keep))
	if err != nil {
		return "", at, err
	}
	if int64(n) > keep {
		return string(b), at, errors.Join(g.c.skip(int64(n)), errTextLong)
	}
	return string(b), at, g.c.skip(int64(n))
}

var errTextLong = errors.New("a text is too long to be read whole")

func (g *ggufScan) pair() error {
	key, _, err := g.text(1 << 16)
	if err != nil {
		return err
	}
	typ, err := g.uint(4)
	if err != nil {
		return err
	}
	at := g.c.offset()
	if typ == ggufString {
		text, at, err := g.text(g.s.limits.Text)
		if err == nil && strings.Contains(key, "chat_template") {
			checkTemplate(g.f, at, text)
		}
		return err
	}
	if key == "general.alignment" {
		n, err := g.uint(4)
		if g.align = int64(n); err == nil && (typ != 4 || n == 0 || n&(n-1) != 0) {
			return fmt.Errorf("the alignment at %d is no power of two", at)
		}
		return err
	}
	return g.value(uint32(typ), 0)
}

func (g *ggufScan) value(typ uint32, depth int) error {
	if err := g.s.alive(); err != nil {
		return err
	}
	if size, ok := ggufSizes[typ]; ok {
		return g.c.skip(size)
	}
	switch {
	case typ == ggufString:
		_, _, err := g.text(g.s.limits.Text)
		return err
	case typ != ggufArray:
		return fmt.Errorf("a value of the unknown type %d", typ)
	case depth > 8:
		return fmt.Errorf("%w of 8 arrays within one another", errLimit)
	}
	of, err := g.uint(4)
	if err != nil {
		return err
	}
	n, err := g.uint(8)
	if err != nil {
		return err
	}
	if size, ok := ggufSizes[uint32(of)]; ok {
		if n > uint64(g.c.left()/size) {
			return errors.New("an array is longer than the file")
		}
		return g.c.skip(int64(n) * size)
	}
	if n > uint64(g.c.left())/8 {
		return errors.New("an array is longer than the file")
	}
	for range n {
		if uint32(of) == ggufString {
			size, err := g.uint(8)
			if err != nil {
				return err
			}
			if size > uint64(g.c.left()) {
				return errors.New("a text is longer than the file")
			}
			if err := g.c.skip(int64(size)); err != nil {
				return err
			}
			continue
		}
		if err := g.value(uint32(of), depth+1); err != nil {
			return err
		}
	}
	return nil
}

// tensors sees that every tensor lies within the data that follow the header.
func (g *ggufScan) tensors(n uint64) error {
	end := int64(0)
	for range n {
		name, _, err := g.text(1 << 16)
		if err != nil {
			return err
		}
		dims, err := g.uint(4)
		if err != nil {
			return err
		}
		if dims > 8 {
			return fmt.Errorf("tensor %q has %d dimensions", short(name), dims)
		}
		count := int64(1)
		for range dims {
			d, err := g.uint(8)
			if err != nil {
				return err
			}
			if d > math.MaxInt64/8 || d > 0 && count > math.MaxInt64/512/int64(d) {
				return fmt.Errorf("tensor %q: its size overflows", short(name))
			}
			count *= int64(d)
		}
		typ, err := g.uint(4)
		if err != nil {
			return err
		}
		off, err := g.uint(8)
		if err != nil {
			return err
		}
		block, ok := ggufBlocks[uint32(typ)]
		if !ok {
			return fmt.Errorf("tensor %q has the unknown type %d", short(name), typ)
		}
		if off > math.MaxInt64/2 || int64(off)%g.align != 0 {
			return fmt.Errorf("tensor %q is not aligned", short(name))
		}
		end = max(end, int64(off)+(count+block[0]-1)/block[0]*block[1])
	}
	data := (g.c.offset() + g.align - 1) / g.align * g.align
	if n > 0 && end > g.c.src.size-data {
		return errors.New("a tensor lies beyond the end of the file")
	}
	last := data + end
	if n == 0 {
		last = g.c.offset()
	}
	if over := g.c.src.size - last; over >= g.align || !zeros(g.c.src, last) {
		g.f.add(Unproven, redoubt.Medium, "gguf/trailing", last, "%d bytes follow after the last tensor", over)
	}
	return nil
}
