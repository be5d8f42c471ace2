package report

import (
	"cmp"
	"fmt"
	"io"
	"strings"

	"github.com/redoubt-ml/redoubt"
)

// Findings are findings about files, of a verb that does not assess a model.
type Findings struct {
	Verb    string // "scan"
	Version string // of the program
	Files   []FindingsFile
}

// FindingsFile is a file that was looked at, and what was found in it.
type FindingsFile struct {
	// Path may name a member of an archive after "!".
	Path   string
	SHA256 redoubt.Digest
	// Verdict is the verb's word for the file.
	Verdict string
	// Failed and Undecided say what the verdict means for a pipeline.
	Failed, Undecided bool
	Findings          []redoubt.Finding
}

// FindingsSARIF writes a SARIF 2.1.0 log with a result for each finding, at its
// byte of its file.
func FindingsSARIF(w io.Writer, f *Findings) error {
	s := sarifRun{
		Tool:        sarifTool{sarifDriver{Name: "Redoubt", Version: f.Version, InformationURI: "https://github.com/redoubt-ml/redoubt", Rules: []sarifRule{}}},
		Automation:  sarifID{"redoubt/" + f.Verb},
		Invocations: []sarifInvocation{{Successful: true}},
		Artifacts:   []sarifArtifact{},
		Results:     []sarifResult{},
		ColumnKind:  "unicodeCodePoints",
		Properties:  map[string]any{"files": len(f.Files)},
	}
	for _, file := range f.Files {
		path, member, inside := strings.Cut(file.Path, "!")
		if !inside {
			a := sarifArtifact{Location: sarifURI{fileURI(path), len(s.Artifacts)}, Roles: []string{"analysisTarget"}}
			if file.SHA256 != "" {
				a.Hashes = map[string]string{"sha-256": string(file.SHA256)}
			}
			s.Artifacts = append(s.Artifacts, a)
		}
		for _, x := range file.Findings {
			s.found(x, path, member)
		}
	}
	return writeJSON(w, sarifLog{
		Schema:  "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json",
		Version: "2.1.0", Runs: []sarifRun{s}})
}

// found adds a finding about the artifact that was added last, or about a member
// of it: then the byte is the member's, and the member is a logical location.
func (s *sarifRun) found(x redoubt.Finding, path, member string) {
	grade := sarifLevels[x.Severity]
	at := sarifLocation{Physical: sarifPhysical{Artifact: sarifURI{fileURI(path), max(0, len(s.Artifacts)-1)}}}
	where := fmt.Sprintf("At byte %d", x.Offset)
	if member == "" {
		at.Physical.Region = &sarifRegion{x.Offset}
	} else {
		where += " of " + member
		at.Logical = []sarifLogical{{FullyQualifiedName: member, Kind: "member"}}
	}
	s.Results = append(s.Results, sarifResult{RuleID: x.Rule, RuleIndex: s.rule(x, grade.level, grade.score), Level: grade.level,
		Message: sarifText{where + ": " + x.Title + ". Remedy: " + x.Remedy + "."}, Locations: []sarifLocation{at},
		Fingerprints: map[string]string{"redoubt/v1": string(redoubt.DigestBytes(fmt.Appendf(nil, "%s\n%s\n%s\n%d", x.Rule, x.Title, x.Subject, x.Offset)))}})
}

// FindingsJUnit writes JUnit XML with a test case for each file: it fails where
// the verb objects, and is in error where the verb could not decide.
func FindingsJUnit(w io.Writer, f *Findings) error {
	suite := junitSuite{Name: f.Verb, Time: "0.000"}
	for _, file := range f.Files {
		c := junitCase{Class: "redoubt." + f.Verb, Name: file.Path, Time: "0.000"}
		var text strings.Builder
		for _, x := range file.Findings {
			fmt.Fprintf(&text, "%d: %s: %s; %s\n", x.Offset, x.Severity, x.Title, x.Remedy)
		}
		problem := &junitProblem{Message: file.Verdict, Type: file.Verdict, Text: cmp.Or(text.String(), "see the members of the archive")}
		switch {
		case file.Failed:
			c.Failure = problem
		case file.Undecided:
			c.Error = problem
		}
		suite.add(c)
	}
	return writeXML(w, junitSuites{Name: "redoubt " + f.Verb, Tests: suite.Tests, Failures: suite.Failures, Errors: suite.Errors, Time: "0.000", Suites: []junitSuite{suite}})
}
