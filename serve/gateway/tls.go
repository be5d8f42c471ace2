package gateway

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// Certificate is a key pair as it was read from two PEM files. To have another
// in its place, make another and give new connections its Config: those that
// stand keep the one they began with.
type Certificate struct {
	certFile, keyFile string
	hosts             []string // not nil if the files are ours to make
	pair              tls.Certificate
}

// LoadCertificate reads a certificate chain and its key.
func LoadCertificate(certFile, keyFile string) (*Certificate, error) {
	c := &Certificate{certFile: certFile, keyFile: keyFile}
	return c, c.read()
}

// OwnCertificate reads the certificate in a folder, or makes one there for the
// given names and addresses: valid for 397 days, signed by its own key, and made
// anew when less than 30 days are left. Clients must be given the file, for no
// authority vouches for it.
func OwnCertificate(dir string, hosts []string) (*Certificate, error) {
	c := &Certificate{certFile: filepath.Join(dir, "tls.crt"), keyFile: filepath.Join(dir, "tls.key"), hosts: hosts}
	return c, c.read()
}

// read reads the files, which it makes first if they are ours and are missing or
// outdated.
func (c *Certificate) read() error {
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if c.hosts != nil && (errors.Is(err, fs.ErrNotExist) || err == nil && c.outdated(pair.Leaf)) {
		if err := c.make(); err != nil {
			return fmt.Errorf("make a TLS certificate in %s: %w", filepath.Dir(c.certFile), err)
		}
		pair, err = tls.LoadX509KeyPair(c.certFile, c.keyFile)
	}
	if err != nil {
		return fmt.Errorf("read the TLS certificate %s with its key %s: %w", c.certFile, c.keyFile, err)
	}
	if !time.Now().Before(pair.Leaf.NotAfter) {
		return fmt.Errorf("read the TLS certificate %s: it expired on %s; put a new one in its place", c.certFile, pair.Leaf.NotAfter.Format(time.DateOnly))
	}
	c.pair = pair
	return nil
}

// File is where the certificate lies.
func (c *Certificate) File() string { return c.certFile }

// Expires is until when it is valid.
func (c *Certificate) Expires() time.Time { return c.pair.Leaf.NotAfter }

// Fingerprint is the SHA-256 of the certificate in hexadecimal, to compare by
// eye.
func (c *Certificate) Fingerprint() string {
	sum := sha256.Sum256(c.pair.Leaf.Raw)
	return hex.EncodeToString(sum[:])
}

// Config is what a listener needs: TLS 1.3 only, the hybrid post-quantum key
// exchange preferred, and client certificates checked against clients where it
// is not nil. A client without one is let through to show other credentials.
func (c *Certificate) Config(clients *x509.CertPool) *tls.Config {
	config := ListenerTLS(clients)
	config.Certificates = []tls.Certificate{c.pair}
	return config
}

// ListenerTLS is [Certificate.Config] without a certificate, for those that have
// theirs from elsewhere.
func ListenerTLS(clients *x509.CertPool) *tls.Config {
	config := &tls.Config{
		MinVersion:       tls.VersionTLS13,
		CurvePreferences: []tls.CurveID{tls.X25519MLKEM768, tls.X25519, tls.CurveP256},
		NextProtos:       []string{"h2", "http/1.1"},
	}
	if clients != nil {
		config.ClientCAs, config.ClientAuth = clients, tls.VerifyClientCertIfGiven
	}
	return config
}

const (
	validity = 397 * 24 * time.Hour // the most that browsers accept
	renewal  = 30 * 24 * time.Hour
)

// outdated reports whether a certificate of our own making must be made anew.
func (c *Certificate) outdated(leaf *x509.Certificate) bool {
	for _, host := range c.hosts {
		if leaf.VerifyHostname(host) != nil {
			return true
		}
	}
	return time.Until(leaf.NotAfter) < renewal
}

// make writes a new key and a certificate that it signs itself.
func (c *Certificate) make() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: "redoubt gateway"},
		NotBefore:    now.Add(-5 * time.Minute), // clocks differ
		NotAfter:     now.Add(validity),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		// It is its own authority, and none over others.
		BasicConstraintsValid: true,
	}
	for _, host := range c.hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	if err := writeFile(c.keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), 0o600); err != nil {
		return err
	}
	return writeFile(c.certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}), 0o644)
}

// writeFile puts a whole file in place or none.
func writeFile(path string, content []byte, mode fs.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".tls-*")
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}
