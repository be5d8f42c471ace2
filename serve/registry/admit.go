package registry

import (
	"bytes"
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/serve/seal"
	"github.com/redoubt-ml/redoubt/supply/scan"
	"github.com/redoubt-ml/redoubt/supply/sign"
)

// Admission is what a version must show to be routed to. Its zero value admits
// nothing.
type Admission struct {
	// Keys are public keys, any of which may have signed a model; Roots and Names
	// allow certificates, as in [sign.Policy].
	Keys  []crypto.PublicKey
	Roots []*x509.Certificate
	Names []string
	// Attesters are public keys, any of which may have signed attestations; those
	// who may sign models by default.
	Attesters []crypto.PublicKey
	// Needs are attested beside.
	Needs []Need
}

// Need is an attestation that is asked for: a kind of it, or a number in an
// assessment that reaches a bound.
type Need struct {
	Kind   string // of package sign
	Number string // "" for any
	Above  bool   // the number is to be at least, and not at most, the bound
	Bound  float64
}

// ParseNeed reads "scan", "lineage", "assessment", or a gate on an assessment such
// as "robust_accuracy[linf@0.3]>=0.5".
func ParseNeed(text string) (Need, error) {
	for _, kind := range []string{sign.Assessment, sign.Scan, sign.Lineage} {
		if text == kind {
			return Need{Kind: kind}, nil
		}
	}
	for _, op := range []string{">=", "<="} {
		number, bound, ok := strings.Cut(text, op)
		if !ok {
			continue
		}
		b, err := strconv.ParseFloat(strings.TrimSpace(bound), 64)
		if number = strings.TrimSpace(number); number == "" || err != nil || b != b {
			break
		}
		return Need{sign.Assessment, number, op == ">=", b}, nil
	}
	return Need{}, fmt.Errorf("read the need %q: write assessment, scan, lineage, or a gate such as robust_accuracy[linf@0.3]>=0.5", text)
}

// String is the need as it is written.
func (n Need) String() string {
	if n.Number == "" {
		return n.Kind
	}
	op := "<="
	if n.Above {
		op = ">="
	}
	return n.Number + op + strconv.FormatFloat(n.Bound, 'g', -1, 64)
}

// Refusal says why a version is not routed to.
type Refusal struct {
	// Requirement is "weights", "signature", "format", "scan" or
	// "attestation NEED".
	Requirement string
	Cause       error
}

// Error names the requirement, and what of it failed in the words of package sign.
func (r *Refusal) Error() string {
	text := r.Requirement + ": "
	var part sign.Requirement
	if errors.As(r.Cause, &part) {
		text += string(part) + ": "
	}
	return text + r.Cause.Error()
}

func (r *Refusal) Unwrap() error { return r.Cause }

// unreadable is why weights cannot be read, in words that tell callers no path.
type unreadable struct{ cause error }

func (u unreadable) Error() string {
	switch {
	case errors.Is(u.cause, seal.ErrUnavailable):
		return "the key service cannot be asked"
	case errors.Is(u.cause, fs.ErrNotExist):
		return "they are not there"
	case errors.Is(u.cause, seal.ErrRefused), errors.Is(u.cause, ErrInput):
		return "they were changed, cut short or exchanged"
	}
	return "they cannot be read"
}

func (u unreadable) Unwrap() error { return u.cause }

func refuse(requirement, format string, args ...any) *Refusal {
	return &Refusal{requirement, fmt.Errorf(format, args...)}
}

// forever is until when a version is admitted that nothing expires of.
var forever = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)

// Admit decides whether a version may be routed to now. It returns the weights that
// it decided about, and until when the decision holds. An error that is a [Refusal]
// says which requirement failed.
func (r *Registry) Admit(ctx context.Context, a *Admission, v *Version) ([]byte, time.Time, error) {
	manifests, until, err := a.claims(v, r.cfg.Now())
	if err != nil {
		return nil, until, err
	}
	b, err := r.weights.get(ctx, v.Digest)
	if err != nil {
		return nil, until, &Refusal{"weights", unreadable{err}}
	}
	return b, until, a.content(ctx, v, manifests, b)
}

// Still decides the same of a version whose weights are loaded already, where they
// cannot be read because the key service is lost: only what was signed is asked.
func (r *Registry) Still(a *Admission, v *Version) (time.Time, error) {
	_, until, err := a.claims(v, r.cfg.Now())
	return until, err
}

// Claims identifies what was signed of a version.
func (v *Version) Claims() string {
	h := sha256.New()
	for _, b := range slices.Concat(v.Signatures, [][]byte{nil}, v.Attestations) {
		fmt.Fprintf(h, "%d %s", len(b), b)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// Lost reports whether an error of [Registry.Admit] says no more than that the key
// service could not be asked.
func Lost(err error) bool { return errors.Is(err, seal.ErrUnavailable) }

// claims verifies what was signed, without the weights: the manifests of good
// signatures are returned, and until when the attestations hold.
func (a *Admission) claims(v *Version, now time.Time) (manifests []*sign.Manifest, until time.Time, err error) {
	p := &sign.Policy{Keys: a.Keys, Roots: a.Roots, Names: a.Names, Time: now}
	failed := errors.New("there is none")
	for _, bundle := range v.Signatures {
		signed, err := p.Open(bundle)
		if err != nil {
			failed = err
			continue
		}
		manifests = append(manifests, signed.Manifest)
	}
	if len(manifests) == 0 {
		return nil, until, &Refusal{"signature", failed}
	}
	if a.Attesters != nil {
		p = &sign.Policy{Keys: a.Attesters, Time: now}
	}
	until = forever
	for _, need := range a.Needs {
		expires, err := need.met(p, v)
		if err != nil {
			return nil, until, &Refusal{"attestation " + need.String(), err}
		}
		if expires.Before(until) {
			until = expires
		}
	}
	return manifests, until, nil
}

// met finds the attestation that meets a need for longest.
func (n Need) met(p *sign.Policy, v *Version) (until time.Time, err error) {
	err = errors.New("there is none")
	for _, bundle := range v.Attestations {
		a, _, e := p.Attestation(bundle, v.Digest)
		if e == nil {
			e = n.judge(a)
		}
		switch {
		case e == nil && a.Expires.After(until):
			until = a.Expires
		case e != nil && !errors.Is(e, errOtherKind):
			err = e
		}
	}
	if !until.IsZero() {
		return until, nil
	}
	return until, err
}

var errOtherKind = errors.New("it is of another kind")

// best are the verdicts that attestations must have; lineage has none.
var best = map[string]string{sign.Assessment: redoubt.Trustworthy, sign.Scan: "safe"}

func (n Need) judge(a *sign.Attestation) error {
	if a.Kind != n.Kind {
		return errOtherKind
	}
	if a.Verdict != best[a.Kind] {
		return fmt.Errorf("its verdict is %q", a.Verdict)
	}
	if n.Number == "" {
		return nil
	}
	got, ok := a.Numbers[n.Number]
	switch {
	case !ok:
		return errors.New("the assessment did not measure it")
	case n.Above && !(got >= n.Bound), !n.Above && !(got <= n.Bound):
		return fmt.Errorf("%v was measured", got)
	}
	return nil
}

// content holds the weights against what was signed, and scans them.
func (a *Admission) content(ctx context.Context, v *Version, manifests []*sign.Manifest, b []byte) error {
	var failed error
	signed := slices.ContainsFunc(manifests, func(m *sign.Manifest) bool {
		paths := m.Paths()
		if len(paths) != 1 {
			failed = fmt.Errorf("it is of %d files, and a version has one", len(paths))
			return false
		}
		failed = m.Check(paths[0], bytes.NewReader(b))
		return failed == nil
	})
	if !signed {
		return &Refusal{"signature", failed}
	}
	report, err := scan.Reader(ctx, v.File, bytes.NewReader(b), int64(len(b)), scan.Config{})
	if err != nil {
		return &Refusal{"scan", err}
	}
	if len(report.Files) == 0 || report.Files[0].Format != "onnx" {
		return refuse("format", "it is no ONNX file, and nothing else is run here")
	}
	if verdict := report.Verdict(); verdict != scan.Safe {
		return refuse("scan", "the verdict is %s%s", verdict, reason(report))
	}
	return nil
}

// reason is the first finding that speaks against a file.
func reason(r *scan.Report) string {
	for _, f := range r.Files {
		for _, finding := range f.Findings {
			return ": " + finding.Message
		}
	}
	return ""
}
