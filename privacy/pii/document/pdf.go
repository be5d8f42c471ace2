package document

import (
	"bytes"
	"compress/zlib"
	"encoding/ascii85"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
)

// PDF is the text of pages (ISO 32000): what their content streams show, with letters by
// the ToUnicode maps of fonts or else by Latin encodings. Its parts are "page 3", and
// what the file says about itself ("Author"), its links and the fields of its forms.
//
// It reads objects wherever they stand, whatever the table at the end says, so that
// damaged files are read as far as they go and earlier versions of a page as well.
// Pictures of text, files that are encrypted, and fonts whose glyphs have no letters
// are beyond it.
var PDF = Format{Name: "pdf", Extensions: []string{".pdf"},
	magic: func(head []byte) bool { return bytes.Contains(head[:min(len(head), 64)], []byte("%PDF-")) },
	walk:  readPDF}

// Values of PDF are float64, bool, nil and these.
type (
	pdfName   string
	pdfString []byte
	pdfWord   string // an operator or another keyword
	pdfRef    int
	pdfArray  []any
	pdfDict   map[pdfName]any
)

// A pdfObject is a value, and the bytes of its stream where it has one.
type pdfObject struct {
	value  any
	stream []byte
}

type pdfFile struct {
	*job
	objects map[int]*pdfObject
	shown   map[int]bool // forms that are being shown
	fonts   map[pdfRef]*pdfFont
}

const pdfDepth = 64 // how deep values may nest

func readPDF(j *job, r io.Reader) error {
	b, err := j.whole(r)
	if err != nil {
		return fmt.Errorf("%sread PDF: %w", j.prefix, err)
	}
	f := &pdfFile{job: j, objects: map[int]*pdfObject{}, shown: map[int]bool{}, fonts: map[pdfRef]*pdfFont{}}
	if err := f.load(b); err != nil {
		return fmt.Errorf("%sread PDF: %w", j.prefix, err)
	}
	numbers := slices.Sorted(maps.Keys(f.objects))
	for _, n := range numbers {
		if err := f.about(f.objects[n].value); err != nil {
			return err
		}
	}
	page := 0
	for _, n := range numbers {
		d, ok := f.objects[n].value.(pdfDict)
		if !ok || d["Type"] != pdfName("Page") {
			continue
		}
		page++
		text, err := f.page(d)
		if err != nil {
			return fmt.Errorf("%sread PDF, page %d: %w", j.prefix, page, err)
		}
		if err := j.stream("page "+strconv.Itoa(page), bytes.NewReader(text)); err != nil {
			return err
		}
	}
	if page == 0 {
		return fmt.Errorf("%sread PDF: no page in it", j.prefix)
	}
	return nil
}

// load finds all objects, those in object streams too.
func (f *pdfFile) load(b []byte) error {
	if i := bytes.LastIndex(b, []byte("/Encrypt")); i >= 0 && len(b) > i+8 && !isPDFRegular(b[i+8]) {
		return errors.New("it is encrypted; decrypt it first")
	}
	for at := 0; ; {
		i := bytes.Index(b[at:], []byte("obj"))
		if i < 0 {
			break
		}
		i += at
		at = i + 3
		n, ok := objectNumber(b, i)
		if !ok {
			continue
		}
		p := pdfParser{b: b, at: at}
		o := &pdfObject{value: p.value(0)}
		if d, ok := o.value.(pdfDict); ok {
			if p.word("stream") {
				o.stream = f.streamAt(b, p.at, d)
				p.at += len(o.stream)
			}
		}
		at = max(at, p.at)
		f.objects[n] = o
	}
	for _, n := range slices.Sorted(maps.Keys(f.objects)) {
		o := f.objects[n]
		if d, ok := o.value.(pdfDict); ok && d["Type"] == pdfName("ObjStm") {
			if err := f.packed(o, d); err != nil {
				return err
			}
		}
	}
	return nil
}

// objectNumber reads "12 0 " before an obj at i.
func objectNumber(b []byte, i int) (int, bool) {
	back := func(good func(byte) bool) int {
		start := i
		for i > 0 && start-i < 10 && good(b[i-1]) {
			i--
		}
		return start - i
	}
	digit := func(c byte) bool { return c >= '0' && c <= '9' }
	back(isPDFSpace)
	if back(digit) == 0 || back(isPDFSpace) == 0 {
		return 0, false
	}
	end := i
	if back(digit) == 0 {
		return 0, false
	}
	n, err := strconv.Atoi(string(b[i:end]))
	return n, err == nil
}

// streamAt is the bytes of a stream: as many as its dictionary says if the end stands
// there, and else up to the end.
func (f *pdfFile) streamAt(b []byte, at int, d pdfDict) []byte {
	if at < len(b) && b[at] == '\r' {
		at++
	}
	if at < len(b) && b[at] == '\n' {
		at++
	}
	rest := b[min(at, len(b)):]
	if n, ok := d["Length"].(float64); ok && n >= 0 && int(n) <= len(rest) {
		if tail := bytes.TrimLeft(rest[int(n):min(len(rest), int(n)+16)], "\r\n "); bytes.HasPrefix(tail, []byte("endstream")) {
			return rest[:int(n)]
		}
	}
	if i := bytes.Index(rest, []byte("endstream")); i >= 0 {
		return rest[:i]
	}
	return rest
}

// packed adds the objects of an object stream, unless they stand in the file.
func (f *pdfFile) packed(o *pdfObject, d pdfDict) error {
	b, err := f.unpack(o, d)
	if err != nil {
		return err
	}
	n, _ := f.resolve(d["N"]).(float64)
	first, _ := f.resolve(d["First"]).(float64)
	p := pdfParser{b: b}
	for range min(int(n), len(b)/4+1) {
		number, ok1 := p.value(0).(float64)
		offset, ok2 := p.value(0).(float64)
		at := int(first) + int(offset)
		if !ok1 || !ok2 || at < 0 || at > len(b) {
			break
		}
		if f.objects[int(number)] == nil {
			inner := pdfParser{b: b, at: at}
			f.objects[int(number)] = &pdfObject{value: inner.value(0)}
		}
	}
	return nil
}

// resolve follows a reference.
func (f *pdfFile) resolve(v any) any {
	for range 8 {
		ref, ok := v.(pdfRef)
		if !ok {
			return v
		}
		o := f.objects[int(ref)]
		if o == nil {
			return nil
		}
		v = o.value
	}
	return nil
}

// unpack undoes the filters of a stream. One that is not known makes it empty: those of
// pictures are among them.
func (f *pdfFile) unpack(o *pdfObject, d pdfDict) ([]byte, error) {
	filters, ok := f.resolve(d["Filter"]).(pdfArray)
	if !ok && d["Filter"] != nil {
		filters = pdfArray{f.resolve(d["Filter"])}
	}
	b := o.stream
	for _, filter := range filters {
		var r io.Reader
		var err error
		switch f.resolve(filter) {
		case pdfName("FlateDecode"), pdfName("Fl"):
			if r, err = zlib.NewReader(bytes.NewReader(b)); err != nil {
				return nil, nil // cut off before it begins
			}
		case pdfName("ASCII85Decode"), pdfName("A85"):
			b, _, _ = bytes.Cut(b, []byte("~>"))
			r = ascii85.NewDecoder(bytes.NewReader(b))
		case pdfName("ASCIIHexDecode"), pdfName("AHx"):
			b = hexString(b)
			continue
		default:
			return nil, nil
		}
		out, err := io.ReadAll(&expansion{r: r, in: &counter{n: int64(len(b))}, job: f.job})
		if errors.Is(err, ErrLimit) {
			return nil, err
		}
		b = out // what came before damage is text all the same
	}
	return b, nil
}

func hexString(b []byte) []byte {
	digits := make([]byte, 0, len(b)+1)
	for _, c := range b {
		if c == '>' {
			break
		}
		if c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'f' {
			digits = append(digits, c)
		}
	}
	if len(digits)%2 == 1 {
		digits = append(digits, '0')
	}
	out, _ := hex.DecodeString(string(digits)) // digits alone are in it
	return out
}

// about hands over what the dictionaries within a value say to people.
func (f *pdfFile) about(v any) error {
	switch v := v.(type) {
	case pdfArray:
		for _, e := range v {
			if err := f.about(e); err != nil {
				return err
			}
		}
	case pdfDict:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			s, ok := v[key].(pdfString)
			if !ok {
				if err := f.about(v[key]); err != nil {
					return err
				}
				continue
			}
			if slices.Contains([]pdfName{"Title", "Author", "Subject", "Keywords", "URI", "Contents", "V", "TU", "RC"}, key) {
				if _, err := f.part(Part{Name: string(key), Text: textString(s)}); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// textString is a string outside of content: UTF-16 or UTF-8 with a mark, or else
// nearly Latin 1.
func textString(s pdfString) []byte {
	switch {
	case bytes.HasPrefix(s, []byte{0xFE, 0xFF}):
		return fromUTF16(s[2:])
	case bytes.HasPrefix(s, []byte("\xef\xbb\xbf")):
		return s[3:]
	}
	return latin(s)
}

// page is the text that a page shows.
func (f *pdfFile) page(d pdfDict) ([]byte, error) {
	var content []byte
	parts, ok := f.resolve(d["Contents"]).(pdfArray)
	if !ok {
		parts = pdfArray{d["Contents"]}
	}
	for _, c := range parts {
		ref, _ := c.(pdfRef)
		o := f.objects[int(ref)]
		if o == nil {
			continue
		}
		sd, _ := o.value.(pdfDict)
		b, err := f.unpack(o, sd)
		if err != nil {
			return nil, err
		}
		if content = append(append(content, b...), '\n'); int64(len(content)) > f.limits.Message {
			return nil, fmt.Errorf("content of more than %d bytes: %w", f.limits.Message, ErrLimit)
		}
	}
	s := &pdfShow{pdfFile: f}
	var text []byte
	err := s.run(content, f.resources(d), 0, &text)
	return text, err
}

// resources are those of a page, or of what it is a part of.
func (f *pdfFile) resources(d pdfDict) pdfDict {
	for range 32 {
		if r, ok := f.resolve(d["Resources"]).(pdfDict); ok {
			return r
		}
		parent, ok := f.resolve(d["Parent"]).(pdfDict)
		if !ok {
			break
		}
		d = parent
	}
	return nil
}
