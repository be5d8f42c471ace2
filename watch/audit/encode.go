package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/redoubt-ml/redoubt"
)

// link is the hash of an entry, which binds it to all before it.
type link [sha256.Size]byte

func (prev link) next(seq int64, event []byte) link {
	b := make([]byte, 0, 1024) // enough for most, without the heap
	b = append(b, "redoubt.audit/v1\n"...)
	b = append(b, prev[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(seq))
	b = append(b, event...)
	return sha256.Sum256(b)
}

// appendLine writes the line of an entry.
func appendLine(b []byte, seq int64, hash link, event []byte) []byte {
	b = append(b, `{"seq":`...)
	b = strconv.AppendInt(b, seq, 10)
	b = append(b, `,"hash":"`...)
	b = hex.AppendEncode(b, hash[:])
	b = append(b, `","event":`...)
	b = append(b, event...)
	return append(b, "}\n"...)
}

// line is an entry as it was read.
type line struct {
	seq   int64
	hash  link
	event []byte
}

// parseLine reads a line without its newline. It takes only what appendLine
// writes.
func parseLine(b []byte) (line, error) {
	var l line
	rest, ok := bytes.CutPrefix(b, []byte(`{"seq":`))
	number, rest, found := bytes.Cut(rest, []byte(`,"hash":"`))
	if !ok || !found || len(rest) < hex.EncodedLen(len(l.hash)) {
		return l, errors.New("it is no entry")
	}
	var err error
	if l.seq, err = strconv.ParseInt(string(number), 10, 64); err != nil || l.seq < 1 || strconv.FormatInt(l.seq, 10) != string(number) {
		return l, errors.New("its number is none")
	}
	digest, rest := rest[:hex.EncodedLen(len(l.hash))], rest[hex.EncodedLen(len(l.hash)):]
	if _, err := hex.Decode(l.hash[:], digest); err != nil || !bytes.Equal(digest, bytes.ToLower(digest)) {
		return l, errors.New("its hash is none")
	}
	rest, ok = bytes.CutPrefix(rest, []byte(`","event":`))
	l.event, found = bytes.CutSuffix(rest, []byte(`}`))
	if !ok || !found || len(l.event) == 0 {
		return l, errors.New("it is no entry")
	}
	return l, nil
}

// follows reports why an entry does not follow another.
func (l line) follows(seq int64, prev link) error {
	switch {
	case l.seq != seq+1:
		return fmt.Errorf("it has the number %d, and %d is next", l.seq, seq+1)
	case prev.next(l.seq, l.event) != l.hash:
		return errors.New("its hash does not fit its content and the entry before")
	}
	return nil
}

// decode reads the event of an entry, which must be encoded as appendEvent does,
// and what of it is sealed. Where something is, the event shows by whose key.
func (l line) decode() (redoubt.Event, []box, error) {
	var e struct {
		redoubt.Event
		Sealed []box `json:"sealed"`
	}
	d := json.NewDecoder(bytes.NewReader(l.event))
	d.DisallowUnknownFields()
	if err := d.Decode(&e); err != nil {
		return e.Event, nil, fmt.Errorf("its event cannot be read: %w", err)
	}
	if !bytes.Equal(appendEvent(nil, &e.Event, e.Sealed...), l.event) {
		return e.Event, nil, errors.New("its event is not encoded as this log encodes events")
	}
	for _, b := range e.Sealed {
		hide(&e.Event, b, "sealed:")
	}
	return e.Event, e.Sealed, nil
}

// appendEvent writes the one encoding of an event: its fields in the order of
// the type, those that are empty left out but the first four, and what is sealed.
func appendEvent(b []byte, e *redoubt.Event, sealed ...box) []byte {
	return appendRest(appendID(b, e.ID), e, sealed)
}

// appendID writes the beginning of an event, and appendRest what follows.
func appendID(b []byte, id string) []byte { return appendString(append(b, `{"id":`...), id) }

func appendRest(b []byte, e *redoubt.Event, sealed []box) []byte {
	b = append(b, `,"time":"`...)
	b = e.Time.UTC().AppendFormat(b, time.RFC3339Nano)
	b = append(b, `","action":`...)
	b = appendString(b, e.Action)
	b = append(b, `,"outcome":`...)
	b = appendString(b, string(e.Outcome))
	for _, f := range [...]struct{ name, value string }{
		{"reason", e.Reason}, {"actor", e.Actor}, {"method", e.Method}, {"credential", e.Credential}, {"from", e.From},
		{"resource", e.Resource}, {"request", e.Request}, {"before", e.Before}, {"after", e.After},
	} {
		if f.value != "" {
			b = append(b, `,"`...)
			b = append(b, f.name...)
			b = append(b, `":`...)
			b = appendString(b, f.value)
		}
	}
	if len(e.Details) > 0 {
		b = append(b, `,"details":`...)
		sep := byte('{')
		var few [8]string
		keys := slices.AppendSeq(few[:0], maps.Keys(e.Details))
		slices.Sort(keys)
		for _, k := range keys {
			b = append(b, sep)
			b = appendString(b, k)
			b = append(b, ':')
			b = appendString(b, e.Details[k])
			sep = ','
		}
		b = append(b, '}')
	}
	for i, x := range sealed {
		if b = append(b, ','); i == 0 {
			b = append(b, `"sealed":[`...)
		}
		b = appendString(append(b, `{"of":`...), x.Of)
		b = appendString(append(b, `,"subject":`...), x.Subject)
		b = append(b, `,"text":"`...)
		b = base64.StdEncoding.AppendEncode(b, x.Text)
		b = append(b, `"}`...)
	}
	if len(sealed) > 0 {
		b = append(b, ']')
	}
	return append(b, '}')
}

// appendString writes a JSON string of printable ASCII: control characters of
// every kind, marks that turn the direction of text, and letters beyond ASCII are
// \uXXXX.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	for i := 0; i < len(s); {
		begin := i
		for i < len(s) && ordinary(s[i]) {
			i++
		}
		if b = append(b, s[begin:i]...); i == len(s) {
			break
		}
		c := s[i]
		if c < utf8.RuneSelf {
			if i++; c == '"' || c == '\\' {
				b = append(b, '\\', c)
			} else {
				b = appendUnit(b, uint16(c))
			}
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:]) // what is no UTF-8 becomes U+FFFD
		i += n
		if hi, lo := utf16.EncodeRune(r); hi != utf8.RuneError {
			b = appendUnit(appendUnit(b, uint16(hi)), uint16(lo))
		} else {
			b = appendUnit(b, uint16(r))
		}
	}
	return append(b, '"')
}

// ordinary reports whether a byte stands for itself.
func ordinary(c byte) bool { return ' ' <= c && c < 0x7f && c != '"' && c != '\\' }

func appendUnit(b []byte, u uint16) []byte {
	b = append(b, '\\', 'u')
	return hex.AppendEncode(b, []byte{byte(u >> 8), byte(u)})
}
