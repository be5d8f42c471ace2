package sign

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"

	"github.com/go-json-experiment/json"
)

// decodeStrict reads JSON in which every name is known, spelt exactly and stands
// once: what nobody would look at cannot be carried along.
func decodeStrict(b []byte, v any) error {
	return jsonError(json.Unmarshal(b, v, json.RejectUnknownMembers(true)))
}

// decodeOpen is decodeStrict where a specification lets others add members.
func decodeOpen(b []byte, v any) error { return jsonError(json.Unmarshal(b, v)) }

// jsonError takes the decoder's name off its errors.
func jsonError(err error) error {
	if err == nil {
		return nil
	}
	return errors.New(string(bytes.TrimPrefix([]byte(err.Error()), []byte("json: "))))
}

// base is bytes in standard base64 in their one spelling: whoever changes the
// text changes the bytes.
type base []byte

func (b base) MarshalText() ([]byte, error) {
	return base64.StdEncoding.AppendEncode(nil, b), nil
}

func (b *base) UnmarshalText(text []byte) error {
	out, err := base64.StdEncoding.Strict().AppendDecode(nil, text)
	if err != nil || base64.StdEncoding.EncodedLen(len(out)) != len(text) {
		return errors.New("want standard base64, padded and without line breaks")
	}
	*b = out
	return nil
}

// number is a whole number in a string, as Protocol Buffers' JSON writes 64 bits.
type number int64

func (n number) MarshalText() ([]byte, error) { return strconv.AppendInt(nil, int64(n), 10), nil }

func (n *number) UnmarshalText(text []byte) error {
	v, err := strconv.ParseInt(string(text), 10, 64)
	if err != nil || v < 0 || strconv.FormatInt(v, 10) != string(text) {
		return fmt.Errorf("number %q: want decimal digits", text)
	}
	*n = number(v)
	return nil
}
