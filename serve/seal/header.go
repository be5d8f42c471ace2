package seal

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"unicode"
	"unicode/utf8"
)

// Place is where sealed data belongs. It is told in the clear.
type Place struct {
	// Purpose says what it is, such as "model", "data", "secret" or "backup".
	Purpose string
	// Tenant is whose it is; "" where there are none.
	Tenant string
	// Name tells it from others of its kind.
	Name string
}

// String is the place as PURPOSE:[TENANT/]NAME.
func (p Place) String() string {
	if p.Tenant != "" {
		return p.Purpose + ":" + p.Tenant + "/" + p.Name
	}
	return p.Purpose + ":" + p.Name
}

// Bounds of what a header holds, in bytes. Together they fit a slot.
const (
	slotSize    = 4096
	maxKeyID    = 512
	maxPurpose  = 64
	maxTenant   = 256
	maxName     = 1024
	maxWrapped  = 2048
	digestStart = slotSize - sha256.Size
)

var magic = []byte("redoubt-seal/1\r\n") // a transfer as text would change it

func (p Place) check() error {
	if p.Purpose == "" || p.Name == "" {
		return errors.New("a place needs a purpose and a name")
	}
	for _, f := range []struct {
		name, text string
		most       int
	}{{"purpose", p.Purpose, maxPurpose}, {"tenant", p.Tenant, maxTenant}, {"name", p.Name, maxName}} {
		if len(f.text) > f.most {
			return fmt.Errorf("the %s has %d bytes: at most %d", f.name, len(f.text), f.most)
		}
		if !utf8.ValidString(f.text) || bytes.ContainsFunc([]byte(f.text), unicode.IsControl) {
			return fmt.Errorf("the %s %q holds what is no text", f.name, f.text)
		}
	}
	return nil
}

// associated is the place as associated data: no two places have the same.
func (p Place) associated() []byte {
	return appendFields(bytes.Clone(magic), p.Purpose, p.Tenant, p.Name)
}

func appendFields(b []byte, fields ...string) []byte {
	for _, f := range fields {
		b = binary.BigEndian.AppendUint16(b, uint16(len(f)))
		b = append(b, f...)
	}
	return b
}

// header is what stands before a stream, twice.
type header struct {
	// generation counts the times that the data key was wrapped.
	generation uint64
	key        string // the ID of the key-encryption key
	place      Place
	wrapped    []byte
}

// encode writes a slot.
func (h header) encode() []byte {
	b := binary.BigEndian.AppendUint64(bytes.Clone(magic), h.generation)
	b = appendFields(b, h.key, h.place.Purpose, h.place.Tenant, h.place.Name, string(h.wrapped))
	b = append(b, make([]byte, digestStart-len(b))...)
	sum := sha256.Sum256(b)
	return append(b, sum[:]...)
}

// decode reads both slots. Both must be whole: the newer one holds.
func decode(b []byte) (header, error) {
	first, err := decodeSlot(b[:slotSize])
	if err != nil {
		return first, fmt.Errorf("the header: %w", err)
	}
	second, err := decodeSlot(b[slotSize:])
	if err != nil {
		return second, fmt.Errorf("the header's copy: %w", err)
	}
	if first.place != second.place {
		return first, errors.New("the header and its copy speak of different places")
	}
	if second.generation > first.generation {
		return second, nil
	}
	return first, nil
}

// decodeSlot reads a slot. What is not written as encode writes it is refused.
func decodeSlot(b []byte) (header, error) {
	var h header
	if !bytes.HasPrefix(b, magic) {
		return h, errors.New("it is no sealed file of this version")
	}
	if sum := sha256.Sum256(b[:digestStart]); !bytes.Equal(sum[:], b[digestStart:]) {
		return h, errors.New("it was changed, or half written: 'redoubt seal rotate' mends what a cut-off rotation left")
	}
	rest := b[len(magic):digestStart]
	h.generation, rest = binary.BigEndian.Uint64(rest), rest[8:]
	var wrapped string
	for _, f := range []struct {
		to   *string
		most int
	}{{&h.key, maxKeyID}, {&h.place.Purpose, maxPurpose}, {&h.place.Tenant, maxTenant}, {&h.place.Name, maxName}, {&wrapped, maxWrapped}} {
		if len(rest) < 2 {
			return h, errors.New("it ends early")
		}
		n := int(binary.BigEndian.Uint16(rest))
		if n > f.most || n > len(rest)-2 {
			return h, fmt.Errorf("a field of %d bytes, more than there is room for", n)
		}
		*f.to, rest = string(rest[2:2+n]), rest[2+n:]
	}
	if bytes.ContainsFunc(rest, func(r rune) bool { return r != 0 }) {
		return h, errors.New("something stands after its last field")
	}
	h.wrapped = []byte(wrapped)
	return h, h.place.check()
}
