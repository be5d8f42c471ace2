package seal

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"time"

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
	text, err := patiently(func() (string, error) { return keyring.Get(k.service, k.name) })
	if errors.Is(err, keyring.ErrNotFound) {
		return nil, fmt.Errorf("%s/%s: %w", k.service, k.name, fs.ErrNotExist)
	}
	return []byte(text), err
}

func (k keyringShelf) save(text []byte) error {
	_, err := patiently(func() (string, error) { return "", keyring.Set(k.service, k.name, string(text)) })
	return err
}

// alone does nothing: a keyring has no lock that programs could take.
func (k keyringShelf) alone() (io.Closer, error) { return io.NopCloser(nil), nil }

// patience is how long a keyring may wait for a person who unlocks it. There is no
// way to break off a question to it: one that has no answer goes on waiting alone.
const patience = time.Minute

func patiently(ask func() (string, error)) (string, error) {
	type answer struct {
		text string
		err  error
	}
	done := make(chan answer, 1)
	go func() {
		text, err := ask()
		done <- answer{text, err}
	}()
	select {
	case a := <-done:
		if a.err != nil {
			return "", fmt.Errorf("ask the keyring: %w", a.err)
		}
		return a.text, nil
	case <-time.After(patience):
		return "", fmt.Errorf("the keyring does not answer for %v: unlock it", patience)
	}
}
