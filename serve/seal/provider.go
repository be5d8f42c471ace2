package seal

import (
	"fmt"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/redoubt-ml/redoubt/ml/remote"
)

// Provider is a kind of place where key-encryption keys are kept.
type Provider struct {
	// Scheme begins the URIs of its keys.
	Scheme string
	// Doc is one sentence for people, Form how a URI is written.
	Doc, Form string

	// Either shelf says where a keyset lies, or open finds a key that never leaves
	// its place. make has such a key made; nil where that is done by other means.
	shelf func(u *uri) (shelf, error)
	open  func(u *uri) (Key, error)
	make  func(u *uri) error
}

// Providers lists them.
var Providers = []*Provider{
	fileKeys,
	keyringKeys,
	pkcs11Keys,
	openbaoKeys,
	vaultKeys,
	azureKeys,
	awsKeys,
	gcpKeys,
}

// OpenKey finds the key that a URI names. Paths in it are relative to dir, "" for
// the working directory. Key services are not asked yet.
func OpenKey(text, dir string) (Key, error) {
	p, u, err := parse(text, dir)
	if err != nil {
		return nil, err
	}
	var k Key
	if p.shelf == nil {
		k, err = p.open(u)
	} else if s, e := p.shelf(u); e == nil {
		k, err = openKeyset(s)
	} else {
		err = e
	}
	if err == nil {
		err = u.unused()
	}
	if err != nil {
		return nil, fmt.Errorf("open the key %s:%s: %w", p.Scheme, u.rest, err)
	}
	return k, nil
}

// MakeKey has a key made where a URI says, where there must be none.
func MakeKey(text, dir string) error {
	p, u, err := parse(text, dir)
	if err != nil {
		return err
	}
	if p.shelf == nil && p.make == nil {
		return fmt.Errorf("make the key %s:%s: that is done by the service's own means; docs/sealing.md says how", p.Scheme, u.rest)
	}
	if p.shelf == nil {
		err = p.make(u)
	} else if s, e := p.shelf(u); e == nil {
		err = makeKeyset(s)
	} else {
		err = e
	}
	if err != nil {
		return fmt.Errorf("make the key %s:%s: %w", p.Scheme, u.rest, err)
	}
	return nil
}

// uri is a parsed URI of a key: SCHEME:REST?SETTINGS.
type uri struct {
	rest, dir string
	settings  url.Values // those not taken yet
}

func parse(text, dir string) (*Provider, *uri, error) {
	scheme, rest, ok := strings.Cut(text, ":")
	var schemes []string
	for _, p := range Providers {
		schemes = append(schemes, p.Scheme)
		if !ok || p.Scheme != scheme {
			continue
		}
		rest, query, _ := strings.Cut(rest, "?")
		settings, err := url.ParseQuery(query)
		if err != nil || rest == "" {
			return nil, nil, fmt.Errorf("the key %s:%s is not of the form %s", scheme, rest, p.Form)
		}
		return p, &uri{rest: rest, dir: dir, settings: settings}, nil
	}
	return nil, nil, fmt.Errorf("%q is no URI of a key, which begins with one of %s and a colon", text, strings.Join(schemes, ", "))
}

// take is a setting, "" if it is not there.
func (u *uri) take(name string) string {
	v := u.settings.Get(name)
	u.settings.Del(name)
	return v
}

func (u *uri) unused() error {
	for name := range u.settings {
		return fmt.Errorf("it has no setting %q", name)
	}
	return nil
}

// path is a path relative to the folder.
func (u *uri) path(p string) string {
	if p == "" || filepath.IsAbs(p) {
		return p
	}
	return filepath.Join(u.dir, p)
}

// secret is where a secret is, which is read each time that it is needed, for
// tokens are renewed.
type secret string

// secret takes a setting that says where a secret is, env:NAME or file:PATH.
func (u *uri) secret(name, otherwise string) (secret, error) {
	source := u.take(name)
	if source == "" {
		source = otherwise
	}
	kind, at, _ := strings.Cut(source, ":")
	switch {
	case source == "":
		return "", nil
	case kind == "env" && at != "":
		return secret(source), nil
	case kind == "file" && at != "":
		return secret("file:" + u.path(at)), nil
	}
	return "", fmt.Errorf("%s is written as env:NAME or file:PATH, which say where it is: what stands there now may be read by others", name)
}

func (s secret) read() (string, error) {
	text, err := remote.Secret(string(s))
	if err != nil {
		// It may be there again later, and says nothing about the data.
		return "", fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return text, nil
}
