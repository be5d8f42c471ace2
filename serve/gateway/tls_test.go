package gateway_test

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"testing"

	"github.com/redoubt-ml/redoubt/serve/gateway"
)

// dial shakes hands with a listener under a configuration.
func dial(t *testing.T, server, client *tls.Config) (*tls.ConnectionState, error) {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", server)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		if c, err := l.Accept(); err == nil {
			c.(*tls.Conn).Handshake()
			c.Close()
		}
	}()
	c, err := tls.Dial("tcp", l.Addr().String(), client)
	<-done
	if err != nil {
		return nil, err
	}
	defer c.Close()
	state := c.ConnectionState()
	return &state, nil
}

func TestOwnCertificate(t *testing.T) {
	dir := t.TempDir()
	c, err := gateway.OwnCertificate(dir, []string{"localhost", "127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	key, err := os.Stat(filepath.Join(dir, "tls.key"))
	if err != nil || key.Mode().Perm() != 0o600 {
		t.Errorf("the key's file: %v, %v", key.Mode(), err)
	}
	pem, err := os.ReadFile(c.File())
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	state, err := dial(t, c.Config(nil), &tls.Config{RootCAs: roots, ServerName: "localhost"})
	if err != nil {
		t.Fatal(err)
	}
	if state.Version != tls.VersionTLS13 || state.CurveID != tls.X25519MLKEM768 {
		t.Errorf("version %x, key exchange %v", state.Version, state.CurveID)
	}
	if _, err := dial(t, c.Config(nil), &tls.Config{RootCAs: roots, ServerName: "localhost", MaxVersion: tls.VersionTLS12}); err == nil {
		t.Error("TLS 1.2 was spoken")
	}
	// The second start finds the certificate; another name wants another one.
	again, err := gateway.OwnCertificate(dir, []string{"localhost"})
	if err != nil || again.Fingerprint() != c.Fingerprint() {
		t.Errorf("made anew: %v", err)
	}
	other, err := gateway.OwnCertificate(dir, []string{"models.example"})
	if err != nil || other.Fingerprint() == c.Fingerprint() {
		t.Errorf("not made anew for another name: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "tls.crt"), []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := gateway.OwnCertificate(dir, []string{"localhost"}); err == nil {
		t.Error("a broken file was taken")
	}
}
