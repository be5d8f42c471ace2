// Package seal encrypts what lies on disks: models, training data, secrets,
// copies of databases.
//
//	key, err := seal.OpenKey(ctx, "file:/etc/redoubt/kek.json")
//	s := &seal.Sealer{Keys: []seal.Key{key}}
//	place := seal.Place{Purpose: "model", Tenant: "acme", Name: "loans"}
//	err = s.SealFile(ctx, "loans.onnx.sealed", plaintext, place)
//	...
//	f, err := s.OpenFile(ctx, "loans.onnx.sealed", place)
//	defer f.Close()
//	_, err = io.Copy(dst, f)
//
// Each file has a data key of its own, which encrypts it, and holds that key
// wrapped under a key-encryption key: one in a file, in the system's keyring, in a
// hardware module or in a key service. [Providers] lists them. So a key-encryption
// key can be exchanged without touching the data: [Sealer.Rotate] wraps the data
// key anew and rewrites the header alone.
//
// # Form
//
// A sealed file begins with two copies of a header of 4,096 bytes each (magic,
// generation, id of the key-encryption key, place, wrapped data key, zeros,
// SHA-256), after which comes Tink's streaming AEAD: AES-256-GCM under keys that
// HKDF with SHA-256 derives for each file, in segments of 1 MiB (Hoang, Reyhanitabar,
// Rogaway, Vizár 2015; Tink's wire format AES256_GCM_HKDF_1MB, without a key prefix).
// Two copies because a rotation writes in place: whenever it is cut off, one of
// them is whole. The place is the associated data of the wrapped key and of the
// stream.
//
// # Promises
//
// A file opens only at the place that it was sealed for. One that was changed in
// any byte, cut short, put in the place of another or sealed for another tenant is
// refused with [ErrRefused]. Reading takes constant memory; each byte that a reader
// returns is authentic, but only io.EOF says that none are missing: who acts on a
// file acts on the whole.
//
// Data keys are remembered for [Sealer.Life] after their key service has unwrapped
// them. If it is lost longer than that, nothing opens ([ErrUnavailable]) until it is
// back.
//
// What is not hidden: the size of the data, its place, and which key it is under.
package seal

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/tink-crypto/tink-go/v2/streamingaead/subtle"
)

// The kinds of failure that callers tell apart.
var (
	// ErrRefused: it is not what was sealed at this place, or not under these keys.
	ErrRefused = errors.New("the sealed data is refused")
	// ErrUnavailable: the key service could not be asked. Later it may be.
	ErrUnavailable = errors.New("the key service is not available")
)

// Key is a key-encryption key. Its methods may be called from several goroutines.
type Key interface {
	// ID names the key to people and in headers, at most 512 bytes. It is no secret.
	ID() string
	// Wrap encrypts a data key such that it unwraps with the same associated data
	// only; the result has at most 2,048 bytes.
	Wrap(ctx context.Context, plaintext, associated []byte) ([]byte, error)
	// Unwrap decrypts what Wrap made, also under earlier versions of the key. An
	// error that wraps ErrUnavailable says nothing about the data.
	Unwrap(ctx context.Context, wrapped, associated []byte) ([]byte, error)
}

// Sealer seals under the first of its keys, and opens what is under any of them.
// It must not be copied after its first use; its methods may be called from several
// goroutines.
type Sealer struct {
	// Keys are required: the one that seals, and then those that are still read.
	Keys []Key
	// Life is how long an unwrapped data key is remembered; 0 means 5 minutes, and
	// less than 0 that it is not.
	Life time.Duration

	remembered cache
}

const (
	keySize     = 32      // of data keys, in bytes
	segmentSize = 1 << 20 // of the stream, in bytes
)

// Seal writes a sealed stream to w. What it returns must be closed, or the stream
// is cut short and will be refused.
func (s *Sealer) Seal(ctx context.Context, w io.Writer, p Place) (io.WriteCloser, error) {
	if err := p.check(); err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	data := make([]byte, keySize)
	rand.Read(data)
	h, err := s.wrap(ctx, data, header{generation: 1, place: p})
	if err != nil {
		return nil, fmt.Errorf("seal %s: %w", p, err)
	}
	slot := h.encode()
	if _, err := w.Write(append(slot, slot...)); err != nil {
		return nil, fmt.Errorf("seal %s: %w", p, err)
	}
	stream, err := streamUnder(data)
	if err != nil {
		return nil, err
	}
	return stream.NewEncryptingWriter(w, p.associated())
}

// Open reads a sealed stream. The error at its end is io.EOF only if all of it was
// read and is whole.
func (s *Sealer) Open(ctx context.Context, r io.Reader, p Place) (io.Reader, error) {
	b := make([]byte, 2*slotSize)
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, fmt.Errorf("open %s: %w: it is shorter than a header: %v", p, ErrRefused, err)
	}
	h, err := decode(b)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w: %v", p, ErrRefused, err)
	}
	return s.open(ctx, r, h, p)
}

// open reads the stream after its header.
func (s *Sealer) open(ctx context.Context, r io.Reader, h header, p Place) (io.Reader, error) {
	if h.place != p {
		return nil, fmt.Errorf("open %s: %w: it was sealed as %s", p, ErrRefused, h.place)
	}
	data, err := s.unwrap(ctx, h)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", p, err)
	}
	stream, err := streamUnder(data)
	if err != nil {
		return nil, err
	}
	plain, err := stream.NewDecryptingReader(r, p.associated())
	if err != nil {
		return nil, damaged(p, err)
	}
	return &reader{plain, p}, nil
}

// reader says of every failure to decrypt what it is.
type reader struct {
	io.Reader
	place Place
}

func (r *reader) Read(b []byte) (int, error) {
	n, err := r.Reader.Read(b)
	if err != nil && err != io.EOF {
		err = damaged(r.place, err)
	}
	return n, err
}

func damaged(p Place, err error) error {
	return fmt.Errorf("open %s: %w: it was changed or cut short (%v)", p, ErrRefused, err)
}

func streamUnder(data []byte) (*subtle.AESGCMHKDF, error) {
	stream, err := subtle.NewAESGCMHKDF(data, "SHA256", keySize, segmentSize, 0)
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	return stream, nil
}

// wrap completes a header with the data key under the first key.
func (s *Sealer) wrap(ctx context.Context, data []byte, h header) (header, error) {
	if len(s.Keys) == 0 {
		return h, errors.New("there is no key-encryption key: name one")
	}
	k := s.Keys[0]
	wrapped, err := k.Wrap(ctx, data, h.place.associated())
	if err != nil {
		return h, fmt.Errorf("wrap a data key under %s: %w", k.ID(), err)
	}
	h.key, h.wrapped = k.ID(), wrapped
	if len(h.key) > maxKeyID || len(wrapped) > maxWrapped {
		return h, fmt.Errorf("wrap a data key under %s: a header has no room for it", k.ID())
	}
	return h, nil
}

// unwrap is the data key of a header, from memory or by the key that it names.
// Every key of that name is tried: names of files' keys are not unique.
func (s *Sealer) unwrap(ctx context.Context, h header) ([]byte, error) {
	slot := s.remembered.slot(h)
	if data := s.remembered.find(slot); data != nil {
		return data, nil
	}
	var failed error
	for _, k := range s.Keys {
		if k.ID() != h.key {
			continue
		}
		data, err := k.Unwrap(ctx, h.wrapped, h.place.associated())
		switch {
		case err == nil && len(data) == keySize:
			s.remembered.keep(slot, data, s.Life)
			return data, nil
		case err == nil:
			err = fmt.Errorf("%w: %s unwraps %d bytes, and a data key has %d", ErrRefused, h.key, len(data), keySize)
		case !errors.Is(err, ErrUnavailable) && ctx.Err() == nil:
			err = fmt.Errorf("%w: its data key does not unwrap under %s (%v)", ErrRefused, h.key, err)
		}
		if failed == nil || !errors.Is(failed, ErrUnavailable) {
			failed = err // what could not be asked might have opened it
		}
	}
	if failed == nil {
		failed = fmt.Errorf("%w: it is under the key %s, which was not given", ErrRefused, h.key)
	}
	return nil, failed
}
