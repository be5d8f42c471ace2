package seal

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redoubt-ml/redoubt/internal/need"
)

// bao is a real OpenBao server that listens with TLS.
type bao struct {
	*exec.Cmd
	address, ca, token, unseal string
	client                     *http.Client
}

// startBao starts one with the transit engine, and puts its token into BAO_TOKEN.
func startBao(t *testing.T) *bao {
	t.Helper()
	path, err := exec.LookPath("bao")
	if err != nil {
		need.Missing(t, "openbao", "an OpenBao server, bao")
	}
	dir := t.TempDir()
	ca, key := certificate(t, dir)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	conf := filepath.Join(dir, "bao.hcl")
	text := fmt.Sprintf("storage \"inmem\" {}\napi_addr = \"https://%s\"\nlistener \"tcp\" {\n address = %q\n tls_cert_file = %q\n tls_key_file = %q\n}\n", address, address, ca, key)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	b := &bao{Cmd: exec.Command(path, "server", "-config="+conf), address: address, ca: ca}
	run(t, b.Cmd)
	pool := x509.NewCertPool()
	pemText, err := os.ReadFile(ca)
	if err != nil {
		t.Fatal(err)
	}
	pool.AppendCertsFromPEM(pemText)
	b.client = &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	t.Cleanup(b.client.CloseIdleConnections)
	var made struct {
		Keys  []string
		Token string `json:"root_token"`
	}
	eventually(t, func() error {
		return b.do("sys/init", map[string]int{"secret_shares": 1, "secret_threshold": 1}, &made)
	})
	b.token, b.unseal = made.Token, made.Keys[0]
	for path, in := range map[string]any{"sys/unseal": map[string]string{"key": b.unseal}} {
		if err := b.do(path, in, nil); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, func() error { return b.do("sys/mounts/transit", map[string]string{"type": "transit"}, nil) })
	b.must(t, "transit/keys/models", map[string]string{"type": "aes256-gcm96"})
	t.Setenv("BAO_TOKEN", b.token)
	return b
}

func (b *bao) must(t *testing.T, path string, in any) {
	t.Helper()
	if err := b.do(path, in, nil); err != nil {
		t.Fatal(err)
	}
}

func (b *bao) do(path string, in, out any) error {
	text, err := json.Marshal(in)
	if err != nil {
		return err
	}
	r, err := http.NewRequest(http.MethodPut, "https://"+b.address+"/v1/"+path, bytes.NewReader(text))
	if err != nil {
		return err
	}
	r.Header.Set("X-Vault-Token", b.token)
	a, err := b.client.Do(r)
	if err != nil {
		return err
	}
	defer a.Body.Close()
	text, err = io.ReadAll(a.Body)
	if err == nil && a.StatusCode >= 300 {
		err = fmt.Errorf("%s: %d %s", path, a.StatusCode, text)
	}
	if err == nil && out != nil {
		err = json.Unmarshal(text, out)
	}
	return err
}

func (b *bao) uri(key string) string {
	return "openbao://" + b.address + "/transit/" + key + "?token=env:BAO_TOKEN&ca=" + b.ca
}

// certificate makes one for 127.0.0.1, and returns its files.
func certificate(t *testing.T, dir string) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for path, b := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: pkcs8}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(b), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

func TestOpenBao(t *testing.T) {
	b := startBao(t)
	k := open(t, b.uri("models"))
	suite(t, k)

	// The service rotates its key: old files open, and Rotate brings them to the new
	// version, so that the old one may be retired.
	s := &Sealer{Keys: []Key{k}, Life: -1}
	path := filepath.Join(t.TempDir(), "f.sealed")
	if err := s.SealFile(t.Context(), path, bytes.NewReader([]byte("content")), loans); err != nil {
		t.Fatal(err)
	}
	old, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b.must(t, "transit/keys/models/rotate", nil)
	if _, err := opened(t.Context(), s, old, loans); err != nil {
		t.Errorf("under the version before: %v", err)
	}
	if err := s.Rotate(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	b.must(t, "transit/keys/models/config", map[string]int{"min_decryption_version": 2})
	rotated, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := opened(t.Context(), s, rotated, loans); err != nil {
		t.Errorf("rotated: %v", err)
	}
	if _, err := opened(t.Context(), s, old, loans); !errors.Is(err, ErrRefused) {
		t.Errorf("under a version that is retired: %v", err)
	}

	t.Setenv("BAO_TOKEN", "s.wrong")
	cannot(t, k, "the token is wrong")
	t.Setenv("BAO_TOKEN", "")
	cannot(t, k, "there is no token")
	cannot(t, open(t, "openbao://"+b.address+"/transit/models?token=env:BAO_TOKEN"), "its certificate is not trusted")
}

// stop has the server hang. A signal is sent, and heeded a moment later.
func (b *bao) stop(t *testing.T) {
	t.Helper()
	if err := b.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", b.Process.Pid))
		if _, after, _ := strings.Cut(string(stat), ") "); err == nil && !strings.HasPrefix(after, "T") {
			err = errors.New("it still runs")
		}
		return err
	})
}

// A server that is sealed, or hangs, and comes back.
func TestOpenBaoLostAndBack(t *testing.T) {
	b := startBao(t)
	s := &Sealer{Keys: []Key{open(t, b.uri("models"))}, Life: time.Hour}
	file := sealed(t, s, []byte("content"), loans)
	fresh := func() *Sealer { return &Sealer{Keys: s.Keys} } // it remembers nothing
	if _, err := opened(t.Context(), s, file, loans); err != nil {
		t.Fatal(err)
	}
	for _, way := range []struct {
		name       string
		lose, back func()
	}{
		{"sealed", func() { b.must(t, "sys/seal", nil) }, func() { b.must(t, "sys/unseal", map[string]string{"key": b.unseal}) }},
		{"stopped", func() { b.stop(t) }, func() { b.Process.Signal(syscall.SIGCONT) }},
	} {
		way.lose()
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		if _, err := opened(ctx, fresh(), file, loans); !errors.Is(err, ErrUnavailable) {
			t.Errorf("%s: %v, want ErrUnavailable", way.name, err)
		}
		if got, err := opened(ctx, s, file, loans); err != nil || string(got) != "content" {
			t.Errorf("%s: a key that is remembered: %v", way.name, err)
		}
		cancel()
		way.back()
		eventually(t, func() error { _, err := opened(t.Context(), fresh(), file, loans); return err })
	}
}
