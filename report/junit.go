package report

import (
	"encoding/xml"
	"fmt"
	"io"

	"github.com/redoubt-ml/redoubt"
)

type junitSuites struct {
	XMLName  xml.Name     `xml:"testsuites"`
	Name     string       `xml:"name,attr"`
	Tests    int          `xml:"tests,attr"`
	Failures int          `xml:"failures,attr"`
	Errors   int          `xml:"errors,attr"`
	Time     string       `xml:"time,attr"`
	Suites   []junitSuite `xml:"testsuite"`
}

type junitSuite struct {
	Name      string      `xml:"name,attr"`
	Tests     int         `xml:"tests,attr"`
	Failures  int         `xml:"failures,attr"`
	Errors    int         `xml:"errors,attr"`
	Time      string      `xml:"time,attr"`
	Timestamp string      `xml:"timestamp,attr,omitempty"`
	Cases     []junitCase `xml:"testcase"`
}

type junitCase struct {
	Class   string        `xml:"classname,attr"`
	Name    string        `xml:"name,attr"`
	Time    string        `xml:"time,attr"`
	Failure *junitProblem `xml:"failure"`
	Error   *junitProblem `xml:"error"`
	Out     string        `xml:"system-out,omitempty"`
}

type junitProblem struct {
	Message string `xml:"message,attr"`
	Type    string `xml:"type,attr"`
	Text    string `xml:",chardata"`
}

// JUnit writes JUnit XML. Each gate is a test case that fails with its gate.
// Each threat model is one too; it is in error where its number is invalid,
// because then nothing was measured, and passes otherwise: what is good enough
// is for the gates to say.
func JUnit(w io.Writer, a *redoubt.Assessment) error {
	gates := junitSuite{Name: "gates", Timestamp: a.Tool.Started, Time: "0.000"}
	for _, g := range a.Gates {
		c := junitCase{Class: "redoubt.gates", Name: g.Expr, Time: "0.000", Out: "measured " + num(g.Value)}
		if !g.Pass {
			message := fmt.Sprintf("%s is not met: measured %s", g.Expr, num(g.Value))
			c.Failure = &junitProblem{Message: message, Type: "gate", Text: message}
		}
		gates.add(c)
	}
	threats, total := junitSuite{Name: "threat models", Timestamp: a.Tool.Started}, 0.0
	for i := range a.Threats {
		c, seconds := threatCase(&a.Threats[i])
		threats.add(c)
		total += seconds
	}
	threats.Time = fmt.Sprintf("%.3f", total)
	doc := junitSuites{Name: "redoubt assess " + a.Model.Path, Time: fmt.Sprintf("%.3f", a.Tool.Seconds), Suites: []junitSuite{gates, threats}}
	for _, s := range doc.Suites {
		doc.Tests, doc.Failures, doc.Errors = doc.Tests+s.Tests, doc.Failures+s.Failures, doc.Errors+s.Errors
	}
	return writeXML(w, doc)
}

func threatCase(t *redoubt.ThreatResult) (c junitCase, seconds float64) {
	for _, x := range t.Attacks {
		seconds += x.Seconds
	}
	c = junitCase{Class: "redoubt.threats", Name: fmt.Sprintf("%s@%s", t.Norm, num(t.Eps)), Time: fmt.Sprintf("%.3f", seconds),
		Out: fmt.Sprintf("robust accuracy %s (95 %% interval %s), %d of %d samples; attack success rate %s of %d; measurement %s",
			pct(t.RobustAccuracy), span(t.CI95), t.Robust, t.N, pct(t.AttackSuccessRate), t.Correct, t.Reliability.Verdict)}
	if t.Reliability.Verdict == redoubt.Invalid {
		c.Error = &junitProblem{Message: "the measurement is invalid", Type: "reliability"}
		for _, f := range t.Reliability.Flags {
			c.Error.Text += f.ID + ": " + f.Evidence + "\n"
		}
	}
	return c, seconds
}

func (s *junitSuite) add(c junitCase) {
	s.Tests++
	if c.Failure != nil {
		s.Failures++
	}
	if c.Error != nil {
		s.Errors++
	}
	s.Cases = append(s.Cases, c)
}

func writeXML(w io.Writer, doc any) error {
	b, err := xml.MarshalIndent(doc, "", "  ")
	if err == nil {
		_, err = io.WriteString(w, xml.Header+string(b)+"\n")
	}
	if err != nil {
		return fmt.Errorf("write report as JUnit XML: %w", err)
	}
	return nil
}
