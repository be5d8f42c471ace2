package sign

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"slices"
	"time"
)

// Policy says who must have signed, and what the verifier allows. At least one of
// Keys, Roots and Sigstore is required; the bundle's method decides which of them
// is asked.
type Policy struct {
	// Keys are public keys, any of which may have signed.
	Keys []crypto.PublicKey
	// Roots are certificates of authorities, one of which a signing certificate's
	// chain must lead to. The roots of the system never count.
	Roots []*x509.Certificate
	// Names, unless empty, are who may sign by certificate: one of them is the
	// certificate's e-mail address, URI, DNS name or common name. Leave it empty
	// only where everybody whom the roots certify may sign.
	Names []string
	// Sigstore, unless nil, accepts signatures without keys.
	Sigstore *Sigstore

	// Links lets the model have symbolic links, where the signer followed them.
	Links bool
	// Unsigned lets the model have files that are not in the manifest.
	Unsigned bool
	// Ignore are further paths that are not signed, such as the bundle's own.
	Ignore []string
	// Legacy accepts the format of the reference implementation's version 0.2,
	// whose signatures cover the files' digests and nothing about how they were
	// listed.
	Legacy bool
	// Time is when certificates and attestations must be valid; now if zero.
	// Sigstore's certificates must have been valid when the log took the signature.
	Time time.Time

	// Workers and Progress are those of [Hashing].
	Workers  int
	Progress func(done, total int64)
}

// Verified is what a bundle proved under a policy.
type Verified struct {
	// Manifest is what was signed. Its Name proves nothing.
	Manifest *Manifest
	By       Signatory
}

// Signatory is who signed and how.
type Signatory struct {
	// Method is "key", "certificate" or "sigstore".
	Method string `json:"method"`
	// Name is the key's fingerprint, the certificate's subject, or the identity
	// that Sigstore vouches for.
	Name string `json:"name"`
	// Issuer is the certificate's issuer, or the provider of the identity.
	Issuer string `json:"issuer,omitempty"`
	// Time is when the transparency log took the signature; zero for the other
	// methods, which prove no time.
	Time time.Time `json:"time,omitzero"`
}

// Open verifies a bundle's signature and reads the manifest, without a model.
func (p *Policy) Open(bundle []byte) (*Verified, error) {
	s, who, err := p.open(bundle)
	if err != nil {
		return nil, err
	}
	m, err := s.manifest(p.Legacy)
	if err != nil {
		return nil, err
	}
	return &Verified{m, *who}, nil
}

// Verify verifies a bundle's signature and holds the model, a file or a folder,
// against the manifest. An error is one of the [Requirement]s, or says that the
// model could not be read.
//
// Of a bundle, this may be changed without notice: keyid, which DSSE defines as a
// hint; white space between JSON tokens and the order of members; whether an empty
// list is there or absent; and timestamps may be taken away where the log vouches
// for the time.
func (p *Policy) Verify(ctx context.Context, model string, bundle []byte) (*Verified, error) {
	v, err := p.Open(bundle)
	if err != nil {
		return nil, err
	}
	if err := p.compare(ctx, model, v.Manifest); err != nil {
		return nil, err
	}
	return v, nil
}

func (p *Policy) compare(ctx context.Context, model string, m *Manifest) error {
	h := Hashing{
		Algorithm: m.Algorithm, ShardSize: m.ShardSize, FollowLinks: m.Links && p.Links,
		Ignore: append(slices.Clone(p.Ignore), m.Ignored...), Workers: p.Workers, Progress: p.Progress,
	}
	if p.Unsigned {
		h.only = withFolders(m.Paths())
	}
	if _, err := os.Stat(model); err != nil {
		return err
	}
	for _, path := range p.Ignore {
		if err := checkIgnored(path); err != nil {
			return err
		}
	}
	t, err := h.list(model)
	if err != nil {
		return fail(Files, "%v", err)
	}
	defer t.root.Close()
	if t.single && m.nameless() {
		t.as = "."
	}
	actual, err := h.digest(ctx, model, t)
	if errors.Is(err, errChanged) {
		return fail(Files, "%v", err)
	}
	if err != nil {
		return err
	}
	return m.differences(actual)
}

// open verifies a bundle's signature and returns the statement and who signed.
func (p *Policy) open(raw []byte) (*statement, *Signatory, error) {
	b, err := readBundle(raw)
	if err != nil {
		return nil, nil, err
	}
	var who *Signatory
	legacy := false
	switch b.Material.method() {
	case "key":
		who, legacy, err = p.byKey(b)
	case "certificate":
		who, legacy, err = p.byCertificate(b)
	default:
		who, err = p.bySigstore(b)
	}
	if err != nil {
		return nil, nil, err
	}
	s, err := readStatement(b.Envelope.Payload)
	if err == nil && legacy && s.PredicateType != predicateLegacy {
		err = fail(Signature, "the signature was made in the way of the old format, and the statement is of the new one")
	}
	return s, who, err
}

func (p *Policy) now() time.Time {
	if p.Time.IsZero() {
		return time.Now()
	}
	return p.Time
}

// byKey verifies with the policy's keys.
func (p *Policy) byKey(b *bundle) (*Signatory, bool, error) {
	if len(p.Keys) == 0 {
		return nil, false, fail(Signed, "the bundle is signed with a key, and the policy names none")
	}
	for _, key := range p.Keys {
		if !b.Material.PublicKey.names(key) {
			continue
		}
		legacy, err := p.verify(key, 0, b.Envelope)
		if err != nil {
			return nil, false, err
		}
		return &Signatory{Method: "key", Name: Fingerprint(key)}, legacy, nil
	}
	return nil, false, fail(Signed, "the bundle is signed with another key than the policy names")
}

// names reports whether the hint is the key's: the fingerprint, which is over PEM
// or, as the specification leaves that open, over DER, or in older bundles the key
// and its kind.
func (h *keyHint) names(key crypto.PublicKey) bool {
	text, err := MarshalPublicKey(key)
	if err != nil {
		return false
	}
	block, _ := pem.Decode(text)
	if h.Hint != "" && h.Hint != hexSum(text) && h.Hint != hexSum(block.Bytes) {
		return false
	}
	return (h.Raw == nil || string(h.Raw) == string(text)) && (h.Kind == "" || h.Kind == kindOf(key).details)
}

// verify checks an envelope's signature. It reports whether that was made in the
// way of the old format, which then must have been used with hash, if not 0.
func (p *Policy) verify(key crypto.PublicKey, hash crypto.Hash, e *envelope) (legacy bool, err error) {
	sig := e.Signatures[0].Sig
	if verifyMessage(key, 0, pae(e.Payload), sig) {
		return false, nil
	}
	switch old := verifyMessage(key, hash, paeLegacy(e.Payload), sig); {
	case old && p.Legacy:
		return true, nil
	case old:
		return false, errLegacy
	}
	return false, fail(Signature, "the signature does not belong to the content")
}

var errLegacy = fail(Format, "the signature has the format of version 0.2 of the reference implementation: sign the model again, or allow it in the policy")

// withFolders are paths and the folders above them.
func withFolders(paths []string) map[string]bool {
	out := map[string]bool{}
	for _, p := range paths {
		for i, c := range p {
			if c == '/' {
				out[p[:i]] = true
			}
		}
		out[p] = true
	}
	return out
}
