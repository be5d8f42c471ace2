package sign

import (
	"encoding/json"
	"fmt"
	"strings"
)

// mediaTypes are the two spellings of the bundle format that OMS v1.0 uses.
var mediaTypes = []string{
	"application/vnd.dev.sigstore.bundle.v0.3+json",
	"application/vnd.dev.sigstore.bundle+json;version=0.3",
}

const payloadType = "application/vnd.in-toto+json"

// bundle is a Sigstore bundle, sigstore_bundle.proto of protobuf-specs, as far as
// OMS uses it.
type bundle struct {
	MediaType string    `json:"mediaType"`
	Material  material  `json:"verificationMaterial"`
	Envelope  *envelope `json:"dsseEnvelope"`
}

// material says how to verify: exactly one of the first three is there.
type material struct {
	PublicKey   *keyHint     `json:"publicKey,omitempty"`
	Chain       *chain       `json:"x509CertificateChain,omitempty"`
	Certificate *certificate `json:"certificate,omitempty"`
	Log         []logEntry   `json:"tlogEntries,omitempty"`
	Stamps      *timestamps  `json:"timestampVerificationData,omitempty"`
}

type keyHint struct {
	Hint string `json:"hint,omitempty"`
	// Until version 1.1 of the reference implementation the key itself stood here,
	// as PEM, with its kind.
	Raw  base   `json:"rawBytes,omitempty"`
	Kind string `json:"keyDetails,omitempty"`
}

type chain struct {
	Certificates []certificate `json:"certificates"`
}

type certificate struct {
	Raw base `json:"rawBytes"`
}

type timestamps struct {
	RFC3161 []struct {
		Signed base `json:"signedTimestamp"`
	} `json:"rfc3161Timestamps,omitempty"`
}

// envelope is a DSSE envelope. The key id is a hint that nothing is decided by.
type envelope struct {
	Payload    base            `json:"payload"`
	Type       string          `json:"payloadType"`
	Signatures []dsseSignature `json:"signatures"`
}

type dsseSignature struct {
	Sig   base   `json:"sig"`
	KeyID string `json:"keyid,omitempty"`
}

// readBundle reads a bundle and demands the form of section 4.
func readBundle(b []byte) (*bundle, error) {
	if len(b) > MaxBundle {
		return nil, fail(Format, "read bundle: it is larger than %d bytes", MaxBundle)
	}
	out := &bundle{}
	if err := decodeStrict(b, out); err != nil {
		return nil, fail(Format, "read bundle: %v", err)
	}
	if err := out.check(); err != nil {
		return nil, fail(Format, "read bundle: %v", err)
	}
	return out, nil
}

func (b *bundle) check() error {
	if b.MediaType != mediaTypes[0] && b.MediaType != mediaTypes[1] {
		return fmt.Errorf("media type %q: want %s", b.MediaType, mediaTypes[0])
	}
	e := b.Envelope
	if e == nil || len(e.Payload) == 0 {
		return fmt.Errorf("it has no dsseEnvelope with a payload")
	}
	if e.Type != payloadType {
		return fmt.Errorf("payload type %q: want %s", e.Type, payloadType)
	}
	if len(e.Signatures) != 1 || len(e.Signatures[0].Sig) == 0 {
		return fmt.Errorf("it has %d signatures: want exactly one, and another bundle for another", len(e.Signatures))
	}
	return b.Material.check()
}

// check refuses what a method does not use: it would not be verified.
func (m *material) check() error {
	n := 0
	for _, there := range []bool{m.PublicKey != nil, m.Chain != nil, m.Certificate != nil} {
		if there {
			n++
		}
	}
	switch {
	case n != 1:
		return fmt.Errorf("verificationMaterial: want exactly one of publicKey, x509CertificateChain and certificate")
	case m.PublicKey != nil && m.PublicKey.Hint == "" && len(m.PublicKey.Raw) == 0:
		return fmt.Errorf("publicKey: want a hint")
	case m.Chain != nil && len(m.Chain.Certificates) == 0:
		return fmt.Errorf("x509CertificateChain: it has no certificates")
	case m.Chain != nil && len(m.Chain.Certificates) > maxChain:
		return fmt.Errorf("x509CertificateChain: it has more than %d certificates", maxChain)
	case m.Certificate != nil && len(m.Log) == 0:
		return fmt.Errorf("tlogEntries: a bundle with a certificate of Sigstore needs one")
	case m.Certificate == nil && (len(m.Log) > 0 || m.Stamps != nil && len(m.Stamps.RFC3161) > 0):
		return fmt.Errorf("tlogEntries and timestamps belong to signatures by Sigstore only: this one is by %s", m.method())
	}
	return nil
}

func (m *material) method() string {
	switch {
	case m.PublicKey != nil:
		return "key"
	case m.Chain != nil:
		return "certificate"
	}
	return "sigstore"
}

// pae is DSSE's pre-authentication encoding: what is signed.
func pae(payload []byte) []byte {
	return append(fmt.Appendf(nil, "DSSEv1 %d %s %d ", len(payloadType), payloadType, len(payload)), payload...)
}

// paeLegacy is what version 0.2 of the reference implementation signed instead,
// by two mistakes: a capital V, and the payload as Python prints bytes.
func paeLegacy(payload []byte) []byte {
	quote := byte('\'')
	if strings.ContainsRune(string(payload), '\'') && !strings.ContainsRune(string(payload), '"') {
		quote = '"'
	}
	out := fmt.Appendf(nil, "DSSEV1 %d %s %d b%c", len(payloadType), payloadType, len(payload), quote)
	for _, c := range payload {
		switch {
		case c == '\\' || c == quote:
			out = append(out, '\\', c)
		case c == '\t':
			out = append(out, `\t`...)
		case c == '\n':
			out = append(out, `\n`...)
		case c == '\r':
			out = append(out, `\r`...)
		case c < ' ' || c > '~':
			out = fmt.Appendf(out, `\x%02x`, c)
		default:
			out = append(out, c)
		}
	}
	return append(out, quote)
}

// writeBundle signs a statement and wraps it up.
func (s *Signer) writeBundle(st *statement) ([]byte, error) {
	payload, err := json.Marshal(st)
	if err != nil {
		return nil, fmt.Errorf("write statement: %w", err)
	}
	b := &bundle{MediaType: mediaTypes[0]}
	if b.Material, err = s.material(); err != nil {
		return nil, err
	}
	sig, err := signMessage(s.Key, pae(payload))
	if err != nil {
		return nil, err
	}
	b.Envelope = &envelope{Payload: payload, Type: payloadType, Signatures: []dsseSignature{{Sig: sig}}}
	out, err := json.MarshalIndent(b, "", "  ")
	if len(out) >= MaxBundle {
		return nil, fmt.Errorf("write bundle: it is larger than %d bytes: sign fewer files, or larger pieces", MaxBundle)
	}
	return append(out, '\n'), err
}
