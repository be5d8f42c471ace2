// Package sign says who stands behind a model, and for what: it writes and
// verifies signatures of OpenSSF Model Signing v1.0, and attestations of what was
// measured about the same bytes.
//
//	m, err := sign.Hashing{}.Manifest(ctx, "model.onnx")
//	bundle, err := (&sign.Signer{Key: key}).Sign(m)
//	...
//	policy := &sign.Policy{Keys: []crypto.PublicKey{pub}}
//	v, err := policy.Verify(ctx, "model.onnx", bundle)
//	switch {
//	case errors.Is(err, sign.Signed): // nobody whom the policy names signed it
//	case errors.Is(err, sign.Files):  // the model is not the one that was signed
//	}
//
// A [Manifest] lists the digests of a model's files, or of pieces of them; its
// root digest is one name for all. A bundle is a Sigstore bundle (JSON, v0.3)
// around a DSSE envelope around an in-toto statement around the manifest. The
// same bundles carry an [Attestation] of an assessment, a scan or the data, whose
// subject is the model's root digest:
//
//	a, err := sign.OfAssessment(m, &report)
//	a.Issued, a.Expires = now, now.AddDate(0, 3, 0)
//	bundle, err := signer.Attest("model.onnx", a)
//	...
//	a, by, err := policy.Attestation(bundle, m.Root())
//	if a.Numbers["robust_accuracy[linf@0.1]"] < 0.5 { ... }
//
// # Three ways to sign
//
// With a key (ECDSA on P-256, P-384 or P-521, or ML-DSA-65 or -87), with a
// certificate of one's own authority, or, verified only, without keys by
// Sigstore: see [Policy]. A signature with ML-DSA is a bundle of its own beside
// the first, over the same manifest, so that whoever knows only ECDSA loses
// nothing and whoever demands both verifies both.
//
// # Verified bytes
//
// [Policy.Verify] reads the files it is given, and whoever opens them again may
// find others. [Manifest.Check] holds what is loaded against the manifest: copy
// from the same reader while it checks, and use the copy only when it has agreed.
//
// # Promises
//
//   - Nothing is valid by itself: a policy that does not name who must have signed
//     verifies nothing.
//   - What a verifier allows (links, unsigned files, the old format) stands in its
//     policy. A bundle cannot widen it.
//   - Files are opened beneath the model's folder, whatever names and links say.
//   - Every part of a bundle is either verified or refused, but for what
//     [Policy.Verify] lists.
//   - Memory does not grow with the size of files, and bundles beyond [MaxBundle]
//     are not read.
package sign

import "fmt"

// MaxBundle bounds a bundle, in bytes: room for a manifest of 200,000 files.
const MaxBundle = 64 << 20

// Requirement is what a bundle or a model failed: the kind of an error of this
// package, found by errors.Is and errors.As.
type Requirement string

// The requirements.
const (
	// Format: the bundle is not one, or is not of the kind that was asked for.
	Format Requirement = "format"
	// Signed: whoever signed is not who the policy names.
	Signed Requirement = "signer"
	// Signature: the signature does not belong to the content.
	Signature Requirement = "signature"
	// Certificate: the chain leads to no root of the policy, or was not valid then,
	// or is not for signing.
	Certificate Requirement = "certificate"
	// Log: the entry of the transparency log, or the time it vouches for, is
	// missing or wrong.
	Log Requirement = "log"
	// Files: the model's files are not those of the manifest.
	Files Requirement = "files"
	// Subject: the attestation is about another model.
	Subject Requirement = "subject"
	// Expiry: the attestation has expired, or is not valid yet.
	Expiry Requirement = "expiry"
)

func (r Requirement) Error() string { return string(r) }

// failure is a requirement with what it was that failed.
type failure struct {
	requirement Requirement
	reason      string
}

func (f *failure) Error() string { return f.reason }
func (f *failure) Unwrap() error { return f.requirement }

func fail(r Requirement, format string, args ...any) error {
	return &failure{r, fmt.Errorf(format, args...).Error()}
}
