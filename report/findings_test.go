package report

import (
	"bytes"
	"encoding/xml"
	"strings"
	"testing"

	"github.com/redoubt-ml/redoubt"
)

func scanned() *Findings {
	bad := redoubt.Finding{Rule: "pickle/forbidden", Title: "imports os.system: runs programs", Severity: redoubt.Critical,
		Technique: "AML.T0011.000", Subject: "models/a b.pt!m/data.pkl", Offset: 17, Remedy: "do not load the file"}
	alone := bad
	alone.Subject = "x.pkl"
	return &Findings{Verb: "scan", Version: "v0", Files: []FindingsFile{
		{Path: "models/a b.pt", SHA256: redoubt.DigestBytes(nil), Verdict: "unsafe", Failed: true},
		{Path: "models/a b.pt!m/data.pkl", Verdict: "unsafe", Failed: true, Findings: []redoubt.Finding{bad}},
		{Path: "x.pkl", Verdict: "unproven", Undecided: true, Findings: []redoubt.Finding{alone}},
		{Path: "README.md", Verdict: "safe"},
	}}
}

// A finding is at its byte of its file; within an archive, at its member.
func TestFindingsSARIF(t *testing.T) {
	var b bytes.Buffer
	if err := FindingsSARIF(&b, scanned()); err != nil {
		t.Fatal(err)
	}
	validSARIF(t, b.String())
	for _, want := range []string{`"byteOffset": 17`, `"fullyQualifiedName": "m/data.pkl"`, `"uri": "models/a%20b.pt"`, `"ATLAS/AML.T0011.000"`} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %s in\n%s", want, b.String())
		}
	}
	if !strings.Contains(strings.Join(strings.Fields(b.String()), " "), `{ "uri": "x.pkl", "index": 1 }, "region"`) {
		t.Errorf("x.pkl is not the second artifact:\n%s", b.String())
	}
	if n := strings.Count(b.String(), `"byteOffset"`); n != 1 {
		t.Errorf("%d regions: the byte of a member is no byte of the archive", n)
	}
	b.Reset()
	if err := FindingsSARIF(&b, &Findings{Verb: "scan"}); err != nil {
		t.Fatal(err)
	}
	validSARIF(t, b.String())
}

func TestFindingsJUnit(t *testing.T) {
	var b bytes.Buffer
	if err := FindingsJUnit(&b, scanned()); err != nil {
		t.Fatal(err)
	}
	var got junitSuites
	if err := xml.Unmarshal(b.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if got.Tests != 4 || got.Failures != 2 || got.Errors != 1 {
		t.Errorf("%d tests, %d failures, %d errors", got.Tests, got.Failures, got.Errors)
	}
}
