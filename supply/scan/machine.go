package scan

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/big"
	"strconv"
	"strings"
	"unicode/utf8"
)

// machine runs a pickle without the calls: it follows CPython's _pickle.c
// (3.11) instruction by instruction, and where the pure Python unpickler
// differs, it says so. What a real unpickler would import, call or set is
// handed to judge.go.
type machine struct {
	s   *scanner
	f   *File
	src *source
	c   *cursor

	stack []*value
	marks []int
	fence int // values below it lie under a mark and cannot be reached
	memo  []*value
	noted int // entries of the memo that are set
	proto int

	frameEnd int64 // where the frame ends, 0 outside of any
	start    int64 // where the pickle begins
	steps    int64
	kept     int
	slab     []value // values that are not used yet
	made     int     // how many were made at once
	ring     [8]step
	depth    int // of pickles within bytes

	seen    map[string]bool // imports and calls that were reported
	legacy  bool            // in a PyTorch file of before 1.6, whose storages follow
	joblib  bool            // arrays stand between the instructions
	probing bool            // only to see whether these bytes are instructions
	frozen  bool            // values are another machine's too, and may not change
	enough  int64           // instructions after which a probe knows, 0 for never
	ordered []*value        // persistent ids in the order they came, for convert
}

type step struct {
	at int64
	op byte
}

func newMachine(s *scanner, f *File, src *source, off int64) *machine {
	return &machine{s: s, f: f, src: src, c: src.cursor(off), start: off, seen: map[string]bool{}}
}

func (m *machine) value(k kind) *value {
	if len(m.slab) == 0 {
		m.made = min(max(2*m.made, 8), 256)
		m.slab = make([]value, m.made)
	}
	v := &m.slab[0]
	m.slab = m.slab[1:]
	v.kind = k
	return v
}

func (m *machine) push(v *value) { m.stack = append(m.stack, v) }

var errUnderflow = errors.New("the stack is empty")

// pop takes the top value, which must lie above the last mark.
func (m *machine) pop() (*value, error) {
	if len(m.stack) <= m.fence {
		return nil, errUnderflow
	}
	v := m.stack[len(m.stack)-1]
	m.stack = m.stack[:len(m.stack)-1]
	return v, nil
}

func (m *machine) top() (*value, error) {
	if len(m.stack) <= m.fence {
		return nil, errUnderflow
	}
	return m.stack[len(m.stack)-1], nil
}

// mark removes the last mark and says where it stood.
func (m *machine) mark() (int, error) {
	if len(m.marks) == 0 {
		return 0, errors.New("could not find a mark")
	}
	at := m.marks[len(m.marks)-1]
	m.marks = m.marks[:len(m.marks)-1]
	m.fence = 0
	if n := len(m.marks); n > 0 {
		m.fence = m.marks[n-1]
	}
	return at, nil
}

// cut takes all values from a place of the stack on.
func (m *machine) cut(from int) []*value {
	items := append([]*value(nil), m.stack[from:]...)
	m.stack = m.stack[:from]
	return items
}

// keep adds items to a container as long as the pickle's budget lasts.
func (m *machine) keep(v *value, items ...*value) {
	for _, item := range items {
		v.num++
		if item.kind >= kTuple && item.kind <= kFrozenSet {
			v.num = min(v.num+item.num, 2*maxWeight)
		}
	}
	if v.num > maxWeight {
		m.tooHeavy()
	}
	if v.part || m.kept+len(items) > maxKept {
		v.part = true
		return
	}
	m.kept += len(items)
	v.items = append(v.items, items...)
}

// fill is keep for a container that was there before.
func (m *machine) fill(v *value, items []*value) {
	if !m.frozen {
		m.keep(v, items...)
	}
}

// run follows the pickle to its STOP and gives the value it makes.
func (m *machine) run() (*value, error) {
	for {
		if m.steps == m.enough && m.enough > 0 {
			return nil, errors.New("enough was seen")
		}
		if m.steps++; m.steps > m.s.limits.Opcodes {
			return nil, fmt.Errorf("%w of %d instructions; raise --limit-opcodes if that is meant", errLimit, m.s.limits.Opcodes)
		}
		if m.steps&0xfff == 0 {
			if err := m.s.alive(); err != nil {
				return nil, err
			}
		}
		at := m.c.offset()
		b, err := m.c.next(1)
		if err != nil {
			return nil, errors.New("it ends before its STOP")
		}
		op := b[0]
		m.ring[m.steps&7] = step{at, op}
		if op == '.' {
			v, err := m.pop()
			if err != nil {
				return nil, fmt.Errorf("STOP at %d: %w", at, err)
			}
			if m.frameEnd > m.c.offset() {
				m.frameCrossed(at)
			}
			return v, nil
		}
		if err := m.execute(op, at); err != nil {
			name := names[op]
			if name == "" {
				return nil, fmt.Errorf("byte %#02x at %d is no instruction", op, at)
			}
			if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
				err = errors.New("its argument is cut short")
			}
			return nil, fmt.Errorf("%s at %d: %w", name, at, err)
		}
		if m.frameEnd > 0 && m.c.offset() >= m.frameEnd {
			if m.c.offset() > m.frameEnd {
				m.frameCrossed(at)
			}
			m.frameEnd = 0
		}
	}
}

var errOpcode = errors.New("no such instruction")

// execute is the one place that knows every instruction. It is long because it
// is a list.
func (m *machine) execute(op byte, at int64) error {
	switch op {
	case 0x80: // PROTO
		b, err := m.c.next(1)
		if err != nil {
			return err
		}
		if b[0] > 5 {
			return fmt.Errorf("unsupported protocol %d", b[0])
		}
		if m.proto = int(b[0]); at != m.start {
			m.misplacedProto(at)
		}
	case 0x95: // FRAME
		n, err := m.uint(8)
		if err != nil {
			return err
		}
		if n > uint64(m.c.left()) {
			return errors.New("the frame is longer than the file")
		}
		if m.frameEnd > 0 {
			m.frameCrossed(at)
		}
		m.frameEnd = m.c.offset() + int64(n)

	case '(': // MARK
		m.marks = append(m.marks, len(m.stack))
		m.fence = len(m.stack)
	case '0': // POP: of a mark, if that is on top
		if n := len(m.marks); n > 0 && m.marks[n-1] == len(m.stack) {
			_, err := m.mark()
			return err
		}
		_, err := m.pop()
		return err
	case '1': // POP_MARK
		i, err := m.mark()
		if err != nil {
			return err
		}
		m.stack = m.stack[:i]
	case '2': // DUP
		v, err := m.top()
		if err != nil {
			return err
		}
		m.push(v)

	case 'N':
		m.push(m.value(kNone))
	case 0x88, 0x89: // NEWTRUE, NEWFALSE
		v := m.value(kBool)
		v.num = int64(0x89 - int(op))
		m.push(v)
	case 'K', 'M', 'J', 'I', 'L', 0x8a, 0x8b:
		return m.integer(op)
	case 'F', 'G':
		return m.float(op)
	case 'S', 'T', 'U', 'V', 'X', 0x8c, 0x8d:
		return m.str(op)
	case 'B', 'C', 0x8e, 0x96:
		return m.bytes(op)

	case ')', 't', 0x85, 0x86, 0x87:
		return m.tuple(op)
	case ']':
		m.push(m.value(kList))
	case '}':
		m.push(m.value(kDict))
	case 0x8f: // EMPTY_SET
		m.push(m.value(kSet))
	case 'l', 'd', 0x91: // LIST, DICT, FROZENSET
		return m.collect(op)
	case 'a', 'e': // APPEND, APPENDS
		return m.extend(op, at)
	case 's', 'u': // SETITEM, SETITEMS
		return m.setItems(op, at)
	case 0x90: // ADDITEMS
		return m.addItems(at)

	case 'p', 'q', 'r', 0x94, 'g', 'h', 'j':
		return m.memory(op)

	case 'c', 0x93: // GLOBAL, STACK_GLOBAL
		return m.global(op, at)
	case 0x82, 0x83, 0x84: // EXT1, EXT2, EXT4
		return m.extension(op, at)
	case 'i', 'o': // INST, OBJ
		return m.instance(op, at)
	case 0x81, 0x92: // NEWOBJ, NEWOBJ_EX
		return m.newObject(op, at)
	case 'R':
		return m.reduce(at)
	case 'b':
		return m.build(at)

	case 'P': // PERSID
		line, long, err := m.c.line()
		if err != nil {
			return err
		}
		id := m.value(kStr)
		id.text, id.num, id.part = string(line), int64(len(line)), long
		m.push(m.persistent(id, at))
	case 'Q': // BINPERSID
		id, err := m.pop()
		if err != nil {
			return err
		}
		m.push(m.persistent(id, at))
	case 0x97: // NEXT_BUFFER
		m.outOfBand(at)
		m.push(m.value(kBuffer))
	case 0x98: // READONLY_BUFFER
		_, err := m.top()
		return err
	default:
		return errOpcode
	}
	return nil
}

func (m *machine) uint(n int) (uint64, error) {
	b, err := m.c.next(n)
	if err != nil {
		return 0, err
	}
	var wide [8]byte
	copy(wide[:], b)
	return binary.LittleEndian.Uint64(wide[:]), nil
}

func (m *machine) integer(op byte) error {
	v := m.value(kInt)
	switch op {
	case 'K', 'M', 'J':
		size := int(widths[op])
		n, err := m.uint(size)
		if err != nil {
			return err
		}
		if v.num = int64(n); size == 4 {
			v.num = int64(int32(n))
		}
	case 'I', 'L':
		line, long, err := m.c.line()
		if err != nil {
			return err
		}
		if long { // whether it is a number is for the loader to find out
			v.part, v.num = true, math.MaxInt64
			m.push(v)
			return nil
		}
		return m.decimal(op, string(line), v)
	default:
		n, err := m.uint(int(widths[op]))
		if err != nil {
			return err
		}
		if op == 0x8b && int32(n) < 0 {
			return errors.New("a negative length")
		}
		if n > 8 { // too wide to compute with; the magic of PyTorch is one
			v.part, v.num = true, math.MaxInt64
			m.push(v)
			b, err := m.c.next(int(min(n, 16)))
			if err != nil {
				return err
			}
			v.text = string(b)
			return m.c.skip(int64(n) - int64(len(b)))
		}
		b, err := m.c.next(int(n))
		if err != nil {
			return err
		}
		for i := len(b) - 1; i >= 0; i-- {
			v.num = v.num<<8 | int64(b[i])
		}
		if n > 0 && n < 8 && b[n-1] >= 0x80 {
			v.num -= 1 << (8 * n)
		}
	}
	m.push(v)
	return nil
}

// decimal reads the text of INT and LONG as strtol with base 0 does, which
// also takes hexadecimal. "01" and "00" of INT are the bools of old protocols.
func (m *machine) decimal(op byte, s string, v *value) error {
	if op == 'I' && (s == "01" || s == "00") {
		v.kind, v.num = kBool, int64(s[1]-'0')
		m.push(v)
		return nil
	}
	if op == 'L' {
		s = strings.TrimSuffix(s, "L")
	}
	s = strings.Trim(s, " \t\r\v\f")
	n, err := strconv.ParseInt(s, 0, 64)
	if err != nil {
		if n, err = strconv.ParseInt(s, 10, 64); err != nil || op == 'I' && n != 0 && !strings.HasPrefix(s, "0") {
			if len(s) > 20_000 {
				return errors.New("a number of too many digits")
			}
			if _, ok := new(big.Int).SetString(s, 0); !ok && strings.Trim(s, "0") != "" {
				return fmt.Errorf("%q is no number", short(s))
			}
			v.part, n = true, math.MaxInt64
		}
	}
	v.num = n
	m.push(v)
	return nil
}

func (m *machine) float(op byte) error {
	v := m.value(kFloat)
	if op == 'G' {
		if _, err := m.c.next(8); err != nil {
			return err
		}
	} else {
		line, long, err := m.c.line()
		if err != nil {
			return err
		}
		_, err = strconv.ParseFloat(strings.TrimSpace(string(line)), 64)
		if err != nil && !long && !errors.Is(err, strconv.ErrRange) {
			return fmt.Errorf("%q is no number", short(string(line)))
		}
	}
	m.push(v)
	return nil
}

// str reads every kind of text. STRING, BINSTRING and SHORT_BINSTRING are
// bytes of Python 2, which the default encoding makes text.
func (m *machine) str(op byte) error {
	v := m.value(kStr)
	switch op {
	case 'S', 'V':
		at := m.c.offset()
		line, long, err := m.c.line()
		if err != nil {
			return err
		}
		v.at = at
		s := string(line)
		if long {
			v.num, v.part, v.text = m.c.offset()-at, true, s[:maxText]
			m.push(v)
			return nil
		}
		if op == 'S' {
			s = strings.TrimRight(s, "\r")
			if len(s) < 2 || s[0] != s[len(s)-1] || s[0] != '\'' && s[0] != '"' {
				return errors.New("the text is not in quotes")
			}
			s, err = unescape(s[1:len(s)-1], false)
		} else {
			s, err = unescape(s, true)
		}
		if err != nil {
			return err
		}
		v.num = int64(len(s))
		if v.text = s; len(s) > maxText {
			v.text, v.part = s[:maxText], true
		}
		m.nestedText(v)
		m.push(v)
		return nil
	}
	n, err := m.uint(int(widths[op]))
	if err != nil {
		return err
	}
	if op == 'T' && int32(n) < 0 {
		return errors.New("a negative length")
	}
	if err := m.content(v, n); err != nil {
		return err
	}
	if (op == 'X' || op == 0x8c || op == 0x8d) && !v.part && !utf8Surrogates(v.text) {
		return errors.New("the text is not UTF-8")
	}
	m.push(v)
	return nil
}

func (m *machine) bytes(op byte) error {
	v := m.value(kBytes)
	if op == 0x96 {
		v.kind = kByteArray
	}
	n, err := m.uint(int(widths[op]))
	if err != nil {
		return err
	}
	if err := m.content(v, n); err != nil {
		return err
	}
	m.push(v)
	return nil
}

// content takes n bytes as the content of v: their beginning, and their place.
func (m *machine) content(v *value, n uint64) error {
	if n > uint64(m.c.left()) {
		return io.ErrUnexpectedEOF
	}
	v.num, v.at = int64(n), m.c.offset()
	b, err := m.c.next(int(min(n, maxText)))
	if err != nil {
		return err
	}
	v.text, v.part = string(b), n > maxText
	if err := m.c.skip(int64(n) - int64(len(b))); err != nil {
		return err
	}
	m.nested(v)
	return nil
}

// utf8Surrogates says whether text is UTF-8, lone surrogates allowed, as
// Python's "surrogatepass" reads it.
func utf8Surrogates(s string) bool {
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		if r == utf8.RuneError && n == 1 {
			if len(s) < 3 || s[0] != 0xed || s[1] < 0xa0 || s[1] > 0xbf || s[2]&0xc0 != 0x80 {
				return false
			}
			n = 3
		}
		s = s[n:]
	}
	return true
}

// unescape undoes the escapes of Python's string literals, or, if raw, only
// those of raw-unicode-escape: \uXXXX and \UXXXXXXXX.
func unescape(s string, raw bool) (string, error) {
	if !strings.Contains(s, `\`) {
		if raw {
			return latin(s), nil
		}
		return s, nil
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || raw && (i+1 >= len(s) || s[i+1] != 'u' && s[i+1] != 'U') {
			if raw {
				b.WriteRune(rune(s[i]))
			} else {
				b.WriteByte(s[i])
			}
			continue
		}
		i++
		if i >= len(s) {
			return "", errors.New("a backslash at the end of the text")
		}
		n := map[byte]int{'x': 2, 'u': 4, 'U': 8}[s[i]]
		if raw == (s[i] == 'x') || !raw && n > 2 {
			n = 0
		}
		switch {
		case n > 0:
			if i+n >= len(s) {
				return "", errors.New("an escape is cut short")
			}
			r, err := strconv.ParseUint(s[i+1:i+1+n], 16, 32)
			if err != nil || r > 0x10ffff {
				return "", errors.New("an escape is no number")
			}
			if i += n; n == 2 {
				b.WriteByte(byte(r))
			} else {
				b.WriteRune(rune(r))
			}
		case s[i] >= '0' && s[i] <= '7':
			j := i
			for j < len(s) && j < i+3 && s[j] >= '0' && s[j] <= '7' {
				j++
			}
			r, _ := strconv.ParseUint(s[i:j], 8, 16)
			b.WriteByte(byte(r))
			i = j - 1
		default:
			if k := strings.IndexByte("\n\\'\"abfnrtv", s[i]); k >= 0 {
				if k > 0 {
					b.WriteByte("\n\\'\"\a\b\f\n\r\t\v"[k])
				}
			} else {
				b.WriteString(s[i-1 : i+1])
			}
		}
	}
	return b.String(), nil
}

// latin reads bytes as Latin-1, as raw-unicode-escape does.
func latin(s string) string {
	if i := strings.IndexFunc(s, func(r rune) bool { return r >= utf8.RuneSelf }); i < 0 {
		return s
	}
	r := make([]rune, len(s))
	for i := range len(s) {
		r[i] = rune(s[i])
	}
	return string(r)
}

func (m *machine) tuple(op byte) error {
	v := m.value(kTuple)
	from := len(m.stack)
	switch op {
	case 't':
		i, err := m.mark()
		if err != nil {
			return err
		}
		from = i
	case 0x85, 0x86, 0x87:
		if from -= int(op) - 0x84; from < m.fence {
			return errUnderflow
		}
	}
	if n := len(m.stack) - from; n <= 16 { // bounded by the instructions that made them
		kept := m.kept
		m.keep(v, m.stack[from:]...)
		m.kept = kept
	} else {
		m.keep(v, m.stack[from:]...)
	}
	m.stack = append(m.stack[:from], v)
	return nil
}

func (m *machine) collect(op byte) error {
	v := m.value(map[byte]kind{'l': kList, 'd': kDict, 0x91: kFrozenSet}[op])
	i, err := m.mark()
	if err != nil {
		return err
	}
	if op == 'd' && (len(m.stack)-i)%2 != 0 {
		return errors.New("a key without a value")
	}
	m.keep(v, m.stack[i:]...)
	m.stack = append(m.stack[:i], v)
	return nil
}

// several finds the arguments of an instruction that changes a container: one
// or two values on top, or all from the mark on, and beneath them the container.
func (m *machine) several(single int, marked bool) (from int, err error) {
	from = len(m.stack) - single
	if marked {
		if from, err = m.mark(); err != nil {
			return 0, err
		}
	}
	if from > len(m.stack) || from <= m.fence {
		return 0, errUnderflow
	}
	return from, nil
}

func (m *machine) extend(op byte, at int64) error {
	from, err := m.several(1, op == 'e')
	if err != nil || from == len(m.stack) {
		return err
	}
	list := m.stack[from-1]
	if list.kind == kList {
		m.fill(list, m.stack[from:])
	} else {
		m.method(list, "append", func(e *entry) bool { return e.append }, at)
	}
	m.stack = m.stack[:from]
	return nil
}

func (m *machine) setItems(op byte, at int64) error {
	from, err := m.several(2, op == 'u')
	if err != nil || from == len(m.stack) {
		return err
	}
	if (len(m.stack)-from)%2 != 0 {
		return errors.New("a key without a value")
	}
	dict := m.stack[from-1]
	if dict.kind != kDict {
		m.method(dict, "__setitem__", func(e *entry) bool { return e.items }, at)
	}
	switch dict.kind {
	case kDict:
		m.fill(dict, m.stack[from:])
	case kObject:
		if m.frozen {
			break
		}
		if dict.instance == nil {
			dict.instance = &instance{}
		}
		if dict.entries == nil {
			dict.entries = m.value(kDict)
		}
		m.keep(dict.entries, m.stack[from:]...)
	}
	m.stack = m.stack[:from]
	return nil
}

func (m *machine) addItems(at int64) error {
	from, err := m.several(0, true)
	if err != nil || from == len(m.stack) {
		return err
	}
	set := m.stack[from-1]
	if set.kind == kSet {
		m.fill(set, m.stack[from:])
	} else {
		m.method(set, "add", func(e *entry) bool { return e.add }, at)
	}
	m.stack = m.stack[:from]
	return nil
}

// memory is PUT, BINPUT, LONG_BINPUT, MEMOIZE, GET, BINGET and LONG_BINGET.
func (m *machine) memory(op byte) error {
	var i uint64
	switch op {
	case 'p', 'g':
		line, _, err := m.c.line()
		if err != nil {
			return err
		}
		s := strings.Trim(string(line), " \t\r\v\f")
		if i, err = strconv.ParseUint(strings.TrimPrefix(s, "+"), 10, 32); err != nil {
			return fmt.Errorf("%q is no place in the memo", short(s))
		}
	case 0x94:
		i = uint64(m.noted)
	default:
		var err error
		if i, err = m.uint(int(widths[op])); err != nil {
			return err
		}
	}
	if op == 'g' || op == 'h' || op == 'j' {
		if i >= uint64(len(m.memo)) || m.memo[i] == nil {
			return fmt.Errorf("nothing is in the memo at %d", i)
		}
		m.push(m.memo[i])
		return nil
	}
	v, err := m.top()
	if err != nil {
		return err
	}
	// A real unpickler takes memory for every index below the largest.
	if lim := m.s.limits.Memo; i >= uint64(lim) {
		return fmt.Errorf("%w of %d entries of the memo; raise --limit-memo if that is meant", errLimit, lim)
	}
	for uint64(len(m.memo)) <= i {
		m.memo = append(m.memo, nil)
	}
	if m.memo[i] == nil {
		m.noted++
	}
	m.memo[i] = v
	return nil
}

func short(s string) string {
	if len(s) > 40 {
		return s[:40] + "..."
	}
	return s
}

// widths are the bytes of a number, or of a length, that follows.
var widths = [256]uint8{
	'K': 1, 'M': 2, 'J': 4, 0x8a: 1, 0x8b: 4, 'T': 4, 'U': 1, 'X': 4, 0x8c: 1, 0x8d: 8, 'B': 4, 'C': 1, 0x8e: 8,
	0x96: 8, 'q': 1, 'h': 1, 'r': 4, 'j': 4, 0x82: 1, 0x83: 2, 0x84: 4,
}

// names are the instructions as pickletools names them.
var names = [256]string{
	'(': "MARK", '.': "STOP", '0': "POP", '1': "POP_MARK", '2': "DUP", 'F': "FLOAT", 'I': "INT", 'J': "BININT",
	'K': "BININT1", 'L': "LONG", 'M': "BININT2", 'N': "NONE", 'P': "PERSID", 'Q': "BINPERSID", 'R': "REDUCE",
	'S': "STRING", 'T': "BINSTRING", 'U': "SHORT_BINSTRING", 'V': "UNICODE", 'X': "BINUNICODE", 'a': "APPEND",
	'b': "BUILD", 'c': "GLOBAL", 'd': "DICT", '}': "EMPTY_DICT", 'e': "APPENDS", 'g': "GET", 'h': "BINGET",
	'i': "INST", 'j': "LONG_BINGET", 'l': "LIST", ']': "EMPTY_LIST", 'o': "OBJ", 'p': "PUT", 'q': "BINPUT",
	'r': "LONG_BINPUT", 's': "SETITEM", 't': "TUPLE", ')': "EMPTY_TUPLE", 'u': "SETITEMS", 'G': "BINFLOAT",
	0x80: "PROTO", 0x81: "NEWOBJ", 0x82: "EXT1", 0x83: "EXT2", 0x84: "EXT4", 0x85: "TUPLE1", 0x86: "TUPLE2",
	0x87: "TUPLE3", 0x88: "NEWTRUE", 0x89: "NEWFALSE", 0x8a: "LONG1", 0x8b: "LONG4", 'B': "BINBYTES",
	'C': "SHORT_BINBYTES", 0x8c: "SHORT_BINUNICODE", 0x8d: "BINUNICODE8", 0x8e: "BINBYTES8", 0x8f: "EMPTY_SET",
	0x90: "ADDITEMS", 0x91: "FROZENSET", 0x92: "NEWOBJ_EX", 0x93: "STACK_GLOBAL", 0x94: "MEMOIZE", 0x95: "FRAME",
	0x96: "BYTEARRAY8", 0x97: "NEXT_BUFFER", 0x98: "READONLY_BUFFER",
}
