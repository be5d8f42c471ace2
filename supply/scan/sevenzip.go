package scan

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"compress/flate"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/bits"
	"path"
	"strings"
	"unicode/utf16"

	"github.com/ulikunitz/xz/lzma"

	"github.com/redoubt-ml/redoubt"
)

var sevenZipFormat = Format{
	Name:  "7z",
	Doc:   "7z archives of stored, LZMA, LZMA2, Deflate and BZip2 members",
	match: func(_ *scanner, src *source) bool { return src.has(0, "7z\xbc\xaf\x27\x1c") },
	scan:  scan7z,
}

// The property numbers of the 7z format (7zFormat.txt of the LZMA SDK).
const (
	z7End = iota
	z7Header
	z7ArchiveProperties
	z7AdditionalStreams
	z7MainStreams
	z7FilesInfo
	z7PackInfo
	z7UnpackInfo
	z7SubStreams
	z7Size
	z7CRC
	z7Folder
	z7CodersUnpackSize
	z7NumUnpackStream
	z7EmptyStream
	z7EmptyFile
	z7Anti
	z7Names
	z7CTime
	z7ATime
	z7MTime
	z7WinAttributes
	z7Comment
	z7EncodedHeader
	z7StartPos
	z7Dummy
)

// folder7z is a stream of members that are compressed together. Only one coder
// with one input is read: filters before it (BCJ, Delta) and encryption are not.
type folder7z struct {
	coder []byte
	props []byte
	pack  handle
	size  int64
	crc   *uint32
	parts []part7z // members within it, in order
}

type part7z struct {
	size int64
	crc  *uint32
}

type archive7z struct {
	src     *source
	packs   []handle
	folders []*folder7z
}

// scan7z reads the header, which may be compressed itself, and then each folder
// once as a stream, from which the members are cut.
func scan7z(s *scanner, src *source, f *File) {
	a := &archive7z{src: src}
	names, empty, err := a.open(s, f)
	if err != nil {
		f.unread("archive/damaged", 0, err)
		return
	}
	seen := map[string]bool{}
	for _, name := range names {
		checkName(f, 0, name)
		if key := strings.ToLower(path.Clean(name)); seen[key] {
			f.add(Unproven, redoubt.High, "archive/duplicate", 0, "two members are called %q", name)
		} else {
			seen[key] = true
		}
	}
	i := 0
	next := func() string {
		for i < len(names) && empty[i] {
			i++
		}
		if i >= len(names) {
			return fmt.Sprintf("member %d", i)
		}
		i++
		return names[i-1]
	}
	for _, d := range a.folders {
		r, err := d.open(src)
		if err != nil {
			f.unread("archive/method", d.pack.off, err)
			return
		}
		for _, p := range d.parts {
			name, h := next(), crc32.NewIEEE()
			m := s.unpack(f, name, src, io.TeeReader(io.LimitReader(r, p.size), h), max(d.pack.size, 1))
			if m == nil {
				return
			}
			if m.Size != p.size || p.crc != nil && *p.crc != h.Sum32() {
				f.unread("archive/damaged", d.pack.off, fmt.Errorf("member %q: its size or checksum is wrong", name))
				return
			}
		}
	}
}

func (a *archive7z) open(s *scanner, f *File) (names []string, empty []bool, err error) {
	b, err := a.src.read(0, 32)
	if err != nil {
		return nil, nil, err
	}
	le := binary.LittleEndian
	off, size := le.Uint64(b[12:]), le.Uint64(b[20:])
	if crc32.ChecksumIEEE(b[12:32]) != le.Uint32(b[8:]) {
		return nil, nil, errors.New("the start of the 7z archive is damaged")
	}
	if size > uint64(s.limits.Text) || off > uint64(a.src.size) {
		return nil, nil, fmt.Errorf("a header of %d bytes at %d: %w", size, off, errLimit)
	}
	header, err := a.src.read(32+int64(off), int64(size))
	if err != nil || crc32.ChecksumIEEE(header) != le.Uint32(b[28:]) {
		return nil, nil, errors.New("the header of the 7z archive is damaged")
	}
	if end := 32 + int64(off+size); end != a.src.size {
		f.add(Unproven, redoubt.Medium, "archive/trailing", end, "bytes follow after the end of the 7z archive")
	}
	for range 4 { // a header may be packed, and the packed one again
		p := &part{b: header}
		switch p.uint(1) {
		case z7Header:
			return a.header(p, s.limits.Members)
		case z7EncodedHeader:
			inner := &archive7z{src: a.src}
			if err := inner.streams(p, s.limits.Members); err != nil {
				return nil, nil, err
			}
			if len(inner.folders) != 1 || inner.folders[0].size > s.limits.Text {
				return nil, nil, errors.New("the packed header is not one stream of a size that is read")
			}
			r, err := inner.folders[0].open(a.src)
			if err != nil {
				return nil, nil, err
			}
			if header, err = io.ReadAll(io.LimitReader(r, inner.folders[0].size)); err != nil {
				return nil, nil, fmt.Errorf("unpack the header: %w", err)
			}
		default:
			return nil, nil, errors.New("the header of the 7z archive is none")
		}
	}
	return nil, nil, errors.New("the header is packed too often")
}

// number7z reads a number of one to nine bytes: the leading ones of the first
// byte count those that follow.
func number7z(p *part) int64 {
	first := byte(p.uint(1))
	n := bits.LeadingZeros8(^first)
	low := uint64(p.uint(n))
	if n < 7 {
		low |= uint64(first&(1<<(7-n)-1)) << (8 * n)
	}
	if low > 1<<62 {
		p.err = errors.New("a number is too large")
		return 0
	}
	return int64(low)
}

func count7z(p *part, limit int) int {
	n := number7z(p)
	if n > int64(limit) {
		p.err = fmt.Errorf("%w of %d members", errLimit, limit)
		return 0
	}
	return int(n)
}

func (a *archive7z) header(p *part, limit int) (names []string, empty []bool, err error) {
	for p.err == nil {
		switch id := p.uint(1); id {
		case z7End:
			return names, empty, p.err
		case z7ArchiveProperties:
			for p.err == nil && p.uint(1) != z7End {
				p.next(int(number7z(p)))
			}
		case z7MainStreams:
			if err := a.streams(p, limit); err != nil {
				return nil, nil, err
			}
		case z7FilesInfo:
			n := count7z(p, limit)
			if names, empty, err = files7z(p, n); err != nil {
				return nil, nil, err
			}
		default:
			return nil, nil, fmt.Errorf("property %d of the header is not read", id)
		}
	}
	return names, empty, p.err
}

func files7z(p *part, n int) (names []string, empty []bool, err error) {
	empty = make([]bool, n)
	for p.err == nil {
		id := p.uint(1)
		if id == z7End {
			return names, empty, p.err
		}
		body := &part{b: p.next(int(number7z(p)))}
		switch id {
		case z7EmptyStream:
			empty = bits7z(body, n)
		case z7Names:
			if body.uint(1) != 0 {
				return nil, nil, errors.New("names outside of the header are not read")
			}
			for range n {
				var units []uint16
				for {
					u := uint16(body.uint(2))
					if u == 0 || body.err != nil {
						break
					}
					units = append(units, u)
				}
				names = append(names, string(utf16.Decode(units)))
			}
		case z7Anti:
			return nil, nil, errors.New("members that delete files are not read")
		}
		if body.err != nil {
			return nil, nil, body.err
		}
	}
	return nil, nil, p.err
}

func bits7z(p *part, n int) []bool {
	out := make([]bool, n)
	b := p.next((n + 7) / 8)
	for i := range out {
		out[i] = len(b) > i/8 && b[i/8]&(0x80>>(i%8)) != 0
	}
	return out
}

// digests7z reads which of n streams have a CRC, and these.
func digests7z(p *part, n int) []*uint32 {
	out := make([]*uint32, n)
	defined := make([]bool, n)
	if p.uint(1) == 0 {
		defined = bits7z(p, n)
	} else {
		for i := range defined {
			defined[i] = true
		}
	}
	for i := range out {
		if defined[i] && p.err == nil {
			crc := uint32(p.uint(4))
			out[i] = &crc
		}
	}
	return out
}

func (a *archive7z) streams(p *part, limit int) error {
	for p.err == nil {
		switch id := p.uint(1); id {
		case z7End:
			for _, d := range a.folders {
				if d.parts == nil {
					d.parts = []part7z{{d.size, d.crc}}
				}
			}
			return p.err
		case z7PackInfo:
			a.packInfo(p, limit)
		case z7UnpackInfo:
			if err := a.unpackInfo(p, limit); err != nil {
				return err
			}
		case z7SubStreams:
			if err := a.subStreams(p, limit); err != nil {
				return err
			}
		default:
			return fmt.Errorf("property %d of the streams is not read", id)
		}
	}
	return p.err
}

func (a *archive7z) packInfo(p *part, limit int) {
	at := 32 + number7z(p)
	n := count7z(p, limit)
	for p.err == nil {
		switch p.uint(1) {
		case z7End:
			return
		case z7Size:
			for range n {
				size := number7z(p)
				a.packs = append(a.packs, handle{at, size})
				at += size
			}
		case z7CRC:
			digests7z(p, n)
		default:
			p.err = errors.New("the packed streams are damaged")
		}
	}
}

func (a *archive7z) unpackInfo(p *part, limit int) error {
	if p.uint(1) != z7Folder {
		return errors.New("the header has no folders")
	}
	n := count7z(p, limit)
	if p.uint(1) != 0 {
		return errors.New("folders outside of the header are not read")
	}
	for range n {
		if p.err != nil {
			return p.err
		}
		if number7z(p) != 1 {
			return errors.New("members with filters or encryption (more than one coder) are not read")
		}
		flags := p.uint(1)
		d := &folder7z{coder: p.next(int(flags & 0x0f))}
		if flags&0x10 != 0 {
			return errors.New("a coder with several streams is not read")
		}
		if flags&0x20 != 0 {
			d.props = p.next(int(number7z(p)))
		}
		if len(a.folders) >= len(a.packs) {
			return errors.New("a folder has no packed stream")
		}
		d.pack = a.packs[len(a.folders)]
		a.folders = append(a.folders, d)
	}
	if p.uint(1) != z7CodersUnpackSize {
		return errors.New("the header has no sizes")
	}
	for _, d := range a.folders {
		d.size = number7z(p)
	}
	for p.err == nil {
		switch p.uint(1) {
		case z7End:
			return p.err
		case z7CRC:
			for i, crc := range digests7z(p, n) {
				a.folders[i].crc = crc
			}
		default:
			return errors.New("the folders are damaged")
		}
	}
	return p.err
}

// subStreams cuts folders into members: their number, their sizes but for the
// last of each folder, and the CRCs that are not known yet.
func (a *archive7z) subStreams(p *part, limit int) error {
	for _, d := range a.folders {
		d.parts = make([]part7z, 1)
	}
	id := p.uint(1)
	if id == z7NumUnpackStream {
		total := 0
		for _, d := range a.folders {
			n := count7z(p, limit)
			if total += n; total > limit {
				return fmt.Errorf("%w of %d members", errLimit, limit)
			}
			d.parts = make([]part7z, n)
		}
		id = p.uint(1)
	}
	for _, d := range a.folders {
		left := d.size
		for i := range d.parts {
			size := left
			if i < len(d.parts)-1 {
				if id != z7Size {
					return errors.New("members without a size")
				}
				size = number7z(p)
			}
			if left -= size; left < 0 {
				return errors.New("the members are larger than their folder")
			}
			d.parts[i].size = size
		}
	}
	if id == z7Size {
		id = p.uint(1)
	}
	for ; p.err == nil && id != z7End; id = p.uint(1) {
		if id != z7CRC {
			return errors.New("the members' list is damaged")
		}
		var open []*part7z
		for _, d := range a.folders {
			if len(d.parts) == 1 && d.crc != nil {
				d.parts[0].crc = d.crc
				continue
			}
			for i := range d.parts {
				open = append(open, &d.parts[i])
			}
		}
		for i, crc := range digests7z(p, len(open)) {
			open[i].crc = crc
		}
	}
	for _, d := range a.folders {
		if len(d.parts) == 1 && d.crc != nil {
			d.parts[0].crc = d.crc
		}
	}
	return p.err
}

// open begins to unpack a folder.
func (d *folder7z) open(src *source) (io.Reader, error) {
	if d.pack.off < 0 || d.pack.size < 0 || d.pack.size > src.size-d.pack.off {
		return nil, errors.New("a packed stream lies beyond the end of the archive")
	}
	r := bufio.NewReader(io.NewSectionReader(src.r, d.pack.off, d.pack.size))
	switch string(d.coder) {
	case "\x00":
		return r, nil
	case "\x03\x01\x01": // LZMA: its properties, then the size, make the header of .lzma
		if len(d.props) != 5 {
			return nil, errors.New("an LZMA stream without properties")
		}
		head := binary.LittleEndian.AppendUint64(bytes.Clone(d.props), uint64(d.size))
		return lzma.ReaderConfig{DictCap: 64 << 20}.NewReader(io.MultiReader(bytes.NewReader(head), r))
	case "\x21":
		if len(d.props) != 1 || d.props[0] > 34 { // 256 MiB
			return nil, fmt.Errorf("an LZMA2 dictionary: %w of 256 MiB", errLimit)
		}
		size := (2 | int(d.props[0])&1) << (d.props[0]/2 + 11)
		return lzma.Reader2Config{DictCap: max(size, lzma.MinDictCap)}.NewReader2(r)
	case "\x04\x01\x08":
		return flate.NewReader(r), nil
	case "\x04\x02\x02":
		return bzip2.NewReader(r), nil
	}
	return nil, fmt.Errorf("members are compressed or encrypted by method %x, which is not read", d.coder)
}
