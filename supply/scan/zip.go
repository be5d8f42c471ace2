package scan

import (
	"bytes"
	"compress/bzip2"
	"compress/flate"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"

	"github.com/redoubt-ml/redoubt"
)

var zipFormat = Format{
	Name:  "zip",
	Doc:   "ZIP archives: PyTorch, TorchScript, NPZ, Keras, skops, MAR, and any other",
	match: func(_ *scanner, src *source) bool { return zipEnd(src) >= 0 || src.has(0, "PK\x03\x04") },
	scan:  scanZip,
}

const (
	zipEndSize = 22
	zipLocal   = "PK\x03\x04"
	zipCentral = "PK\x01\x02"
)

// zipEnd finds the end-of-directory record as Python's zipfile does: the last
// signature within the longest comment, whatever its comment's length says.
func zipEnd(src *source) int64 {
	n := min(src.size, zipEndSize+1<<16)
	if n < zipEndSize {
		return -1
	}
	b, err := src.read(src.size-n, n)
	if err != nil {
		return -1
	}
	if i := bytes.LastIndex(b[:len(b)-zipEndSize+4], []byte("PK\x05\x06")); i >= 0 {
		return src.size - n + int64(i)
	}
	return -1
}

// zipEntry is a member as the central directory describes it.
type zipEntry struct {
	name         string
	method       uint16
	flags        uint16
	crc          uint32
	packed, size int64
	local        int64 // where its local header is
	data         int64 // where its content begins
	end          int64 // where it ends, the descriptor included
	mode         fs.FileMode
}

// scanZip compares what the local headers say with the central directory, for
// readers differ in whom they believe, and scans every member.
func scanZip(s *scanner, src *source, f *File) {
	entries, err := zipDirectory(s, src, f)
	if err != nil {
		f.unread("archive/damaged", 0, err)
		return
	}
	checkNames(f, entries)
	prefix, storages, script := torchArchive(entries)
	if f.Format == "zip" {
		f.Format = zipKind(entries, storages != nil, script)
	}
	if script {
		f.add(Unproven, redoubt.Medium, "torchscript/code", 0, "a TorchScript archive is a program: its code is compiled and run by the loader")
	}
	for _, e := range entries {
		if err := s.alive(); err != nil {
			f.unread("limit", e.local, err)
			return
		}
		if strings.HasSuffix(e.name, "/") && e.size == 0 {
			continue
		}
		if key, ok := strings.CutPrefix(e.name, prefix+"data/"); ok && storages != nil && storages[key] == e.size && !strings.Contains(key, "/") {
			zipStorage(s, src, f, e)
			continue
		}
		zipMember(s, src, f, e, storages)
	}
}

// zipKind names what an archive is by its members.
func zipKind(entries []*zipEntry, torch, script bool) string {
	has := func(name string) bool {
		return slices.ContainsFunc(entries, func(e *zipEntry) bool { return e.name == name })
	}
	switch {
	case script:
		return "torchscript"
	case torch:
		return "pytorch"
	case has("config.json") && has("metadata.json"):
		return "keras"
	case has("schema.json"):
		return "skops"
	case len(entries) > 0 && !slices.ContainsFunc(entries, func(e *zipEntry) bool { return !strings.HasSuffix(e.name, ".npy") }):
		return "npz"
	}
	return "zip"
}

func zipDirectory(s *scanner, src *source, f *File) ([]*zipEntry, error) {
	end := zipEnd(src)
	if end < 0 {
		return nil, errors.New("a ZIP archive without its directory: it is cut short")
	}
	b, err := src.read(end, zipEndSize)
	if err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	count, size, at := int64(le.Uint16(b[10:])), int64(le.Uint32(b[12:])), int64(le.Uint32(b[16:]))
	disks := le.Uint16(b[4:]) | le.Uint16(b[6:])
	if end+zipEndSize+int64(le.Uint16(b[20:])) != src.size {
		f.add(Unproven, redoubt.Medium, "archive/trailing", end, "bytes follow after the end of the ZIP archive")
	}
	top := end
	if src.has(end-20, "PK\x06\x07") {
		loc, err := src.read(end-20, 20)
		if err != nil {
			return nil, err
		}
		z, err := src.read(int64(le.Uint64(loc[8:])), 56)
		if err != nil || string(z[:4]) != "PK\x06\x06" {
			return nil, errors.New("the ZIP64 directory is not where it should be")
		}
		top = int64(le.Uint64(loc[8:]))
		count, size, at = int64(le.Uint64(z[32:])), int64(le.Uint64(z[40:])), int64(le.Uint64(z[48:]))
	}
	if disks != 0 || size < 0 || at < 0 || size > top || at > top-size {
		return nil, errors.New("the ZIP directory does not lie within the file")
	}
	before := top - size - at
	if before != 0 {
		f.add(Unproven, redoubt.High, "archive/prefix", 0, "%d bytes stand before the ZIP archive", before)
	}
	if count > int64(s.limits.Members) || count < 0 {
		return nil, fmt.Errorf("%w of %d members; raise --limit-members if that is meant", errLimit, s.limits.Members)
	}
	c := src.cursor(at + before)
	entries := make([]*zipEntry, 0, min(count, size/46+1))
	for c.offset() < top && int64(len(entries)) < count {
		e, err := zipCentralEntry(c, before)
		if err != nil {
			return nil, fmt.Errorf("member %d of the ZIP directory: %w", len(entries)+1, err)
		}
		entries = append(entries, e)
	}
	if c.offset() != top || int64(len(entries)) != count {
		return nil, errors.New("the ZIP directory has another size than it says")
	}
	zipLayout(src, f, entries, at+before, before)
	return entries, nil
}

func zipCentralEntry(c *cursor, before int64) (*zipEntry, error) {
	b, err := c.next(46)
	if err != nil || string(b[:4]) != zipCentral {
		return nil, errors.New("no entry")
	}
	le := binary.LittleEndian
	e := &zipEntry{flags: le.Uint16(b[8:]), method: le.Uint16(b[10:]), crc: le.Uint32(b[16:]),
		packed: int64(le.Uint32(b[20:])), size: int64(le.Uint32(b[24:])), local: int64(le.Uint32(b[42:]))}
	if madeBy := b[5]; madeBy == 3 || madeBy == 19 { // Unix, macOS
		switch le.Uint32(b[38:]) >> 16 & 0xf000 {
		case 0xa000:
			e.mode = fs.ModeSymlink
		case 0, 0x8000, 0x4000:
		default:
			e.mode = fs.ModeIrregular
		}
	}
	n, x, comment := int(le.Uint16(b[28:])), int(le.Uint16(b[30:])), int64(le.Uint16(b[32:]))
	b, err = c.next(n + x)
	if err != nil {
		return nil, err
	}
	e.name = string(b[:n])
	if err := zip64(b[n:], &e.size, &e.packed, &e.local); err != nil {
		return nil, err
	}
	e.local += before
	return e, c.skip(comment)
}

// zip64 replaces sizes of all ones by those of the ZIP64 extra field, in order.
func zip64(extra []byte, fields ...*int64) error {
	for len(extra) >= 4 {
		id, n := binary.LittleEndian.Uint16(extra), int(binary.LittleEndian.Uint16(extra[2:]))
		if n > len(extra)-4 {
			return nil // padding, as PyTorch writes it
		}
		body := extra[4 : 4+n]
		extra = extra[4+n:]
		if id != 1 {
			continue
		}
		for _, f := range fields {
			if *f != 0xffffffff {
				continue
			}
			if len(body) < 8 {
				return errors.New("its ZIP64 sizes are cut short")
			}
			if *f = int64(binary.LittleEndian.Uint64(body)); *f < 0 {
				return errors.New("a negative size")
			}
			body = body[8:]
		}
	}
	return nil
}

// zipLayout reads the local headers and sees that the members fill the file up
// to the directory, one after the other.
func zipLayout(src *source, f *File, entries []*zipEntry, directory, before int64) {
	for _, e := range entries {
		if why := zipLocalHeader(src, e); why != "" {
			f.add(Unproven, redoubt.High, "archive/mismatch", e.local, "member %q: %s", e.name, why)
		}
	}
	byPlace := slices.Clone(entries)
	slices.SortFunc(byPlace, func(a, b *zipEntry) int { return int(min(max(a.local-b.local, -1), 1)) })
	at := before
	for _, e := range byPlace {
		if e.end == 0 {
			continue // its header was not understood
		}
		switch {
		case e.local < at:
			f.add(Unproven, redoubt.High, "archive/overlap", e.local, "member %q overlaps with another", e.name)
		case e.local > at:
			f.add(Unproven, redoubt.High, "archive/hidden", at, "%d bytes before member %q belong to no member of the directory", e.local-at, e.name)
		}
		at = max(at, e.end)
	}
	if at < directory {
		f.add(Unproven, redoubt.High, "archive/hidden", at, "%d bytes before the directory belong to no member of it", directory-at)
	}
}

// zipLocalHeader finds a member's content, and says where its local header
// differs from the directory.
func zipLocalHeader(src *source, e *zipEntry) string {
	b, err := src.read(e.local, 30)
	if err != nil || string(b[:4]) != zipLocal {
		return "no local header where the directory says"
	}
	le := binary.LittleEndian
	n, x := int64(le.Uint16(b[26:])), int64(le.Uint16(b[28:]))
	tail, err := src.read(e.local+30, n+x)
	if err != nil {
		return "its local header is cut short"
	}
	e.data = e.local + 30 + n + x
	if e.packed < 0 || e.size < 0 || e.packed > src.size-e.data {
		return "its content does not lie within the file"
	}
	e.end = e.data + e.packed
	crc, packed, size := le.Uint32(b[14:]), int64(le.Uint32(b[18:])), int64(le.Uint32(b[22:]))
	if err := zip64(tail[n:], &size, &packed); err != nil {
		return err.Error()
	}
	described := le.Uint16(b[6:])&8 != 0
	if described {
		e.end += descriptor(src, e)
	}
	zero := described && crc == 0 && packed == 0 && size == 0
	switch {
	case string(tail[:n]) != e.name:
		return fmt.Sprintf("its local header calls it %q", short(string(tail[:n])))
	case le.Uint16(b[6:]) != e.flags:
		return "flags differ between local header and directory"
	case le.Uint16(b[8:]) != e.method:
		return "methods differ between local header and directory"
	case !zero && (crc != e.crc || packed != e.packed || size != e.size) && !(described && crc == 0):
		return "sizes or checksums differ between local header and directory"
	}
	return ""
}

// descriptor is the length of the data descriptor after a member's content,
// which may have a signature and 8-byte sizes.
func descriptor(src *source, e *zipEntry) int64 {
	le := binary.LittleEndian
	for _, signed := range []int64{4, 0} {
		for _, wide := range []int64{4, 8} {
			b, err := src.read(e.data+e.packed, signed+4+2*wide)
			if err != nil || signed == 4 && string(b[:4]) != "PK\x07\x08" {
				continue
			}
			b = b[signed:]
			packed, size := int64(le.Uint32(b[4:])), int64(le.Uint32(b[8:]))
			if wide == 8 {
				packed, size = int64(le.Uint64(b[4:])), int64(le.Uint64(b[12:]))
			}
			if le.Uint32(b) == e.crc && packed == e.packed && size == e.size {
				return signed + 4 + 2*wide
			}
		}
	}
	return 0
}

// checkNames refuses names that lead out of the folder an archive is unpacked
// to, links, and two members of one name.
func checkNames(f *File, entries []*zipEntry) {
	seen := map[string]bool{}
	for _, e := range entries {
		checkName(f, e.local, e.name)
		if e.mode != 0 {
			f.add(Unsafe, redoubt.High, "archive/link", e.local, "member %q is a link or a device", e.name)
		}
		key := strings.ToLower(path.Clean(e.name))
		if seen[key] {
			f.add(Unproven, redoubt.High, "archive/duplicate", e.local, "two members are called %q: readers differ in which they take", e.name)
		}
		seen[key] = true
		switch {
		case e.flags&(1|1<<6|1<<13) != 0:
			f.add(Unproven, redoubt.High, "archive/encrypted", e.local, "member %q is encrypted", e.name)
		case e.flags&^(1<<1|1<<2|1<<3|1<<11) != 0:
			f.add(Unproven, redoubt.High, "archive/flags", e.local, "member %q has the flags %#04x, which not every reader understands", e.name, e.flags)
		}
	}
}

func checkName(f *File, at int64, name string) {
	why := ""
	switch {
	case name == "" || !utf8.ValidString(name) || strings.IndexFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }) >= 0:
		why = "has a name that is no text"
	case strings.HasPrefix(name, "/") || strings.Contains(name, `\`) || len(name) > 1 && name[1] == ':':
		why = "has a name with a drive, a root or a backslash"
	case slices.Contains(strings.Split(name, "/"), ".."):
		why = "leads out of the archive's folder"
	default:
		return
	}
	f.add(Unsafe, redoubt.High, "archive/path", at, "member %q %s", name, why)
}

// zipStorage reads a tensor's bytes for their checksum only.
func zipStorage(s *scanner, src *source, f *File, e *zipEntry) {
	r, err := unzip(src, e)
	if err == nil {
		h := crc32.NewIEEE()
		var n int64
		if n, err = io.Copy(h, &meter{s: s, r: r, packed: e.packed}); err == nil && (n != e.size || h.Sum32() != e.crc) {
			err = errors.New("its size or checksum is wrong")
		}
	}
	if err != nil {
		f.unread("archive/damaged", e.local, fmt.Errorf("member %q: %w", e.name, err))
	}
}

// zipMember scans a member as a file of its own.
func zipMember(s *scanner, src *source, f *File, e *zipEntry, storages map[string]int64) {
	if e.flags&(1|1<<6|1<<13) != 0 || e.end == 0 {
		return // said already
	}
	role := zipRole(f.Format, e.name)
	if e.method == 0 && e.packed == e.size {
		zipStorage(s, src, f, e)
		member := src.part(e.name, e.data, e.size)
		member.torch, member.role = storages, role
		s.examine(member)
		return
	}
	r, err := unzip(src, e)
	if err != nil {
		f.unread("archive/method", e.local, fmt.Errorf("member %q: %w", e.name, err))
		return
	}
	h := crc32.NewIEEE()
	at := &source{path: src.path, depth: src.depth, torch: storages, role: role}
	m := s.unpack(f, e.name, at, io.TeeReader(r, h), e.packed)
	if m != nil && (m.Size != e.size || h.Sum32() != e.crc) {
		f.unread("archive/damaged", e.local, fmt.Errorf("member %q: its size or checksum is wrong", e.name))
	}
}

func zipRole(format, name string) string {
	switch {
	case format == "keras" && name == "config.json":
		return "keras-config"
	case format == "skops" && name == "schema.json":
		return "skops-schema"
	}
	return ""
}

// unzip is a member's content. Methods 97 and above (WavPack, PPMd) and the
// ancient ones are not read.
func unzip(src *source, e *zipEntry) (io.Reader, error) {
	r := io.NewSectionReader(src.r, e.data, e.packed)
	switch e.method {
	case 0:
		return r, nil
	case 8:
		return flate.NewReader(r), nil
	case 12:
		return bzip2.NewReader(r), nil
	case 93:
		d, err := zstd.NewReader(r, zstd.WithDecoderMaxMemory(256<<20), zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, err
		}
		return d.IOReadCloser(), nil
	case 95:
		return xz.ReaderConfig{DictCap: 64 << 20}.NewReader(r)
	}
	return nil, fmt.Errorf("it is compressed by method %d, which is not read", e.method)
}
