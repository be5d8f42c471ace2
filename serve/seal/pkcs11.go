package seal

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"

	"github.com/miekg/pkcs11"
)

var pkcs11Keys = &Provider{
	Scheme: "pkcs11",
	Doc:    "an AES key in a hardware security module, by PKCS #11 and AES-GCM",
	Form:   "pkcs11:token=NAME;object=NAME?module-path=MODULE.so&pin-source=file:PATH (RFC 7512)",
	open:   func(u *uri) (Key, error) { return openHSM(u) },
	make: func(u *uri) error {
		k, err := openHSM(u)
		if err != nil {
			return err
		}
		return k.generate()
	},
}

// hsmKey finds its key for each operation, so that a module that was away and came
// back is used again. One operation at a time: it is one or two per file.
type hsmKey struct {
	mu            sync.Mutex
	module        *pkcs11.Ctx
	token, object string
	pin           secret
}

const (
	gcmNonce = 12  // bytes
	gcmTag   = 128 // bits
)

func openHSM(u *uri) (*hsmKey, error) {
	k := &hsmKey{}
	for attribute := range strings.SplitSeq(u.rest, ";") {
		name, value, _ := strings.Cut(attribute, "=")
		value, err := url.PathUnescape(value)
		switch {
		case err == nil && name == "token":
			k.token = value
		case err == nil && name == "object":
			k.object = value
		default:
			return nil, fmt.Errorf("%q is neither token=NAME nor object=NAME", attribute)
		}
	}
	module := u.take("module-path")
	if k.token == "" || k.object == "" || module == "" {
		return nil, errors.New("write it as pkcs11:token=NAME;object=NAME?module-path=MODULE.so&pin-source=file:PATH")
	}
	var err error
	if k.pin, err = u.secret("pin-source", "env:PKCS11_PIN"); err != nil {
		return nil, err
	}
	if k.module = pkcs11.New(u.path(module)); k.module == nil {
		return nil, fmt.Errorf("%s is no PKCS #11 module that can be loaded", module)
	}
	// The module belongs to the process: another key may have initialised it.
	if err := k.module.Initialize(); err != nil && !is(err, pkcs11.CKR_CRYPTOKI_ALREADY_INITIALIZED) {
		return nil, fmt.Errorf("initialise %s: %w", module, err)
	}
	return k, nil
}

func is(err error, code uint) bool {
	var e pkcs11.Error
	return errors.As(err, &e) && uint(e) == code
}

// ID is the key's URI without the module.
func (k *hsmKey) ID() string { return "pkcs11:token=" + k.token + ";object=" + k.object }

// Wrap returns the nonce and what AES-GCM made.
func (k *hsmKey) Wrap(_ context.Context, plaintext, associated []byte) (out []byte, err error) {
	nonce := make([]byte, gcmNonce)
	rand.Read(nonce)
	err = k.withKey(func(s pkcs11.SessionHandle, key pkcs11.ObjectHandle) error {
		params := pkcs11.NewGCMParams(nonce, associated, gcmTag)
		defer params.Free()
		if err := k.module.EncryptInit(s, []*pkcs11.Mechanism{pkcs11.NewMechanism(pkcs11.CKM_AES_GCM, params)}, key); err != nil {
			return fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
		sealed, err := k.module.Encrypt(s, plaintext)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
		if used := params.IV(); len(used) == gcmNonce { // some modules choose their own
			nonce = used
		}
		out = append(nonce, sealed...)
		return nil
	})
	return out, err
}

func (k *hsmKey) Unwrap(_ context.Context, wrapped, associated []byte) (out []byte, err error) {
	if len(wrapped) < gcmNonce {
		return nil, errors.New("it is shorter than a nonce")
	}
	err = k.withKey(func(s pkcs11.SessionHandle, key pkcs11.ObjectHandle) error {
		params := pkcs11.NewGCMParams(wrapped[:gcmNonce], associated, gcmTag)
		defer params.Free()
		if err := k.module.DecryptInit(s, []*pkcs11.Mechanism{pkcs11.NewMechanism(pkcs11.CKM_AES_GCM, params)}, key); err != nil {
			return fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
		out, err = k.module.Decrypt(s, wrapped[gcmNonce:])
		return err // modules differ in how they say that a tag is wrong
	})
	return out, err
}

// withKey logs in and finds the key.
func (k *hsmKey) withKey(do func(pkcs11.SessionHandle, pkcs11.ObjectHandle) error) error {
	return k.withSession(func(s pkcs11.SessionHandle) error {
		keys, err := k.find(s)
		if err != nil {
			return fmt.Errorf("%w: find the key: %w", ErrUnavailable, err)
		}
		if len(keys) != 1 {
			return fmt.Errorf("%w: %d secret keys of the name %s", ErrUnavailable, len(keys), k.object)
		}
		return do(s, keys[0])
	})
}

func (k *hsmKey) withSession(do func(pkcs11.SessionHandle) error) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	pin, err := k.pin.read()
	if err != nil {
		return err
	}
	slot, err := k.slot()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	s, err := k.module.OpenSession(slot, pkcs11.CKF_SERIAL_SESSION|pkcs11.CKF_RW_SESSION)
	if err != nil {
		return fmt.Errorf("%w: open a session: %w", ErrUnavailable, err)
	}
	defer k.module.CloseSession(s)
	if err := k.module.Login(s, pkcs11.CKU_USER, pin); err != nil && !is(err, pkcs11.CKR_USER_ALREADY_LOGGED_IN) {
		return fmt.Errorf("%w: log in: %w", ErrUnavailable, err)
	}
	return do(s)
}

// slot is where the token is.
func (k *hsmKey) slot() (uint, error) {
	slots, err := k.module.GetSlotList(true)
	if err != nil {
		return 0, fmt.Errorf("list the slots: %w", err)
	}
	for _, slot := range slots {
		if info, err := k.module.GetTokenInfo(slot); err == nil && strings.TrimRight(info.Label, " \x00") == k.token {
			return slot, nil
		}
	}
	return 0, fmt.Errorf("there is no token %s", k.token)
}

func (k *hsmKey) find(s pkcs11.SessionHandle) ([]pkcs11.ObjectHandle, error) {
	err := k.module.FindObjectsInit(s, []*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_CLASS, pkcs11.CKO_SECRET_KEY),
		pkcs11.NewAttribute(pkcs11.CKA_LABEL, k.object),
	})
	if err != nil {
		return nil, err
	}
	found, _, err := k.module.FindObjects(s, 2)
	return found, errors.Join(err, k.module.FindObjectsFinal(s))
}

// generate makes a key of 256 bits that never leaves the module.
func (k *hsmKey) generate() error {
	return k.withSession(func(s pkcs11.SessionHandle) error {
		there, err := k.find(s)
		if err != nil || len(there) > 0 {
			return errors.Join(err, errors.New("there is a key of this name: name another, and keep this one for reading"))
		}
		_, err = k.module.GenerateKey(s, []*pkcs11.Mechanism{pkcs11.NewMechanism(pkcs11.CKM_AES_KEY_GEN, nil)}, []*pkcs11.Attribute{
			pkcs11.NewAttribute(pkcs11.CKA_LABEL, k.object),
			pkcs11.NewAttribute(pkcs11.CKA_TOKEN, true),
			pkcs11.NewAttribute(pkcs11.CKA_PRIVATE, true),
			pkcs11.NewAttribute(pkcs11.CKA_SENSITIVE, true),
			pkcs11.NewAttribute(pkcs11.CKA_EXTRACTABLE, false),
			pkcs11.NewAttribute(pkcs11.CKA_ENCRYPT, true),
			pkcs11.NewAttribute(pkcs11.CKA_DECRYPT, true),
			pkcs11.NewAttribute(pkcs11.CKA_VALUE_LEN, keySize),
		})
		return err
	})
}
