package seal

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/zalando/go-keyring"
)

var keyringKeys = &Provider{
	Scheme: "keyring",
	Doc:    "a keyset of Tink in the keyring of the user's system: the Secret Service of Linux, the Keychain of macOS",
	Form:   "keyring:SERVICE/NAME",
	shelf: func(u *uri) (shelf, error) {
		service, name, ok := strings.Cut(u.rest, "/")
		if !ok || service == "" || name == "" {
			return nil, errors.New("write it as keyring:SERVICE/NAME")
		}
		return keyringShelf{service, name}, nil
	},
}

// keyringShelf is an entry of the keyring.
type keyringShelf struct{ service, name string }

func (k keyringShelf) load() ([]byte, error) {
	text, err := keyring.Get(k.service, k.name)
	if errors.Is(err, keyring.ErrNotFound) {
		return nil, fmt.Errorf("%s/%s: %w", k.service, k.name, fs.ErrNotExist)
	}
	if err != nil {
		return nil, fmt.Errorf("ask the keyring: %w", err)
	}
	return []byte(text), nil
}

func (k keyringShelf) save(text []byte) error {
	if err := keyring.Set(k.service, k.name, string(text)); err != nil {
		return fmt.Errorf("ask the keyring: %w", err)
	}
	return nil
}
