package audit

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
)

// algCosignature marks keys of cosignatures (C2SP tlog-cosignature, Ed25519): the
// statement of a witness that it saw a log grow into a checkpoint, at a time.
const algCosignature = 4

// newVerifier reads a public key in the form of package note: a log's, or one of
// cosignatures.
func newVerifier(vkey string) (note.Verifier, error) {
	v, err := note.NewVerifier(vkey)
	if err == nil {
		return v, nil
	}
	name, rest, _ := strings.Cut(vkey, "+")
	hash, encoded, ok := strings.Cut(rest, "+")
	key, err := base64.StdEncoding.DecodeString(encoded)
	if !ok || err != nil || len(key) != 1+ed25519.PublicKeySize || key[0] != algCosignature {
		return nil, errors.New("read public key: want NAME+HASH+KEY, as a log or a witness prints it")
	}
	c := cosigner{name: name, public: ed25519.PublicKey(key[1:])}
	if want, err := strconv.ParseUint(hash, 16, 32); err != nil || len(hash) != 8 || uint32(want) != c.KeyHash() || name == "" {
		return nil, fmt.Errorf("read public key of %q: its hash does not fit", name)
	}
	return c, nil
}

// cosigner is a witness's key, as package note knows keys.
type cosigner struct {
	name    string
	public  ed25519.PublicKey
	private ed25519.PrivateKey // nil to verify only
}

// Cosigner is the key of a witness that has the private key of a log's form: it
// signs cosignatures, and tells its public key.
func Cosigner(skey string) (_ note.Signer, vkey string, err error) {
	parts := strings.SplitN(strings.TrimSpace(skey), "+", 5)
	if len(parts) != 5 || parts[0] != "PRIVATE" || parts[1] != "KEY" {
		return nil, "", errors.New("read the key of the witness: it is none")
	}
	seed, err := base64.StdEncoding.DecodeString(parts[4])
	if err != nil || len(seed) != 1+ed25519.SeedSize || seed[0] != 1 {
		return nil, "", errors.New("read the key of the witness: it is none")
	}
	private := ed25519.NewKeyFromSeed(seed[1:])
	c := cosigner{parts[2], private.Public().(ed25519.PublicKey), private}
	return c, fmt.Sprintf("%s+%08x+%s", c.name, c.KeyHash(), base64.StdEncoding.EncodeToString(append([]byte{algCosignature}, c.public...))), nil
}

func (c cosigner) Name() string { return c.name }

func (c cosigner) KeyHash() uint32 {
	sum := sha256.Sum256(append([]byte(c.name+"\n\x04"), c.public...))
	return binary.BigEndian.Uint32(sum[:])
}

func (c cosigner) Sign(msg []byte) ([]byte, error) {
	when := uint64(time.Now().Unix())
	return append(binary.BigEndian.AppendUint64(nil, when), ed25519.Sign(c.private, statement(when, msg))...), nil
}

func (c cosigner) Verify(msg, sig []byte) bool {
	if len(sig) != 8+ed25519.SignatureSize {
		return false
	}
	when := binary.BigEndian.Uint64(sig)
	return when < 1<<63 && ed25519.Verify(c.public, statement(when, msg), sig[8:])
}

// statement is what a cosignature signs.
func statement(when uint64, msg []byte) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "cosignature/v1\ntime %d\n", when)
	b.Write(msg)
	return b.Bytes()
}
