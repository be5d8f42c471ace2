package sign

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/cryptobyte"
	cryptobyteasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// TrustedRoot is whom a [Sigstore] policy trusts: certificate authorities, logs
// and timestamping authorities, each for a time.
type TrustedRoot struct {
	authorities []authority
	stampers    []authority
	logs        map[string]*trustedLog // by id
	certLogs    map[string]*trustedLog
}

// authority is a chain of certificates, of which the last is the root.
type authority struct {
	chain []*x509.Certificate
	period
}

type trustedLog struct {
	id   []byte
	host string
	key  crypto.PublicKey
	period
}

// period is when something may be used: from start, and until end unless zero.
type period struct{ start, end time.Time }

func (p period) holds(t time.Time) bool {
	return !t.Before(p.start) && (p.end.IsZero() || !t.After(p.end))
}

// trustedRootFile is TrustedRoot of sigstore_trustroot.proto. It comes from the
// verifier, so that members for other programs do no harm.
type trustedRootFile struct {
	MediaType   string          `json:"mediaType"`
	Logs        []logFile       `json:"tlogs"`
	CertLogs    []logFile       `json:"ctlogs"`
	Authorities []authorityFile `json:"certificateAuthorities"`
	Stampers    []authorityFile `json:"timestampAuthorities"`
}

type logFile struct {
	URL string `json:"baseUrl"`
	Key struct {
		Raw  base       `json:"rawBytes"`
		Kind string     `json:"keyDetails"`
		For  periodFile `json:"validFor"`
	} `json:"publicKey"`
	LogID struct {
		KeyID base `json:"keyId"`
	} `json:"logId"`
}

type authorityFile struct {
	Chain chain      `json:"certChain"`
	For   periodFile `json:"validFor"`
}

type periodFile struct {
	Start time.Time `json:"start"`
	End   time.Time `json:"end"`
}

// ParseTrustedRoot reads a trusted_root.json as Sigstore's TUF repository has it.
// Logs with keys other than ECDSA, which this package cannot verify, are left out.
func ParseTrustedRoot(b []byte) (*TrustedRoot, error) {
	if len(b) > maxTrustedRoot {
		return nil, fmt.Errorf("read trusted root: it is larger than %d bytes", maxTrustedRoot)
	}
	var f trustedRootFile
	if err := decodeOpen(b, &f); err != nil {
		return nil, fmt.Errorf("read trusted root: %w", err)
	}
	if !strings.HasPrefix(f.MediaType, "application/vnd.dev.sigstore.trustedroot") {
		return nil, fmt.Errorf("read trusted root: media type %q: want a trusted_root.json of Sigstore", f.MediaType)
	}
	r := &TrustedRoot{}
	var err, err2, err3, err4 error
	r.logs, err = readLogs(f.Logs)
	r.certLogs, err2 = readLogs(f.CertLogs)
	r.authorities, err3 = readAuthorities(f.Authorities)
	r.stampers, err4 = readAuthorities(f.Stampers)
	if err := errors.Join(err, err2, err3, err4); err != nil {
		return nil, fmt.Errorf("read trusted root: %w", err)
	}
	return r, nil
}

const maxTrustedRoot = 1 << 20

func readLogs(files []logFile) (map[string]*trustedLog, error) {
	out := map[string]*trustedLog{}
	for _, f := range files {
		if !strings.HasPrefix(f.Key.Kind, "PKIX_ECDSA_") {
			continue
		}
		key, err := ecdsaKey(f.Key.Raw)
		if err != nil {
			return nil, fmt.Errorf("key of the log %s: %w", f.URL, err)
		}
		u, err := url.Parse(f.URL)
		if err != nil || u.Host == "" {
			return nil, fmt.Errorf("log %q: want an address", f.URL)
		}
		// RFC 6962, section 3.2: the id is the hash of the key.
		if sum := sha256.Sum256(f.Key.Raw); !bytes.Equal(sum[:], f.LogID.KeyID) {
			return nil, fmt.Errorf("log %s: its id is not that of its key", f.URL)
		}
		out[string(f.LogID.KeyID)] = &trustedLog{f.LogID.KeyID, u.Host, key, period{f.Key.For.Start, f.Key.For.End}}
	}
	return out, nil
}

func readAuthorities(files []authorityFile) ([]authority, error) {
	var out []authority
	for i, f := range files {
		certs, err := f.Chain.parse()
		if err != nil || len(certs) == 0 {
			return nil, errors.Join(fmt.Errorf("authority %d has no chain of certificates", i+1), err)
		}
		out = append(out, authority{certs, period{f.For.Start, f.For.End}})
	}
	return out, nil
}

// certified verifies that an authority issued the certificate, that it was valid
// at all the times, and that a log of certificates knows it.
func (r *TrustedRoot) certified(leaf *x509.Certificate, times []time.Time) error {
	if err := forSigning(leaf); err != nil {
		return err
	}
	failed := errors.New("no authority of the trusted root issued the certificate")
	for _, a := range r.authorities {
		issuer, err := a.issued(leaf, times)
		if err != nil {
			failed = err
			continue
		}
		return r.logged(leaf, issuer)
	}
	return failed
}

// issued verifies the chain at all the times, and returns the issuer.
func (a *authority) issued(leaf *x509.Certificate, times []time.Time) (*x509.Certificate, error) {
	var issuer *x509.Certificate
	for _, t := range times {
		if !a.holds(t) {
			return nil, fmt.Errorf("the authority is not trusted at %s", t.Format(time.RFC3339))
		}
		way, err := a.verify(leaf, t)
		if err != nil {
			return nil, err
		}
		issuer = way[1]
	}
	if issuer == nil {
		return nil, errors.New("nobody vouches for the time of the signature")
	}
	return issuer, nil
}

// verify finds the way from a certificate to the authority's root.
func (a *authority) verify(leaf *x509.Certificate, at time.Time) ([]*x509.Certificate, error) {
	o := x509.VerifyOptions{
		Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), CurrentTime: at,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	}
	o.Roots.AddCert(a.chain[len(a.chain)-1])
	for _, c := range a.chain[:len(a.chain)-1] {
		o.Intermediates.AddCert(c)
	}
	chains, err := leaf.Verify(o)
	if err != nil {
		return nil, err
	}
	if i := slices.IndexFunc(chains, func(c []*x509.Certificate) bool { return len(c) > 1 }); i >= 0 {
		return chains[i], nil
	}
	return nil, errors.New("the certificate is the authority's own")
}

// logged verifies the first signed certificate timestamp of a certificate by a log
// that is trusted: RFC 6962, sections 3.2 and 3.3, for a pre-certificate.
func (r *TrustedRoot) logged(leaf, issuer *x509.Certificate) error {
	list, tbs, err := withoutSCT(leaf)
	if err != nil {
		return err
	}
	for !list.Empty() {
		var sct, id, extensions, sig cryptobyte.String
		var version, hash, alg uint8
		var millis uint64
		if !list.ReadUint16LengthPrefixed(&sct) || !sct.ReadUint8(&version) || version != 0 || !sct.ReadBytes((*[]byte)(&id), 32) ||
			!sct.ReadUint64(&millis) || !sct.ReadUint16LengthPrefixed(&extensions) || !sct.ReadUint8(&hash) || !sct.ReadUint8(&alg) ||
			!sct.ReadUint16LengthPrefixed(&sig) || !sct.Empty() {
			return errors.New("the certificate's timestamp of the log of certificates is damaged")
		}
		l := r.certLogs[string(id)]
		if l == nil || !l.holds(time.UnixMilli(int64(millis))) {
			continue
		}
		keyHash := sha256.Sum256(issuer.RawSubjectPublicKeyInfo)
		b := cryptobyte.NewBuilder(nil)
		b.AddBytes([]byte{0, 0}) // version 1, certificate_timestamp
		b.AddBytes(binary.BigEndian.AppendUint64(nil, millis))
		b.AddUint16(1) // precert_entry
		b.AddBytes(keyHash[:])
		b.AddUint24LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(tbs) })
		b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(extensions) })
		signed, err := b.Bytes()
		if err != nil {
			return err
		}
		if hash != 4 || alg != 3 || !verifyMessage(l.key, crypto.SHA256, signed, sig) { // SHA-256, ECDSA: RFC 5246, section 7.4.1.4.1
			return errors.New("the certificate's timestamp of the log of certificates does not belong to it")
		}
		return nil
	}
	return errors.New("no trusted log of certificates knows the certificate")
}

// withoutSCT takes the list of timestamps out of a certificate, and returns what
// was signed before it was put in.
func withoutSCT(leaf *x509.Certificate) (list cryptobyte.String, tbs []byte, err error) {
	damaged := errors.New("the certificate has no timestamps of a log of certificates, or is damaged")
	in := cryptobyte.String(leaf.RawTBSCertificate)
	var fields cryptobyte.String
	if !in.ReadASN1(&fields, cryptobyteasn1.SEQUENCE) {
		return nil, nil, damaged
	}
	extensionsTag := cryptobyteasn1.Tag(3).Constructed().ContextSpecific()
	b := cryptobyte.NewBuilder(nil)
	b.AddASN1(cryptobyteasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		for !fields.Empty() {
			var field cryptobyte.String
			var tag cryptobyteasn1.Tag
			if !fields.ReadAnyASN1Element(&field, &tag) {
				b.SetError(damaged)
				return
			}
			if tag != extensionsTag {
				b.AddBytes(field)
				continue
			}
			b.AddASN1(extensionsTag, func(b *cryptobyte.Builder) {
				b.AddASN1(cryptobyteasn1.SEQUENCE, func(b *cryptobyte.Builder) { err = copyExtensions(b, field, &list) })
			})
		}
	})
	tbs, err2 := b.Bytes()
	if err := errors.Join(err, err2); err != nil || list == nil {
		return nil, nil, damaged
	}
	return list, tbs, nil
}

// copyExtensions copies all extensions but the one with the timestamps.
func copyExtensions(b *cryptobyte.Builder, field cryptobyte.String, list *cryptobyte.String) error {
	damaged := errors.New("damaged")
	var outer, all cryptobyte.String
	if !field.ReadASN1(&outer, cryptobyteasn1.Tag(3).Constructed().ContextSpecific()) || !outer.ReadASN1(&all, cryptobyteasn1.SEQUENCE) {
		return damaged
	}
	for !all.Empty() {
		var whole cryptobyte.String
		if !all.ReadASN1Element(&whole, cryptobyteasn1.SEQUENCE) {
			return damaged
		}
		ext := whole
		var content cryptobyte.String
		var id = oidSCT
		if !ext.ReadASN1(&content, cryptobyteasn1.SEQUENCE) || !content.ReadASN1ObjectIdentifier(&id) {
			return damaged
		}
		if !id.Equal(oidSCT) {
			b.AddBytes(whole)
			continue
		}
		var value, inner cryptobyte.String
		if !content.ReadASN1(&value, cryptobyteasn1.OCTET_STRING) || !value.ReadASN1(&inner, cryptobyteasn1.OCTET_STRING) || !inner.ReadUint16LengthPrefixed(list) || !inner.Empty() {
			return damaged
		}
	}
	return nil
}
