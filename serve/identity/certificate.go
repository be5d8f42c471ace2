package identity

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redoubt-ml/redoubt"
)

// CertificateRule says what a client certificate gives.
type CertificateRule struct {
	// Match is what follows "certificate:" in the principal's id: a SPIFFE id, or
	// a subject and issuer. A * at its end stands for anything, after a / in a
	// SPIFFE id.
	Match         string
	Roles, Groups []string
}

func (r *CertificateRule) matches(id string) bool {
	if begin, ok := strings.CutSuffix(r.Match, "/*"); ok {
		return strings.HasPrefix(id, begin+"/")
	}
	return r.Match == id
}

// check refuses a rule that no certificate's id can meet.
func (r *CertificateRule) check() error {
	begin := strings.TrimSuffix(r.Match, "/*")
	if u, err := url.Parse(begin); err == nil && u.Scheme == "spiffe" && wellFormed(u) {
		return nil
	}
	subject, issuer, both := strings.Cut(r.Match, ";")
	if both && strings.Contains(subject, "=") && strings.Contains(issuer, "=") {
		return nil
	}
	return fmt.Errorf("certificates: %q matches nothing: write a SPIFFE id, with /* at its end for all beneath it, or SUBJECT;ISSUER as openssl x509 -nameopt RFC2253 prints them", r.Match)
}

// byCertificate says who shows a client certificate, which TLS has verified up to
// an authority that is trusted for clients. That it is still valid is checked
// again: connections live long.
func (s *Service) byCertificate(peer *tls.ConnectionState) (p redoubt.Principal, err error) {
	if len(peer.VerifiedChains) == 0 {
		return p, refuse(Invalid, "a client certificate that was not verified")
	}
	chain, now := peer.VerifiedChains[0], s.now()
	for _, c := range chain {
		if now.Before(c.NotBefore) {
			return p, refuse(Invalid, "the certificate of %q is not valid yet", c.Subject)
		}
		if !now.Before(c.NotAfter) {
			return p, refuse(Expired, "the certificate of %q", c.Subject)
		}
	}
	id, err := certificateID(chain)
	if err != nil {
		return p, refuse(Invalid, "a client certificate: %w", err)
	}
	if err := s.crls.check(chain, now); err != nil {
		return p, err
	}
	if err := s.welcome(certificatePrefix + id); err != nil {
		return p, err
	}
	p = redoubt.Principal{ID: certificatePrefix + id, Name: id, Roles: []string{}, Groups: []string{}, Method: "certificate", Credential: "certificate:" + serial(chain[0].SerialNumber)}
	for _, r := range s.cfg.Certificates {
		if r.matches(id) {
			p.Roles, p.Groups = append(p.Roles, r.Roles...), append(p.Groups, r.Groups...)
		}
	}
	p.Roles, p.Groups = words(p.Roles), words(p.Groups)
	return p, nil
}

// certificateID is the one SPIFFE id of a certificate (X.509-SVID, section 2), or
// its subject and issuer.
func certificateID(chain []*x509.Certificate) (string, error) {
	leaf := chain[0]
	if leaf.IsCA {
		return "", errors.New("it is an authority's")
	}
	if len(leaf.URIs) == 1 && leaf.URIs[0].Scheme == "spiffe" {
		u := leaf.URIs[0]
		if !wellFormed(u) {
			return "", errors.New("its SPIFFE id is not well formed")
		}
		return u.String(), nil
	}
	if slices.ContainsFunc(leaf.URIs, func(u *url.URL) bool { return u.Scheme == "spiffe" }) {
		return "", errors.New("it has several ids, of which one is SPIFFE's")
	}
	if leaf.Subject.String() == "" {
		return "", errors.New("it has neither a SPIFFE id nor a subject")
	}
	return leaf.Subject.String() + ";" + leaf.Issuer.String(), nil
}

// wellFormed reports whether a SPIFFE id is one (SPIFFE-ID, section 2): a rule that
// ends with a * must not be met by a way around it, such as "/scoring/../other".
func wellFormed(u *url.URL) bool {
	const letters = "abcdefghijklmnopqrstuvwxyz0123456789._-"
	const either = letters + "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	if u.Host == "" || strings.Trim(u.Host, letters) != "" || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || u.User != nil || u.Opaque != "" || len(u.String()) > 2048 {
		return false
	}
	if u.Path == "" {
		return true
	}
	for _, part := range strings.Split(u.Path, "/")[1:] {
		if part == "" || part == "." || part == ".." || strings.Trim(part, either) != "" {
			return false
		}
	}
	return true
}

func serial(n *big.Int) string { return hex.EncodeToString(n.Bytes()) }

// crls are the certificates that were revoked.
type crls struct {
	serials []string

	mu    sync.Mutex
	files []*crlFile
}

type crlFile struct {
	path    string
	looked  time.Time // when we last looked whether it changed
	changed time.Time
	size    int64
	list    *x509.RevocationList
	revoked map[string]bool
	err     error // of the last reading: nothing is known then
}

// lookAgain is how often it is looked whether a file has changed, and longestCRL
// how long it may be.
const (
	lookAgain  = time.Second
	longestCRL = 32 << 20
)

func newCRLs(cfg Config) (*crls, error) {
	c := &crls{}
	for _, s := range cfg.Revoked {
		b, err := hex.DecodeString(strings.ReplaceAll(s, ":", ""))
		if err != nil {
			return nil, fmt.Errorf("the serial number %q is not hexadecimal with two digits a byte", s)
		}
		c.serials = append(c.serials, hex.EncodeToString(bytes.TrimLeft(b, "\x00")))
	}
	for _, path := range cfg.CRLs {
		f := &crlFile{path: path}
		if f.read(cfg.Now()); f.err != nil {
			return nil, f.err
		}
		c.files = append(c.files, f)
	}
	return c, nil
}

// check refuses a chain with a revoked certificate. A list that cannot be read,
// or whose next edition is overdue, decides nothing, and so refuses those whom it
// might have named.
func (c *crls) check(chain []*x509.Certificate, now time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, f := range c.files {
		f.read(now)
	}
	for i, cert := range chain {
		n := serial(cert.SerialNumber)
		if slices.Contains(c.serials, n) {
			return refuse(Invalid, "certificate %s is revoked", n)
		}
		if i+1 == len(chain) {
			break // a root is its own issuer
		}
		for _, f := range c.files {
			if err := f.check(cert, chain[i+1], n, now); err != nil {
				return err
			}
		}
	}
	return nil
}

// check asks one list about one certificate.
func (f *crlFile) check(cert, issuer *x509.Certificate, n string, now time.Time) error {
	if f.err != nil {
		return refuse(Unavailable, "%w", f.err)
	}
	if !bytes.Equal(f.list.RawIssuer, cert.RawIssuer) {
		return nil
	}
	if err := f.list.CheckSignatureFrom(issuer); err != nil {
		return refuse(Unavailable, "%s is not signed by %q: %w", f.path, issuer.Subject, err)
	}
	if !f.list.NextUpdate.IsZero() && now.After(f.list.NextUpdate) {
		return refuse(Unavailable, "%s should have been replaced on %s", f.path, f.list.NextUpdate.Format(time.DateOnly))
	}
	if f.revoked[n] {
		return refuse(Invalid, "certificate %s is revoked by %s", n, f.path)
	}
	return nil
}

// read reads the file if it has changed.
func (f *crlFile) read(now time.Time) {
	if !f.looked.IsZero() && now.Sub(f.looked) < lookAgain && now.Sub(f.looked) >= 0 {
		return
	}
	f.looked = now
	st, err := os.Stat(f.path)
	if err != nil {
		f.err = fmt.Errorf("read revocations: %w", err)
		return
	}
	if f.err == nil && f.list != nil && st.ModTime().Equal(f.changed) && st.Size() == f.size {
		return
	}
	f.list, f.revoked, f.err = readCRL(f.path, st.Size())
	f.changed, f.size = st.ModTime(), st.Size()
}

func readCRL(path string, size int64) (*x509.RevocationList, map[string]bool, error) {
	if size > longestCRL {
		return nil, nil, fmt.Errorf("read revocations: %s has %d bytes, more than %d", path, size, longestCRL)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, nil, fmt.Errorf("read revocations: %w", err)
	}
	if block, _ := pem.Decode(b); block != nil {
		b = block.Bytes
	}
	list, err := x509.ParseRevocationList(b)
	if err != nil {
		return nil, nil, fmt.Errorf("read revocations from %s: %w", path, err)
	}
	revoked := make(map[string]bool, len(list.RevokedCertificateEntries))
	for _, e := range list.RevokedCertificateEntries {
		revoked[serial(e.SerialNumber)] = true
	}
	return list, revoked, nil
}
