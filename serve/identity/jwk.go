package identity

import (
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"slices"
)

const (
	// mostKeys and longestKeys bound what an issuer publishes.
	mostKeys    = 64
	longestKeys = 512 << 10 // bytes
)

// keySet is the public keys of an issuer, by id. All are of its one algorithm.
type keySet map[string]any

// find is the key that a token names; where it names none, the only one there is.
func (k keySet) find(kid string) any {
	if kid == "" && len(k) == 1 {
		for _, key := range k {
			return key
		}
	}
	return k[kid]
}

// parseKeySet reads a JSON Web Key Set (RFC 7517). Keys for other purposes are
// passed over, and a set that holds secrets, or two keys of one id, is refused
// whole: its issuer does not know what it does.
func parseKeySet(b []byte, alg algorithm) (keySet, error) {
	if len(b) > longestKeys {
		return nil, fmt.Errorf("read keys: %d bytes, more than %d", len(b), longestKeys)
	}
	doc, err := parseClaims(b)
	if err != nil {
		return nil, fmt.Errorf("read keys: %w", err)
	}
	list, ok := doc["keys"].([]any)
	if !ok || len(list) > mostKeys {
		return nil, fmt.Errorf("read keys: no list of at most %d keys", mostKeys)
	}
	out := keySet{}
	for _, v := range list {
		k, ok := v.(claims)
		if !ok {
			return nil, errors.New("read keys: one is no object")
		}
		kid := k.text("kid")
		if k["d"] != nil || k["k"] != nil || k.text("kty") == "oct" {
			return nil, fmt.Errorf("read keys: %q is secret, and published", excerpt(kid))
		}
		key, err := parseKey(k, alg)
		if err != nil {
			return nil, fmt.Errorf("read key %q: %w", excerpt(kid), err)
		}
		if key == nil {
			continue
		}
		if out[kid] != nil {
			return nil, fmt.Errorf("read keys: two have the id %q", excerpt(kid))
		}
		out[kid] = key
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("read keys: none is for %s", alg.name)
	}
	return out, nil
}

// parseKey reads one key, or nil for one that is not for signatures of alg.
func parseKey(k claims, alg algorithm) (any, error) {
	if use, ok := k["use"]; ok && use != "sig" || k.text("kty") != alg.keyType {
		return nil, nil
	}
	if _, ok := k["key_ops"]; ok {
		if ops, err := k.texts("key_ops"); err != nil || !slices.Contains(ops, "verify") {
			return nil, err
		}
	}
	if said, ok := k["alg"]; ok && said != alg.name && !(alg.name == "EdDSA" && said == "Ed25519") {
		return nil, nil
	}
	switch alg.keyType {
	case "RSA":
		return parseRSA(k)
	case "EC":
		if k.text("crv") != "P-256" {
			return nil, nil
		}
		return parseEC(k)
	default:
		if k.text("crv") != "Ed25519" {
			return nil, nil
		}
		x, err := k.bytes("x")
		if err == nil && len(x) != ed25519.PublicKeySize {
			err = fmt.Errorf("an Ed25519 key of %d bytes", len(x))
		}
		return ed25519.PublicKey(x), err
	}
}

func (c claims) bytes(name string) ([]byte, error) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(c.text(name))
	if err != nil || len(b) == 0 {
		return nil, fmt.Errorf("its %q is not base64url (%v)", name, err)
	}
	return b, nil
}

func parseRSA(k claims) (any, error) {
	n, err1 := k.bytes("n")
	e, err2 := k.bytes("e")
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	key := &rsa.PublicKey{N: new(big.Int).SetBytes(n)}
	exponent := new(big.Int).SetBytes(e)
	switch bits := key.N.BitLen(); {
	case bits < 2048 || bits > 8192:
		return nil, fmt.Errorf("an RSA key of %d bits, not 2048 to 8192", bits)
	case exponent.BitLen() > 31 || exponent.Int64() < 65537 && exponent.Int64() != 3 || exponent.Bit(0) == 0:
		return nil, errors.New("an RSA key with an exponent that is not used")
	case key.N.Bit(0) == 0:
		return nil, errors.New("an RSA modulus that is even")
	case roca(key.N):
		return nil, errors.New("an RSA key that a faulty library made, and that can be factored (CVE-2017-15361)")
	}
	key.E = int(exponent.Int64())
	return key, nil
}

// roca reports the fingerprint of the keys of CVE-2017-15361 (Nemec et al., "The
// Return of Coppersmith's Attack", 2017, section 2.3): their moduli are powers of
// 65537 modulo every small prime. Of other keys, one in 2^27 has it.
func roca(n *big.Int) bool {
	for _, p := range []int64{3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101, 103, 107, 109, 113, 127, 131, 137, 139, 149, 151, 157, 163, 167} {
		rest := new(big.Int).Mod(n, big.NewInt(p)).Int64()
		power, found := int64(1), false
		for range p {
			found = found || power == rest
			power = power * 65537 % p
		}
		if !found {
			return false
		}
	}
	return true
}

func parseEC(k claims) (any, error) {
	x, err1 := k.bytes("x")
	y, err2 := k.bytes("y")
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	if len(x) != 32 || len(y) != 32 {
		return nil, errors.New("a P-256 key whose coordinates are not of 32 bytes")
	}
	point := append(append([]byte{4}, x...), y...)
	if _, err := ecdh.P256().NewPublicKey(point); err != nil { // is it on the curve?
		return nil, err
	}
	return ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
}
