package sign

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
)

// Signer signs manifests and attestations.
type Signer struct {
	// Key is required. Any signer will do whose public key is of a kind that
	// [KeyKinds] names, such as one within a hardware module.
	Key crypto.Signer
	// Chain, unless empty, are certificates of which the first is the key's and
	// each next certifies the one before: whoever trusts the root then need not
	// know the key.
	Chain []*x509.Certificate
	// Reference writes two things as the Python package model-signing 1.1.1 does,
	// which differs there from the specification and verifies only its own way: a
	// model of one file is called ".", and the hash of pieces
	// "sha256-sharded-SIZE". [Policy] reads both spellings.
	Reference bool
}

// Sign writes the bundle of section 6 for a model's manifest.
func (s *Signer) Sign(m *Manifest) ([]byte, error) {
	st, err := m.statement(s.Reference)
	if err != nil {
		return nil, err
	}
	return s.writeBundle(st)
}

// material is what the bundle says about how to verify it.
func (s *Signer) material() (material, error) {
	if s.Key == nil {
		return material{}, errors.New("sign: no key")
	}
	if len(s.Chain) == 0 {
		if hint := Fingerprint(s.Key.Public()); hint != "" {
			return material{PublicKey: &keyHint{Hint: hint}}, nil
		}
		return material{}, fmt.Errorf("sign: %w", errKind)
	}
	ours, err := MarshalPublicKey(s.Key.Public())
	theirs, err2 := MarshalPublicKey(s.Chain[0].PublicKey)
	if err != nil || err2 != nil || !bytes.Equal(ours, theirs) {
		return material{}, errors.New("sign: the first certificate is not that of the key")
	}
	if err := forSigning(s.Chain[0]); err != nil {
		return material{}, fmt.Errorf("sign: %w", err)
	}
	c := &chain{}
	for _, cert := range s.Chain {
		c.Certificates = append(c.Certificates, certificate{cert.Raw})
	}
	return material{Chain: c}, nil
}
