package report

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/redoubt-ml/redoubt"
)

// JSON writes the document redoubt.assess/v1. Lists are never null.
func JSON(w io.Writer, a *redoubt.Assessment) error {
	doc := *a
	if doc.Schema == "" {
		doc.Schema = redoubt.AssessmentSchema
	}
	doc.Threats = append([]redoubt.ThreatResult{}, a.Threats...)
	for i := range doc.Threats {
		t := &doc.Threats[i]
		t.Attacks = orEmpty(t.Attacks)
		t.Reliability.Flags = orEmpty(t.Reliability.Flags)
	}
	doc.Gates, doc.Findings, doc.NotTested = orEmpty(a.Gates), orEmpty(a.Findings), orEmpty(a.NotTested)
	return writeJSON(w, doc)
}

func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

func writeJSON(w io.Writer, doc any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false) // the gates' >= stay readable; the document is not HTML
	if err := e.Encode(doc); err != nil {
		return fmt.Errorf("write report as JSON: %w", err)
	}
	return nil
}
