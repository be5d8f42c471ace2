package seal

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
)

var azureKeys = &Provider{
	Scheme: "azure",
	Doc:    "an RSA key of Azure Key Vault or a Managed HSM, by wrapKey and unwrapKey with RSA-OAEP-256",
	Form:   "azure://VAULT.vault.azure.net/keys/NAME?tenant=ID&client_id=ID&client_secret=env:NAME, or ?token=file:PATH",
	open:   openAzure,
}

// azureKey wraps a data key together with the digest of its associated data, for
// RSA-OAEP has no place for them. Whoever has the public key can wrap, too: see
// docs/sealing.md.
type azureKey struct {
	service    *service
	host, name string
}

const azureVersion = "?api-version=7.4"

var (
	azurePath = regexp.MustCompile(`^//([A-Za-z0-9.:-]+)/keys/([A-Za-z0-9-]+)$`)
	azureKid  = regexp.MustCompile(`/keys/([A-Za-z0-9-]+)/([A-Za-z0-9]+)$`)
	kidName   = regexp.MustCompile(`^[A-Za-z0-9]{1,64}$`)
)

func openAzure(u *uri) (Key, error) {
	m := azurePath.FindStringSubmatch(u.rest)
	if m == nil {
		return nil, errors.New("write it as azure://VAULT.vault.azure.net/keys/NAME, without a version")
	}
	scope := "https://vault.azure.net/.default"
	if strings.HasSuffix(m[1], ".managedhsm.azure.net") {
		scope = "https://managedhsm.azure.net/.default"
	}
	s, err := u.newService("https://" + m[1])
	if err != nil {
		return nil, err
	}
	if s.sign, err = u.azureLogin(s, scope); err != nil {
		return nil, err
	}
	return &azureKey{s, m[1], m[2]}, nil
}

// azureLogin signs with a token that something else renews, or logs in as an
// application.
func (u *uri) azureLogin(s *service, scope string) (func(context.Context, *http.Request, []byte) error, error) {
	token, err := u.secret("token", "")
	if err != nil || token != "" {
		return bearer(token), err
	}
	tenant, id, login := u.take("tenant"), u.take("client_id"), u.take("login")
	password, err := u.secret("client_secret", "")
	if err != nil {
		return nil, err
	}
	if tenant == "" || id == "" || password == "" {
		return nil, errors.New("it needs a token, or tenant, client_id and client_secret")
	}
	if login == "" {
		login = "https://login.microsoftonline.com"
	}
	if !strings.HasPrefix(login, "https://") {
		return nil, fmt.Errorf("login: %q is not https", login)
	}
	return loggedIn(s, func(ctx context.Context) (*oauth2.Token, error) {
		text, err := password.read()
		if err != nil {
			return nil, err
		}
		c := clientcredentials.Config{ClientID: id, ClientSecret: text, TokenURL: login + "/" + tenant + "/oauth2/v2.0/token", Scopes: []string{scope}, AuthStyle: oauth2.AuthStyleInParams}
		return c.Token(ctx)
	}), nil
}

// ID leaves the version out: it stands in what was wrapped.
func (k *azureKey) ID() string { return "azure:" + k.host + "/keys/" + k.name }

type azureValue struct {
	Algorithm string `json:"alg,omitempty"`
	Kid       string `json:"kid,omitempty"`
	Value     string `json:"value"` // base64url
}

func (k *azureKey) ask(ctx context.Context, version, operation string, value []byte) (azureValue, []byte, error) {
	var out azureValue
	path := "/keys/" + k.name + "/" + version + operation + azureVersion
	if err := k.service.post(ctx, path, nil, azureValue{Algorithm: "RSA-OAEP-256", Value: base64.RawURLEncoding.EncodeToString(value)}, &out); err != nil {
		return out, nil, err
	}
	b, err := base64.RawURLEncoding.DecodeString(out.Value)
	if err != nil {
		return out, nil, fmt.Errorf("%w: its answer is no base64url", ErrUnavailable)
	}
	return out, b, nil
}

// Wrap returns the version of the key, a line feed, and what the service made.
func (k *azureKey) Wrap(ctx context.Context, plaintext, associated []byte) ([]byte, error) {
	sum := sha256.Sum256(associated)
	out, b, err := k.ask(ctx, "", "wrapkey", append(bytes.Clone(plaintext), sum[:]...))
	if err != nil {
		return nil, err
	}
	m := azureKid.FindStringSubmatch(out.Kid)
	if m == nil || m[1] != k.name {
		return nil, fmt.Errorf("%w: it wrapped under %q, which is no version of the key", ErrUnavailable, out.Kid)
	}
	return append([]byte(m[2]+"\n"), b...), nil
}

func (k *azureKey) Unwrap(ctx context.Context, wrapped, associated []byte) ([]byte, error) {
	version, value, ok := bytes.Cut(wrapped, []byte("\n"))
	if !ok || !kidName.Match(version) {
		return nil, errors.New("it was not wrapped by Key Vault")
	}
	_, b, err := k.ask(ctx, string(version)+"/", "unwrapkey", value)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(associated)
	at := len(b) - len(sum)
	if at < 0 || subtle.ConstantTimeCompare(b[at:], sum[:]) != 1 {
		return nil, errors.New("it was wrapped for another place")
	}
	return b[:at], nil
}
