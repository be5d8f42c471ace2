package piitest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/redoubt-ml/redoubt/internal/need"
)

// ComparePage holds a part of docs/pii-scorecard.md against what was measured, or
// writes it there. The part is between marks: one that names the command which
// measures it, and "end of" its name.
func ComparePage(t *testing.T, name, command, part string, write bool) {
	t.Helper()
	path := filepath.Join(need.Root(t), "docs", "pii-scorecard.md")
	page, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	start, end := "<!-- "+name+": "+command+" -->\n", "<!-- end of "+name+" -->"
	before, rest, begun := strings.Cut(string(page), start)
	_, after, ended := strings.Cut(rest, end)
	if !begun || !ended {
		t.Fatalf("%s: the marks of the part %s are missing", path, name)
	}
	whole := before + start + "\n" + part + "\n" + end + after
	if write {
		if err := os.WriteFile(path, []byte(whole), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if whole != string(page) {
		t.Errorf("docs/pii-scorecard.md says something else: run %s, and read the difference.\n%s", command, part)
	}
}
