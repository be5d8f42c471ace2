package serve

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/redoubt-ml/redoubt/internal/need"
	"github.com/redoubt-ml/redoubt/serve/gateway"
)

// names is a name server on this machine, over TCP as Pebble asks, that says of
// every name that it is this machine. It returns its address.
func names(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var done sync.WaitGroup
	done.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			done.Go(func() {
				defer conn.Close()
				for resolve(conn) == nil { // until whoever asked has gone
				}
			})
		}
	})
	t.Cleanup(func() { l.Close(); done.Wait() })
	return l.Addr().String()
}

// resolve answers one question (RFC 7766).
func resolve(conn net.Conn) error {
	var size uint16
	if err := binary.Read(conn, binary.BigEndian, &size); err != nil {
		return err
	}
	b := make([]byte, size)
	if _, err := io.ReadFull(conn, b); err != nil {
		return err
	}
	var m dnsmessage.Message
	if err := m.Unpack(b); err != nil {
		return err
	}
	m.Response, m.Additionals = true, nil
	if q := m.Questions[0]; q.Type == dnsmessage.TypeA {
		m.Answers = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: 1},
			Body:   &dnsmessage.AResource{A: [4]byte{127, 0, 0, 1}},
		}}
	}
	out, err := m.Pack()
	if err != nil {
		return err
	}
	_, err = conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(out))), out...))
	return err
}

// port is one that nobody listens at.
func port(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// pebble is the ACME server that Let's Encrypt tests clients with.
type pebble struct {
	directory, management, ca string
}

func startPebble(t *testing.T, tlsPort int) *pebble {
	t.Helper()
	program, err := exec.LookPath("pebble")
	if err != nil {
		need.Missing(t, "pebble", "Pebble, the ACME server (github.com/letsencrypt/pebble/v2/cmd/pebble)")
	}
	dir := t.TempDir()
	own, err := gateway.OwnCertificate(dir, []string{"127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	p := &pebble{ca: own.File()}
	listen, management := fmt.Sprintf("127.0.0.1:%d", port(t)), fmt.Sprintf("127.0.0.1:%d", port(t))
	p.directory, p.management = "https://"+listen+"/dir", "https://"+management
	config, err := json.Marshal(map[string]any{"pebble": map[string]any{
		"listenAddress": listen, "managementListenAddress": management,
		"certificate": own.File(), "privateKey": filepath.Join(dir, "tls.key"),
		"httpPort": 1, "tlsPort": tlsPort, "keyAlgorithm": "ecdsa",
		"profiles": map[string]any{"default": map[string]any{"description": "default", "validityPeriod": 7776000}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "pebble.json")
	if err := os.WriteFile(path, config, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "-config", path, "-dnsserver", names(t))
	cmd.Env = append(os.Environ(), "PEBBLE_VA_NOSLEEP=1")
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
		if t.Failed() {
			t.Log(said.String())
		}
	})
	eventually(t, "Pebble", func() bool { return p.get(t, p.directory) != nil })
	return p
}

// get reads what Pebble says at an address, nil for nothing.
func (p *pebble) get(t *testing.T, address string) []byte {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: poolOf(t, p.ca)}}
	defer transport.CloseIdleConnections()
	a, err := (&http.Client{Transport: transport}).Get(address)
	if err != nil {
		return nil
	}
	defer a.Body.Close()
	b, err := io.ReadAll(a.Body)
	if err != nil || a.StatusCode != http.StatusOK {
		return nil
	}
	return b
}

func poolOf(t *testing.T, file string) *x509.CertPool {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(b)
	return pool
}

// A certificate is issued by a real ACME server, which sees by TLS-ALPN-01 that
// the name is ours; for that name only; and it is there after another start.
func TestACME(t *testing.T) {
	at := port(t)
	p := startPebble(t, at)
	data := t.TempDir()
	configure := func(c *Config) {
		c.Data, c.Listen.REST = data, fmt.Sprintf("127.0.0.1:%d", at)
		c.Identity.Origin = "https://models.example"
		c.TLS.ACME = ACME{Hosts: []string{"models.example"}, Email: "admin@models.example", Directory: p.directory, CA: p.ca}
	}
	cfg := &Config{Listen: Listen{GRPC: "127.0.0.1:0", Admin: "127.0.0.1:0"}, Models: []Model{{Name: "simple", Path: simple(t)}}}
	configure(cfg)
	s, err := start(t, cfg)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(p.get(t, p.management+"/roots/0"))
	shown := func(address, name string) (*x509.Certificate, error) {
		c, err := tls.Dial("tcp", address, &tls.Config{RootCAs: roots, ServerName: name, NextProtos: []string{"h2"}})
		if err != nil {
			return nil, err
		}
		defer c.Close()
		return c.ConnectionState().PeerCertificates[0], nil
	}
	issued, err := shown(s.Address("rest"), "models.example")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(issued.Issuer.CommonName, "Pebble") {
		t.Errorf("issued by %s", issued.Issuer)
	}
	if again, err := shown(s.Address("grpc"), "models.example"); err != nil || !again.Equal(issued) {
		t.Errorf("gRPC shows another certificate: %v", err)
	}
	if _, err := shown(s.Address("rest"), "other.example"); err == nil {
		t.Error("there is a certificate for a name that was not configured")
	}
	// A reload keeps it; another authority is for another start.
	if err := s.Reload(t.Context(), changed(s, func(c *Config) { c.Headers.XRateLimit = true })); err != nil {
		t.Error(err)
	}
	if err := s.Reload(t.Context(), changed(s, func(c *Config) { c.TLS.ACME.Hosts = []string{"a.example"} })); err == nil || !strings.Contains(err.Error(), "tls.acme") {
		t.Errorf("other hosts while running: %v", err)
	}
	folder := filepath.Join(data, "acme")
	if info, err := os.Stat(folder); err != nil || info.Mode() != fs.ModeDir|0o700 {
		t.Errorf("the folder of keys: %v, %v", info.Mode(), err)
	}
	s.rest.Close()
	s.rpc.Stop()
	if err := s.closeAll(); err != nil {
		t.Fatal(err)
	}
	again := &Config{Listen: cfg.Listen, Models: []Model{{Name: "simple", Path: simple(t)}}}
	configure(again)
	again.TLS.ACME.Directory = "https://127.0.0.1:1/dir" // nobody is asked
	if s, err = start(t, again); err != nil {
		t.Fatal(err)
	}
	if kept, err := shown(s.Address("rest"), "models.example"); err != nil || !kept.Equal(issued) {
		t.Errorf("after another start: %v", err)
	}
}
