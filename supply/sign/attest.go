package sign

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/redoubt-ml/redoubt"
)

// The kinds of attestation.
const (
	Assessment = "assessment" // what attacks on the model achieved: redoubt.assess/v1
	Scan       = "scan"       // the verdict on the model's files: redoubt.scan/v1
	Lineage    = "lineage"    // the data that the model was made from
)

// attestationType begins the predicate types; the kind follows.
const attestationType = "https://github.com/redoubt-ml/redoubt/attestation/v1/"

// Attestation is a claim about a model that somebody signed. [OfAssessment],
// [OfScan] and [OfLineage] make one; Issued and Expires are then for the caller
// to set.
type Attestation struct {
	// Kind is Assessment, Scan or Lineage.
	Kind string `json:"kind"`
	// Subject is the root digest of the model that it is about: [Manifest.Root] of
	// whole files by SHA-256.
	Subject redoubt.Digest `json:"subject"`
	// File is the SHA-256 of the model where that is one file, else empty.
	File redoubt.Digest `json:"file,omitempty"`
	// Issued and Expires bound its validity. Both are whole seconds, and required.
	Issued  time.Time `json:"issued"`
	Expires time.Time `json:"expires"`
	// Verdict is the worst verdict within: of a scan "safe", "unsafe" or
	// "unproven", of an assessment "trustworthy", "suspect" or "invalid". Of
	// lineage it is empty.
	Verdict string `json:"verdict,omitempty"`
	// Numbers are what was measured, by the names that gates use:
	// "clean_accuracy", "robust_accuracy[linf@0.3]",
	// "attack_success_rate[linf@0.3]", "certified_accuracy[linf@0.3]".
	Numbers map[string]float64 `json:"numbers,omitempty"`
	// Data are digests of data sets by name: those that the model was made from, or
	// assessed with.
	Data map[string]redoubt.Digest `json:"data,omitempty"`
}

// claims is the predicate of an attestation.
type claims struct {
	Issued  time.Time                 `json:"issued"`
	Expires time.Time                 `json:"notAfter"`
	Verdict string                    `json:"verdict,omitempty"`
	Numbers map[string]float64        `json:"numbers,omitempty"`
	Data    map[string]redoubt.Digest `json:"data,omitempty"`
}

// verdicts are those of each kind, the worst first.
var verdicts = map[string][]string{
	Assessment: {redoubt.Invalid, redoubt.Suspect, redoubt.Trustworthy},
	Scan:       {"unsafe", "unproven", "safe"},
	Lineage:    {""},
}

// Attest signs an attestation. The model's name is for people.
func (s *Signer) Attest(name string, a *Attestation) ([]byte, error) {
	c := claims{a.Issued.UTC().Truncate(time.Second), a.Expires.UTC().Truncate(time.Second), a.Verdict, a.Numbers, a.Data}
	st, err := newStatement(name, a.Subject, attestationType+a.Kind, c)
	if err != nil {
		return nil, fmt.Errorf("attest: %w", err)
	}
	if a.File != "" {
		st.Subject = append(st.Subject, subject{name, map[string]string{"sha256": string(a.File)}})
	}
	if _, err := readAttestation(st); err != nil {
		return nil, fmt.Errorf("attest: %w", err)
	}
	return s.writeBundle(st)
}

// Attestation verifies a bundle that holds an attestation about the model with
// this digest, its root or, of one file, its SHA-256, and valid at the policy's
// time.
func (p *Policy) Attestation(bundle []byte, model redoubt.Digest) (*Attestation, *Signatory, error) {
	s, who, err := p.open(bundle)
	if err != nil {
		return nil, nil, err
	}
	a, err := readAttestation(s)
	if err != nil {
		return nil, nil, err
	}
	if model == "" || a.Subject != model && a.File != model {
		return nil, nil, fail(Subject, "the attestation is about the model %s, not %s", a.Subject, model)
	}
	if now := p.now(); !now.Before(a.Expires) || now.Before(a.Issued.Add(-clockSkew)) {
		return nil, nil, fail(Expiry, "the attestation holds from %s until %s", a.Issued.Format(time.RFC3339), a.Expires.Format(time.RFC3339))
	}
	return a, who, nil
}

// clockSkew is how far the clocks of signer and verifier may differ.
const clockSkew = 5 * time.Minute

// readAttestation reads the claims of a statement and checks that they can be
// judged.
func readAttestation(s *statement) (*Attestation, error) {
	kind, ok := strings.CutPrefix(s.PredicateType, attestationType)
	if !ok || verdicts[kind] == nil {
		return nil, fail(Format, "the bundle holds %q: want an attestation, %s...", s.PredicateType, attestationType)
	}
	var c claims
	if err := decodeStrict(s.Predicate, &c); err != nil {
		return nil, fail(Format, "read attestation: %v", err)
	}
	a := &Attestation{Kind: kind, Issued: c.Issued, Expires: c.Expires, Verdict: c.Verdict, Numbers: c.Numbers, Data: c.Data}
	if err := a.setSubjects(s.Subject); err != nil {
		return nil, fail(Format, "read attestation: %v", err)
	}
	if !a.Issued.Before(a.Expires) || a.Issued.IsZero() {
		return nil, fail(Format, "read attestation: it ends before it begins, or has no beginning")
	}
	if !slices.Contains(verdicts[kind], a.Verdict) {
		return nil, fail(Format, "read attestation: verdict %q of kind %s", a.Verdict, kind)
	}
	for name, d := range a.Data {
		if !isDigest(d) {
			return nil, fail(Format, "read attestation: the digest of the data %q is not a SHA-256", name)
		}
	}
	return a, nil
}

// setSubjects reads the root digest and, of one file, the file's own, of which the
// root is a function.
func (a *Attestation) setSubjects(subjects []subject) error {
	if len(subjects) < 1 || len(subjects) > 2 {
		return fmt.Errorf("it has %d subjects: want one or two", len(subjects))
	}
	a.Subject = redoubt.Digest(subjects[0].Digest["sha256"])
	if len(subjects) == 2 {
		a.File = redoubt.Digest(subjects[1].Digest["sha256"])
	}
	if !isDigest(a.Subject) || len(subjects) == 2 && (!isDigest(a.File) || rootOf([]Resource{{Digest: string(a.File)}}) != a.Subject) {
		return errors.New("its subjects are not the root digest of a model and that of its one file")
	}
	return nil
}

func isDigest(d redoubt.Digest) bool { return len(d) == 64 && isHex(string(d)) }

// newAttestation is one of a kind about a model.
func newAttestation(kind string, m *Manifest) (*Attestation, error) {
	if m.Algorithm != SHA256 || m.ShardSize != 0 {
		return nil, fmt.Errorf("attest: the manifest is of %s in pieces of %d bytes: want whole files by SHA-256, whose root everybody computes alike", m.Algorithm, m.ShardSize)
	}
	a := &Attestation{Kind: kind, Subject: m.Root(), Numbers: map[string]float64{}, Data: map[string]redoubt.Digest{}}
	if len(m.Resources) == 1 {
		a.File = redoubt.Digest(m.Resources[0].Digest)
	}
	return a, nil
}

func (m *Manifest) holds(d redoubt.Digest) bool {
	return slices.ContainsFunc(m.Resources, func(r Resource) bool { return r.Digest == string(d) })
}

// OfAssessment attests the results of an assessment, which must be of a file of
// the model.
func OfAssessment(m *Manifest, r *redoubt.Assessment) (*Attestation, error) {
	a, err := newAttestation(Assessment, m)
	if err != nil {
		return nil, err
	}
	if r.Schema != redoubt.AssessmentSchema || len(r.Threats) == 0 {
		return nil, fmt.Errorf("attest assessment: schema %q with %d threat models: want %s with one at least", r.Schema, len(r.Threats), redoubt.AssessmentSchema)
	}
	if !m.holds(r.Model.SHA256) {
		return nil, fmt.Errorf("attest assessment: it is of a model with SHA-256 %q, which is no file of this one", r.Model.SHA256)
	}
	a.Numbers["clean_accuracy"] = r.CleanAccuracy
	a.Verdict = redoubt.Trustworthy
	for _, t := range r.Threats {
		at := fmt.Sprintf("[%s@%v]", t.Norm, t.Eps)
		a.Numbers["robust_accuracy"+at] = t.RobustAccuracy
		a.Numbers["attack_success_rate"+at] = t.AttackSuccessRate
		if t.CertifiedAccuracy != nil {
			a.Numbers["certified_accuracy"+at] = *t.CertifiedAccuracy
		}
		a.Verdict = worse(Assessment, a.Verdict, t.Reliability.Verdict)
	}
	if r.Data.SHA256 != "" {
		a.Data["assessed with"] = r.Data.SHA256
	}
	return a, nil
}

// OfScan attests the verdict of a scan, the JSON document "redoubt.scan/v1",
// which must be of exactly the files of the model, each with its SHA-256.
func OfScan(m *Manifest, document []byte) (*Attestation, error) {
	a, err := newAttestation(Scan, m)
	if err != nil {
		return nil, err
	}
	var r struct {
		Schema string `json:"schema"`
		Files  []struct {
			Path    string         `json:"path"`
			SHA256  redoubt.Digest `json:"sha256"`
			Verdict string         `json:"verdict"`
		} `json:"files"`
	}
	if err := decodeOpen(document, &r); err != nil {
		return nil, fmt.Errorf("attest scan: %w", err)
	}
	if r.Schema != "redoubt.scan/v1" {
		return nil, fmt.Errorf("attest scan: schema %q: want redoubt.scan/v1", r.Schema)
	}
	left := map[string]bool{}
	for _, f := range m.Resources {
		left[f.Digest] = true
	}
	a.Verdict = "safe"
	for _, f := range r.Files {
		if !slices.Contains(verdicts[Scan], f.Verdict) {
			return nil, fmt.Errorf("attest scan: %s: verdict %q", f.Path, f.Verdict)
		}
		if !m.holds(f.SHA256) {
			if f.SHA256 == "" {
				return nil, fmt.Errorf("attest scan: the report does not say which bytes of %s it is about: make it with scan --sha256 --json", f.Path)
			}
			return nil, fmt.Errorf("attest scan: %s has SHA-256 %q, which is no file of the model", f.Path, f.SHA256)
		}
		delete(left, string(f.SHA256))
		a.Verdict = worse(Scan, a.Verdict, f.Verdict)
	}
	if len(left) > 0 {
		return nil, fmt.Errorf("attest scan: %d files of the model were not scanned", len(left))
	}
	a.Numbers["files"] = float64(len(r.Files))
	return a, nil
}

// OfLineage attests that the model was made from these data sets: digests by
// name.
func OfLineage(m *Manifest, data map[string]redoubt.Digest) (*Attestation, error) {
	a, err := newAttestation(Lineage, m)
	if err == nil && len(data) == 0 {
		err = errors.New("attest lineage: no data")
	}
	if err != nil {
		return nil, err
	}
	a.Data = maps.Clone(data)
	return a, nil
}

// worse is the worse of two verdicts; one that is not known is the worst.
func worse(kind, a, b string) string {
	list := verdicts[kind]
	return list[max(0, min(slices.Index(list, a), slices.Index(list, b)))]
}
