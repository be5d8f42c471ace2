package sign

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"math/big"
	"slices"
	"time"
)

// The structures of RFC 3161 (section 2.4.2) and of CMS (RFC 5652, section 5), as
// far as a timestamp within a Sigstore bundle has them.
type stampResponse struct {
	Status struct{ Status int }
	Token  struct {
		Type    asn1.ObjectIdentifier
		Content signedData `asn1:"explicit,tag:0"`
	}
}

type signedData struct {
	Version int
	Digests []pkix.AlgorithmIdentifier `asn1:"set"`
	Content struct {
		Type asn1.ObjectIdentifier
		Info []byte `asn1:"explicit,tag:0"`
	}
	Certificates asn1.RawValue `asn1:"optional,tag:0"`
	Signers      []signerInfo  `asn1:"set"`
}

type signerInfo struct {
	Version int
	ID      struct {
		Issuer asn1.RawValue
		Serial *big.Int
	}
	Digest    pkix.AlgorithmIdentifier
	Signed    asn1.RawValue `asn1:"tag:0"`
	Algorithm pkix.AlgorithmIdentifier
	Signature []byte
}

type attribute struct {
	Type   asn1.ObjectIdentifier
	Values asn1.RawValue
}

// stampInfo is TSTInfo; what follows the time is covered by the signature and
// says nothing that is asked here.
type stampInfo struct {
	Version int
	Policy  asn1.ObjectIdentifier
	Imprint struct {
		Hash   pkix.AlgorithmIdentifier
		Digest []byte
	}
	Serial *big.Int
	Time   time.Time `asn1:"generalized"`
}

var (
	oidSignedData    = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2}
	oidStampInfo     = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 1, 4}
	oidContentType   = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 3}
	oidMessageDigest = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 4}
)

// digests are the hashes of timestamps, each with the name of ECDSA over it.
var digests = []struct {
	oid, ecdsa asn1.ObjectIdentifier
	hash       crypto.Hash
}{
	{asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 1}, asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 2}, crypto.SHA256},
	{asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 2}, asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 3}, crypto.SHA384},
	{asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 3}, asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 4}, crypto.SHA512},
}

func hashOf(a pkix.AlgorithmIdentifier) crypto.Hash {
	for _, d := range digests {
		if d.oid.Equal(a.Algorithm) && plain(a) {
			return d.hash
		}
	}
	return 0
}

// plain reports whether an algorithm has no parameters.
func plain(a pkix.AlgorithmIdentifier) bool {
	return len(a.Parameters.FullBytes) == 0 || bytes.Equal(a.Parameters.FullBytes, asn1.NullBytes)
}

var errStamp = errors.New("the timestamp is damaged, or not of the form that Sigstore's authority writes")

// stamped verifies an RFC 3161 timestamp over data, and returns its time.
func (r *TrustedRoot) stamped(der, data []byte) (time.Time, error) {
	var resp stampResponse
	if _, err := asn1.Unmarshal(der, &resp); err != nil {
		return time.Time{}, errStamp
	}
	// Written again it must be the same: the decoder passes over lengths of explicit
	// tags and over what follows the fields that it was asked for.
	if again, err := asn1.Marshal(resp); err != nil || !bytes.Equal(again, der) {
		return time.Time{}, errStamp
	}
	d := &resp.Token.Content
	if resp.Status.Status > 1 || !resp.Token.Type.Equal(oidSignedData) || d.Version != 3 || !d.Content.Type.Equal(oidStampInfo) ||
		len(d.Signers) != 1 || len(d.Digests) != 1 || hashOf(d.Digests[0]) != hashOf(d.Signers[0].Digest) {
		return time.Time{}, errStamp
	}
	var info stampInfo
	if rest, err := asn1.Unmarshal(d.Content.Info, &info); err != nil || len(rest) > 0 || info.Version != 1 {
		return time.Time{}, errStamp
	}
	if h := hashOf(info.Imprint.Hash); h == 0 || !bytes.Equal(sumOf(h, data), info.Imprint.Digest) {
		return time.Time{}, errors.New("the timestamp is of another signature")
	}
	for _, a := range r.stampers {
		if !a.holds(info.Time) || a.stamps(d, info.Time) != nil {
			continue
		}
		return info.Time.UTC(), nil
	}
	return time.Time{}, errors.New("no timestamping authority of the trusted root signed the timestamp")
}

func sumOf(h crypto.Hash, data []byte) []byte {
	s := h.New()
	s.Write(data)
	return s.Sum(nil)
}

// stamps verifies that the authority's certificate, the first of its chain, signed.
func (a *authority) stamps(d *signedData, at time.Time) error {
	leaf, s := a.chain[0], &d.Signers[0]
	if !bytes.Equal(s.ID.Issuer.FullBytes, leaf.RawIssuer) || s.ID.Serial.Cmp(leaf.SerialNumber) != 0 || s.Version != 1 {
		return errStamp
	}
	if !slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageTimeStamping) {
		return errStamp
	}
	if _, err := a.verify(leaf, at); err != nil {
		return err
	}
	if !a.knows(d.Certificates.Bytes) {
		return errStamp
	}
	hash := hashOf(s.Digest)
	if hash == 0 || !attributesSay(s.Signed.Bytes, sumOf(hash, d.Content.Info)) {
		return errStamp
	}
	for _, k := range digests {
		// RFC 5652, section 5.4: what is signed is the set of attributes as a SET.
		set := append([]byte{asn1.TagSet | 0x20}, s.Signed.FullBytes[1:]...)
		if k.hash == hash && k.ecdsa.Equal(s.Algorithm.Algorithm) && plain(s.Algorithm) && verifyMessage(leaf.PublicKey, hash, set, s.Signature) {
			return nil
		}
	}
	return errStamp
}

// knows reports whether the certificates that a timestamp brings are the
// authority's.
func (a *authority) knows(der []byte) bool {
	certs, err := x509.ParseCertificates(der)
	return err == nil && !slices.ContainsFunc(certs, func(c *x509.Certificate) bool { return !onWay(a.chain, c) })
}

// attributesSay demands that the signed attributes give type and digest of the
// content, once each.
func attributesSay(der, digest []byte) bool {
	types, sums := 0, 0
	for len(der) > 0 {
		var a attribute
		rest, err := asn1.Unmarshal(der, &a)
		if err != nil {
			return false
		}
		der = rest
		var value asn1.RawValue
		switch {
		case a.Type.Equal(oidContentType):
			want, _ := asn1.Marshal(oidStampInfo)
			if types++; !bytes.Equal(a.Values.Bytes, want) {
				return false
			}
		case a.Type.Equal(oidMessageDigest):
			if rest, err := asn1.Unmarshal(a.Values.Bytes, &value); err != nil || len(rest) > 0 || !bytes.Equal(value.Bytes, digest) {
				return false
			}
			sums++
		}
	}
	return types == 1 && sums == 1
}
