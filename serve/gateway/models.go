package gateway

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"sync/atomic"
	"time"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/ml/data"
	"github.com/redoubt-ml/redoubt/serve/limit"
	"github.com/redoubt-ml/redoubt/serve/oip"
	"github.com/redoubt-ml/redoubt/serve/policy"
)

// Engine answers calls of one version of a model: package engine has two kinds.
type Engine interface {
	// Metadata is what the model takes and gives.
	Metadata(ctx context.Context) (*oip.Metadata, error)
	Infer(ctx context.Context, q *oip.Request) (*oip.Response, error)
	// Ready is nil when a call would be answered.
	Ready(ctx context.Context) error
	Close() error
}

// Model is a model as it is offered.
type Model struct {
	// Model is what policies know of it, its name first.
	policy.Model
	Versions []Version // the first is the default
	Settings Settings
	// NoDefault has calls that name no version refused, for none is the default.
	NoDefault bool
	// Aliases are further names of versions.
	Aliases map[string]string
	// Canary answers a share of the calls that name no version, in the place of the
	// default. Whoever is among that share stays so.
	Canary Canary
	// Shadow is a version that has the same calls as the default and is not heard:
	// where it answers otherwise is counted. "" for none.
	Shadow string
}

// Canary is a version with its share of the calls, from 0 to 1.
type Canary struct {
	Version string
	Share   float64
}

// Version is one of a model's versions.
type Version struct {
	Name   string // such as "1"
	Engine Engine
	// Digest is that of the file, if it is here.
	Digest redoubt.Digest
	// Later lets the engine be away when the version is offered: calls ask it again, and
	// are refused until it answers.
	Later bool
	// Refused says why the version may not be routed to; it then has no engine, and
	// calls are told. Until ends the time in which it may, if that is not zero.
	Refused string
	Until   time.Time
}

// Settings are what the guards ask of a model's callers. The zero value asks
// what the model itself does: names, types and shapes.
type Settings struct {
	// Limits bound the calls of each principal, Total those of all together.
	Limits, Total []limit.Limit
	// MaxBody bounds a request in bytes; 0 means 10 MiB. Timeout bounds the time
	// that it takes; 0 means 30 s.
	MaxBody int64
	Timeout time.Duration
	// Rows describes the features of the input Table, whose elements they are;
	// Table is "" for the only input. Nil for a model without a feature schema.
	Rows  *data.Rows
	Table string
	// Inputs hold what is asked of inputs by name.
	Inputs map[string]Rule
	// CardData marks a model that handles card data: see the guard schema.
	CardData bool
	// Unchecked lets text through that looks malicious, for models whose work is
	// to read it.
	Unchecked bool
	// Personal is what is done about personal data in texts; nil for nothing.
	Personal *Personal
	// Detectors look at what passed the other guards, in this order.
	Detectors []Detector
	// Scores are the outputs that hold scores of classes, which clearances
	// coarsen; nil means every output of floats.
	Scores []string
}

// Rule is what is asked of one input.
type Rule struct {
	// Min and Max bound every number; nil for no bound.
	Min, Max *float64
	// Missing lets numbers be NaN, as models do that are given incomplete rows.
	// Infinities are always refused.
	Missing bool
	// Elements bounds how many there are; 0 for no bound.
	Elements int64
	// MinLength and MaxLength bound every text in characters; MaxLength 0 means
	// 10,000.
	MinLength, MaxLength int
	// Pattern must match every text; nil for any. Anchors, \A and \z, make it
	// match the whole.
	Pattern *regexp.Regexp
	// Clip moves every number into an interval, after the bounds were checked;
	// nil leaves it.
	Clip *[2]float64
	// Strip are characters taken out of every text, and Trim takes space from
	// both ends.
	Strip string
	Trim  bool
}

// Served is one version of a model, found for a call.
type Served struct {
	Model    *Model
	Version  string
	Engine   Engine
	Digest   redoubt.Digest
	Metadata *oip.Metadata // with the model's name and all its versions

	refused string
	until   time.Time

	own      *oip.Metadata          // what the engine says of itself; nil while it has said nothing
	versions []string               // the model's
	latest   atomic.Pointer[Served] // by what the engine said last
}

// now is the version by what its engine says of it today: an upstream server may have
// been away when the version was offered, or serve another model by now.
func (s *Served) now(ctx context.Context) (*Served, error) {
	own, err := s.Engine.Metadata(ctx)
	if err != nil {
		return nil, err
	}
	if own == s.own {
		return s, nil
	}
	if last := s.latest.Load(); last != nil && own == last.own {
		return last, nil
	}
	if err := s.Model.Settings.check(own); err != nil {
		return nil, s.unready(fmt.Errorf("what its server says of it does not fit the settings: %w", err))
	}
	last := &Served{Model: s.Model, Version: s.Version, Engine: s.Engine, Digest: s.Digest, refused: s.refused, until: s.until, versions: s.versions}
	last.describe(own)
	s.latest.Store(last)
	return last, nil
}

// describe enters what the engine says.
func (s *Served) describe(own *oip.Metadata) {
	mine := *own
	mine.Name, mine.Versions = s.Model.Name, s.versions
	s.own, s.Metadata = own, &mine
}

// described is what is told of the version: nothing while its engine has said nothing.
func (s *Served) described() (*oip.Metadata, error) {
	if s.own == nil {
		return nil, s.unready(nil)
	}
	return s.Metadata, nil
}

func (s *Served) unready(why error) error {
	return &oip.Error{Code: oip.Unavailable, Message: "model '" + s.Model.Name + "' is not ready", Err: why}
}

// refusal is why the version may not be routed to now, "" if it may.
func (s *Served) refusal() string {
	if s.refused == "" && !s.until.IsZero() && !time.Now().Before(s.until) {
		return "what it was admitted by has expired"
	}
	return s.refused
}

// absent is the engine of a version that is not routed to: no call reaches it.
type absent struct{}

func (absent) Metadata(context.Context) (*oip.Metadata, error) { return nil, errAbsent }

func (absent) Infer(context.Context, *oip.Request) (*oip.Response, error) { return nil, errAbsent }

func (absent) Ready(context.Context) error { return errAbsent }

func (absent) Close() error { return nil }

var errAbsent = oip.Errorf(oip.Unavailable, "the version is not routed to")

// versions makes what calls find, by version; "" is the default.
func (m *Model) versions(ctx context.Context) (map[string]*Served, error) {
	if len(m.Versions) == 0 {
		return nil, fmt.Errorf("it has no version")
	}
	names, out := []string{}, map[string]*Served{}
	for _, v := range m.Versions {
		if !nameable(v.Name) || out[v.Name] != nil {
			return nil, fmt.Errorf("version %q is taken, or not made of letters, digits, '.', '_' and '-'", v.Name)
		}
		out[v.Name] = &Served{Model: m, Version: v.Name, Engine: v.Engine, Digest: v.Digest, refused: v.Refused, until: v.Until}
		if v.Refused != "" {
			out[v.Name].Engine, out[v.Name].Metadata = absent{}, &oip.Metadata{Name: m.Name}
			continue
		}
		names = append(names, v.Name)
	}
	for _, v := range m.Versions {
		if v.Refused != "" {
			continue
		}
		s := out[v.Name]
		s.versions = names
		own, err := v.Engine.Metadata(ctx)
		if v.Later && away(err) {
			s.Metadata = &oip.Metadata{Name: m.Name, Versions: names}
			continue
		}
		if err == nil {
			err = m.Settings.check(own)
		}
		if err != nil {
			return nil, fmt.Errorf("version %s: %w", v.Name, err)
		}
		s.describe(own)
	}
	for alias, to := range m.Aliases {
		if !nameable(alias) || out[alias] != nil || out[to] == nil {
			return nil, fmt.Errorf("alias %q is taken, of no version, or not made of letters, digits, '.', '_' and '-'", alias)
		}
	}
	for alias, to := range m.Aliases {
		out[alias] = out[to]
	}
	if out[""] = out[m.Versions[0].Name]; m.NoDefault {
		out[""] = &Served{Model: m, Engine: absent{}, Metadata: &oip.Metadata{Name: m.Name}, refused: "it has no version in production"}
	}
	return out, nil
}

// away reports whether an engine does not answer now, and may later.
func away(err error) bool {
	var e *oip.Error
	return errors.As(err, &e) && (e.Code == oip.Unavailable || e.Code == oip.Deadline)
}

// check holds the settings against the model: they speak of its inputs, if its server
// says what it takes.
func (s *Settings) check(m *oip.Metadata) error {
	for _, name := range slices.Sorted(maps.Keys(s.Inputs)) {
		if len(m.Inputs) > 0 && described(m.Inputs, name) == nil {
			return fmt.Errorf("the settings speak of an input %q, which the model does not have", name)
		}
	}
	for _, name := range s.Scores {
		if out := described(m.Outputs, name); out == nil || !floating(out.Datatype) {
			return fmt.Errorf("the settings speak of scores %q, which is no output of floats", name)
		}
	}
	if s.Rows == nil {
		return nil
	}
	in, err := s.table(m)
	if err != nil {
		return err
	}
	if n := len(in.Shape); n != 2 || in.Shape[1] >= 0 && in.Shape[1] != int64(s.Rows.Width()) {
		return fmt.Errorf("the feature schema makes rows of %d elements, input %q has the shape %v", s.Rows.Width(), in.Name, in.Shape)
	}
	if in.Datatype != oip.FP32 && in.Datatype != oip.FP64 {
		return fmt.Errorf("the feature schema describes numbers, input %q holds %s", in.Name, in.Datatype)
	}
	return nil
}

// table is the input that the feature schema describes.
func (s *Settings) table(m *oip.Metadata) (*oip.TensorMetadata, error) {
	if s.Table == "" {
		if len(m.Inputs) != 1 {
			return nil, fmt.Errorf("the model has %d inputs: name the one that the feature schema describes", len(m.Inputs))
		}
		return &m.Inputs[0], nil
	}
	in := described(m.Inputs, s.Table)
	if in == nil {
		return nil, fmt.Errorf("the feature schema describes an input %q, which the model does not have", s.Table)
	}
	return in, nil
}

func floating(t oip.Datatype) bool {
	return t == oip.FP32 || t == oip.FP64 || t == oip.FP16 || t == oip.BF16
}

func described(list []oip.TensorMetadata, name string) *oip.TensorMetadata {
	for i := range list {
		if list[i].Name == name {
			return &list[i]
		}
	}
	return nil
}

// nameable reports whether a model or a version may be called so: what needs no
// escape in a path, a policy or a log.
func nameable(s string) bool {
	if s == "" || len(s) > 128 || s[0] == '.' || s[0] == '-' {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '.', c == '_', c == '-':
		default:
			return false
		}
	}
	return true
}
