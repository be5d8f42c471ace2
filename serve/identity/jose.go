package identity

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/golang-jwt/jwt/v5"
)

const (
	// longestJWT bounds a token before anything of it is decoded.
	longestJWT = 8 << 10
	// deepestJSON bounds the nesting of what is in it.
	deepestJSON = 8
)

// algorithm is a way to sign that is let in. There are no others: what a header
// says chooses among these and never adds to them.
type algorithm struct {
	name, keyType string
	method        jwt.SigningMethod
}

var algorithms = []algorithm{
	{"RS256", "RSA", jwt.SigningMethodRS256},
	{"ES256", "EC", jwt.SigningMethodES256},
	{"EdDSA", "OKP", jwt.SigningMethodEdDSA},
}

// signed is a JSON Web Signature in compact form (RFC 7515), taken apart and not
// verified.
type signed struct {
	alg, typ, kid string
	payload       []byte
	text          string // what is signed
	signature     []byte
}

// parseSigned takes a signature apart. The three parts must be in canonical
// base64url, and the header must not name keys or ask for extensions.
func parseSigned(raw string) (*signed, error) {
	if len(raw) > longestJWT {
		return nil, fmt.Errorf("%d bytes, more than %d", len(raw), longestJWT)
	}
	if n := strings.Count(raw, "."); n != 2 {
		return nil, fmt.Errorf("%d dots, not 2", n)
	}
	at := strings.LastIndexByte(raw, '.')
	head, payload, _ := strings.Cut(raw[:at], ".")
	out := &signed{text: raw[:at]}
	b64 := base64.RawURLEncoding.Strict()
	header, err1 := b64.DecodeString(head)
	var err2, err3 error
	out.payload, err2 = b64.DecodeString(payload)
	out.signature, err3 = b64.DecodeString(raw[at+1:])
	if err := errors.Join(err1, err2, err3); err != nil || strings.ContainsAny(raw, "\r\n") {
		return nil, fmt.Errorf("it is not base64url throughout (%v)", err)
	}
	return out, out.readHeader(header)
}

func (s *signed) readHeader(b []byte) error {
	h, err := parseClaims(b)
	if err != nil {
		return fmt.Errorf("its header: %w", err)
	}
	// What points to keys, or changes what is signed, is refused, not passed
	// over.
	for _, name := range []string{"jku", "jwk", "x5u", "x5c", "crit", "b64", "zip", "enc", "cty"} {
		if _, ok := h[name]; ok {
			return fmt.Errorf("its header has %q", name)
		}
	}
	for name, to := range map[string]*string{"alg": &s.alg, "typ": &s.typ, "kid": &s.kid} {
		v, ok := h[name]
		if !ok {
			continue
		}
		if *to, ok = v.(string); !ok || len(*to) > 256 {
			return fmt.Errorf("its header's %q is no short text", name)
		}
	}
	return nil
}

// claims is a JSON object whose names are told apart exactly.
type claims map[string]any

// parseClaims reads an object that means the same to every reader: valid UTF-8,
// no name twice, no deep nesting, nothing after it.
func parseClaims(b []byte) (claims, error) {
	if !utf8.Valid(b) {
		return nil, errors.New("it is not UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	v, err := parseValue(d, 0)
	if err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("something follows the object")
	}
	c, ok := v.(claims)
	if !ok {
		return nil, errors.New("it is no object")
	}
	return c, nil
}

func parseValue(d *json.Decoder, depth int) (any, error) {
	t, err := d.Token()
	if err != nil {
		return nil, err
	}
	open, ok := t.(json.Delim)
	if !ok {
		return t, nil
	}
	if depth == deepestJSON {
		return nil, fmt.Errorf("nested more than %d deep", deepestJSON)
	}
	object, array := claims{}, []any{}
	for d.More() {
		name := ""
		if open == '{' {
			if t, err = d.Token(); err != nil {
				return nil, err
			}
			name = t.(string) // the decoder lets nothing else stand there
			if _, ok := object[name]; ok {
				return nil, fmt.Errorf("%q stands twice", excerpt(name))
			}
		}
		v, err := parseValue(d, depth+1)
		if err != nil {
			return nil, err
		}
		if open == '{' {
			object[name] = v
		} else {
			array = append(array, v)
		}
	}
	if _, err := d.Token(); err != nil {
		return nil, err
	}
	if open == '{' {
		return object, nil
	}
	return array, nil
}

// text is a claim that is text; "" where it is absent or is not.
func (c claims) text(name string) string {
	s, _ := c[name].(string)
	return s
}

// texts is a claim that is text or a list of texts.
func (c claims) texts(name string) ([]string, error) {
	switch v := c[name].(type) {
	case nil:
		return nil, nil
	case string:
		return []string{v}, nil
	case []any:
		out := make([]string, 0, len(v))
		for _, e := range v {
			s, ok := e.(string)
			if !ok {
				return nil, fmt.Errorf("%q holds something that is no text", name)
			}
			out = append(out, s)
		}
		return out, nil
	}
	return nil, fmt.Errorf("%q is no text and no list of texts", name)
}

// time is a claim in seconds since 1970 (RFC 7519, NumericDate).
func (c claims) time(name string) (t time.Time, ok bool, err error) {
	v, ok := c[name]
	if !ok {
		return t, false, nil
	}
	n, isNumber := v.(json.Number)
	if !isNumber {
		return t, false, fmt.Errorf("%q is no number", name)
	}
	f, err := n.Float64()
	if err != nil || f < 0 || f > 1<<40 {
		return t, false, fmt.Errorf("%q is no time", name)
	}
	return time.UnixMilli(int64(math.Floor(f * 1000))), true, nil
}

// valid checks what every token must say (RFC 8725, sections 3.8 to 3.10): from
// whom it is, for whom, about whom, and that its time is now.
func (c claims) valid(issuer, audience string, now time.Time, leeway time.Duration) error {
	if got := c.text("iss"); got != issuer {
		return fmt.Errorf("it is from %q, not from %q", excerpt(got), issuer)
	}
	to, err := c.texts("aud")
	if err != nil {
		return err
	}
	if audience == "" || !slices.Contains(to, audience) {
		return fmt.Errorf("it is not for us: %q", to)
	}
	if sub := c.text("sub"); sub == "" || len(sub) > 255 {
		return errors.New("it does not say about whom it is")
	}
	if exp, ok, err := c.time("exp"); err != nil || !ok {
		return fmt.Errorf("it does not say when it expires (%v)", err)
	} else if !now.Before(exp.Add(leeway)) {
		return errExpired
	}
	for _, name := range []string{"nbf", "iat"} {
		if t, ok, err := c.time(name); err != nil {
			return err
		} else if ok && t.After(now.Add(leeway)) {
			return fmt.Errorf("its %s lies in the future", name)
		}
	}
	return nil
}

var errExpired = errors.New("it has expired")
