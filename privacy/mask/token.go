package mask

import (
	"context"
	"crypto/aes"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"github.com/tink-crypto/tink-go/v2/daead/subtle"

	"github.com/redoubt-ml/redoubt/privacy/vault"
)

// errForeign says that a text is no token of this key and tenant.
var errForeign = errors.New("is no token of this key and tenant")

var token = Method{
	Name: "token", Doc: "the type and the encrypted value, [PERSON:...]: equal values stay equal, and the key gets back (AES-SIV, RFC 5297)",
	New: func(_ Rule, in Settings) (Masker, error) {
		s, err := newSealer(in)
		if err != nil {
			return nil, err
		}
		return s, nil
	},
}

// sealer makes tokens. The type is bound to the value.
type sealer struct{ siv *subtle.AESSIV }

func newSealer(in Settings) (*sealer, error) {
	key, err := in.derive("token", subtle.AESSIVKeySize)
	if err != nil {
		return nil, err
	}
	siv, err := subtle.NewAESSIV(key)
	if err != nil {
		return nil, err
	}
	return &sealer{siv}, nil
}

func (s *sealer) Mask(_ context.Context, v Value) (string, error) {
	m := mark{typ: v.Type, number: v.Number, sep: ':'}
	b, err := s.siv.EncryptDeterministically([]byte(v.Text), m.bound())
	if err != nil {
		return "", fmt.Errorf("encrypt a value of type %s: %w", v.Type, err)
	}
	m.body = base64.RawURLEncoding.EncodeToString(b)
	return m.String(), nil
}

func (s *sealer) Restore(_ context.Context, v Value) (string, error) {
	m, ok := parseMark(v.Text)
	if !ok || m.sep != ':' {
		return "", errForeign
	}
	return s.open(m)
}

func (s *sealer) open(m mark) (string, error) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(m.body)
	if err != nil {
		return "", errForeign
	}
	text, err := s.siv.DecryptDeterministically(b, m.bound())
	if err != nil {
		return "", errForeign
	}
	return string(text), nil
}

// mark is what tokens look like: [TYPE:body], [TYPE#body] of the vault, and with =
// after the type where a number of JSON is to come back.
type mark struct {
	start, end int
	typ, body  string
	number     bool
	sep        byte
}

// bound is what else of a mark the key vouches for.
func (m mark) bound() []byte {
	if m.number {
		return []byte(m.typ + "=")
	}
	return []byte(m.typ)
}

func (m mark) String() string { return "[" + string(m.bound()) + string(m.sep) + m.body + "]" }

// plausible tells a mark that may be a token from what texts have in brackets.
func (m mark) plausible() bool {
	if m.sep == '#' {
		return vault.IsToken(m.body)
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(m.body)
	return err == nil && len(b) >= aes.BlockSize // as long as the tag alone
}

// parseMark reads a text that is a mark and nothing else.
func parseMark(s string) (mark, bool) {
	m, ok := nextMark(s, 0)
	return m, ok && m.start == 0 && m.end == len(s)
}

// nextMark finds the first mark at or after from. It looks at no byte more than
// twice.
func nextMark(s string, from int) (m mark, ok bool) {
	for i := from; i < len(s); {
		at := strings.IndexByte(s[i:], '[')
		if at < 0 {
			return m, false
		}
		m.start = i + at
		j := m.start + 1
		for j < len(s) && typeByte(s[j]) {
			j++
		}
		m.typ = s[m.start+1 : j]
		if m.number = j < len(s) && s[j] == '='; m.number {
			j++
		}
		i = j
		if m.typ == "" || j == len(s) || s[j] != ':' && s[j] != '#' {
			continue
		}
		m.sep = s[j]
		body := j + 1
		for j = body; j < len(s) && bodyByte(s[j]); j++ {
		}
		i = j
		if j > body && j < len(s) && s[j] == ']' {
			m.body, m.end = s[body:j], j+1
			return m, true
		}
	}
	return m, false
}

// typeByte is a byte of a type, or of the name of a column that stands for one.
func typeByte(c byte) bool {
	return c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '_' || c == '-' || c == '.'
}

func bodyByte(c byte) bool { return typeByte(c) && c != '.' }
