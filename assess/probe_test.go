package assess

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the table of probes in docs/design/doubt.md")

// TestProbesAreDescribed keeps the page on doubt true: its table is made of the
// probes.
func TestProbesAreDescribed(t *testing.T) {
	const page, begin, end = "../docs/design/doubt.md", "| flag | what is looked at | after |\n| --- | --- | --- |\n", "| `unchecked` |"
	var table strings.Builder
	seen := map[string]bool{}
	for _, p := range Probes {
		if seen[p.Name] || p.Doc == "" || p.before == nil && p.after == nil {
			t.Errorf("probe %q has no name of its own, no description, or does nothing", p.Name)
		}
		seen[p.Name] = true
		fmt.Fprintf(&table, "| `%s` | %s | %s |\n", p.Name, p.Doc, p.Paper)
	}
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, found := strings.Cut(string(text), begin)
	old, tail, closed := strings.Cut(rest, end)
	if !found || !closed {
		t.Fatalf("%s has no table that begins with %q and ends with %q", page, begin, end)
	}
	if old == table.String() {
		return
	}
	if !*update {
		t.Fatalf("%s does not say what the probes do: go test ./assess -run Probes -update", page)
	}
	if err := os.WriteFile(page, []byte(head+begin+table.String()+end+tail), 0o644); err != nil {
		t.Fatal(err)
	}
}
