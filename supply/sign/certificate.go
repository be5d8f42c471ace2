package sign

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"
)

const maxChain = 16

// byCertificate verifies with the first certificate of the bundle's chain, which
// must lead to one of the policy's roots.
func (p *Policy) byCertificate(b *bundle) (*Signatory, bool, error) {
	if len(p.Roots) == 0 {
		return nil, false, fail(Signed, "the bundle is signed with a certificate, and the policy names no roots")
	}
	certs, err := b.Material.Chain.parse()
	if err != nil {
		return nil, false, fail(Format, "read bundle: %v", err)
	}
	leaf := certs[0]
	if err := forSigning(leaf); err != nil {
		return nil, false, fail(Certificate, "%v", err)
	}
	if err := checkChain(certs, p.Roots, p.now()); err != nil {
		return nil, false, fail(Certificate, "%v", err)
	}
	if names := namesOf(leaf); len(p.Names) > 0 && !slices.ContainsFunc(p.Names, func(n string) bool { return slices.Contains(names, n) }) {
		return nil, false, fail(Signed, "the bundle is signed by %q, whom the policy does not name", leaf.Subject)
	}
	legacy, err := p.verify(leaf.PublicKey, crypto.SHA256, b.Envelope) // version 0.2 used SHA-256 with every curve
	if err != nil {
		return nil, false, err
	}
	return &Signatory{Method: "certificate", Name: leaf.Subject.String(), Issuer: leaf.Issuer.String()}, legacy, nil
}

func (c *chain) parse() ([]*x509.Certificate, error) {
	var out []*x509.Certificate
	for i, raw := range c.Certificates {
		cert, err := x509.ParseCertificate(raw.Raw)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", i+1, err)
		}
		out = append(out, cert)
	}
	return out, nil
}

// checkChain demands that the first certificate was valid at a time and leads to
// a root, and that the others are part of the way there: what is not verified
// has no place in a bundle.
func checkChain(certs, roots []*x509.Certificate, at time.Time) error {
	o := x509.VerifyOptions{
		Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), CurrentTime: at,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	}
	for _, c := range roots {
		o.Roots.AddCert(c)
	}
	for _, c := range certs[1:] {
		o.Intermediates.AddCert(c)
	}
	leaf := *certs[0]
	// crypto/x509 does not know the extensions that Sigstore marks as critical in
	// certificates without a subject; namesOf and the caller read them.
	leaf.UnhandledCriticalExtensions = slices.DeleteFunc(slices.Clone(leaf.UnhandledCriticalExtensions), oidAltName.Equal)
	chains, err := leaf.Verify(o)
	if err != nil {
		return err
	}
	for _, way := range chains {
		if !slices.ContainsFunc(certs, func(c *x509.Certificate) bool { return !onWay(way, c) }) {
			return nil
		}
	}
	return errors.New("the chain holds a certificate that is not part of it")
}

func onWay(way []*x509.Certificate, c *x509.Certificate) bool {
	return slices.ContainsFunc(way, func(w *x509.Certificate) bool { return bytes.Equal(w.Raw, c.Raw) })
}

// forSigning demands that a certificate is for signing: where it says what its
// key is for, that includes digital signatures, and where it says what it
// certifies for, that includes the signing of code. It must say one of them.
func forSigning(c *x509.Certificate) error {
	extended := len(c.ExtKeyUsage)+len(c.UnknownExtKeyUsage) > 0
	switch {
	case kindOf(c.PublicKey) == nil:
		return errKind
	case c.KeyUsage == 0 && !extended:
		return errors.New("the certificate does not say that it is for signing")
	case c.KeyUsage != 0 && c.KeyUsage&x509.KeyUsageDigitalSignature == 0:
		return errors.New("the certificate's key is not for digital signatures")
	case extended && !slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageCodeSigning) && !slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageAny):
		return errors.New("the certificate is not for signing code")
	}
	return nil
}

// namesOf are the names that a certificate's authority vouches for.
func namesOf(c *x509.Certificate) []string {
	out := slices.Concat(c.EmailAddresses, c.DNSNames)
	for _, u := range c.URIs {
		out = append(out, u.String())
	}
	if c.Subject.CommonName != "" {
		out = append(out, c.Subject.CommonName)
	}
	return out
}
