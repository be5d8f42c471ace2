package identity

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/redoubt-ml/redoubt"
)

// authority signs certificates of clients.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	now  time.Time
}

func newAuthority(t *testing.T, name string, now time.Time) *authority {
	t.Helper()
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(240 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign}
	der := must(x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key))(t)
	return &authority{must(x509.ParseCertificate(der))(t), key, now}
}

func (a *authority) sign(t *testing.T, serial int64, edit func(*x509.Certificate)) tls.Certificate {
	t.Helper()
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "scorer"}, NotBefore: a.now.Add(-time.Hour), NotAfter: a.now.Add(24 * time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	if edit != nil {
		edit(tmpl)
	}
	der := must(x509.CreateCertificate(rand.Reader, tmpl, a.cert, key.Public(), a.key))(t)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// crl writes a list of what is revoked.
func (a *authority) crl(t *testing.T, path string, number int64, next time.Time, serials ...int64) {
	t.Helper()
	l := &x509.RevocationList{Number: big.NewInt(number), ThisUpdate: a.now, NextUpdate: next}
	for _, s := range serials {
		l.RevokedCertificateEntries = append(l.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: big.NewInt(s), RevocationTime: a.now})
	}
	ok(t, os.WriteFile(path, must(x509.CreateRevocationList(rand.Reader, l, a.cert, a.key))(t), 0o600))
	ok(t, os.Chtimes(path, a.now.Add(time.Duration(number)*time.Second), a.now.Add(time.Duration(number)*time.Second)))
}

func spiffe(id string) func(*x509.Certificate) {
	return func(c *x509.Certificate) {
		u, err := url.Parse(id)
		if err != nil {
			panic(err)
		}
		c.URIs = append(c.URIs, u)
	}
}

// Real handshakes: a TLS server asks the service about each connection.
func TestCertificates(t *testing.T) {
	now := newClock().Now()
	ca, other := newAuthority(t, "Machines", now), newAuthority(t, "Others", now)
	list := filepath.Join(t.TempDir(), "machines.crl")
	ca.crl(t, list, 1, now.Add(24*time.Hour), 66)
	b := over(t, func(c *Config) {
		c.CRLs, c.Revoked = []string{list}, []string{"00:4D"}
		c.Certificates = []CertificateRule{
			{Match: "spiffe://acme.example/ml/*", Roles: []string{"model_user"}},
			{Match: "spiffe://acme.example/ml/scorer", Roles: []string{"model_developer"}, Groups: []string{"g"}},
			{Match: "CN=scorer;CN=Machines", Roles: []string{"auditor"}},
		}
	})
	var got redoubt.Principal
	var failed error
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		got, failed = b.Authenticate(r.Context(), Credentials{Peer: r.TLS})
	}))
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	srv.TLS = &tls.Config{ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: pool, MinVersion: tls.VersionTLS13, Time: b.Now}
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.StartTLS()
	t.Cleanup(srv.Close)
	call := func(cert *tls.Certificate) (redoubt.Principal, error) {
		t.Helper()
		got, failed = redoubt.Principal{}, nil
		tr := srv.Client().Transport.(*http.Transport).Clone()
		tr.TLSClientConfig.Time = time.Now
		if cert != nil {
			// Shown although the server does not ask for its authority.
			tr.TLSClientConfig.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cert, nil }
		}
		defer tr.CloseIdleConnections()
		res, err := (&http.Client{Transport: tr}).Get(srv.URL)
		if err != nil {
			return got, refuse("handshake", "%w", err)
		}
		res.Body.Close()
		return got, failed
	}
	_, err := call(nil)
	wants(t, err, Missing, "no certificate")
	plain := ca.sign(t, 10, nil)
	p, err := call(&plain)
	ok(t, err)
	if p.ID != "certificate:CN=scorer;CN=Machines" || !slices.Equal(p.Roles, []string{"auditor"}) || p.Method != "certificate" || p.Credential != "certificate:0a" {
		t.Errorf("got %+v", p)
	}
	named := ca.sign(t, 11, spiffe("spiffe://acme.example/ml/scorer"))
	p, err = call(&named)
	ok(t, err)
	if p.ID != "certificate:spiffe://acme.example/ml/scorer" || !slices.Equal(p.Roles, []string{"model_developer", "model_user"}) || !slices.Equal(p.Groups, []string{"g"}) {
		t.Errorf("got %+v", p)
	}
	evil := ca.sign(t, 12, spiffe("spiffe://acme.example/mlx"))
	if p, err := call(&evil); err != nil || len(p.Roles) != 0 {
		t.Errorf("a path that only begins alike: %+v %v", p, err)
	}
	for what, c := range map[string]struct {
		cert tls.Certificate
		want Kind
	}{
		"another authority": {other.sign(t, 13, nil), "handshake"},
		"a server's":        {ca.sign(t, 14, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }), "handshake"},
		"expired":           {ca.sign(t, 15, func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Minute) }), "handshake"},
		"two SPIFFE ids":    {ca.sign(t, 16, func(c *x509.Certificate) { spiffe("spiffe://a/b")(c); spiffe("spiffe://a/c")(c) }), Invalid},
		"revoked by list":   {ca.sign(t, 66, nil), Invalid},
		"revoked by serial": {ca.sign(t, 77, nil), Invalid},
		"an authority's":    {ca.sign(t, 17, func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true }), Invalid},
	} {
		p, err := call(&c.cert)
		wants(t, err, c.want, what)
		if p.ID != "" {
			t.Errorf("%s: let in as %s", what, p.ID)
		}
	}
	// The list changes under way; when it is overdue or broken, it decides
	// nothing, and who might be on it is refused.
	b.advance(2 * time.Second)
	ca.crl(t, list, 2, now.Add(time.Hour), 66, 11)
	wants(t, errOf(call(&named)), Invalid, "revoked under way")
	b.advance(2 * time.Hour)
	wants(t, errOf(call(&plain)), Unavailable, "an overdue list")
	ok(t, os.WriteFile(list, []byte("x"), 0o600))
	b.advance(2 * time.Second)
	wants(t, errOf(call(&plain)), Unavailable, "a broken list")
	forged := newAuthority(t, "Machines", now)
	forged.crl(t, list, 3, now.Add(24*time.Hour))
	b.advance(2 * time.Second)
	wants(t, errOf(call(&plain)), Unavailable, "a list of somebody with the authority's name")
	ca.crl(t, list, 4, now.Add(48*time.Hour), 66)
	b.advance(2 * time.Second)
	ok(t, errOf(call(&plain)))

	// A connection that outlives its certificate.
	state := tls.ConnectionState{PeerCertificates: []*x509.Certificate{must(x509.ParseCertificate(plain.Certificate[0]))(t), ca.cert}}
	_, err = b.Authenticate(t.Context(), Credentials{Peer: &state})
	wants(t, err, Invalid, "a chain that nobody verified")
	state.VerifiedChains = [][]*x509.Certificate{state.PeerCertificates}
	ok(t, errOf(b.Authenticate(t.Context(), Credentials{Peer: &state})))
	b.advance(24 * time.Hour)
	_, err = b.Authenticate(t.Context(), Credentials{Peer: &state})
	wants(t, err, Expired, "after its time")
}

func TestPeerUID(t *testing.T) {
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	ok(t, err)
	defer l.Close()
	c, err := net.Dial("unix", l.Addr().String())
	ok(t, err)
	defer c.Close()
	at, err := l.Accept()
	ok(t, err)
	defer at.Close()
	uid, err := PeerUID(at)
	ok(t, err)
	if uid != uint32(os.Geteuid()) {
		t.Errorf("user %d, want %d", uid, os.Geteuid())
	}
	b := over(t, nil)
	if p := must(b.Authenticate(t.Context(), Credentials{Local: true, UID: uid}))(t); p.Method != "socket" {
		t.Errorf("got %+v", p)
	}
	one, two := net.Pipe()
	defer one.Close()
	defer two.Close()
	if _, err := PeerUID(one); err == nil {
		t.Error("a pipe has no user")
	}
}
