package identity

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/redoubt-ml/redoubt/store"
)

// sealer encrypts with AES-256-GCM under a key of its own, so that what was
// sealed for one purpose opens for no other.
type sealer struct{ aead cipher.AEAD }

func newSealer(key []byte, purpose string) (sealer, error) {
	k, err := hkdf.Key(sha256.New, key, nil, "redoubt identity "+purpose, 32)
	if err != nil {
		return sealer{}, err
	}
	block, err := aes.NewCipher(k)
	if err != nil {
		return sealer{}, err
	}
	// Random nonces of 96 bits: after 2^32 messages the risk of a repetition is
	// 2^-32 (NIST SP 800-38D, section 8.3).
	aead, err := cipher.NewGCMWithRandomNonce(block)
	return sealer{aead}, err
}

// seal encrypts what belongs to a subject, and opens for that subject only.
func (s sealer) seal(b []byte, subject string) []byte {
	return s.aead.Seal(nil, nil, b, []byte(subject))
}

func (s sealer) open(b []byte, subject string) ([]byte, error) {
	return s.aead.Open(nil, nil, b, []byte(subject))
}

const (
	// flowLife is for how long a login may be half done.
	flowLife = 10 * time.Minute
	// longestFlow is what a cookie holds, less its name and attributes.
	longestFlow = 3800
)

// flow is something half done: a login after the password, a ceremony of a
// passkey, a visit to an issuer, a session on its way to a program. It waits sealed in the browser, so that nobody
// fills a table with beginnings; what ends well is spent, and cannot end again.
type flow struct {
	Kind    string          `json:"k"`
	Account string          `json:"a,omitempty"`
	Data    json.RawMessage `json:"d,omitempty"`
	Expires int64           `json:"e"`

	digest digest
}

func (s *Service) sealFlow(kind, account string, data any) (string, error) {
	return s.sealFor(flowLife, kind, account, data)
}

func (s *Service) sealFor(life time.Duration, kind, account string, data any) (string, error) {
	d, err := json.Marshal(data)
	if err != nil {
		return "", fmt.Errorf("seal a flow: %w", err)
	}
	b, err := json.Marshal(flow{Kind: kind, Account: account, Data: d, Expires: ms(s.now().Add(life))})
	if err != nil {
		return "", fmt.Errorf("seal a flow: %w", err)
	}
	sealed := base64.RawURLEncoding.EncodeToString(s.flows.seal(b, kind))
	if len(sealed) > longestFlow {
		return "", fmt.Errorf("seal a flow: %d bytes, more than a cookie holds: remove a passkey", len(sealed))
	}
	return sealed, nil
}

// openFlow reads a flow of a kind, and its data.
func (s *Service) openFlow(kind, sealed string, data any) (*flow, error) {
	if len(sealed) > longestFlow {
		return nil, refuse(Invalid, "a flow of %d bytes", len(sealed))
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(sealed)
	if err != nil {
		return nil, refuse(Invalid, "open a flow: %w", err)
	}
	b, err = s.flows.open(b, kind)
	if err != nil {
		return nil, refuse(Invalid, "open a flow: it is not ours, or for another purpose")
	}
	f := flow{digest: sha256.Sum256([]byte(sealed))}
	if err := errors.Join(json.Unmarshal(b, &f), json.Unmarshal(f.Data, data)); err != nil {
		return nil, refuse(Invalid, "open a flow: %w", err)
	}
	if s.now().UnixMilli() >= f.Expires {
		return nil, refuse(Expired, "a flow")
	}
	return &f, nil
}

// spend lets a flow end once.
func (f *flow) spend(tx *store.Tx) error {
	n, err := tx.Exec(`INSERT INTO identity_spent VALUES ($1, $2) ON CONFLICT (digest) DO NOTHING`, f.digest[:], f.Expires)
	if err == nil && n == 0 {
		return refuse(Invalid, "a flow that has ended before")
	}
	return err
}
