package main

import (
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/supply/sign"
)

// signed is what sign and attest print as JSON.
type signed struct {
	Schema string         `json:"schema"`
	Model  string         `json:"model"`
	Root   redoubt.Digest `json:"root"`
	Files  int            `json:"files"`
	Signer string         `json:"signer"` // fingerprint of the key
	Out    string         `json:"out"`
}

// signFlags say with what to sign, and how a model is read.
type signFlags struct {
	key, passphrase, certificate, out string
	asJSON                            bool
	ignore                            []string
}

func (f *signFlags) add(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringVar(&f.key, "key", "", "private key to sign with, as 'redoubt key generate' makes it")
	fl.StringVar(&f.passphrase, "passphrase", "", "of the key: env:NAME or file:PATH")
	fl.StringVar(&f.certificate, "certificate", "", "PEM file of the key's certificate and those between it and the root")
	fl.StringVar(&f.out, "out", "", "file to write the bundle to")
	fl.StringArrayVar(&f.ignore, "ignore", nil, "path within the model to leave out, with all beneath it; repeatable")
	fl.BoolVar(&f.asJSON, "json", false, "print JSON")
}

func (f *signFlags) signer() (*sign.Signer, error) {
	if f.key == "" {
		return nil, errors.New("no --key: make one with 'redoubt key generate --out signing.key'")
	}
	key, err := readKey(f.key, f.passphrase)
	if err != nil {
		return nil, err
	}
	s := &sign.Signer{Key: key}
	if f.certificate != "" {
		if s.Chain, err = readCertificates(f.certificate); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// done writes the bundle and says so.
func (f *signFlags) done(cmd *cobra.Command, model string, m *sign.Manifest, s *sign.Signer, bundle []byte) error {
	if err := putFile(f.out, bundle, 0o644); err != nil {
		return err
	}
	out := signed{"redoubt.sign/v1", model, m.Root(), len(m.Paths()), sign.Fingerprint(s.Key.Public()), f.out}
	if f.asJSON {
		e := json.NewEncoder(cmd.OutOrStdout())
		e.SetIndent("", "  ")
		return e.Encode(out)
	}
	_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s\n  root    %s\n  files   %d\n  signer  key %s\n  bundle  %s\n", model, out.Root, out.Files, out.Signer, out.Out)
	return err
}

func newSign(a *app) *cobra.Command {
	var f signFlags
	var h sign.Hashing
	var reference bool
	cmd := &cobra.Command{
		Use:   "sign MODEL --key FILE",
		Short: "Sign a model, a file or a folder, as OpenSSF Model Signing v1.0 says",
		Long: `Sign a model, a file or a folder, as OpenSSF Model Signing v1.0 says: the digest of
each file goes into a manifest, and the manifest is signed. The bundle is a file
of its own, MODEL.sig unless --out says otherwise; within the model it is left out
of the manifest.

Folders may hold no symbolic links, unless --follow-links takes them for what they
point to within the model. .git, .github, .gitignore and .gitattributes at the top
are left out.`,
		Example: `  redoubt sign model.onnx --key signing.key
  redoubt sign llm/ --key signing.key --certificate chain.pem --shard-size 1000000000 --out llm.sig
  redoubt sign model.onnx --key pq.key --out model.onnx.pq.sig`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			model, err := a.modelArg(args)
			if err != nil {
				return err
			}
			s, err := f.signer()
			if err != nil {
				return err
			}
			s.Reference = reference
			if f.out == "" {
				f.out = filepath.Clean(model) + ".sig"
			}
			h.Ignore = append(f.ignore, within(model, f.out)...)
			m, err := a.hash(h, cmd, model)
			if err != nil {
				return err
			}
			bundle, err := s.Sign(m)
			if err != nil {
				return err
			}
			return f.done(cmd, model, m, s, bundle)
		},
	}
	f.add(cmd)
	fl := cmd.Flags()
	fl.StringVar(&h.Algorithm, "hash", sign.SHA256, "sha256, blake2b or blake3")
	fl.Int64Var(&h.ShardSize, "shard-size", 0, "hash files in pieces of so many bytes (1000000000 is usual), which leaves empty files out; 0 for whole files")
	fl.BoolVar(&h.FollowLinks, "follow-links", false, "take symbolic links for what they point to")
	fl.BoolVar(&reference, "as-reference", false, "spell single files and pieces as the Python package model-signing does, which cannot verify the specification's way")
	return cmd
}

// hash reads a model, telling a person how far it is.
func (a *app) hash(h sign.Hashing, cmd *cobra.Command, model string) (*sign.Manifest, error) {
	p := newProgress(a.quiet)
	defer p.clear()
	h.Progress = p.bytes("hash " + filepath.Base(model))
	return h.Manifest(cmd.Context(), model)
}

// bytes reports a stage that is measured in bytes, of large models only.
func (p *progress) bytes(stage string) func(done, total int64) {
	const mb, large = 1e6, 500e6
	return func(done, total int64) {
		if total >= large {
			p.report(stage+" (MB)", int(done/mb), int(total/mb))
		}
	}
}

// within is where a file lies within a model's folder, if it does.
func within(model, file string) []string {
	base, err := filepath.Abs(model)
	at, err2 := filepath.Abs(file)
	if err != nil || err2 != nil {
		return nil
	}
	rel, err := filepath.Rel(base, at)
	if err != nil || rel == "." || rel == ".." || strings.HasPrefix(rel, ".."+string(filepath.Separator)) {
		return nil
	}
	return []string{filepath.ToSlash(rel)}
}

func readCertificates(path string) ([]*x509.Certificate, error) {
	b, err := readSmall(path)
	if err != nil {
		return nil, err
	}
	certs, err := sign.ParseCertificates(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return certs, nil
}
