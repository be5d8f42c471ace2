package sign

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	circl "github.com/cloudflare/circl/sign"
	"github.com/cloudflare/circl/sign/mldsa/mldsa65"
	"github.com/cloudflare/circl/sign/mldsa/mldsa87"
)

// kind is a kind of key: an elliptic curve of the specification's registry with
// the hash that goes with it, or a parameter set of ML-DSA (FIPS 204).
type kind struct {
	name    string
	details string // in bundles before version 1.1 of the reference implementation
	curve   elliptic.Curve
	hash    crypto.Hash
	scheme  circl.Scheme
	oid     asn1.ObjectIdentifier // of a scheme: RFC 9881
}

var kinds = []*kind{
	{name: "p256", details: "PKIX_ECDSA_P256_SHA_256", curve: elliptic.P256(), hash: crypto.SHA256},
	{name: "p384", details: "PKIX_ECDSA_P384_SHA_384", curve: elliptic.P384(), hash: crypto.SHA384},
	{name: "p521", details: "PKIX_ECDSA_P521_SHA_512", curve: elliptic.P521(), hash: crypto.SHA512},
	{name: "ml-dsa-65", scheme: mldsa65.Scheme(), oid: asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 3, 18}},
	{name: "ml-dsa-87", scheme: mldsa87.Scheme(), oid: asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 3, 19}},
}

// KeyKinds names the kinds of key that [GenerateKey] makes.
func KeyKinds() []string {
	var out []string
	for _, k := range kinds {
		out = append(out, k.name)
	}
	return out
}

// kindOf is the kind of a public key, nil if it is none of ours.
func kindOf(key crypto.PublicKey) *kind {
	for _, k := range kinds {
		switch key := key.(type) {
		case *ecdsa.PublicKey:
			if k.curve == key.Curve {
				return k
			}
		case circl.PublicKey:
			if k.scheme != nil && k.scheme.Name() == key.Scheme().Name() {
				return k
			}
		}
	}
	return nil
}

var errKind = fmt.Errorf("the key is of no kind that can sign models: want one of %s", strings.Join(KeyKinds(), ", "))

// GenerateKey makes a key of a kind that [KeyKinds] names.
func GenerateKey(name string) (crypto.Signer, error) {
	for _, k := range kinds {
		switch {
		case k.name != name:
		case k.curve != nil:
			return ecdsa.GenerateKey(k.curve, rand.Reader)
		default:
			_, key, err := k.scheme.GenerateKey()
			return key, err
		}
	}
	return nil, fmt.Errorf("generate key: %q is no kind of key: want one of %s", name, strings.Join(KeyKinds(), ", "))
}

// Fingerprint is the SHA-256 of the key in PEM, in hexadecimal: the hint of
// section 4.1, as the reference implementation makes it. It is empty for a key
// that cannot sign models.
func Fingerprint(key crypto.PublicKey) string {
	text, err := MarshalPublicKey(key)
	if err != nil {
		return ""
	}
	return hexSum(text)
}

func hexSum(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// signMessage signs as the key's kind does: ECDSA over the hash, in ASN.1, or
// ML-DSA over the message, with an empty context.
func signMessage(key crypto.Signer, message []byte) ([]byte, error) {
	k := kindOf(key.Public())
	if k == nil {
		return nil, errKind
	}
	digest := message
	if k.hash != 0 {
		h := k.hash.New()
		h.Write(message)
		digest = h.Sum(nil)
	}
	sig, err := key.Sign(rand.Reader, digest, k.hash)
	if err != nil {
		return nil, fmt.Errorf("sign with the key: %w", err)
	}
	return sig, nil
}

// verifyMessage is the other side of signMessage. A hash other than 0 stands in
// for the one of the curve.
func verifyMessage(key crypto.PublicKey, hash crypto.Hash, message, sig []byte) bool {
	k := kindOf(key)
	switch {
	case k == nil:
		return false
	case k.scheme != nil:
		return k.scheme.Verify(key.(circl.PublicKey), message, sig, nil)
	case hash == 0:
		hash = k.hash
	}
	h := hash.New()
	h.Write(message)
	return ecdsa.VerifyASN1(key.(*ecdsa.PublicKey), h.Sum(nil), sig)
}

// spki and pkcs8 are SubjectPublicKeyInfo and OneAsymmetricKey (RFC 5958), for
// the keys that crypto/x509 does not know.
type spki struct {
	Algorithm pkix.AlgorithmIdentifier
	Key       asn1.BitString
}

type pkcs8 struct {
	Version   int
	Algorithm pkix.AlgorithmIdentifier
	Key       []byte
}

// MarshalPublicKey writes a public key as PEM.
func MarshalPublicKey(key crypto.PublicKey) ([]byte, error) {
	k := kindOf(key)
	if k == nil {
		return nil, errKind
	}
	var der []byte
	var err error
	if k.curve != nil {
		der, err = x509.MarshalPKIXPublicKey(key)
	} else {
		raw, _ := key.(circl.PublicKey).MarshalBinary() // it never fails
		der, err = asn1.Marshal(spki{pkix.AlgorithmIdentifier{Algorithm: k.oid}, asn1.BitString{Bytes: raw, BitLength: 8 * len(raw)}})
	}
	if err != nil {
		return nil, fmt.Errorf("write public key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), nil
}

// ParsePublicKey reads a public key in PEM.
func ParsePublicKey(text []byte) (crypto.PublicKey, error) {
	block, err := onlyBlock(text)
	if err != nil {
		return nil, fmt.Errorf("read public key: %w", err)
	}
	if block.Type != "PUBLIC KEY" {
		return nil, fmt.Errorf("read public key: the file holds a %q: want a PUBLIC KEY", strings.ToLower(block.Type))
	}
	var info spki
	if rest, err := asn1.Unmarshal(block.Bytes, &info); err != nil || len(rest) > 0 {
		return nil, errors.New("read public key: the file is damaged")
	}
	for _, k := range kinds {
		if k.scheme != nil && k.oid.Equal(info.Algorithm.Algorithm) {
			key, err := k.scheme.UnmarshalBinaryPublicKey(info.Key.Bytes)
			if err != nil {
				return nil, fmt.Errorf("read public key: %w", err)
			}
			return key, nil
		}
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil || kindOf(key) == nil {
		return nil, fmt.Errorf("read public key: %w", errKind)
	}
	return key, nil
}

// MarshalPrivateKey writes a private key as PEM in PKCS#8, encrypted unless the
// passphrase is empty (PBES2 of RFC 8018: PBKDF2 with HMAC-SHA-256 and
// AES-256-CBC, which OpenSSL reads). Of ML-DSA it writes the seed (RFC 9881).
func MarshalPrivateKey(key crypto.Signer, passphrase string) ([]byte, error) {
	der, err := privateDER(key)
	if err != nil {
		return nil, fmt.Errorf("write private key: %w", err)
	}
	if passphrase == "" {
		return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
	}
	if der, err = encryptPKCS8(der, passphrase); err != nil {
		return nil, fmt.Errorf("write private key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: der}), nil
}

func privateDER(key crypto.Signer) ([]byte, error) {
	k := kindOf(key.Public())
	if k == nil {
		return nil, errKind
	}
	if k.curve != nil {
		return x509.MarshalPKCS8PrivateKey(key)
	}
	seeded, ok := key.(circl.Seeded)
	if !ok || seeded.Seed() == nil {
		return nil, errors.New("the seed of the ML-DSA key is not known")
	}
	seed, err := asn1.MarshalWithParams(seeded.Seed(), "tag:0")
	if err != nil {
		return nil, err
	}
	return asn1.Marshal(pkcs8{0, pkix.AlgorithmIdentifier{Algorithm: k.oid}, seed})
}

// ParsePrivateKey reads a private key in PEM: PKCS#8, encrypted or not, or an EC
// PRIVATE KEY (RFC 5915).
func ParsePrivateKey(text []byte, passphrase string) (crypto.Signer, error) {
	block, err := onlyBlock(text)
	if err != nil {
		return nil, fmt.Errorf("read private key: %w", err)
	}
	der := block.Bytes
	switch block.Type {
	case "ENCRYPTED PRIVATE KEY":
		if passphrase == "" {
			return nil, errors.New("read private key: it is encrypted: give its passphrase")
		}
		if der, err = decryptPKCS8(der, passphrase); err != nil {
			return nil, fmt.Errorf("read private key: %w", err)
		}
	case "PRIVATE KEY":
	case "EC PRIVATE KEY":
		key, err := x509.ParseECPrivateKey(der)
		if err != nil {
			return nil, fmt.Errorf("read private key: %w", err)
		}
		return checkedKey(key)
	default:
		return nil, fmt.Errorf("read private key: the file holds a %q: want a PRIVATE KEY", strings.ToLower(block.Type))
	}
	return parsePrivateDER(der)
}

func parsePrivateDER(der []byte) (crypto.Signer, error) {
	var info pkcs8
	if _, err := asn1.Unmarshal(der, &info); err != nil {
		return nil, errors.New("read private key: the file is damaged, or the passphrase is wrong")
	}
	for _, k := range kinds {
		if k.scheme == nil || !k.oid.Equal(info.Algorithm.Algorithm) {
			continue
		}
		var seed []byte
		if rest, err := asn1.UnmarshalWithParams(info.Key, &seed, "tag:0"); err != nil || len(rest) > 0 || len(seed) != k.scheme.SeedSize() {
			return nil, fmt.Errorf("read private key: want an ML-DSA key as a seed of %d bytes", k.scheme.SeedSize())
		}
		_, key := k.scheme.DeriveKey(seed)
		return key, nil
	}
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, fmt.Errorf("read private key: %w", err)
	}
	return checkedKey(key)
}

func checkedKey(key any) (crypto.Signer, error) {
	s, ok := key.(crypto.Signer)
	if !ok || kindOf(s.Public()) == nil {
		return nil, fmt.Errorf("read private key: %w", errKind)
	}
	return s, nil
}

// onlyBlock is the one PEM block of a text.
func onlyBlock(text []byte) (*pem.Block, error) {
	block, rest := pem.Decode(text)
	for block != nil && block.Type == "EC PARAMETERS" { // what openssl ecparam puts before the key
		block, rest = pem.Decode(rest)
	}
	if block == nil {
		return nil, errors.New("it is not PEM")
	}
	if next, _ := pem.Decode(rest); next != nil {
		return nil, errors.New("it holds more than one key")
	}
	return block, nil
}

// ParseCertificates reads certificates in PEM, in their order.
func ParseCertificates(text []byte) ([]*x509.Certificate, error) {
	var out []*x509.Certificate
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("read certificates: the file holds a %q", strings.ToLower(block.Type))
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("read certificates: number %d: %w", len(out)+1, err)
		}
		out = append(out, c)
	}
	if len(out) == 0 {
		return nil, errors.New("read certificates: the file holds none in PEM")
	}
	return out, nil
}
