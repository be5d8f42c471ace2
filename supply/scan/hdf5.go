package scan

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/redoubt-ml/redoubt"
)

var hdf5Format = Format{
	Name:  "hdf5",
	Doc:   "HDF5: Keras models and weights; links and data in other files",
	match: func(_ *scanner, src *source) bool { return hdf5Start(src) >= 0 },
	scan:  scanHDF5,
}

const hdf5Magic = "\x89HDF\r\n\x1a\n"

// hdf5Start finds the superblock: at 0, or at 512, 1024, 2048 and so on.
func hdf5Start(src *source) int64 {
	for at := int64(0); at+8 <= src.size; at = max(512, 2*at) {
		if src.has(at, hdf5Magic) {
			return at
		}
		if at > 1<<30 {
			break
		}
	}
	return -1
}

// hdf5 reads as much of the HDF5 File Format Specification, version 3.0, as
// finds every object, attribute and link: superblocks 0 to 3, object headers 1
// and 2, groups by symbol tables and by links. Groups and attributes that are so
// many that they lie in fractal heaps are not read, and make a file unproven.
type hdf5 struct {
	s       *scanner
	src     *source
	f       *File
	base    int64
	offsets int // bytes of an address
	lengths int // bytes of a length
	seen    map[int64]bool
	config  bool // a model's configuration was found
}

const (
	maxObjects  = 1_000_000
	hdf5Message = 16 << 20 // the largest piece that is read at once
)

func scanHDF5(s *scanner, src *source, f *File) {
	h := &hdf5{s: s, src: src, f: f, seen: map[int64]bool{}}
	root, err := h.superblock(hdf5Start(src))
	if err == nil {
		err = h.object(root, 0)
	}
	if err != nil {
		f.unread("hdf5/damaged", 0, err)
	}
	if h.config && f.Format == "hdf5" {
		f.Format = "keras-h5"
	}
}

// part reads through a piece of the file, and remembers the first mistake.
type part struct {
	b   []byte
	err error
}

func (p *part) next(n int) []byte {
	if p.err != nil || n < 0 || n > len(p.b) {
		p.err = errors.New("a structure is cut short")
		return make([]byte, min(max(n, 0), 64))
	}
	out := p.b[:n]
	p.b = p.b[n:]
	return out
}

func (p *part) uint(n int) int64 {
	if n > 8 {
		p.err = errors.New("a number of more than 8 bytes")
		return 0
	}
	var wide [8]byte
	copy(wide[:], p.next(n))
	return int64(binary.LittleEndian.Uint64(wide[:]))
}

func (h *hdf5) at(off, n int64) (*part, error) {
	if n > hdf5Message {
		return nil, fmt.Errorf("a structure of %d bytes: %w of %d", n, errLimit, hdf5Message)
	}
	if off < 0 || off > h.src.size {
		return nil, errors.New("an address lies beyond the end of the file")
	}
	b, err := h.src.read(h.base+off, n)
	return &part{b: b}, err
}

// address is an address that is all ones where there is none.
func (h *hdf5) address(p *part) (int64, bool) {
	b := p.next(h.offsets)
	none := true
	for _, c := range b {
		none = none && c == 0xff
	}
	q := &part{b: b}
	return q.uint(h.offsets), !none
}

func (h *hdf5) superblock(at int64) (root int64, err error) {
	b, err := h.src.read(at, min(128, h.src.size-at))
	if err != nil {
		return 0, err
	}
	p := &part{b: b[8:]}
	version := p.uint(1)
	switch {
	case version <= 1:
		p.next(4)
		h.offsets, h.lengths = int(p.uint(1)), int(p.uint(1))
		p.next(9)
		if version == 1 {
			p.next(4)
		}
	case version <= 3:
		h.offsets, h.lengths = int(p.uint(1)), int(p.uint(1))
		p.next(1)
	default:
		return 0, fmt.Errorf("version %d of the superblock is not read", version)
	}
	if h.offsets < 2 || h.offsets > 8 || h.lengths < 2 || h.lengths > 8 {
		return 0, errors.New("the superblock has sizes that are not used")
	}
	h.base, _ = h.address(p)
	if h.base == 0 && at > 0 {
		h.base = at
	}
	h.address(p)
	end, _ := h.address(p)
	if version <= 1 {
		h.address(p)      // driver information
		p.next(h.offsets) // name of the root
	}
	root, ok := h.address(p)
	if p.err != nil || !ok {
		return 0, errors.New("the superblock is cut short")
	}
	if at > 0 {
		h.f.add(Unproven, redoubt.Medium, "archive/prefix", 0, "%d bytes stand before the HDF5 file", at)
	}
	if h.base+end < h.src.size && at == 0 {
		h.f.add(Unproven, redoubt.Medium, "archive/trailing", h.base+end, "bytes follow after the end of the HDF5 file")
	}
	return root, nil
}

// object reads the header of a group or data set.
func (h *hdf5) object(addr int64, depth int) error {
	if err := h.s.alive(); err != nil {
		return err
	}
	if h.seen[addr] {
		return nil
	}
	if h.seen[addr] = true; len(h.seen) > maxObjects || depth > 64 {
		return fmt.Errorf("%w of %d objects or 64 levels", errLimit, maxObjects)
	}
	p, err := h.at(addr, 16)
	if err != nil {
		return err
	}
	if string(p.b[:4]) == "OHDR" {
		return h.header2(addr, depth)
	}
	if p.b[0] != 1 {
		return fmt.Errorf("no object at %d", addr)
	}
	p.next(8)
	n := p.uint(4)
	return h.messages(addr+16, n, 1, 0, depth, new(int))
}

func (h *hdf5) header2(addr int64, depth int) error {
	p, err := h.at(addr, min(64, h.src.size-h.base-addr))
	if err != nil {
		return err
	}
	p.next(5)
	flags := p.uint(1)
	size := 6
	if flags&0x20 != 0 {
		p.next(16)
		size += 16
	}
	if flags&0x10 != 0 {
		p.next(4)
		size += 4
	}
	width := 1 << (flags & 3)
	n := p.uint(width)
	if p.err != nil {
		return p.err
	}
	return h.messages(addr+int64(size+width), n, 2, flags, depth, new(int))
}

// messages reads a block of header messages and the blocks that continue it.
func (h *hdf5) messages(addr, n int64, version int, flags int64, depth int, blocks *int) error {
	if *blocks++; *blocks > 1000 {
		return fmt.Errorf("%w of 1000 blocks of one header", errLimit)
	}
	p, err := h.at(addr, n)
	if err != nil {
		return err
	}
	total := len(p.b)
	for {
		head := 8
		if version == 2 {
			if head = 4; flags&4 != 0 {
				head = 6
			}
		}
		if len(p.b) < head {
			return nil
		}
		var typ, size, mflags int64
		if version == 1 {
			typ, size, mflags = p.uint(2), p.uint(2), p.uint(1)
			p.next(3)
		} else {
			typ, size, mflags = p.uint(1), p.uint(2), p.uint(1)
			p.next(head - 4)
		}
		where := addr + int64(total-len(p.b))
		body := &part{b: p.next(int(size))}
		if p.err != nil {
			return p.err
		}
		if typ == 0x10 {
			at, ok := h.address(body)
			length := body.uint(h.lengths)
			if body.err != nil || !ok {
				return errors.New("a header goes on nowhere")
			}
			if version == 2 { // signature before, checksum after
				at, length = at+4, length-8
			}
			if err := h.messages(at, length, version, flags, depth, blocks); err != nil {
				return err
			}
			continue
		}
		if err := h.message(typ, mflags, body, where, depth); err != nil {
			return err
		}
	}
}

func (h *hdf5) message(typ, flags int64, p *part, where int64, depth int) error {
	if flags&2 != 0 && (typ == 0x0c || typ == 0x0b || typ == 0x07) {
		h.f.add(Unproven, redoubt.Medium, "hdf5/unread", where, "a shared message of a header is not read")
		return nil
	}
	switch typ {
	case 0x02: // link info: a heap, where links are many
		p.next(1)
		if p.uint(1)&1 != 0 {
			p.next(8)
		}
		if _, dense := h.address(p); dense {
			h.f.add(Unproven, redoubt.Medium, "hdf5/unread", where, "a group with so many members that they lie in a fractal heap is not read")
		}
	case 0x15: // attribute info
		p.next(1)
		if p.uint(1)&1 != 0 {
			p.next(2)
		}
		if _, dense := h.address(p); dense {
			h.f.add(Unproven, redoubt.Medium, "hdf5/unread", where, "attributes so many or large that they lie in a fractal heap are not read")
		}
	case 0x06:
		return h.link(p, where, depth)
	case 0x11: // symbol table
		tree, ok1 := h.address(p)
		heap, ok2 := h.address(p)
		if p.err == nil && ok1 && ok2 {
			return h.tree(tree, heap, depth, 0)
		}
	case 0x07:
		h.f.add(Unsafe, redoubt.High, "hdf5/external-data", where, "a data set reads its elements from other files")
	case 0x08: // layout
		if v := p.uint(1); v >= 3 && p.uint(1) == 3 {
			h.f.add(Unproven, redoubt.High, "hdf5/virtual", where, "a virtual data set reads other data sets, perhaps of other files")
		}
	case 0x0b:
		h.filters(p, where)
	case 0x0c:
		return h.attribute(p, where)
	case 0x00, 0x01, 0x03, 0x04, 0x05, 0x0a, 0x0d, 0x0e, 0x12, 0x13, 0x16:
	default:
		h.f.add(Unproven, redoubt.Medium, "hdf5/unread", where, "a header message of type %#x is not read", typ)
	}
	return p.err
}

func (h *hdf5) link(p *part, where int64, depth int) error {
	p.next(1)
	flags := p.uint(1)
	typ := int64(0)
	if flags&8 != 0 {
		typ = p.uint(1)
	}
	if flags&4 != 0 {
		p.next(8)
	}
	if flags&0x10 != 0 {
		p.next(1)
	}
	p.next(int(p.uint(1 << (flags & 3))))
	switch typ {
	case 0:
		at, ok := h.address(p)
		if p.err != nil || !ok {
			return errors.New("a link leads nowhere")
		}
		return h.object(at, depth+1)
	case 1: // soft: a path within the file
	case 64:
		h.f.add(Unsafe, redoubt.High, "hdf5/external-link", where, "a link leads into another file")
	default:
		h.f.add(Unproven, redoubt.Medium, "hdf5/unread", where, "a link of type %d is not read", typ)
	}
	return p.err
}

// tree walks the B-tree of a group and its symbol-table nodes.
func (h *hdf5) tree(addr, heap int64, depth, level int) error {
	if level > 16 {
		return fmt.Errorf("%w of 16 levels of a tree", errLimit)
	}
	p, err := h.at(addr, int64(8+2*h.offsets))
	if err != nil || string(p.next(4)) != "TREE" {
		return errors.New("a group has no tree")
	}
	p.next(2)
	n := p.uint(2)
	p, err = h.at(addr+int64(8+2*h.offsets), n*int64(h.lengths+h.offsets))
	if err != nil {
		return err
	}
	for range n {
		p.next(h.lengths)
		child, ok := h.address(p)
		if p.err != nil || !ok {
			return errors.New("a tree is cut short")
		}
		if h.seen[-child-1] {
			return errors.New("a tree contains itself")
		}
		h.seen[-child-1] = true
		head, err := h.at(child, 8)
		if err != nil {
			return err
		}
		if string(head.b[:4]) == "TREE" {
			err = h.tree(child, heap, depth, level+1)
		} else {
			err = h.symbols(child, depth)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (h *hdf5) symbols(addr int64, depth int) error {
	p, err := h.at(addr, 8)
	if err != nil || string(p.next(4)) != "SNOD" {
		return errors.New("a tree has a leaf that is none")
	}
	p.next(2)
	n := p.uint(2)
	if p, err = h.at(addr+8, n*int64(2*h.offsets+24)); err != nil {
		return err
	}
	for range n {
		p.next(h.offsets)
		at, ok := h.address(p)
		cache := p.uint(4)
		p.next(20)
		if p.err != nil {
			return p.err
		}
		if cache == 2 { // a soft link
			continue
		}
		if !ok {
			return errors.New("a member of a group leads nowhere")
		}
		if err := h.object(at, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// filters sees that no plug-in has to be loaded: filters up to 255 belong to
// the library, and 32000 (LZF) to h5py.
func (h *hdf5) filters(p *part, where int64) {
	version, n := p.uint(1), p.uint(1)
	if version == 1 {
		p.next(6)
	}
	for range n {
		id, name := p.uint(2), int64(0)
		if version == 1 || id >= 256 {
			name = p.uint(2)
		}
		p.next(2)
		values := p.uint(2)
		if version == 1 {
			name = (name + 7) / 8 * 8
			values += values % 2
		}
		p.next(int(name))
		p.next(int(4 * values))
		if id >= 256 && id != 32000 {
			h.f.add(Unproven, redoubt.Medium, "hdf5/filter", where, "a data set needs filter %d, which is loaded as a plug-in", id)
		}
	}
}

// attribute reads an attribute, and looks at it if it configures a model.
func (h *hdf5) attribute(p *part, where int64) error {
	version := p.uint(1)
	flags := p.uint(1)
	name, typ, space := p.uint(2), p.uint(2), p.uint(2)
	pad := func(n int64) int { return int(n) }
	switch version {
	case 1:
		flags = 0
		pad = func(n int64) int { return int((n + 7) / 8 * 8) }
	case 3:
		p.next(1)
	}
	key := strings.TrimRight(string(p.next(pad(name))), "\x00")
	dt := &part{b: p.next(pad(typ))}
	p.next(pad(space))
	if p.err != nil {
		return p.err
	}
	if flags&3 != 0 {
		h.f.add(Unproven, redoubt.Medium, "hdf5/unread", where, "attribute %q has a shared type, which is not read", key)
		return nil
	}
	class := dt.uint(1) & 0x0f
	data := p.b
	if class == 9 { // of variable length: length, heap, index
		q := &part{b: data}
		length := q.uint(4)
		heap, ok := h.address(q)
		index := q.uint(4)
		data = nil
		if q.err == nil && ok {
			var err error
			if data, err = h.global(heap, index, length); err != nil {
				return fmt.Errorf("attribute %q: %w", key, err)
			}
		}
	}
	switch data = trimNul(data); key {
	case "model_config":
		h.config = true
		checkKeras(h.s, h.f, where, data)
	case "training_config":
		if v, err := decodeJSON(data); err == nil {
			(&kerasScan{s: h.s, f: h.f, at: where}).walk(v, 0)
		}
	default: // PyTables unpickles attributes
		src := &source{path: h.src.path, r: strings.NewReader(string(data)), size: int64(len(data))}
		if len(data) > 1 && isPickle(h.s, src) {
			m := newMachine(h.s, h.f, src, 0)
			if _, err := m.run(); err != nil {
				h.f.unread("pickle/broken", where, fmt.Errorf("attribute %q is a pickle: %w", key, err))
			}
		}
	}
	return nil
}

func trimNul(b []byte) []byte {
	for len(b) > 0 && b[len(b)-1] == 0 {
		b = b[:len(b)-1]
	}
	return b
}

// global reads an object of a global heap.
func (h *hdf5) global(addr, index, length int64) ([]byte, error) {
	p, err := h.at(addr, int64(8+h.lengths))
	if err != nil || string(p.next(4)) != "GCOL" {
		return nil, errors.New("a text is in no heap")
	}
	p.next(4)
	size := p.uint(h.lengths)
	head := int64(8 + h.lengths)
	if size < head {
		return nil, errors.New("a heap is cut short")
	}
	if p, err = h.at(addr+head, size-head); err != nil {
		return nil, err
	}
	for len(p.b) >= 8+h.lengths {
		i := p.uint(2)
		p.next(6)
		n := p.uint(h.lengths)
		if i == 0 {
			break
		}
		body := p.next(int(min((n+7)/8*8, int64(len(p.b)))))
		if p.err != nil || n < 0 || n > int64(len(body)) {
			return nil, errors.New("a heap is cut short")
		}
		if i == index {
			return body[:min(n, max(length, 0))], nil
		}
	}
	return nil, errors.New("a text is not in its heap")
}
