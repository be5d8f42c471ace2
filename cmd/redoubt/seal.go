package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/serve/seal"
)

// sealFlags say under which keys, and where sealed data belongs.
type sealFlags struct {
	keys                  []string
	out                   string
	purpose, tenant, name string
}

func (f *sealFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&f.keys, "key", nil, "URI of a key-encryption key; repeatable: the first seals, all unseal")
	cmd.Flags().StringVar(&f.out, "out", "", "file to write")
	cmd.Flags().StringVar(&f.purpose, "purpose", "data", "what it is: data, model, secret, backup or a word of yours")
	cmd.Flags().StringVar(&f.tenant, "tenant", "", "whose it is")
	cmd.Flags().StringVar(&f.name, "name", "", "its name (default: that of the sealed file without .sealed)")
}

// place is where the data of a sealed file belongs.
func (f *sealFlags) place(sealed string) seal.Place {
	p := seal.Place{Purpose: f.purpose, Tenant: f.tenant, Name: f.name}
	if p.Name == "" {
		p.Name = seal.NameOf(sealed)
	}
	return p
}

func openSealer(keys []string) (*seal.Sealer, error) {
	if len(keys) == 0 {
		return nil, errors.New("no key-encryption key is named: give its URI with --key, such as file:kek.json, which 'redoubt seal key new file:kek.json' makes")
	}
	s := &seal.Sealer{}
	for _, text := range keys {
		k, err := seal.OpenKey(text, "")
		if err != nil {
			return nil, err
		}
		s.Keys = append(s.Keys, k)
	}
	return s, nil
}

// sealCode has what is refused end with code 1, and what could not be asked with 3.
func sealCode(err error) error {
	switch {
	case errors.Is(err, seal.ErrRefused):
		return coded{err, redoubt.ErrGate}
	case errors.Is(err, seal.ErrUnavailable):
		return coded{err, redoubt.ErrUndecided}
	}
	return err
}

// coded is an error whose kind decides the exit code and adds no words.
type coded struct {
	error
	kind error
}

func (c coded) Unwrap() []error { return []error{c.error, c.kind} }

func newSeal(*app) *cobra.Command {
	f := &sealFlags{}
	var forms []string
	for _, p := range seal.Providers {
		forms = append(forms, fmt.Sprintf("  %s\n      %s", p.Form, p.Doc))
	}
	cmd := &cobra.Command{
		Use: "seal FILE|- --key URI --out FILE.sealed", Short: "Encrypt a file, bound to its place",
		Long: `Encrypt a file, bound to its place.

The file gets a data key of its own, which lies in it wrapped under a
key-encryption key. It opens only with the purpose, tenant and name that it was
sealed with: one that was changed, cut short or put in the place of another is
refused. A key-encryption key is one of

` + strings.Join(forms, "\n") + `

docs/sealing.md says how each is set up.`,
		Example: `  redoubt seal key new file:kek.json
  redoubt seal weights.onnx --key file:kek.json --purpose model --out weights.onnx.sealed
  redoubt unseal weights.onnx.sealed --key file:kek.json --purpose model --out weights.onnx
  redoubt seal rotate weights.onnx.sealed --key openbao://bao.example:8200/transit/models --key file:kek.json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.out == "" || f.out == "-" {
				return errors.New("--out is missing, or standard output: name the file to write")
			}
			s, err := openSealer(f.keys)
			if err != nil {
				return err
			}
			var in io.Reader = os.Stdin
			if args[0] != "-" {
				file, err := os.Open(args[0])
				if err != nil {
					return err
				}
				defer file.Close()
				in = file
			}
			return sealCode(s.SealFile(cmd.Context(), f.out, in, f.place(f.out)))
		},
	}
	f.add(cmd)
	cmd.AddCommand(sealRotate(), sealShow(), sealKey())
	return cmd
}

func newUnseal(*app) *cobra.Command {
	f := &sealFlags{}
	cmd := &cobra.Command{
		Use: "unseal FILE.sealed --key URI --out FILE", Short: "Decrypt a sealed file, if it is whole and in its place",
		Long: `Decrypt a sealed file, if it is whole and in its place.

The exit code is 1, and nothing is written, where the file is not what was sealed
with this purpose, tenant and name, and 3 where the key service cannot be asked.
With --out - up to a megabyte is printed, so that a secret lies on no disk.`,
		Example: `  redoubt unseal weights.onnx.sealed --key file:kek.json --purpose model --out weights.onnx
  redoubt unseal jwt.sealed --key file:kek.json --purpose secret --out -`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.out == "" {
				return errors.New("--out is missing: name the file to write")
			}
			s, err := openSealer(f.keys)
			if err != nil {
				return err
			}
			if f.out == "-" {
				return sealCode(unsealTo(cmd.Context(), os.Stdout, s, args[0], f.place(args[0])))
			}
			return sealCode(s.UnsealFile(cmd.Context(), args[0], f.out, f.place(args[0])))
		},
	}
	f.add(cmd)
	return cmd
}

// maxPrinted bounds what is unsealed to standard output.
const maxPrinted = 1 << 20

// unsealTo prints a secret, so that it lies on no disk: once it is known to be whole.
func unsealTo(ctx context.Context, w io.Writer, s *seal.Sealer, sealed string, p seal.Place) error {
	r, err := s.OpenFile(ctx, sealed, p)
	if err != nil {
		return err
	}
	defer r.Close()
	b, err := io.ReadAll(io.LimitReader(r, maxPrinted+1))
	if err != nil {
		return fmt.Errorf("%s: %w", sealed, err)
	}
	if len(b) > maxPrinted {
		return fmt.Errorf("%s: more than %d bytes are not printed, for all is checked first: name a file with --out", sealed, maxPrinted)
	}
	_, err = w.Write(b)
	return err
}

func sealRotate() *cobra.Command {
	var keys []string
	cmd := &cobra.Command{
		Use: "rotate FILE.sealed...", Short: "Wrap the data keys of files anew, without touching the data",
		Long: `Wrap the data keys of files anew, under the first key as it is now.

Only the header of each file is written, so that its size does not matter, and it
may be read meanwhile. Name the keys that the files are under, too. It also mends a
header that an earlier rotation left half written.`,
		Example: `  redoubt seal key rotate file:kek.json
  redoubt seal rotate models/*.sealed --key file:kek.json
  redoubt seal key list file:kek.json
  redoubt seal key retire file:kek.json 1834509721`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := openSealer(keys)
			if err != nil {
				return err
			}
			for i, path := range args {
				if err := s.Rotate(cmd.Context(), path); err != nil {
					return sealCode(fmt.Errorf("%w (%d of %d files are done)", err, i, len(args)))
				}
			}
			return nil
		},
	}
	cmd.Flags().StringArrayVar(&keys, "key", nil, "URI of a key-encryption key; repeatable: the first is the new one")
	return cmd
}

func sealShow() *cobra.Command {
	return &cobra.Command{
		Use: "show FILE.sealed...", Short: "Print where sealed files belong and which keys they are under, as they say",
		Example: `  redoubt seal show models/*.sealed`, Args: cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			for _, path := range args {
				p, key, err := seal.Inspect(path)
				if err != nil {
					return sealCode(err)
				}
				fmt.Printf("%s\t%s\t%s\n", filepath.ToSlash(path), p, key)
			}
			return nil
		},
	}
}

func sealKey() *cobra.Command {
	cmd := &cobra.Command{
		Use: "key", Short: "Key-encryption keys that are kept here",
		Long: `Key-encryption keys that are kept here: in files, in the system's keyring, and in
hardware modules. Key services make and rotate theirs by their own means.`,
		Example: `  redoubt seal key new keyring:redoubt/models`,
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	verb := func(use, short, example string, args int, do func(args []string) error) {
		cmd.AddCommand(&cobra.Command{
			Use: use, Short: short, Example: example, Args: cobra.ExactArgs(args),
			RunE: func(_ *cobra.Command, args []string) error { return do(args) },
		})
	}
	verb("new URI", "Make a key where there is none", `  redoubt seal key new file:kek.json`, 1, func(args []string) error {
		return seal.MakeKey(args[0], "")
	})
	verb("rotate URI", "Add a key to a keyset, which seals from now on", `  redoubt seal key rotate file:kek.json`, 1, func(args []string) error {
		return seal.RotateKey(args[0], "")
	})
	verb("list URI", "Print the ids of the keys in a keyset, the one that seals first", `  redoubt seal key list file:kek.json`, 1, func(args []string) error {
		ids, err := seal.ListKeys(args[0], "")
		for _, id := range ids {
			fmt.Println(id)
		}
		return err
	})
	verb("retire URI ID", "Take a key away from a keyset; what is still under it opens no more", `  redoubt seal key retire file:kek.json 1834509721`, 2, func(args []string) error {
		id, err := strconv.ParseUint(args[1], 10, 32)
		if err != nil {
			return fmt.Errorf("%q is no id of a key: 'redoubt seal key list' shows them", args[1])
		}
		return seal.RetireKey(args[0], "", uint32(id))
	})
	return cmd
}
