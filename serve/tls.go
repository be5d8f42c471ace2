package serve

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"

	"github.com/redoubt-ml/redoubt/serve/gateway"
)

// security is the TLS of the listeners at a time.
type security struct {
	cert   *gateway.Certificate // nil where an authority issues them
	config *tls.Config
}

// secure reads the certificate that a configuration names, or makes one, unless an
// authority issues it.
func (s *Server) secure(c *Config) (*security, error) {
	clients, err := c.authorities(c.TLS.Clients)
	if err != nil {
		return nil, fmt.Errorf("tls.clients: %w", err)
	}
	if s.issuer != nil {
		config := gateway.ListenerTLS(clients)
		config.NextProtos = append(config.NextProtos, acme.ALPNProto)
		config.GetCertificate = s.issuer.GetCertificate
		return &security{config: config}, nil
	}
	var cert *gateway.Certificate
	if c.TLS.Certificate != "" {
		cert, err = gateway.LoadCertificate(c.path(c.TLS.Certificate), c.path(c.TLS.Key))
	} else {
		cert, err = gateway.OwnCertificate(c.Data, c.TLS.Hosts)
	}
	if err != nil {
		return nil, err
	}
	return &security{cert: cert, config: cert.Config(clients)}, nil
}

// listenerTLS is what a listener is opened with: each handshake is made with the
// security of its time, so that a new certificate cuts no connection off.
func (s *Server) listenerTLS() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		NextProtos: s.security.Load().config.NextProtos,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			return s.security.Load().config, nil
		},
	}
}

// Certificate is what the server shows to its clients; nil where an authority
// issues it (ACME).
func (s *Server) Certificate() *gateway.Certificate { return s.security.Load().cert }

// check reports what no authority could issue.
func (t *TLS) check() error {
	if (t.Certificate == "") != (t.Key == "") {
		return errors.New("certificate and key go together")
	}
	a := &t.ACME
	if len(a.Hosts) == 0 {
		if a.Hosts != nil || a.Email+a.Directory+a.CA != "" {
			return errors.New("acme: hosts are missing: name those that the certificate is for")
		}
		return nil
	}
	if t.Certificate != "" {
		return errors.New("acme stands beside a certificate: write one of them")
	}
	for _, h := range a.Hosts {
		if !strings.Contains(strings.Trim(h, "."), ".") || strings.ContainsAny(h, ":/*") {
			return fmt.Errorf("acme: host %q is no full name such as models.example", h)
		}
	}
	if u, err := url.Parse(a.Directory); a.Directory != "" && (err != nil || u.Scheme != "https" || u.Host == "") {
		return fmt.Errorf("acme: directory %q is not of the form https://HOST/PATH", a.Directory)
	}
	return nil
}

// openIssuer prepares to have certificates issued by ACME (RFC 8555), where the
// authority sees in a handshake with the REST listener that the name is ours
// (TLS-ALPN-01, RFC 8737). It asks for one when a client first wants it, and for
// the next one in time; both are kept in the data folder.
func (s *Server) openIssuer() error {
	a := s.cfg.TLS.ACME
	if len(a.Hosts) == 0 {
		return nil
	}
	security, err := s.cfg.clientTLS(a.CA, "", "")
	if err != nil {
		return fmt.Errorf("tls.acme: %w", err)
	}
	directory := a.Directory
	if directory == "" {
		directory = autocert.DefaultACMEDirectory
	}
	transport := &http.Transport{TLSClientConfig: security, Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true, IdleConnTimeout: time.Minute}
	s.later(func() error { transport.CloseIdleConnections(); return nil })
	s.issuer = &autocert.Manager{
		Prompt:     autocert.AcceptTOS,
		Cache:      autocert.DirCache(filepath.Join(s.cfg.Data, "acme")),
		HostPolicy: autocert.HostWhitelist(a.Hosts...),
		Email:      a.Email,
		Client: &acme.Client{
			DirectoryURL: directory,
			UserAgent:    "redoubt",
			HTTPClient:   &http.Client{Transport: transport, Timeout: time.Minute},
		},
	}
	return nil
}
