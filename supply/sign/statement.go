package sign

import (
	stdjson "encoding/json"
	"errors"
	"fmt"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/redoubt-ml/redoubt"
)

// The types of in-toto and of OMS: sections 5.1 and 6.6.
const (
	statementType   = "https://in-toto.io/Statement/v1"
	predicateType   = "https://model_signing/signature/v1.0"
	predicateLegacy = "https://model_signing/Digests/v0.1"
)

// statement is an in-toto Statement v1. Members that it does not know are for
// others, and are covered by the signature.
type statement struct {
	Type          string         `json:"_type"`
	Subject       []subject      `json:"subject"`
	PredicateType string         `json:"predicateType"`
	Predicate     jsontext.Value `json:"predicate"`
}

type subject struct {
	Name   string            `json:"name"`
	Digest map[string]string `json:"digest"`
}

// predicate is the body of section 5.2.
type predicate struct {
	Resources     []descriptor  `json:"resources"`
	Serialization serialization `json:"serialization"`
}

type descriptor struct {
	Name      string `json:"name"`
	Digest    string `json:"digest"`
	Algorithm string `json:"algorithm"`
}

type serialization struct {
	Method    string   `json:"method"`
	Algorithm string   `json:"hash_type"`
	ShardSize float64  `json:"shard_size,omitempty"` // a whole number, which some write as 1e9
	Links     *bool    `json:"allow_symlinks"`
	Ignored   []string `json:"ignore_paths,omitempty"`
}

func readStatement(payload []byte) (*statement, error) {
	s := &statement{}
	if err := decodeOpen(payload, s); err != nil {
		return nil, fail(Format, "read statement: %v", err)
	}
	if s.Type != statementType {
		return nil, fail(Format, "read statement: its type is %q: want %s", s.Type, statementType)
	}
	return s, nil
}

// newStatement is a statement about one model.
func newStatement(name string, root redoubt.Digest, kind string, body any) (*statement, error) {
	b, err := stdjson.Marshal(body)
	if err != nil {
		return nil, fmt.Errorf("write predicate: %w", err)
	}
	return &statement{
		Type: statementType, PredicateType: kind, Predicate: b,
		Subject: []subject{{Name: name, Digest: map[string]string{"sha256": string(root)}}},
	}, nil
}

// root is the one subject's digest.
func (s *statement) root() (redoubt.Digest, error) {
	if len(s.Subject) != 1 || s.Subject[0].Name == "" {
		return "", fail(Format, "read statement: it has %d subjects: want one, with a name", len(s.Subject))
	}
	return redoubt.Digest(s.Subject[0].Digest["sha256"]), nil
}

// statement is the manifest as it is signed, by the specification or as the
// reference implementation spells it.
func (m *Manifest) statement(reference bool) (*statement, error) {
	if m.Legacy {
		return nil, errors.New("sign: the manifest is of the old format, which is verified and not written")
	}
	m.sort()
	if err := m.check(); err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	p := predicate{Serialization: serialization{
		Method: "files", Algorithm: m.Algorithm, ShardSize: float64(m.ShardSize), Links: &m.Links, Ignored: m.Ignored,
	}}
	if m.ShardSize > 0 {
		p.Serialization.Method = "shards"
	}
	for _, r := range m.Resources {
		d := descriptor{m.name(r), r.Digest, m.Algorithm}
		if reference && m.ShardSize > 0 {
			d.Algorithm = m.sharded()
		}
		if reference && m.single {
			d.Name = m.name(Resource{Path: ".", Start: r.Start, End: r.End})
		}
		p.Resources = append(p.Resources, d)
	}
	return newStatement(m.Name, m.Root(), predicateType, p)
}

// sharded is how the reference implementation calls the hash of pieces, up to
// version 1.1.1 at least; section 6.3.2 has the hash's own name.
func (m *Manifest) sharded() string { return fmt.Sprintf("%s-sharded-%d", m.Algorithm, m.ShardSize) }

// manifest reads the manifest that a statement carries.
func (s *statement) manifest(legacy bool) (*Manifest, error) {
	switch {
	case s.PredicateType == predicateLegacy && legacy:
		return s.manifestLegacy()
	case s.PredicateType == predicateLegacy:
		return nil, errLegacy
	case s.PredicateType != predicateType:
		return nil, fail(Format, "the bundle holds %q: want %s", s.PredicateType, predicateType)
	}
	signed, err := s.root()
	if err != nil {
		return nil, err
	}
	m, err := readPredicate(s.Predicate)
	if err != nil {
		return nil, fail(Format, "read manifest: %v", err)
	}
	m.Name = s.Subject[0].Name
	// The digest in the statement is over the order that was written. The
	// reference implementation sorts by folder, the specification by code point.
	if rootOf(m.Resources) != signed {
		return nil, fail(Format, "read manifest: its root digest is %s, and the statement says %s", rootOf(m.Resources), signed)
	}
	m.sort()
	if err := m.check(); err != nil {
		return nil, fail(Format, "read manifest: %v", err)
	}
	return m, nil
}

func readPredicate(b []byte) (*Manifest, error) {
	var outer struct {
		Resources     []stdjson.RawMessage `json:"resources"`
		Serialization serialization        `json:"serialization"`
	}
	if err := decodeStrict(b, &outer); err != nil {
		return nil, err
	}
	s := outer.Serialization
	m := &Manifest{Algorithm: s.Algorithm, Ignored: s.Ignored, ShardSize: int64(s.ShardSize)}
	switch {
	case s.Links == nil:
		return nil, errors.New("allow_symlinks is missing")
	case s.Method != "files" && s.Method != "shards":
		return nil, fmt.Errorf("serialization method %q: want files or shards", s.Method)
	case (s.Method == "shards") != (m.ShardSize > 0) || float64(m.ShardSize) != s.ShardSize:
		return nil, fmt.Errorf("shard_size %v does not go with method %q", s.ShardSize, s.Method)
	case len(outer.Resources) > maxResources:
		return nil, fmt.Errorf("it lists more than %d resources", maxResources)
	}
	m.Links = *s.Links
	for _, raw := range outer.Resources {
		var d descriptor
		if err := decodeOpen(raw, &d); err != nil { // section 5.2.1: unknown members are ignored
			return nil, err
		}
		r, err := parseName(d.Name, m.ShardSize)
		if err != nil {
			return nil, err
		}
		if d.Algorithm != m.Algorithm && (m.ShardSize == 0 || d.Algorithm != m.sharded()) {
			return nil, fmt.Errorf("resource %q: hash %q differs from the manifest's %q", d.Name, d.Algorithm, m.Algorithm)
		}
		if r.Digest = d.Digest; !isHex(d.Digest) {
			return nil, fmt.Errorf("resource %q: the digest is not in lower-case hexadecimal", d.Name)
		}
		m.Resources = append(m.Resources, r)
	}
	return m, nil
}

const maxResources = 1 << 20

func isHex(s string) bool {
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return len(s)%2 == 0
}

// manifestLegacy reads the format of section 5.1's note: a subject a file.
func (s *statement) manifestLegacy() (*Manifest, error) {
	m := &Manifest{Algorithm: SHA256, Legacy: true, Name: "model"}
	for _, sub := range s.Subject {
		if len(sub.Digest) != 1 {
			return nil, fail(Format, "read manifest: subject %q has %d digests: want one, sha256", sub.Name, len(sub.Digest))
		}
		if err := checkPath(sub.Name); err != nil {
			return nil, fail(Format, "read manifest: %v", err)
		}
		m.Resources = append(m.Resources, Resource{Path: sub.Name, Digest: sub.Digest["sha256"]})
	}
	m.sort()
	if err := m.check(); err != nil {
		return nil, fail(Format, "read manifest: %v", err)
	}
	return m, nil
}
