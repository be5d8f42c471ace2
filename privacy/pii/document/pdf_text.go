package document

import (
	"bytes"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/text/encoding/charmap"
)

func isPDFSpace(b byte) bool {
	return b == ' ' || b == '\n' || b == '\r' || b == '\t' || b == '\f' || b == 0
}

func isPDFRegular(b byte) bool {
	return !isPDFSpace(b) && bytes.IndexByte([]byte("()<>[]{}/%"), b) < 0
}

// A pdfParser reads values. At the end, and where nothing makes sense, it gives the
// empty word and moves on.
type pdfParser struct {
	b  []byte
	at int
}

func (p *pdfParser) space() {
	for p.at < len(p.b) {
		switch c := p.b[p.at]; {
		case isPDFSpace(c):
			p.at++
		case c == '%':
			for p.at < len(p.b) && p.b[p.at] != '\n' && p.b[p.at] != '\r' {
				p.at++
			}
		default:
			return
		}
	}
}

// word takes a keyword if it is next.
func (p *pdfParser) word(w string) bool {
	p.space()
	if bytes.HasPrefix(p.b[p.at:], []byte(w)) {
		p.at += len(w)
		return true
	}
	return false
}

func (p *pdfParser) value(depth int) any {
	p.space()
	if p.at >= len(p.b) {
		return pdfWord("")
	}
	rest := p.b[p.at:]
	switch c := rest[0]; {
	case c == '/':
		return p.name()
	case c == '(':
		return p.string()
	case bytes.HasPrefix(rest, []byte("<<")):
		p.at += 2
		return p.dict(depth)
	case c == '<':
		end := bytes.IndexByte(rest, '>')
		if end < 0 {
			end = len(rest)
		}
		p.at += min(end+1, len(rest))
		return pdfString(hexString(rest[1:end]))
	case c == '[':
		p.at++
		return p.array(depth)
	case !isPDFRegular(c):
		p.at++
		if c == '>' && len(rest) > 1 && rest[1] == '>' {
			p.at++
			return pdfWord(">>")
		}
		return pdfWord(c)
	}
	n := 0
	for n < len(rest) && isPDFRegular(rest[n]) {
		n++
	}
	token := string(rest[:min(n, 64)])
	p.at += n
	if f, err := strconv.ParseFloat(token, 64); err == nil && token[0] != 'i' && token[0] != 'n' && token[0] != 'I' && token[0] != 'N' {
		return p.reference(f)
	}
	switch token {
	case "true":
		return true
	case "false":
		return false
	case "null":
		return nil
	}
	return pdfWord(token)
}

// reference makes "12 0 R" of its first number.
func (p *pdfParser) reference(n float64) any {
	i := p.at
	space := func() {
		for i < len(p.b) && isPDFSpace(p.b[i]) {
			i++
		}
	}
	space()
	start := i
	for i < len(p.b) && i-start < 6 && p.b[i] >= '0' && p.b[i] <= '9' {
		i++
	}
	if i == start || n < 0 || n > 1e9 || n != float64(int(n)) {
		return n
	}
	space()
	if i < len(p.b) && p.b[i] == 'R' && (i+1 == len(p.b) || !isPDFRegular(p.b[i+1])) {
		p.at = i + 1
		return pdfRef(n)
	}
	return n
}

func (p *pdfParser) name() pdfName {
	p.at++
	var out []byte
	for p.at < len(p.b) && isPDFRegular(p.b[p.at]) {
		c := p.b[p.at]
		if c == '#' && p.at+2 < len(p.b) {
			if n, err := strconv.ParseUint(string(p.b[p.at+1:p.at+3]), 16, 8); err == nil {
				c = byte(n)
				p.at += 2
			}
		}
		out = append(out, c)
		p.at++
	}
	return pdfName(out)
}

func (p *pdfParser) string() pdfString {
	p.at++
	out := pdfString{}
	for depth := 1; p.at < len(p.b); p.at++ {
		c := p.b[p.at]
		switch c {
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				p.at++
				return out
			}
		case '\\':
			if p.at++; p.at < len(p.b) {
				out = p.escape(out)
			}
			continue
		}
		out = append(out, c)
	}
	p.at = len(p.b)
	return out
}

// escape appends what stands behind a backslash, whose last byte it stays at.
func (p *pdfParser) escape(out pdfString) pdfString {
	c := p.b[p.at]
	if i := bytes.IndexByte([]byte("nrtbf"), c); i >= 0 {
		return append(out, "\n\r\t\b\f"[i])
	}
	switch {
	case c == '\n':
		return out
	case c == '\r':
		if p.at+1 < len(p.b) && p.b[p.at+1] == '\n' {
			p.at++
		}
		return out
	case c < '0' || c > '7':
		return append(out, c)
	}
	n := 0
	start := p.at
	for p.at < len(p.b) && p.at-start < 3 && p.b[p.at] >= '0' && p.b[p.at] <= '7' {
		n = n*8 + int(p.b[p.at]-'0')
		p.at++
	}
	p.at--
	return append(out, byte(n))
}

func (p *pdfParser) array(depth int) any {
	var out pdfArray
	for depth < pdfDepth {
		p.space()
		if p.at >= len(p.b) {
			break
		}
		if p.b[p.at] == ']' {
			p.at++
			break
		}
		v := p.value(depth + 1)
		if v == pdfWord("endobj") || v == pdfWord(">>") {
			break
		}
		out = append(out, v)
	}
	return out
}

func (p *pdfParser) dict(depth int) any {
	d := pdfDict{}
	for depth < pdfDepth {
		key := p.value(depth + 1)
		name, ok := key.(pdfName)
		if !ok {
			if key == pdfWord(">>") || key == pdfWord("") || key == pdfWord("endobj") {
				break
			}
			continue
		}
		v := p.value(depth + 1)
		if v == pdfWord(">>") {
			break
		}
		d[name] = v
	}
	return d
}

// A pdfShow follows the operators of content streams that show text.
type pdfShow struct {
	*pdfFile
	font *pdfFont
}

// maxPageText bounds what one page shows: forms can show each other many times.
const maxPageText = 64 << 20

// run follows the operators of one stream.
func (s *pdfShow) run(content []byte, resources pdfDict, depth int, out *[]byte) error {
	fonts, _ := s.resolve(resources["Font"]).(pdfDict)
	p := pdfParser{b: content}
	var stack []any
	last := func(n int) any {
		if len(stack) < n {
			return nil
		}
		return stack[len(stack)-n]
	}
	for {
		v := p.value(0)
		op, ok := v.(pdfWord)
		if !ok {
			if stack = append(stack, v); len(stack) > 512 {
				stack = stack[1:]
			}
			continue
		}
		switch op {
		case "":
			if p.at >= len(content) {
				return nil
			}
		case "Tf":
			name, _ := last(2).(pdfName)
			f, err := s.fontOf(fonts[name])
			if err != nil {
				return err
			}
			s.font = f
		case "Tj", "'", "\"":
			if op != "Tj" {
				*out = append(*out, '\n')
			}
			s.show(out, last(1))
		case "TJ":
			array, _ := last(1).(pdfArray)
			for _, e := range array {
				// A gap of a fifth of an em is a space that is not written.
				if n, ok := e.(float64); ok && n < -200 {
					space(out)
				}
				s.show(out, e)
			}
		case "Td", "TD":
			if y, _ := last(1).(float64); y != 0 {
				*out = append(*out, '\n')
			} else {
				space(out)
			}
		case "T*", "Tm", "ET":
			*out = append(*out, '\n')
		case "BI":
			if i := bytes.Index(content[p.at:], []byte("EI")); i >= 0 {
				p.at += i + 2
			}
		case "Do":
			name, _ := last(1).(pdfName)
			if err := s.form(resources, name, depth, out); err != nil {
				return err
			}
		}
		stack = stack[:0]
		if len(*out) > maxPageText {
			return ErrLimit
		}
	}
}

// space adds one, unless there is one.
func space(out *[]byte) {
	if n := len(*out); n > 0 && !isPDFSpace((*out)[n-1]) {
		*out = append(*out, ' ')
	}
}

// form shows a form, which is content of its own.
func (s *pdfShow) form(resources pdfDict, name pdfName, depth int, out *[]byte) error {
	forms, _ := s.resolve(resources["XObject"]).(pdfDict)
	ref, _ := forms[name].(pdfRef)
	o := s.objects[int(ref)]
	if o == nil || depth > 8 || s.shown[int(ref)] {
		return nil
	}
	d, _ := o.value.(pdfDict)
	if d["Subtype"] != pdfName("Form") {
		return nil
	}
	b, err := s.unpack(o, d)
	if err != nil {
		return err
	}
	own, ok := s.resolve(d["Resources"]).(pdfDict)
	if !ok {
		own = resources
	}
	s.shown[int(ref)] = true
	defer delete(s.shown, int(ref))
	font := s.font
	defer func() { s.font = font }()
	return s.run(b, own, depth+1, out)
}

func (s *pdfShow) show(out *[]byte, v any) {
	text, ok := v.(pdfString)
	if !ok {
		return
	}
	if s.font == nil {
		*out = append(*out, latin(text)...)
		return
	}
	*out = s.font.decode(*out, text)
}

// A pdfFont turns the codes of strings into letters.
type pdfFont struct {
	wide    bool              // codes of two bytes
	letters map[uint32]string // by code; with the length of the code in the top byte
	lengths [5]bool
}

// fontOf is the font that a resource is, made once.
func (s *pdfShow) fontOf(v any) (*pdfFont, error) {
	ref, ok := v.(pdfRef)
	if f := s.fonts[ref]; ok && f != nil {
		return f, nil
	}
	f, err := s.newFont(s.resolve(v))
	if ok && err == nil {
		s.fonts[ref] = f
	}
	return f, err
}

func (s *pdfShow) newFont(v any) (*pdfFont, error) {
	f := &pdfFont{letters: map[uint32]string{}}
	d, ok := v.(pdfDict)
	if !ok {
		return f, nil
	}
	f.wide = d["Subtype"] == pdfName("Type0")
	if e, ok := s.resolve(d["Encoding"]).(pdfDict); ok {
		f.differences(s.resolve(e["Differences"]))
	}
	if ref, ok := d["ToUnicode"].(pdfRef); ok && s.objects[int(ref)] != nil {
		o := s.objects[int(ref)]
		od, _ := o.value.(pdfDict)
		b, err := s.unpack(o, od)
		if err != nil {
			return nil, err
		}
		f.unicode(b)
	}
	return f, nil
}

// differences are codes whose letters a font of one byte names.
func (f *pdfFont) differences(v any) {
	array, _ := v.(pdfArray)
	code := 0
	for _, e := range array {
		switch e := e.(type) {
		case float64:
			code = int(e)
		case pdfName:
			if l := glyph(string(e)); l != "" && code >= 0 && code < 256 {
				f.set([]byte{byte(code)}, l)
			}
			code++
		}
	}
}

// glyph is the letter of a name of the Adobe Glyph List that people's data is made of.
func glyph(name string) string {
	if len(name) == 1 {
		return name
	}
	if len(name) == 7 && name[:3] == "uni" {
		if n, err := strconv.ParseUint(name[3:], 16, 32); err == nil {
			return string(rune(n))
		}
	}
	return glyphs[name]
}

var glyphs = map[string]string{
	"zero": "0", "one": "1", "two": "2", "three": "3", "four": "4", "five": "5", "six": "6", "seven": "7", "eight": "8", "nine": "9",
	"space": " ", "period": ".", "comma": ",", "colon": ":", "semicolon": ";", "hyphen": "-", "minus": "-", "endash": "–", "emdash": "—", "at": "@", "slash": "/",
	"underscore": "_", "plus": "+", "parenleft": "(", "parenright": ")", "numbersign": "#", "ampersand": "&", "equal": "=", "question": "?", "exclam": "!",
	"percent": "%", "quotesingle": "'", "quoteright": "’", "quoteleft": "‘", "quotedbl": "\"", "asterisk": "*", "dollar": "$", "fi": "fi", "fl": "fl", "ff": "ff",
	"adieresis": "ä", "odieresis": "ö", "udieresis": "ü", "Adieresis": "Ä", "Odieresis": "Ö", "Udieresis": "Ü", "germandbls": "ß", "eacute": "é", "egrave": "è",
	"ecircumflex": "ê", "agrave": "à", "aacute": "á", "acircumflex": "â", "ccedilla": "ç", "ntilde": "ñ", "oacute": "ó", "ograve": "ò", "ocircumflex": "ô",
	"uacute": "ú", "ugrave": "ù", "iacute": "í", "icircumflex": "î", "aring": "å", "Aring": "Å", "oslash": "ø", "Oslash": "Ø", "ae": "æ", "AE": "Æ",
	"lslash": "ł", "zcaron": "ž", "scaron": "š", "ccaron": "č",
}

func codeKey(code []byte) uint32 {
	key := uint32(len(code))
	for _, b := range code {
		key = key<<8 | uint32(b)
	}
	return key
}

// set gives a code of up to two bytes its letters.
func (f *pdfFont) set(code []byte, letters string) {
	if len(code) == 0 || len(code) > 2 || len(f.letters) > 1<<17 {
		return
	}
	f.letters[codeKey(code)] = letters
	f.lengths[len(code)] = true
}

// unicode reads a ToUnicode map.
func (f *pdfFont) unicode(b []byte) {
	p := pdfParser{b: b}
	var stack []any
	for p.at < len(b) {
		v := p.value(0)
		op, ok := v.(pdfWord)
		if !ok {
			stack = append(stack, v)
			continue
		}
		switch op {
		case "endbfchar":
			for i := 0; i+1 < len(stack); i += 2 {
				code, _ := stack[i].(pdfString)
				to, _ := stack[i+1].(pdfString)
				f.set(code, string(fromUTF16(to)))
			}
		case "endbfrange":
			for i := 0; i+2 < len(stack); i += 3 {
				low, _ := stack[i].(pdfString)
				top, _ := stack[i+1].(pdfString)
				f.span(low, top, stack[i+2])
			}
		}
		stack = stack[:0]
	}
}

// span gives the codes from low to top their letters: one after another, or from an
// array.
func (f *pdfFont) span(low, top pdfString, to any) {
	if len(low) == 0 || len(low) > 2 || len(low) != len(top) {
		return
	}
	first, last := codeKey(low), codeKey(top)
	for key := first; key <= last; key++ {
		code := []byte{byte(key >> 8), byte(key)}[2-len(low):]
		switch to := to.(type) {
		case pdfString:
			r := []rune(string(fromUTF16(to)))
			if len(r) > 0 {
				r[len(r)-1] += rune(key - first)
				f.set(code, string(r))
			}
		case pdfArray:
			if i := int(key - first); i < len(to) {
				s, _ := to[i].(pdfString)
				f.set(code, string(fromUTF16(s)))
			}
		}
	}
}

func (f *pdfFont) decode(out []byte, text pdfString) []byte {
	n := 1
	if f.wide || f.lengths[2] && !f.lengths[1] {
		n = 2
	}
	for len(text) >= n {
		if l, ok := f.letters[codeKey(text[:n])]; ok {
			out = append(out, l...)
		} else if n == 1 {
			out = append(out, latin(text[:1])...)
		} else {
			out = utf8.AppendRune(out, utf8.RuneError)
		}
		text = text[n:]
	}
	return out
}

func fromUTF16(b []byte) []byte {
	units := make([]uint16, len(b)/2)
	for i := range units {
		units[i] = uint16(b[2*i])<<8 | uint16(b[2*i+1])
	}
	return []byte(string(utf16.Decode(units)))
}

// latin is WinAnsiEncoding, which is Windows' code page 1252.
func latin(b []byte) []byte {
	out, err := charmap.Windows1252.NewDecoder().Bytes(b)
	if err != nil {
		return b
	}
	return out
}
