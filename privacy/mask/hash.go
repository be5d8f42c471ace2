package mask

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
)

var hash = Method{
	Name: "hash", Doc: "the type and 16 hexadecimal digits that the key makes of the value (HMAC-SHA-256): equal values stay equal, and nobody gets back",
	New: func(_ Rule, in Settings) (Masker, error) {
		key, err := in.derive("hash", 32)
		if err != nil {
			return nil, err
		}
		return maskFunc(func(v Value) (string, error) {
			mac := hmac.New(sha256.New, key)
			mac.Write([]byte(v.Type + "\x00" + v.Text))
			return v.Type + "_" + hex.EncodeToString(mac.Sum(nil)[:8]), nil
		}), nil
	},
}
