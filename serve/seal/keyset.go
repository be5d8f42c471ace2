package seal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/proto/tink_go_proto"
)

// shelf is where a keyset of Tink lies: a text that only its owner may read.
type shelf interface {
	// load returns an error that wraps fs.ErrNotExist where there is none.
	load() ([]byte, error)
	// save replaces it as a whole.
	save(text []byte) error
	// alone keeps others from changing it until it is closed: of two who add a key at
	// once, one would lose his, and what was sealed under it.
	alone() (io.Closer, error)
}

// keysetKey is a keyset used as a key-encryption key: the primary key wraps, every
// enabled one unwraps. It is read each time, so that a rotation is seen by a server
// that runs, and a key taken away is gone.
type keysetKey struct{ shelf }

// maxKeyset bounds the text of a keyset in bytes.
const maxKeyset = 1 << 20

// openKeyset is the key on a shelf.
func openKeyset(s shelf) (Key, error) {
	if _, err := readKeyset(s); err != nil {
		return nil, err
	}
	return keysetKey{s}, nil
}

// ID is the same for all: what was sealed opens wherever the keyset is kept.
func (keysetKey) ID() string { return "keyset" }

func (k keysetKey) Wrap(_ context.Context, plaintext, associated []byte) ([]byte, error) {
	h, err := readKeyset(k.shelf)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	a, err := aead.New(h)
	if err != nil {
		return nil, err
	}
	return a.Encrypt(plaintext, associated)
}

func (k keysetKey) Unwrap(_ context.Context, wrapped, associated []byte) ([]byte, error) {
	h, err := readKeyset(k.shelf)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	a, err := aead.New(h)
	if err != nil {
		return nil, err
	}
	return a.Decrypt(wrapped, associated)
}

func readKeyset(s shelf) (*keyset.Handle, error) {
	text, err := s.load()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no key: make one with 'redoubt seal key new' (%w)", err)
	}
	if err != nil {
		return nil, err
	}
	h, err := insecurecleartextkeyset.Read(keyset.NewJSONReader(bytes.NewReader(text)))
	if err != nil {
		return nil, errors.New("it holds no keyset of Tink in JSON")
	}
	if _, err := aead.New(h); err != nil {
		return nil, errors.New("its keys are not for authenticated encryption")
	}
	return h, nil
}

func writeKeyset(s shelf, m *keyset.Manager) error {
	h, err := m.Handle()
	if err != nil {
		return err
	}
	var b bytes.Buffer
	if err := insecurecleartextkeyset.Write(h, keyset.NewJSONWriter(&b)); err != nil {
		return err
	}
	return s.save(append(b.Bytes(), '\n'))
}

// makeKeyset puts a keyset with one key on a shelf that has none.
func makeKeyset(s shelf) error {
	held, err := s.alone()
	if err != nil {
		return err
	}
	defer held.Close()
	switch _, err := s.load(); {
	case err == nil:
		return errors.New("there is a key already: 'redoubt seal key rotate' adds another to it")
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	return addPrimary(s, keyset.NewManager())
}

func addPrimary(s shelf, m *keyset.Manager) error {
	id, err := m.Add(aead.AES256GCMKeyTemplate())
	if err == nil {
		err = m.SetPrimary(id)
	}
	if err != nil {
		return err
	}
	return writeKeyset(s, m)
}

// RotateKey adds a key to the keyset that a URI names, which wraps from now on. The
// ones before go on unwrapping until [RetireKey] takes them away. Key services
// rotate by their own means.
func RotateKey(text, dir string) error {
	return withKeyset(text, dir, "rotate", func(s shelf, h *keyset.Handle) error {
		return addPrimary(s, keyset.NewManagerFromHandle(h))
	})
}

// RetireKey takes a key away from a keyset. What is still under it opens no more:
// [Sealer.Rotate] comes first.
func RetireKey(text, dir string, id uint32) error {
	return withKeyset(text, dir, "retire a key of", func(s shelf, h *keyset.Handle) error {
		m := keyset.NewManagerFromHandle(h)
		if err := m.Delete(id); err != nil {
			return fmt.Errorf("%d is its first key or none of it: 'redoubt seal key list' shows which there are", id)
		}
		return writeKeyset(s, m)
	})
}

// ListKeys are the ids of the keys in a keyset, the one that wraps first.
func ListKeys(text, dir string) (ids []uint32, err error) {
	err = withKeyset(text, dir, "list", func(_ shelf, h *keyset.Handle) error {
		info := h.KeysetInfo()
		ids = append(ids, info.PrimaryKeyId)
		for _, k := range info.KeyInfo {
			if k.KeyId != info.PrimaryKeyId && k.Status == tink_go_proto.KeyStatusType_ENABLED {
				ids = append(ids, k.KeyId)
			}
		}
		return nil
	})
	return ids, err
}

func withKeyset(text, dir, what string, do func(shelf, *keyset.Handle) error) error {
	p, u, err := parse(text, dir)
	if err != nil {
		return err
	}
	if p.shelf == nil {
		return fmt.Errorf("%s %s:%s: it is no keyset; the service has its own means", what, p.Scheme, u.rest)
	}
	s, err := p.shelf(u)
	if err == nil {
		err = u.unused()
	}
	if err == nil {
		err = holding(s, do)
	}
	if err != nil {
		return fmt.Errorf("%s %s:%s: %w", what, p.Scheme, strings.TrimSpace(u.rest), err)
	}
	return nil
}

// holding does something with a keyset that nobody else changes meanwhile.
func holding(s shelf, do func(shelf, *keyset.Handle) error) error {
	held, err := s.alone()
	if err != nil {
		return err
	}
	defer held.Close()
	h, err := readKeyset(s)
	if err != nil {
		return err
	}
	return do(s, h)
}
