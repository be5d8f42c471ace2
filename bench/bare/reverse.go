package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
)

// reverse passes calls on to a server as they are, by what net/http has for that: all
// that a hop costs, and nothing of what the gateway does for it. Connections that are
// used are kept, where net/http would keep two.
func reverse(server, ca string) (http.Handler, error) {
	to, err := url.Parse(server)
	if err != nil {
		return nil, fmt.Errorf("-reverse: %w", err)
	}
	pem, err := os.ReadFile(ca)
	if err != nil {
		return nil, fmt.Errorf("-ca: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("-ca: %s has no certificate", ca)
	}
	return &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(to) },
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, MaxIdleConnsPerHost: 64},
	}, nil
}
