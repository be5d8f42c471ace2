package sign

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/tlog"
)

// Sigstore accepts signatures that were made without a key of one's own: a
// certificate authority (Fulcio) vouched for an identity for some minutes, and a
// public log (Rekor) for the minute. Everything is verified offline:
//
//   - the certificate's chain to an authority of the root, at the time of the log;
//   - the certificate's own entry in a log of certificates (its SCT, RFC 6962);
//   - the identity and who vouched for it;
//   - the log's promise and the proof of inclusion under a signed checkpoint, and
//     that the entry is about this signature;
//   - every RFC 3161 timestamp in the bundle, which also must lie within the
//     certificate's validity.
//
// Entries of kind dsse 0.0.1 are read, which is what model signing writes to
// Rekor. Others, and the logs of Rekor's second version, are refused. Whether the
// log shows everybody the same tree is for its witnesses to say.
type Sigstore struct {
	// Root is whom to trust. Required.
	Root *TrustedRoot
	// Identity is the certificate's e-mail address or URI, as it stands. Required.
	Identity string
	// Issuer is the provider that vouched for it, such as
	// "https://accounts.google.com". Required.
	Issuer string
}

// logEntry is TransparencyLogEntry of sigstore_rekor.proto.
type logEntry struct {
	Index number `json:"logIndex"`
	LogID struct {
		KeyID base `json:"keyId"`
	} `json:"logId"`
	Kind struct {
		Kind    string `json:"kind"`
		Version string `json:"version"`
	} `json:"kindVersion"`
	Time    number `json:"integratedTime"`
	Promise struct {
		Signed base `json:"signedEntryTimestamp"`
	} `json:"inclusionPromise"`
	Proof struct {
		Index      number `json:"logIndex"`
		Root       base   `json:"rootHash"`
		Size       number `json:"treeSize"`
		Hashes     []base `json:"hashes"`
		Checkpoint struct {
			Envelope string `json:"envelope"`
		} `json:"checkpoint"`
	} `json:"inclusionProof"`
	Body base `json:"canonicalizedBody"`
}

// The extensions of Fulcio's certificates, and others that crypto/x509 leaves to
// its callers.
var (
	oidIssuer    = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, 8} // as DER
	oidIssuerRaw = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, 1} // as text, deprecated
	oidSCT       = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11129, 2, 4, 2}
	oidAltName   = asn1.ObjectIdentifier{2, 5, 29, 17}
)

func (p *Policy) bySigstore(b *bundle) (*Signatory, error) {
	s := p.Sigstore
	if s == nil {
		return nil, fail(Signed, "the bundle is signed by Sigstore, and the policy names no identity")
	}
	if s.Root == nil || s.Identity == "" || s.Issuer == "" {
		return nil, errors.New("verify by Sigstore: the policy must name the trusted root, the identity and its issuer")
	}
	leaf, err := x509.ParseCertificate(b.Material.Certificate.Raw)
	if err != nil {
		return nil, fail(Format, "read bundle: certificate: %v", err)
	}
	times, err := s.times(b, leaf)
	if err != nil {
		return nil, fail(Log, "%v", err)
	}
	if err := s.Root.certified(leaf, times); err != nil {
		return nil, fail(Certificate, "%v", err)
	}
	identity, issuer, err := identityOf(leaf)
	if err != nil {
		return nil, fail(Certificate, "%v", err)
	}
	if !slices.Contains(identity, s.Identity) || issuer != s.Issuer {
		return nil, fail(Signed, "the bundle is signed by %s, for whom %s vouches: the policy wants %s and %s", strings.Join(identity, ", "), issuer, s.Identity, s.Issuer)
	}
	if !verifyMessage(leaf.PublicKey, 0, pae(b.Envelope.Payload), b.Envelope.Signatures[0].Sig) {
		return nil, fail(Signature, "the signature does not belong to the content")
	}
	return &Signatory{Method: "sigstore", Name: s.Identity, Issuer: issuer, Time: times[0]}, nil
}

// times are when the logs and the timestamping authorities saw the signature.
func (s *Sigstore) times(b *bundle, leaf *x509.Certificate) ([]time.Time, error) {
	if len(b.Material.Log) > maxWitnesses || b.Material.Stamps != nil && len(b.Material.Stamps.RFC3161) > maxWitnesses {
		return nil, fmt.Errorf("the bundle has more than %d log entries or timestamps", maxWitnesses)
	}
	var out []time.Time
	for i := range b.Material.Log {
		e := &b.Material.Log[i]
		if err := s.Root.included(e); err != nil {
			return nil, fmt.Errorf("log entry %d: %w", e.Index, err)
		}
		if err := e.about(b.Envelope, leaf); err != nil {
			return nil, fmt.Errorf("log entry %d: %w", e.Index, err)
		}
		out = append(out, time.Unix(int64(e.Time), 0).UTC())
	}
	if b.Material.Stamps != nil {
		for i, stamp := range b.Material.Stamps.RFC3161 {
			at, err := s.Root.stamped(stamp.Signed, b.Envelope.Signatures[0].Sig)
			if err != nil {
				return nil, fmt.Errorf("timestamp %d: %w", i+1, err)
			}
			out = append(out, at)
		}
	}
	return out, nil
}

const maxWitnesses = 8

// included verifies that the log promised to take the entry at its time, and that
// it did: the two are signed apart.
func (r *TrustedRoot) included(e *logEntry) error {
	l := r.logs[string(e.LogID.KeyID)]
	at := time.Unix(int64(e.Time), 0)
	if l == nil || !l.holds(at) {
		return fmt.Errorf("no log with this id is trusted at %s", at.UTC().Format(time.RFC3339))
	}
	// RFC 8785: names in order, no white space.
	promise, err := json.Marshal(struct {
		Body  string `json:"body"`
		Time  int64  `json:"integratedTime"`
		LogID string `json:"logID"`
		Index int64  `json:"logIndex"`
	}{base64.StdEncoding.EncodeToString(e.Body), int64(e.Time), hex.EncodeToString(e.LogID.KeyID), int64(e.Index)})
	if err != nil {
		return err
	}
	if !verifyMessage(l.key, 0, promise, e.Promise.Signed) {
		return errors.New("the log's promise does not belong to it")
	}
	p := &e.Proof
	if err := l.checkpoint(p.Checkpoint.Envelope, int64(p.Size), p.Root); err != nil {
		return err
	}
	var proof tlog.RecordProof
	for _, h := range p.Hashes {
		if len(h) != tlog.HashSize {
			return errors.New("the proof of inclusion has a hash of the wrong size")
		}
		proof = append(proof, tlog.Hash(h))
	}
	if err := tlog.CheckRecord(proof, int64(p.Size), tlog.Hash(p.Root), int64(p.Index), tlog.RecordHash(e.Body)); err != nil {
		return fmt.Errorf("the proof of inclusion is wrong: %w", err)
	}
	return nil
}

// checkpoint verifies a signed note in the form that Rekor writes: origin, size
// and root, and one signature by ECDSA over the text's SHA-256, after the first
// four bytes of the log's id.
func (l *trustedLog) checkpoint(note string, size int64, root []byte) error {
	text, sigs, ok := strings.Cut(note, "\n\n")
	text += "\n"
	lines := strings.Split(text, "\n")
	if !ok || len(lines) < 4 || len(root) != tlog.HashSize {
		return errors.New("the checkpoint is not a signed note")
	}
	if lines[1] != strconv.FormatInt(size, 10) || lines[2] != base64.StdEncoding.EncodeToString(root) {
		return errors.New("the checkpoint is of another tree than the proof of inclusion")
	}
	line, ok := strings.CutPrefix(sigs, "\u2014 "+l.host+" ")
	line, whole := strings.CutSuffix(line, "\n")
	var sig base
	if !ok || !whole || !strings.HasPrefix(lines[0], l.host) || sig.UnmarshalText([]byte(line)) != nil || len(sig) < 4 {
		return fmt.Errorf("the checkpoint is not signed by %s alone", l.host)
	}
	if string(sig[:4]) != string(l.id[:4]) || !verifyMessage(l.key, 0, []byte(text), sig[4:]) {
		return errors.New("the checkpoint's signature does not belong to it")
	}
	return nil
}

// about verifies that the entry is that of the envelope and the certificate. The
// entry's own hash of the envelope is left aside: it is over a spelling of JSON
// that the bundle does not keep, and all that the envelope holds is compared.
func (e *logEntry) about(env *envelope, leaf *x509.Certificate) error {
	type hash struct {
		Algorithm string `json:"algorithm"`
		Value     string `json:"value"`
	}
	var body struct {
		Version string `json:"apiVersion"`
		Kind    string `json:"kind"`
		Spec    struct {
			Envelope   hash `json:"envelopeHash"`
			Payload    hash `json:"payloadHash"`
			Signatures []struct {
				Sig      base `json:"signature"`
				Verifier base `json:"verifier"`
			} `json:"signatures"`
		} `json:"spec"`
	}
	if e.Kind.Kind != "dsse" || e.Kind.Version != "0.0.1" {
		return fmt.Errorf("it is of kind %s %s, which cannot be verified here: only dsse 0.0.1 can", e.Kind.Kind, e.Kind.Version)
	}
	if err := decodeStrict(e.Body, &body); err != nil {
		return fmt.Errorf("read its body: %w", err)
	}
	if body.Kind != e.Kind.Kind || body.Version != e.Kind.Version {
		return errors.New("its body is of another kind")
	}
	sum := sha256.Sum256(env.Payload)
	s := body.Spec.Signatures
	if body.Spec.Payload != (hash{"sha256", hex.EncodeToString(sum[:])}) || len(s) != 1 || string(s[0].Sig) != string(env.Signatures[0].Sig) {
		return errors.New("it is about another signature")
	}
	block, rest := pem.Decode(s[0].Verifier)
	if block == nil || len(rest) > 0 || string(block.Bytes) != string(leaf.Raw) {
		return errors.New("it is about another certificate")
	}
	return nil
}

// identityOf reads whom a certificate of Fulcio is for, and who vouched.
func identityOf(leaf *x509.Certificate) (names []string, issuer string, err error) {
	names = slices.Clone(leaf.EmailAddresses)
	for _, u := range leaf.URIs {
		names = append(names, u.String())
	}
	for _, e := range leaf.Extensions {
		switch {
		case e.Id.Equal(oidIssuer):
			if rest, err := asn1.Unmarshal(e.Value, &issuer); err != nil || len(rest) > 0 {
				return nil, "", errors.New("the certificate's issuer of identities is damaged")
			}
		case e.Id.Equal(oidIssuerRaw) && issuer == "":
			issuer = string(e.Value)
		}
	}
	if len(names) == 0 || issuer == "" {
		return nil, "", errors.New("the certificate names no identity that is an e-mail address or a URI, or nobody who vouched for it")
	}
	return names, issuer, nil
}

// ecdsaKey is the key of a log: the kinds of the specification's registry are
// those that logs of this version use.
func ecdsaKey(der []byte) (crypto.PublicKey, error) {
	key, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return nil, err
	}
	if _, ok := key.(*ecdsa.PublicKey); !ok || kindOf(key) == nil {
		return nil, errKind
	}
	return key, nil
}
