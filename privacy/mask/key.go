package mask

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
)

var errKey = errors.New("needs a key of 32 bytes")

// derive is a key for one purpose of one tenant.
func (s Settings) derive(purpose string, size int) ([]byte, error) {
	if len(s.Key) != 32 {
		return nil, errKey
	}
	return hkdf.Key(sha256.New, s.Key, nil, fmt.Sprintf("redoubt mask, %s, tenant %q", purpose, s.Tenant), size)
}

// A drawer makes choices that anybody with the key makes again.
type drawer struct{ key []byte }

// draws are the choices for one value. They never end.
type draws struct {
	key   []byte
	block [sha256.Size]byte
	n     uint64
	left  []byte
	// subject says that they are one person's, however a value of his is written.
	subject bool
}

// of is the choices for texts.
func (d drawer) of(texts ...string) *draws {
	mac := hmac.New(sha256.New, d.key)
	for _, s := range texts {
		var size [8]byte
		binary.BigEndian.PutUint64(size[:], uint64(len(s)))
		mac.Write(size[:])
		mac.Write([]byte(s))
	}
	return &draws{key: mac.Sum(nil)}
}

func (d *draws) byte() byte {
	if len(d.left) == 0 {
		var counter [8]byte
		binary.BigEndian.PutUint64(counter[:], d.n)
		d.n++
		mac := hmac.New(sha256.New, d.key)
		mac.Write(counter[:])
		d.left = mac.Sum(d.block[:0])
	}
	b := d.left[0]
	d.left = d.left[1:]
	return b
}

// below is a number from 0 to n-1, for n up to 2^16, each as likely as another but
// for one part in 2^16.
func (d *draws) below(n int) int {
	v := uint64(d.byte())<<24 | uint64(d.byte())<<16 | uint64(d.byte())<<8 | uint64(d.byte())
	return int(v * uint64(n) >> 32)
}
