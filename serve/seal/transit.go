package seal

import (
	"context"
	"errors"
	"net/http"
	"strings"
)

var openbaoKeys = &Provider{
	Scheme: "openbao",
	Doc:    "a key of OpenBao's transit engine",
	Form:   "openbao://HOST:PORT/MOUNT/KEY?token=env:BAO_TOKEN",
	open:   openTransit,
}

var vaultKeys = &Provider{
	Scheme: "vault",
	Doc:    "a key of Vault's transit engine, which speaks as OpenBao does",
	Form:   "vault://HOST:PORT/MOUNT/KEY?token=env:VAULT_TOKEN",
	open:   openTransit,
}

// transitKey is a key of type aes256-gcm96, or another that takes associated data.
type transitKey struct {
	service    *service
	mount, key string
}

func openTransit(u *uri) (Key, error) {
	host, path, _ := strings.Cut(strings.TrimPrefix(u.rest, "//"), "/")
	cut := strings.LastIndex(path, "/")
	if host == "" || cut < 1 || cut == len(path)-1 {
		return nil, errors.New("write it as openbao://HOST:PORT/MOUNT/KEY")
	}
	token, err := u.secret("token", "env:VAULT_TOKEN")
	if err != nil {
		return nil, err
	}
	namespace := u.take("namespace")
	s, err := u.newService("https://" + host)
	if err != nil {
		return nil, err
	}
	s.sign = func(_ context.Context, r *http.Request, _ []byte) error {
		t, err := token.read()
		if err != nil {
			return err
		}
		r.Header.Set("X-Vault-Token", t)
		r.Header.Set("X-Vault-Request", "true") // agents ask for it, against forged requests
		if namespace != "" {
			r.Header.Set("X-Vault-Namespace", namespace)
		}
		return nil
	}
	return &transitKey{s, path[:cut], path[cut+1:]}, nil
}

// ID leaves the host out, which may change its name.
func (k *transitKey) ID() string { return "transit:" + k.mount + "/" + k.key }

// transitData is what both operations take and give; bytes are base64 in JSON.
type transitData struct {
	Plaintext  []byte `json:"plaintext,omitempty"`
	Ciphertext string `json:"ciphertext,omitempty"`
	Associated []byte `json:"associated_data,omitempty"`
}

func (k *transitKey) ask(ctx context.Context, operation string, in transitData) (transitData, error) {
	var out struct{ Data transitData }
	err := k.service.post(ctx, "/v1/"+k.mount+"/"+operation+"/"+k.key, nil, in, &out)
	return out.Data, err
}

func (k *transitKey) Wrap(ctx context.Context, plaintext, associated []byte) ([]byte, error) {
	out, err := k.ask(ctx, "encrypt", transitData{Plaintext: plaintext, Associated: associated})
	return []byte(out.Ciphertext), err
}

func (k *transitKey) Unwrap(ctx context.Context, wrapped, associated []byte) ([]byte, error) {
	out, err := k.ask(ctx, "decrypt", transitData{Ciphertext: string(wrapped), Associated: associated})
	return out.Plaintext, err
}
