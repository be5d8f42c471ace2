package serve

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/redoubt-ml/redoubt/ml/remote"
	"github.com/redoubt-ml/redoubt/serve/seal"
)

// secret reads a secret of the configuration: env:NAME, file:PATH, or kms:PATH of a
// sealed file. An empty one is empty.
func (c *Config) secret(key, source string) (string, error) {
	if source == "" {
		return "", nil
	}
	if file, ok := strings.CutPrefix(source, "kms:"); ok {
		s, err := c.sealedSecret(c.path(file))
		if err != nil {
			return "", fmt.Errorf("%s: %w", key, err)
		}
		return s, nil
	}
	if file, ok := strings.CutPrefix(source, "file:"); ok {
		source = "file:" + c.path(file)
	}
	s, err := remote.Secret(source)
	if err != nil {
		return "", fmt.Errorf("%s: %w", key, err)
	}
	return s, nil
}

// sealer seals and opens under the configured keys.
func (c *Config) sealer() (*seal.Sealer, error) {
	s := &seal.Sealer{Life: c.Seal.Remember}
	for i, text := range c.Seal.Keys {
		k, err := seal.OpenKey(text, c.dir)
		if err != nil {
			return nil, fmt.Errorf("seal.keys[%d]: %w", i, err)
		}
		s.Keys = append(s.Keys, k)
	}
	return s, nil
}

const (
	unsealTime = 30 * time.Second // that a key service has at a start
	maxSecret  = 64 << 10         // bytes
)

// sealedSecret opens a secret that was sealed with the purpose "secret", for the
// tenant, under its file's name.
func (c *Config) sealedSecret(path string) (string, error) {
	s, err := c.sealer()
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), unsealTime)
	defer cancel()
	f, err := s.OpenFile(ctx, path, seal.Place{Purpose: "secret", Tenant: c.Seal.Tenant, Name: seal.NameOf(path)})
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	switch text := strings.TrimSpace(string(b)); {
	case err != nil:
		return "", err
	case text == "" || len(b) > maxSecret:
		return "", fmt.Errorf("%s is empty, or larger than %d bytes", path, maxSecret)
	default:
		return text, nil
	}
}

// secrets are the sources of all secrets that are named, by key.
func (c *Config) secrets() map[string]string {
	all := map[string]string{"key": c.Key, "identity.jwt_key": c.Identity.JWTKey, "limits.redis": c.Limits.Redis, "tracing.token": c.Tracing.Token}
	if !strings.HasPrefix(c.Store, "sqlite:") {
		all["store"] = c.Store
	}
	for _, i := range c.Identity.Issuers {
		all["identity: issuer "+i.URL+": client_secret"] = i.ClientSecret
	}
	for _, m := range c.Models {
		all["model "+m.Name+": token"] = m.Token
		if m.Personal != nil {
			all["model "+m.Name+": personal.key"] = m.Personal.Key
		}
	}
	return all
}

// checkSource refuses what is no source of a secret, and may be the secret: it
// does not repeat it.
func checkSource(source string) error {
	kind, at, _ := strings.Cut(source, ":")
	if source == "" || at != "" && (kind == "env" || kind == "file" || kind == "kms") {
		return nil
	}
	return errors.New("a secret is written as env:NAME, file:PATH or kms:FILE.sealed, which say where it is: what stands there now may be read by others")
}

const keySize = 32

// sealingKey is the key of the configuration, or one that is made once in the
// data folder.
func (c *Config) sealingKey() ([]byte, error) {
	if c.Key != "" {
		text, err := c.secret("key", c.Key)
		if err != nil {
			return nil, err
		}
		return parseKey("key", text)
	}
	path := filepath.Join(c.Data, "identity.key")
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		key := make([]byte, keySize)
		rand.Read(key)
		text = []byte(hex.EncodeToString(key))
		err = writeNew(path, text)
	}
	if err != nil {
		return nil, fmt.Errorf("read the key of the store: %w", err)
	}
	return parseKey(path, string(text))
}

func parseKey(name, text string) ([]byte, error) {
	key, err := hex.DecodeString(text)
	if err != nil || len(key) != keySize {
		return nil, fmt.Errorf("%s: it is not %d hexadecimal digits", name, 2*keySize)
	}
	return key, nil
}

// writeNew writes a file that nobody else can read, and that must not be there.
func writeNew(path string, content []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	return errors.Join(err, f.Sync(), f.Close())
}

// authorities reads certificates of authorities, nil for no file.
func (c *Config) authorities(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(c.path(file))
	if err != nil {
		return nil, fmt.Errorf("read authorities: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("read authorities: %s holds no certificate in PEM form", file)
	}
	return pool, nil
}

// clientTLS is how we speak to another server.
func (c *Config) clientTLS(ca, certificate, key string) (*tls.Config, error) {
	roots, err := c.authorities(ca)
	if err != nil {
		return nil, err
	}
	out := &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	if certificate != "" {
		pair, err := tls.LoadX509KeyPair(c.path(certificate), c.path(key))
		if err != nil {
			return nil, fmt.Errorf("read the client certificate: %w", err)
		}
		out.Certificates = []tls.Certificate{pair}
	}
	return out, nil
}
