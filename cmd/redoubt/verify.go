package main

import (
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/supply/sign"
)

// verification is what verify prints: the JSON document "redoubt.verify/v1".
type verification struct {
	Schema       string          `json:"schema"`
	Model        string          `json:"model"`
	Verified     bool            `json:"verified"`
	Root         redoubt.Digest  `json:"root,omitempty"`
	Files        int             `json:"files,omitempty"`
	Signatures   []bundleResult  `json:"signatures"`
	Attestations []attestResult  `json:"attestations"`
	Failed       *failedRequires `json:"failed,omitempty"`
}

type bundleResult struct {
	File string `json:"file"`
	sign.Signatory
}

type attestResult struct {
	bundleResult
	*sign.Attestation
}

// failedRequires says which requirement failed, of which bundle, and how.
type failedRequires struct {
	Bundle      string           `json:"bundle"`
	Requirement sign.Requirement `json:"requirement"`
	Reason      string           `json:"reason"`
}

type verifyFlags struct {
	signatures, keys, names, ignore, attestations []string
	roots, trusted, identity, issuer              string
	links, unsigned, legacy, asJSON               bool
}

func newVerify(a *app) *cobra.Command {
	var f verifyFlags
	cmd := &cobra.Command{
		Use:   "verify MODEL --signature FILE --key FILE",
		Short: "Verify who signed a model, and that it is the model that was signed",
		Long: `Verify who signed a model, and that it is the model that was signed. Nothing is
valid without an expected signer: a public key, the roots of a certificate, or an
identity that Sigstore vouches for, verified offline with the trusted root given.

Every --signature must verify, and every --key must have made one of them: so a
signature that holds against quantum computers is demanded beside the usual one.
Every --attestation must be about this model, by the same signers, and not have
expired.

Exit code 1 says that something failed; the message says which requirement.`,
		Example: `  redoubt verify model.onnx --key signing.key.pub
  redoubt verify model.onnx --signature model.sig --key signing.key.pub --signature model.pq.sig --key pq.key.pub
  redoubt verify llm/ --signature llm.sig --certificate-roots ca.pem --name models@example.org
  redoubt verify llm/ --signature llm.sig --trusted-root trusted_root.json --identity me@example.org --issuer https://accounts.google.com
  redoubt verify model.onnx --key signing.key.pub --attestation model.assessment`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			model, err := a.modelArg(args)
			if err != nil {
				return err
			}
			if len(f.signatures) == 0 {
				f.signatures = []string{filepath.Clean(model) + ".sig"}
			}
			p, err := f.policy(model)
			if err != nil {
				return err
			}
			bar := newProgress(a.quiet)
			p.Progress = bar.bytes("verify " + filepath.Base(model))
			v, err := f.verify(cmd, p, model)
			bar.clear()
			if err != nil {
				return err
			}
			if err := v.print(cmd.OutOrStdout(), f.asJSON); err != nil {
				return err
			}
			if v.Failed != nil {
				return fmt.Errorf("%s: %s: %s: %s: %w", model, v.Failed.Bundle, v.Failed.Requirement, v.Failed.Reason, redoubt.ErrGate)
			}
			return nil
		},
	}
	fl := cmd.Flags()
	fl.StringArrayVar(&f.signatures, "signature", nil, "bundle to verify; repeatable (default MODEL.sig)")
	fl.StringArrayVar(&f.keys, "key", nil, "public key that must have signed; repeatable")
	fl.StringVar(&f.roots, "certificate-roots", "", "PEM file of the authorities that signers' certificates must lead to")
	fl.StringArrayVar(&f.names, "name", nil, "who may sign by certificate: e-mail, URI, DNS or common name; repeatable (default: everybody whom the roots certify)")
	fl.StringVar(&f.trusted, "trusted-root", "", "trusted_root.json of Sigstore, for signatures without keys")
	fl.StringVar(&f.identity, "identity", "", "who must have signed by Sigstore: e-mail or URI")
	fl.StringVar(&f.issuer, "issuer", "", "who vouches for that identity")
	fl.StringArrayVar(&f.attestations, "attestation", nil, "attestation that must hold; repeatable")
	fl.StringArrayVar(&f.ignore, "ignore", nil, "path within the model that need not be signed; repeatable")
	fl.BoolVar(&f.links, "follow-links", false, "allow symbolic links where the signer followed them")
	fl.BoolVar(&f.unsigned, "ignore-unsigned", false, "allow files that are not in the manifest")
	fl.BoolVar(&f.legacy, "allow-legacy", false, "accept the format of model-signing 0.2")
	fl.BoolVar(&f.asJSON, "json", false, "print JSON")
	return cmd
}

// policy is who must have signed, from the flags.
func (f *verifyFlags) policy(model string) (*sign.Policy, error) {
	p := &sign.Policy{Names: f.names, Links: f.links, Unsigned: f.unsigned, Legacy: f.legacy, Ignore: f.ignore}
	for _, file := range slices.Concat(f.signatures, f.attestations) {
		p.Ignore = append(p.Ignore, within(model, file)...)
	}
	for _, path := range f.keys {
		b, err := readSmall(path)
		if err != nil {
			return nil, fmt.Errorf("--key: %w", err)
		}
		key, err := sign.ParsePublicKey(b)
		if err != nil {
			return nil, fmt.Errorf("--key %s: %w", path, err)
		}
		p.Keys = append(p.Keys, key)
	}
	if f.roots != "" {
		var err error
		if p.Roots, err = readCertificates(f.roots); err != nil {
			return nil, fmt.Errorf("--certificate-roots: %w", err)
		}
	}
	if err := f.sigstore(p); err != nil {
		return nil, err
	}
	if len(p.Keys) == 0 && len(p.Roots) == 0 && p.Sigstore == nil {
		return nil, errors.New("who must have signed? give --key, --certificate-roots, or --trusted-root with --identity and --issuer")
	}
	return p, nil
}

func (f *verifyFlags) sigstore(p *sign.Policy) error {
	given := []string{f.trusted, f.identity, f.issuer}
	if !slices.ContainsFunc(given, func(s string) bool { return s != "" }) {
		return nil
	}
	if slices.Contains(given, "") {
		return errors.New("--trusted-root, --identity and --issuer go together")
	}
	b, err := readSmall(f.trusted)
	if err != nil {
		return fmt.Errorf("--trusted-root: %w", err)
	}
	root, err := sign.ParseTrustedRoot(b)
	if err != nil {
		return fmt.Errorf("--trusted-root %s: %w", f.trusted, err)
	}
	p.Sigstore = &sign.Sigstore{Root: root, Identity: f.identity, Issuer: f.issuer}
	return nil
}

// verify verifies all bundles. Its error is for what could not be tried.
func (f *verifyFlags) verify(cmd *cobra.Command, p *sign.Policy, model string) (*verification, error) {
	v := &verification{Schema: "redoubt.verify/v1", Model: model, Signatures: []bundleResult{}, Attestations: []attestResult{}}
	for _, file := range f.signatures {
		b, err := readSmall(file)
		if err != nil {
			return nil, fmt.Errorf("--signature: %w", err)
		}
		r, err := p.Verify(cmd.Context(), model, b)
		if err != nil {
			return v.fail(file, err)
		}
		v.Root, v.Files = r.Manifest.Root(), len(r.Manifest.Paths())
		v.Signatures = append(v.Signatures, bundleResult{file, r.By})
	}
	if missing := f.unused(p.Keys, v.Signatures); missing != "" {
		return v.fail(strings.Join(f.signatures, ", "), fmt.Errorf("%w", &keyMissing{missing}))
	}
	if len(f.attestations) > 0 {
		if err := f.attested(cmd, p, v); err != nil {
			return v, err
		}
	}
	v.Verified = v.Failed == nil
	return v, nil
}

// keyMissing says that a key was demanded and signed nothing.
type keyMissing struct{ file string }

func (e *keyMissing) Error() string { return e.file + " has signed none of the bundles" }
func (e *keyMissing) Unwrap() error { return sign.Signed }

// unused is the first key that made no signature.
func (f *verifyFlags) unused(keys []crypto.PublicKey, by []bundleResult) string {
	for i, key := range keys {
		if !slices.ContainsFunc(by, func(r bundleResult) bool { return r.Name == sign.Fingerprint(key) }) {
			return f.keys[i]
		}
	}
	return ""
}

// attested verifies the attestations against the model's root digest of whole
// files by SHA-256, whatever the signature's manifest is of.
func (f *verifyFlags) attested(cmd *cobra.Command, p *sign.Policy, v *verification) error {
	m, err := sign.Hashing{Ignore: p.Ignore, FollowLinks: f.links, Progress: p.Progress}.Manifest(cmd.Context(), v.Model)
	if err != nil {
		return err
	}
	for _, file := range f.attestations {
		b, err := readSmall(file)
		if err != nil {
			return fmt.Errorf("--attestation: %w", err)
		}
		a, who, err := p.Attestation(b, m.Root())
		if err != nil {
			_, err = v.fail(file, err)
			return err
		}
		v.Attestations = append(v.Attestations, attestResult{bundleResult{file, *who}, a})
	}
	return nil
}

// fail records a requirement that failed; another error is the caller's.
func (v *verification) fail(bundle string, err error) (*verification, error) {
	var r sign.Requirement
	if !errors.As(err, &r) {
		return nil, err
	}
	v.Failed = &failedRequires{bundle, r, err.Error()}
	return v, nil
}

func (v *verification) print(w io.Writer, asJSON bool) error {
	if asJSON {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(v)
	}
	if v.Failed != nil {
		_, err := fmt.Fprintf(w, "%s: not verified: %s\n", v.Model, v.Failed.Requirement)
		return err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s: verified\n  root         %s\n  files        %d\n", v.Model, v.Root, v.Files)
	for _, s := range v.Signatures {
		fmt.Fprintf(&b, "  signed       by %s %s", s.Method, s.Name)
		if s.Issuer != "" {
			fmt.Fprintf(&b, ", for whom %s vouches", s.Issuer)
		}
		b.WriteString("\n")
	}
	for _, a := range v.Attestations {
		fmt.Fprintf(&b, "  attested     %s, until %s", a.Kind, a.Expires.Format(time.DateOnly))
		if a.Verdict != "" {
			fmt.Fprintf(&b, ": %s", a.Verdict)
		}
		b.WriteString("\n")
		for _, name := range slices.Sorted(maps.Keys(a.Numbers)) {
			fmt.Fprintf(&b, "    %-34s %.4g\n", name, a.Numbers[name])
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}
