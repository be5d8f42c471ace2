package seal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"regexp"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/jwt"
)

var gcpKeys = &Provider{
	Scheme: "gcp",
	Doc:    "a symmetric key of Google Cloud KMS",
	Form:   "gcp:projects/P/locations/L/keyRings/R/cryptoKeys/K?credentials=file:SERVICE-ACCOUNT.json, or ?token=file:PATH",
	open:   openGCP,
}

type gcpKey struct {
	service *service
	name    string
}

var gcpName = regexp.MustCompile(`^projects/[a-z0-9:.-]+/locations/[a-z0-9-]+/keyRings/[A-Za-z0-9_-]+/cryptoKeys/[A-Za-z0-9_-]+$`)

func openGCP(u *uri) (Key, error) {
	if !gcpName.MatchString(u.rest) {
		return nil, errors.New("write it as gcp:projects/P/locations/L/keyRings/R/cryptoKeys/K")
	}
	s, err := u.newService("https://cloudkms.googleapis.com")
	if err != nil {
		return nil, err
	}
	token, err := u.secret("token", "")
	if err != nil {
		return nil, err
	}
	account, err := u.secret("credentials", "")
	if err != nil {
		return nil, err
	}
	switch {
	case token != "":
		s.sign = bearer(token)
	case account != "":
		s.sign = loggedIn(s, func(ctx context.Context) (*oauth2.Token, error) { return gcpLogin(ctx, account) })
	default:
		return nil, errors.New("it needs credentials, the file of a service account, or a token")
	}
	return &gcpKey{s, u.rest}, nil
}

// gcpLogin logs in as a service account (RFC 7523).
func gcpLogin(ctx context.Context, account secret) (*oauth2.Token, error) {
	text, err := account.read()
	if err != nil {
		return nil, err
	}
	var a struct {
		Type         string `json:"type"`
		ClientEmail  string `json:"client_email"`
		PrivateKey   string `json:"private_key"`
		PrivateKeyID string `json:"private_key_id"`
		TokenURI     string `json:"token_uri"`
	}
	if err := json.Unmarshal([]byte(text), &a); err != nil || a.Type != "service_account" {
		return nil, errors.New("the credentials are no file of a service account")
	}
	c := jwt.Config{Email: a.ClientEmail, PrivateKey: []byte(a.PrivateKey), PrivateKeyID: a.PrivateKeyID, TokenURL: a.TokenURI, Scopes: []string{"https://www.googleapis.com/auth/cloudkms"}}
	return c.TokenSource(ctx).Token()
}

// ID is the key's resource name, without a version.
func (k *gcpKey) ID() string { return "gcp:" + k.name }

// gcpData is what both operations take and give; bytes are base64 in JSON, and
// checksums CRC-32C as text.
type gcpData struct {
	Plaintext     []byte `json:"plaintext,omitempty"`
	PlaintextSum  int64  `json:"plaintextCrc32c,omitempty,string"`
	Ciphertext    []byte `json:"ciphertext,omitempty"`
	CiphertextSum int64  `json:"ciphertextCrc32c,omitempty,string"`
	Associated    []byte `json:"additionalAuthenticatedData,omitempty"`
	AssociatedSum int64  `json:"additionalAuthenticatedDataCrc32c,omitempty,string"`
}

func (k *gcpKey) ask(ctx context.Context, operation string, in gcpData) (out gcpData, err error) {
	in.AssociatedSum = crc(in.Associated)
	err = k.service.post(ctx, "/v1/"+k.name+":"+operation, nil, in, &out)
	return out, err
}

func (k *gcpKey) Wrap(ctx context.Context, plaintext, associated []byte) ([]byte, error) {
	out, err := k.ask(ctx, "encrypt", gcpData{Plaintext: plaintext, PlaintextSum: crc(plaintext), Associated: associated})
	if err == nil && crc(out.Ciphertext) != out.CiphertextSum {
		err = fmt.Errorf("%w: its answer was changed on the way", ErrUnavailable)
	}
	return out.Ciphertext, err
}

func (k *gcpKey) Unwrap(ctx context.Context, wrapped, associated []byte) ([]byte, error) {
	out, err := k.ask(ctx, "decrypt", gcpData{Ciphertext: wrapped, CiphertextSum: crc(wrapped), Associated: associated})
	if err == nil && crc(out.Plaintext) != out.PlaintextSum {
		err = fmt.Errorf("%w: its answer was changed on the way", ErrUnavailable)
	}
	return out.Plaintext, err
}

func crc(b []byte) int64 { return int64(crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli))) }
