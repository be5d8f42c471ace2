package main

import (
	"crypto"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/redoubt-ml/redoubt/ml/remote"
	"github.com/redoubt-ml/redoubt/supply/sign"
)

func newKey(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "key",
		Short: "Keys that sign models",
		Long: `Keys that sign models.

A key is two files: the private one, which only you can read, and beside it,
with .pub at the end, the public one, which verifies and is for everybody.`,
		Example: `  redoubt key generate --out signing.key`,
	}
	cmd.AddCommand(keyGenerate())
	return cmd
}

func keyGenerate() *cobra.Command {
	var kind, out, passphrase string
	cmd := &cobra.Command{
		Use:   "generate --out FILE",
		Short: "Make a key and print its fingerprint",
		Long: `Make a key and print its fingerprint. FILE gets the private key (PEM, PKCS#8,
readable by you alone), FILE.pub the public one. Neither may be there before.

p256, p384 and p521 are elliptic curves that every implementation of OpenSSF
Model Signing knows. ml-dsa-65 and ml-dsa-87 hold against quantum computers: sign
with one in addition, not instead.`,
		Example: `  redoubt key generate --out signing.key
  redoubt key generate --kind ml-dsa-65 --out pq.key --passphrase env:PASSPHRASE`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if out == "" {
				return errors.New("key generate needs --out FILE: where to keep the private key")
			}
			key, err := sign.GenerateKey(kind)
			if err != nil {
				return fmt.Errorf("--kind: %w", err)
			}
			if err := keepKey(key, out, passphrase); err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), sign.Fingerprint(key.Public()))
			return nil
		},
	}
	cmd.Flags().StringVar(&kind, "kind", "p256", "one of "+strings.Join(sign.KeyKinds(), ", "))
	cmd.Flags().StringVar(&out, "out", "", "file for the private key")
	cmd.Flags().StringVar(&passphrase, "passphrase", "", "encrypt the private key: env:NAME or file:PATH")
	return cmd
}

// keepKey writes a key to two new files.
func keepKey(key crypto.Signer, path, passphrase string) error {
	secret, err := optionalSecret(passphrase)
	if err != nil {
		return err
	}
	private, err := sign.MarshalPrivateKey(key, secret)
	if err != nil {
		return err
	}
	public, err := sign.MarshalPublicKey(key.Public())
	if err != nil {
		return err
	}
	for _, p := range []string{path, path + ".pub"} {
		if _, err := os.Lstat(p); !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("key generate: %s exists: a key is not overwritten, choose another name", p)
		}
	}
	return errors.Join(putFile(path, private, 0o600), putFile(path+".pub", public, 0o644))
}

func optionalSecret(source string) (string, error) {
	if source == "" {
		return "", nil
	}
	s, err := remote.Secret(source)
	if err != nil {
		return "", fmt.Errorf("--passphrase: %w", err)
	}
	return s, nil
}

// readKey reads a private key.
func readKey(path, passphrase string) (crypto.Signer, error) {
	b, err := readSmall(path)
	if err != nil {
		return nil, err
	}
	secret, err := optionalSecret(passphrase)
	if err != nil {
		return nil, err
	}
	key, err := sign.ParsePrivateKey(b, secret)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return key, nil
}

// readSmall reads a file that is no larger than a bundle may be.
func readSmall(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, sign.MaxBundle+1))
	if err != nil {
		return nil, err
	}
	if len(b) > sign.MaxBundle {
		return nil, fmt.Errorf("read %s: it is larger than %d bytes", path, sign.MaxBundle)
	}
	return b, nil
}

// putFile writes a file beside its place and puts it there when it is whole.
func putFile(path string, b []byte, mode fs.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, errors.Unwrap(err))
	}
	defer os.Remove(f.Name()) // fails once the file has its name, as it should
	_, err = f.Write(b)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
