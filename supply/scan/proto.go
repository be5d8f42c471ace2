package scan

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
)

// proto walks protobuf messages of any size, one field in memory at a time.
type proto struct {
	s     *scanner
	c     *cursor
	depth int
}

// protoField is one field: a number, or the place of its bytes.
type protoField struct {
	num  protowire.Number
	typ  protowire.Type
	bits uint64
	off  int64
	n    int64
}

// maxProtoDepth bounds messages within messages, as protobuf's own readers do.
const maxProtoDepth = 100

func (s *scanner) proto(src *source) *proto { return &proto{s: s, c: src.cursor(0)} }

// seek moves the cursor, within its buffer where that holds the place.
func (c *cursor) seek(off int64) {
	if i := off - c.at; i >= 0 && i <= int64(len(c.buf)) {
		c.i = int(i)
		return
	}
	c.at, c.buf, c.i = off, c.buf[:0], 0
}

// walk calls visit for each field of the message of n bytes at off.
func (p *proto) walk(off, n int64, visit func(protoField) error) error {
	if p.depth++; p.depth > maxProtoDepth {
		return fmt.Errorf("%w of %d messages within one another", errLimit, maxProtoDepth)
	}
	defer func() { p.depth-- }()
	end := off + n
	p.c.seek(off)
	for count := 0; off < end; count++ {
		if count&0xfff == 0 {
			if err := p.s.alive(); err != nil {
				return err
			}
		}
		f, next, err := p.field(off, end)
		if err != nil {
			return fmt.Errorf("at %d: %w", off, err)
		}
		if err := visit(f); err != nil {
			return err
		}
		off = next
		p.c.seek(off)
	}
	return nil
}

func (p *proto) field(off, end int64) (f protoField, next int64, err error) {
	b, err := p.c.peek(int(min(20, end-off)))
	if err != nil {
		return f, 0, err
	}
	num, typ, n := protowire.ConsumeTag(b)
	if n < 0 {
		return f, 0, protowire.ParseError(n)
	}
	f.num, f.typ = num, typ
	m := 0
	switch typ {
	case protowire.VarintType:
		f.bits, m = protowire.ConsumeVarint(b[n:])
	case protowire.Fixed32Type:
		var v uint32
		v, m = protowire.ConsumeFixed32(b[n:])
		f.bits = uint64(v)
	case protowire.Fixed64Type:
		f.bits, m = protowire.ConsumeFixed64(b[n:])
	case protowire.BytesType:
		var size uint64
		if size, m = protowire.ConsumeVarint(b[n:]); m < 0 {
			break
		}
		f.off = off + int64(n) + int64(m)
		if size > uint64(end-f.off) {
			return f, 0, errors.New("a field is longer than its message")
		}
		f.n = int64(size)
		return f, f.off + f.n, nil
	default:
		return f, 0, errors.New("a field of a type that is not used any more")
	}
	if m < 0 {
		return f, 0, protowire.ParseError(m)
	}
	return f, off + int64(n) + int64(m), nil
}

// text is a field's bytes as text, of which the first 64 KiB are read.
func (p *proto) text(f protoField) (string, error) {
	b, err := p.c.src.read(f.off, min(f.n, maxLine))
	return string(b), err
}

// shape says which fields a message has at its top, and whether it is one to
// its last byte.
func (p *proto) shape(off, n int64) (map[protowire.Number]protowire.Type, bool) {
	seen := map[protowire.Number]protowire.Type{}
	err := p.walk(off, n, func(f protoField) error {
		if t, ok := seen[f.num]; ok && t != f.typ || f.num > 100 {
			return errors.New("not one message")
		}
		seen[f.num] = f.typ
		return nil
	})
	return seen, err == nil && len(seen) > 0
}

// isMessage says whether the first field of that number at the top of the file
// is a message itself, or empty.
func (p *proto) isMessage(n protowire.Number) (ok bool) {
	found := errors.New("found")
	_ = p.walk(0, p.c.src.size, func(f protoField) error {
		if f.num != n {
			return nil
		}
		_, ok = p.shape(f.off, f.n)
		ok = ok || f.n == 0
		return found
	})
	return ok
}
