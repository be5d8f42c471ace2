package report

import (
	"fmt"
	"io"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"github.com/redoubt-ml/redoubt"
)

// The parts of SARIF 2.1.0 (OASIS, errata 01) that an assessment fills.
type (
	sarifLog struct {
		Schema  string     `json:"$schema"`
		Version string     `json:"version"`
		Runs    []sarifRun `json:"runs"`
	}
	sarifRun struct {
		Tool        sarifTool         `json:"tool"`
		Automation  sarifID           `json:"automationDetails"`
		Invocations []sarifInvocation `json:"invocations"`
		Artifacts   []sarifArtifact   `json:"artifacts"`
		Results     []sarifResult     `json:"results"`
		ColumnKind  string            `json:"columnKind"`
		Properties  map[string]any    `json:"properties"`
	}
	sarifID struct {
		ID string `json:"id"`
	}
	sarifTool struct {
		Driver sarifDriver `json:"driver"`
	}
	sarifDriver struct {
		Name           string      `json:"name"`
		Version        string      `json:"version,omitempty"`
		InformationURI string      `json:"informationUri"`
		Rules          []sarifRule `json:"rules"`
	}
	sarifRule struct {
		ID         string         `json:"id"`
		Short      sarifText      `json:"shortDescription"`
		Help       *sarifText     `json:"help,omitempty"`
		Config     sarifConfig    `json:"defaultConfiguration"`
		Properties map[string]any `json:"properties"`
	}
	sarifText struct {
		Text string `json:"text"`
	}
	sarifConfig struct {
		Level string `json:"level"`
	}
	sarifInvocation struct {
		Successful  bool   `json:"executionSuccessful"`
		CommandLine string `json:"commandLine,omitempty"`
		Start       string `json:"startTimeUtc,omitempty"`
		End         string `json:"endTimeUtc,omitempty"`
	}
	sarifArtifact struct {
		Location sarifURI          `json:"location"`
		Roles    []string          `json:"roles"`
		Hashes   map[string]string `json:"hashes,omitempty"`
	}
	sarifURI struct {
		URI   string `json:"uri,omitempty"`
		Index int    `json:"index"`
	}
	sarifResult struct {
		RuleID       string            `json:"ruleId"`
		RuleIndex    int               `json:"ruleIndex"`
		Level        string            `json:"level"`
		Message      sarifText         `json:"message"`
		Locations    []sarifLocation   `json:"locations"`
		Fingerprints map[string]string `json:"partialFingerprints"`
	}
	sarifLocation struct {
		Physical sarifPhysical  `json:"physicalLocation"`
		Logical  []sarifLogical `json:"logicalLocations,omitempty"`
	}
	sarifPhysical struct {
		Artifact sarifURI     `json:"artifactLocation"`
		Region   *sarifRegion `json:"region,omitempty"`
	}
	sarifRegion struct {
		ByteOffset int64 `json:"byteOffset"`
	}
	sarifLogical struct {
		FullyQualifiedName string `json:"fullyQualifiedName"`
		Kind               string `json:"kind"`
	}
)

// SARIF writes a SARIF 2.1.0 log: a result for each finding, for each gate
// that failed and for each doubt about the measurement, at the model's file.
func SARIF(w io.Writer, a *redoubt.Assessment) error {
	s := sarifRun{
		Tool:        sarifTool{sarifDriver{Name: "Redoubt", Version: a.Tool.Version, InformationURI: "https://github.com/redoubt-ml/redoubt", Rules: []sarifRule{}}},
		Automation:  sarifID{"redoubt/assess/" + filepath.Base(a.Model.Path)},
		Invocations: []sarifInvocation{invocation(a)},
		Artifacts:   artifacts(a),
		Results:     []sarifResult{},
		ColumnKind:  "unicodeCodePoints",
		Properties:  map[string]any{"verdict": judge(a).Word, "cleanAccuracy": a.CleanAccuracy, "seed": a.Tool.Seed, "threads": a.Tool.Threads},
	}
	for _, f := range allFindings(a) {
		s.add(f)
	}
	return writeJSON(w, sarifLog{
		Schema:  "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json",
		Version: "2.1.0", Runs: []sarifRun{s}})
}

// allFindings is the assessment's findings and, unless they are there already,
// one for each failed gate and each flag.
func allFindings(a *redoubt.Assessment) []redoubt.Finding {
	out, seen := bySeverity(a.Findings), map[string]bool{}
	for _, f := range out {
		seen[f.Rule] = true
	}
	for _, g := range a.Gates {
		if !g.Pass && !seen["gate/failed"] {
			out = append(out, redoubt.Finding{Rule: "gate/failed", Title: "A gate on robustness is not met", Severity: redoubt.High,
				Evidence: fmt.Sprintf("%s is not met: measured %s.", g.Expr, num(g.Value)),
				Remedy:   "Harden the model, or lower the gate if the threat model is beyond what the system faces."})
		}
	}
	for i := range a.Threats {
		for _, f := range a.Threats[i].Reliability.Flags {
			rule := "reliability/" + f.ID
			if !seen[rule] {
				out = append(out, redoubt.Finding{Rule: rule, Title: "Doubt about a robustness measurement: " + f.ID,
					Severity: flagSeverity(f.Verdict), Evidence: threatName(&a.Threats[i]) + ": " + f.Evidence, Remedy: f.Remedy})
			}
		}
	}
	return out
}

func flagSeverity(verdict string) redoubt.Severity {
	switch verdict {
	case redoubt.Invalid:
		return redoubt.High
	case redoubt.Suspect:
		return redoubt.Medium
	}
	return redoubt.Note
}

// sarifLevels are the level of each severity and its number for code scanning,
// which reads "security-severity" as a CVSS score and ranks by it.
var sarifLevels = map[redoubt.Severity]struct{ level, score string }{
	redoubt.Note:     {"note", "0.0"},
	redoubt.Low:      {"note", "3.0"},
	redoubt.Medium:   {"warning", "5.5"},
	redoubt.High:     {"error", "8.0"},
	redoubt.Critical: {"error", "9.5"},
}

func (s *sarifRun) add(f redoubt.Finding) {
	grade := sarifLevels[f.Severity]
	index := s.rule(f, grade.level, grade.score)
	message := f.Title + "."
	if f.Evidence != "" {
		message += " " + f.Evidence
	}
	if f.Remedy != "" {
		message += " Remedy: " + f.Remedy
	}
	s.Results = append(s.Results, sarifResult{RuleID: f.Rule, RuleIndex: index, Level: grade.level,
		Message: sarifText{message}, Locations: []sarifLocation{{Physical: sarifPhysical{Artifact: sarifURI{URI: s.Artifacts[0].Location.URI}}}},
		// The evidence holds measured numbers and would make every run's
		// result a new one.
		Fingerprints: map[string]string{"redoubt/v1": string(redoubt.DigestBytes(
			fmt.Appendf(nil, "%s\n%s\n%s", f.Rule, f.Title, f.Subject)))}})
}

// rule finds or adds a finding's rule. The first finding of a rule describes
// it; they come worst first.
func (s *sarifRun) rule(f redoubt.Finding, level, score string) int {
	rules := &s.Tool.Driver.Rules
	for i, r := range *rules {
		if r.ID == f.Rule {
			return i
		}
	}
	r := sarifRule{ID: f.Rule, Short: sarifText{f.Title + "."}, Config: sarifConfig{level},
		Properties: map[string]any{"tags": []string{"security", "machine-learning"}, "security-severity": score}}
	if f.Technique != "" {
		r.Properties["tags"] = []string{"security", "machine-learning", "ATLAS/" + f.Technique}
	}
	if f.Remedy != "" {
		r.Help = &sarifText{f.Remedy}
	}
	*rules = append(*rules, r)
	return len(*rules) - 1
}

func invocation(a *redoubt.Assessment) sarifInvocation {
	out := sarifInvocation{Successful: true, CommandLine: a.Tool.Command}
	if start, err := time.Parse(time.RFC3339, a.Tool.Started); err == nil {
		out.Start = start.UTC().Format(time.RFC3339)
		out.End = start.UTC().Add(time.Duration(a.Tool.Seconds * float64(time.Second))).Format(time.RFC3339)
	}
	return out
}

func artifacts(a *redoubt.Assessment) []sarifArtifact {
	file := func(path string, digest redoubt.Digest, i int, role string) sarifArtifact {
		out := sarifArtifact{Location: sarifURI{fileURI(path), i}, Roles: []string{role}}
		if digest != "" {
			out.Hashes = map[string]string{"sha-256": string(digest)}
		}
		return out
	}
	out := []sarifArtifact{file(a.Model.Path, a.Model.SHA256, 0, "analysisTarget")}
	if a.Data.Path != "" {
		out = append(out, file(a.Data.Path, a.Data.SHA256, 1, "referencedOnCommandLine"))
	}
	return out
}

// fileURI is a path as a URI reference: relative paths stay relative, so that
// code scanning finds them in the repository. A remote model has a URI already.
func fileURI(path string) string {
	if strings.HasPrefix(path, "https://") || strings.HasPrefix(path, "http://") {
		return path
	}
	if path == "" {
		return ""
	}
	path = filepath.ToSlash(filepath.Clean(path))
	if strings.HasPrefix(path, "/") {
		return (&url.URL{Scheme: "file", Path: path}).String()
	}
	return (&url.URL{Path: path}).String()
}
