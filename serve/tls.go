package serve

import (
	"crypto/tls"
	"fmt"

	"github.com/redoubt-ml/redoubt/serve/gateway"
)

// security is the TLS of the listeners at a time.
type security struct {
	cert   *gateway.Certificate
	config *tls.Config
}

// security reads what the configuration names, or makes a certificate.
func (c *Config) security() (*security, error) {
	var s security
	var err error
	if c.TLS.Certificate != "" {
		s.cert, err = gateway.LoadCertificate(c.path(c.TLS.Certificate), c.path(c.TLS.Key))
	} else {
		s.cert, err = gateway.OwnCertificate(c.Data, c.TLS.Hosts)
	}
	if err != nil {
		return nil, err
	}
	clients, err := c.authorities(c.TLS.Clients)
	if err != nil {
		return nil, fmt.Errorf("tls.clients: %w", err)
	}
	s.config = s.cert.Config(clients)
	return &s, nil
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

// Certificate is what the server shows to its clients.
func (s *Server) Certificate() *gateway.Certificate { return s.security.Load().cert }
