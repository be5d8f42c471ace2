package serve

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/redoubt-ml/redoubt/serve/oip/oippb"
	"github.com/redoubt-ml/redoubt/watch/audit"
)

// authority issues certificates.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string
	next int64
}

func newAuthority(t *testing.T, change func(*x509.Certificate)) *authority {
	a := &authority{t: t, next: 0x1000, file: filepath.Join(t.TempDir(), "ca.pem")}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "clients"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	if change != nil {
		change(template)
	}
	a.cert, a.key = certify(t, template, nil, nil)
	if err := os.WriteFile(a.file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return a
}

func certify(t *testing.T, template, parent *x509.Certificate, signer *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

// issue makes a certificate for a client with a SPIFFE id.
func (a *authority) issue(name string, change func(*x509.Certificate)) tls.Certificate {
	a.next++
	template := &x509.Certificate{
		SerialNumber: big.NewInt(a.next), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		URIs:     []*url.URL{{Scheme: "spiffe", Host: "example.org", Path: "/" + name}},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	if change != nil {
		change(template)
	}
	cert, key := certify(a.t, template, a.cert, a.key)
	return tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key, Leaf: cert}
}

// revoke writes a revocation list.
func (a *authority) revoke(file string, serials ...int64) {
	list := &x509.RevocationList{Number: big.NewInt(time.Now().UnixNano()), ThisUpdate: time.Now().Add(-time.Minute), NextUpdate: time.Now().Add(time.Hour)}
	for _, n := range serials {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: big.NewInt(n), RevocationTime: time.Now()})
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, a.cert, a.key)
	if err == nil {
		err = os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der}), 0o600)
	}
	if err != nil {
		a.t.Fatal(err)
	}
}

// machine is a caller who shows a certificate, and a token unless it is empty.
func machine(t *testing.T, s *Server, token string, cert tls.Certificate) *caller {
	t.Helper()
	config := &tls.Config{RootCAs: roots(t, s), GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }, ClientSessionCache: tls.NewLRUClientSessionCache(8)}
	transport := &http.Transport{TLSClientConfig: config, MaxIdleConnsPerHost: 8}
	t.Cleanup(transport.CloseIdleConnections)
	conn, err := grpc.NewClient(s.Address("grpc"), grpc.WithTransportCredentials(credentials.NewTLS(config.Clone())))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &caller{t, s, token, &http.Client{Transport: transport}, oippb.NewGRPCInferenceServiceClient(conn), conn}
}

// status is how the server answers to an inference over HTTPS, 0 if it does not
// even shake hands, and over gRPC.
func (c *caller) statuses() (int, codes.Code) {
	r, err := http.NewRequestWithContext(c.t.Context(), "POST", "https://"+c.s.Address("rest")+"/v2/models/simple/infer", strings.NewReader(simpleBody))
	if err != nil {
		c.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(c.t.Context(), 10*time.Second)
	defer cancel()
	if c.token != "" {
		r.Header.Set("Authorization", "Bearer "+c.token)
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+c.token)
	}
	rest := 0
	if a, err := c.http.Do(r); err == nil {
		rest = a.StatusCode
		a.Body.Close()
	}
	_, err = c.rpc.ModelReady(ctx, &oippb.ModelReadyRequest{Name: "simple"})
	return rest, status.Code(err)
}

// mutual changes a configuration so that client certificates are taken.
func mutual(a *authority, change func(*Config)) func(*Config) {
	return func(c *Config) {
		c.TLS.Clients = a.file
		c.Identity.Certificates = []Certificate{{Match: "spiffe://example.org/scoring/*", Roles: []string{"model_user"}}}
		if change != nil {
			change(c)
		}
	}
}

// Client certificates through the whole server: what the configuration says they
// are worth, over REST and gRPC alike, and everything that makes them worthless.
func TestClientCertificates(t *testing.T) {
	ca, other := newAuthority(t, nil), newAuthority(t, func(c *x509.Certificate) { c.Subject.CommonName = "others" })
	narrow := newAuthority(t, func(c *x509.Certificate) {
		c.Subject.CommonName = "narrow"
		c.PermittedURIDomains, c.PermittedDNSDomainsCritical = []string{"elsewhere.example"}, true
	})
	both, err := os.ReadFile(narrow.file)
	if err != nil {
		t.Fatal(err)
	}
	first, err := os.ReadFile(ca.file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(ca.file, append(first, both...), 0o600); err != nil {
		t.Fatal(err)
	}
	crl := filepath.Join(t.TempDir(), "crl.pem")
	ca.revoke(crl, 0x66)
	s, token := started(t, mutual(ca, func(c *Config) {
		c.Identity.CRLs, c.Identity.Revoked = []string{crl}, []string{"77"}
	}))
	for name, c := range map[string]struct {
		cert  tls.Certificate
		token string
		rest  int
		grpc  codes.Code
	}{
		"good":                  {ca.issue("scoring/one", nil), "", 200, codes.OK},
		"no role":               {ca.issue("other", nil), "", 403, codes.PermissionDenied},
		"a prefix of the name":  {ca.issue("scoringx", nil), "", 403, codes.PermissionDenied},
		"a way around":          {ca.issue("scoring/../other", nil), "", 401, codes.Unauthenticated},
		"with a token":          {ca.issue("scoring/one", nil), token, 401, codes.Unauthenticated},
		"a token alone":         {tls.Certificate{}, token, 200, codes.OK},
		"nothing":               {tls.Certificate{}, "", 401, codes.Unauthenticated},
		"expired":               {ca.issue("scoring/one", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }), "", 0, codes.Unavailable},
		"not valid yet":         {ca.issue("scoring/one", func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) }), "", 0, codes.Unavailable},
		"for servers":           {ca.issue("scoring/one", func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }), "", 0, codes.Unavailable},
		"another authority":     {other.issue("scoring/one", nil), "", 0, codes.Unavailable},
		"outside its domain":    {narrow.issue("scoring/one", nil), "", 0, codes.Unavailable},
		"an authority itself":   {ca.issue("scoring/one", func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true }), "", 401, codes.Unauthenticated},
		"revoked by a list":     {ca.issue("scoring/one", func(c *x509.Certificate) { c.SerialNumber = big.NewInt(0x66) }), "", 401, codes.Unauthenticated},
		"revoked by its number": {ca.issue("scoring/one", func(c *x509.Certificate) { c.SerialNumber = big.NewInt(0x77) }), "", 401, codes.Unauthenticated},
		"two names": {ca.issue("scoring/one", func(c *x509.Certificate) {
			c.URIs = append(c.URIs, &url.URL{Scheme: "spiffe", Host: "example.org", Path: "/scoring/two"})
		}), "", 401, codes.Unauthenticated},
	} {
		m := machine(t, s, c.token, c.cert)
		if rest, rpc := m.statuses(); rest != c.rest || rpc != c.grpc {
			t.Errorf("%s: %d and %v, want %d and %v", name, rest, rpc, c.rest, c.grpc)
		}
	}
	// A certificate is revoked while its connection stands.
	late := ca.issue("scoring/late", nil)
	m := machine(t, s, "", late)
	if rest, rpc := m.statuses(); rest != 200 || rpc != codes.OK {
		t.Errorf("before: %d, %v", rest, rpc)
	}
	ca.revoke(crl, 0x66, late.Leaf.SerialNumber.Int64())
	eventually(t, "a certificate to be revoked", func() bool {
		rest, rpc := m.statuses()
		return rest == 401 && rpc == codes.Unauthenticated
	})
	// A list that cannot be read decides nothing, and lets nobody in.
	if err := os.WriteFile(crl, []byte("no list"), 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a broken list to shut certificates out", func() bool {
		rest, rpc := machine(t, s, "", ca.issue("scoring/one", nil)).statuses()
		return rest == 503 && rpc == codes.Unavailable
	})
	if rest, _ := machine(t, s, token, tls.Certificate{}).statuses(); rest != 200 {
		t.Errorf("a token while the list is broken: %d", rest)
	}
	for e, err := range audit.Read(t.Context(), filepath.Join(s.cfg.Data, "audit"), audit.Filter{Actor: "certificate:spiffe://example.org/scoring/one"}) {
		if err != nil || e.Method != "certificate" || !strings.HasPrefix(e.Credential, "certificate:") {
			t.Errorf("%+v, %v", e, err)
		}
		return
	}
	t.Error("nothing that a certificate did is on record")
}

// TLS 1.3 with the hybrid key exchange, at both listeners; a session that is
// resumed is the same client's, and a stranger's stays a stranger's.
func TestTLS(t *testing.T) {
	ca := newAuthority(t, nil)
	s, _ := started(t, mutual(ca, nil))
	for _, listener := range []string{"rest", "grpc"} {
		for name, c := range map[string]struct {
			change func(*tls.Config)
			ok     bool
		}{
			"1.3":                   {func(*tls.Config) {}, true},
			"1.2":                   {func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }, false},
			"1.0":                   {func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS10 }, false},
			"only P-521":            {func(c *tls.Config) { c.CurvePreferences = []tls.CurveID{tls.CurveP521} }, false},
			"without hybrid":        {func(c *tls.Config) { c.CurvePreferences = []tls.CurveID{tls.X25519} }, true},
			"another name":          {func(c *tls.Config) { c.ServerName = "other.example" }, false},
			"no protocol in common": {func(c *tls.Config) { c.NextProtos = []string{"imap"} }, false},
		} {
			config := &tls.Config{RootCAs: roots(t, s), NextProtos: []string{"h2"}}
			c.change(config)
			conn, err := tls.Dial("tcp", s.Address(listener), config)
			if (err == nil) != c.ok {
				t.Errorf("%s, %s: %v", listener, name, err)
			}
			if err != nil {
				continue
			}
			if state := conn.ConnectionState(); state.Version != tls.VersionTLS13 || name == "1.3" && state.CurveID != tls.X25519MLKEM768 {
				t.Errorf("%s, %s: version %x, key exchange %v", listener, name, state.Version, state.CurveID)
			}
			conn.Close()
		}
	}
	for name, want := range map[string]int{"scoring/one": 200, "other": 403} {
		m := machine(t, s, "", ca.issue(name, nil))
		for i := range 3 {
			r, err := http.NewRequestWithContext(t.Context(), "POST", "https://"+s.Address("rest")+"/v2/models/simple/infer", strings.NewReader(simpleBody))
			if err != nil {
				t.Fatal(err)
			}
			r.Close = true
			a, err := m.http.Transport.RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			a.Body.Close()
			if a.StatusCode != want || a.TLS.DidResume != (i > 0) {
				t.Errorf("%s, connection %d: %d, resumed: %v", name, i, a.StatusCode, a.TLS.DidResume)
			}
		}
	}
}

// The server's certificate is exchanged while clients with certificates call,
// over connections that stand and over new ones; no call fails.
func TestReloadWithClientCertificates(t *testing.T) {
	ca := newAuthority(t, nil)
	s, _ := started(t, mutual(ca, nil))
	done := make(chan struct{})
	var clients, begun sync.WaitGroup
	for i := range 4 {
		m := machine(t, s, "", ca.issue(fmt.Sprintf("scoring/%d", i), nil))
		m.http.Transport.(*http.Transport).DisableKeepAlives = i%2 == 1
		m.http.Transport.(*http.Transport).TLSClientConfig.RootCAs = nil
		m.http.Transport.(*http.Transport).TLSClientConfig.InsecureSkipVerify = i%2 == 1 // the certificate will be another one
		if i%2 == 0 {
			m.http.Transport.(*http.Transport).TLSClientConfig.RootCAs = roots(t, s)
		}
		begun.Add(1)
		clients.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-done:
					return
				default:
				}
				if code, body := m.bare("/v2/models/simple/infer", simpleBody); code != 200 {
					t.Errorf("client %d: %d %s", i, code, body)
				}
				if n == 0 {
					begun.Done()
				}
			}
		})
	}
	begun.Wait()
	for range 3 {
		before := s.Certificate().Fingerprint()
		for _, f := range []string{"tls.crt", "tls.key"} {
			if err := os.Remove(filepath.Join(s.cfg.Data, f)); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Reload(t.Context(), changed(s, func(*Config) {})); err != nil {
			t.Fatal(err)
		}
		if s.Certificate().Fingerprint() == before {
			t.Error("the certificate is the old one")
		}
		time.Sleep(50 * time.Millisecond)
	}
	close(done)
	clients.Wait()
}

// bare asks without a token.
func (c *caller) bare(path, body string) (int, string) {
	a, err := c.http.Post("https://"+c.s.Address("rest")+path, "application/json", strings.NewReader(body))
	if err != nil {
		return 0, err.Error()
	}
	defer a.Body.Close()
	return a.StatusCode, ""
}
