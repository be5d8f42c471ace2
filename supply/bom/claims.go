package bom

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"time"

	cdx "github.com/CycloneDX/cyclonedx-go"

	"github.com/redoubt-ml/redoubt"
)

// scanned is the document "redoubt.scan/v1", as far as a bill needs it.
type scanned struct {
	Schema string `json:"schema"`
	Files  []struct {
		Path     string         `json:"path"`
		SHA256   redoubt.Digest `json:"sha256"`
		Verdict  string         `json:"verdict"`
		Findings []struct {
			Rule     string           `json:"rule"`
			Severity redoubt.Severity `json:"severity"`
			Message  string           `json:"message"`
		} `json:"findings"`
	} `json:"files"`
}

// readScan reads the scan, which must be of files of the model. It is nil where
// there is none.
func (s *Source) readScan() (*scanned, error) {
	if s.Scan == nil {
		return nil, nil
	}
	r := &scanned{}
	if err := json.Unmarshal(s.Scan, r); err != nil {
		return nil, fmt.Errorf("read scan: %w", err)
	}
	if r.Schema != "redoubt.scan/v1" {
		return nil, fmt.Errorf("read scan: schema %q: want redoubt.scan/v1", r.Schema)
	}
	for _, f := range r.Files {
		if !s.holds(f.SHA256) {
			return nil, fmt.Errorf("read scan: %s has SHA-256 %q, which is no file of the model", f.Path, f.SHA256)
		}
	}
	return r, nil
}

// vulnerabilities are the findings in files that the scan found unsafe.
func (r *scanned) vulnerabilities() *[]cdx.Vulnerability {
	if r == nil {
		return nil
	}
	var out []cdx.Vulnerability
	for _, f := range r.Files {
		for _, x := range f.Findings {
			if f.Verdict != "unsafe" {
				continue
			}
			severity := cdx.Severity(x.Severity.String())
			if x.Severity == redoubt.Note {
				severity = cdx.SeverityInfo
			}
			out = append(out, cdx.Vulnerability{
				ID: x.Rule, Source: &cdx.Source{Name: "redoubt scan"}, Description: f.Path + ": " + x.Message,
				Ratings: list(cdx.VulnerabilityRating{Severity: severity, Method: cdx.ScoringMethodOther}),
				Affects: list(cdx.Affects{Ref: modelRef}),
			})
		}
	}
	return list(out...)
}

// verdict is the worst of the scan's.
func (r *scanned) verdict() string {
	worst := "safe"
	for _, f := range r.Files {
		if f.Verdict == "unsafe" || f.Verdict != "safe" && worst == "safe" {
			worst = f.Verdict
		}
	}
	return worst
}

// The requirements of OWASP's AI Security Verification Standard 1.0 that an
// assessment and a scan give evidence for, in our words.
const (
	evaluated = "v1.0-C11.1.3"
	checked   = "v1.0-C6.1.1"
)

// claimed collects declarations.
type claimed struct {
	s            *Source
	claims       []cdx.Claim
	evidence     []cdx.DeclarationEvidence
	maps         []cdx.AttestationMap
	requirements []cdx.StandardRequirement
}

// declarations say what was measured, by what evidence and until when.
func (s *Source) declarations(scan *scanned) (*cdx.Declarations, *cdx.Definitions) {
	c := &claimed{s: s}
	if s.Assessment != nil {
		c.assessment(s.Assessment)
	}
	if scan != nil {
		c.scan(scan)
	}
	if len(c.maps) == 0 {
		return nil, nil
	}
	return &cdx.Declarations{
			Assessors:    list(cdx.Assessor{BOMRef: "redoubt", Organization: &cdx.OrganizationalEntity{Name: "redoubt " + s.Tool}}),
			Attestations: list(cdx.Attestation{Summary: "What was measured about the model, by the tool itself", Assessor: "redoubt", Map: &c.maps}),
			Claims:       &c.claims, Evidence: &c.evidence,
		}, &cdx.Definitions{Standards: list(cdx.StandardDefinition{
			BOMRef: "aisvs", Name: "OWASP AI Security Verification Standard", Version: "1.0", Owner: "OWASP", Requirements: &c.requirements,
		})}
}

// assessment claims each number, and each gate that held. A gate that failed is a
// counter-claim.
func (c *claimed) assessment(a *redoubt.Assessment) {
	ref := c.addEvidence("assessment", "dynamic-analysis-report", "redoubt assess", a.Tool.Started)
	m := cdx.AttestationMap{Requirement: c.require(evaluated, "The model's resistance to adversarial inputs is evaluated")}
	var held, failed []cdx.BOMReference
	verdict := redoubt.Trustworthy
	for _, t := range a.Threats {
		text := fmt.Sprintf("robust_accuracy[%s] is %s, 95 %% interval %s to %s, over %d samples", slice(t), decimal(t.RobustAccuracy), decimal(t.CI95[0]), decimal(t.CI95[1]), t.N)
		held = append(held, c.claim(text, "each number is graded: this one is "+t.Reliability.Verdict, ref, ""))
		if t.Reliability.Verdict != redoubt.Trustworthy && verdict != redoubt.Invalid {
			verdict = t.Reliability.Verdict
		}
	}
	passed := 0
	for _, g := range a.Gates {
		if g.Pass {
			passed++
			held = append(held, c.claim(g.Expr, "measured: "+decimal(g.Value), ref, ""))
			continue
		}
		failed = append(failed, c.claim("not "+g.Expr, "measured: "+decimal(g.Value), "", ref))
	}
	m.Claims, m.CounterClaims = list(held...), list(failed...)
	if len(a.Gates) > 0 {
		score := float64(passed) / float64(len(a.Gates))
		m.Conformance = &cdx.AttestationConformance{Score: &score, Rationale: fmt.Sprintf("%d of %d gates held", passed, len(a.Gates))}
	}
	m.Confidence = &cdx.AttestationConfidence{Rationale: "the assessment grades its own numbers: " + verdict}
	c.maps = append(c.maps, m)
}

func (c *claimed) scan(r *scanned) {
	ref := c.addEvidence("scan", "static-analysis-report", "redoubt scan", "")
	m := cdx.AttestationMap{Requirement: c.require(checked, "Model files are checked for malicious content before they are used")}
	verdict := r.verdict()
	if verdict == "safe" {
		m.Claims = list(c.claim("no file of the model runs code when it is loaded", "every construct is on a list of harmless ones", ref, ""))
	} else {
		m.CounterClaims = list(c.claim("the files of the model are "+verdict, "see the report", "", ref))
	}
	c.maps = append(c.maps, m)
}

func (c *claimed) require(id, title string) string {
	c.requirements = append(c.requirements, cdx.StandardRequirement{BOMRef: "aisvs-" + id, Identifier: id, Title: title})
	return "aisvs-" + id
}

func (c *claimed) claim(predicate, reasoning, evidence, counter string) cdx.BOMReference {
	claim := cdx.Claim{BOMRef: fmt.Sprintf("claim-%d", len(c.claims)+1), Target: modelRef, Predicate: predicate, Reasoning: reasoning}
	if evidence != "" {
		claim.Evidence = list(cdx.BOMReference(evidence))
	}
	if counter != "" {
		claim.CounterEvidence = list(cdx.BOMReference(counter))
	}
	c.claims = append(c.claims, claim)
	return cdx.BOMReference(claim.BOMRef)
}

// addEvidence is a report, with its place and its time where they are known.
func (c *claimed) addEvidence(name, kind, tool, created string) string {
	e := cdx.DeclarationEvidence{
		BOMRef: "evidence-" + name, PropertyName: "redoubt:" + name, Description: "the report of " + tool,
		Expires: c.s.Expires.UTC().Format(time.RFC3339),
	}
	if t, err := time.Parse(time.RFC3339, created); err == nil {
		e.Created = t.Format(time.RFC3339)
	}
	for _, r := range c.s.Reports {
		if r.Kind == kind {
			e.Data = list(cdx.EvidenceData{Name: "sha256:" + string(r.SHA256), Contents: &cdx.EvidenceDataContents{URL: filepath.ToSlash(r.Path)}})
		}
	}
	c.evidence = append(c.evidence, e)
	return e.BOMRef
}
