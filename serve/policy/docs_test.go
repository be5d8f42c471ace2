package policy

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/redoubt-ml/redoubt/internal/need"
)

func page(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(need.Root(t), "docs", "permissions.md"))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// rolesOnPage is the table of roles of docs/permissions.md: the actions of each,
// with spaces between.
func rolesOnPage(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `(\\w+)` \\| (.*) \\|$").FindAllStringSubmatch(page(t), -1) {
		out[m[1]] = strings.ReplaceAll(m[2], "`", "")
	}
	if len(out) != len(Roles) {
		t.Fatalf("the table has %d roles, want %d", len(out), len(Roles))
	}
	return out
}

// The policies of docs/permissions.md decide as the page says.
func TestPage(t *testing.T) {
	blocks := regexp.MustCompile("(?s)```cedar\n(.*?)```\n\n```decisions\n(.*?)```").FindAllStringSubmatch(page(t), -1)
	if len(blocks) < 4 {
		t.Fatalf("%d examples", len(blocks))
	}
	for _, b := range blocks {
		d := Document{ID: "example", Text: b[1]}
		if err := d.Check(); err != nil {
			t.Error(err)
			continue
		}
		e := must(t, Settings{Roles: []string{"curator"}}, State{Documents: []Document{d}})
		for line := range strings.Lines(b[2]) {
			question, want, _ := strings.Cut(strings.TrimSpace(line), " -> ")
			if got := answer(e.Decide(requestOf(t, question))); got != want {
				t.Errorf("%s: %s, want %s", question, got, want)
			}
		}
	}
}

// requestOf reads a line such as "user:ann role=model_user at=09:00 invoke loans".
func requestOf(t *testing.T, line string) Request {
	t.Helper()
	m := &Model{}
	q := Request{Resource: Resource{Kind: KindModel, Model: m}, Context: Context{Time: noon, From: netip.MustParseAddr("10.0.0.1")}}
	var words []string
	verified := false
	for _, w := range strings.Fields(line) {
		name, value, _ := strings.Cut(w, "=")
		switch name {
		case "role":
			q.Principal.Roles = append(q.Principal.Roles, value)
		case "group":
			q.Principal.Groups = append(q.Principal.Groups, value)
		case "in":
			m.Groups = append(m.Groups, value)
		case "owner":
			m.Owner = value
		case "from":
			q.Context.From = netip.MustParseAddr(value)
		case "at":
			at, err := time.Parse("15:04", value)
			if err != nil {
				t.Fatal(err)
			}
			q.Context.Time = noon.Truncate(24 * time.Hour).Add(time.Duration(at.Hour())*time.Hour + time.Duration(at.Minute())*time.Minute)
		case "verified":
			verified = true
		default:
			words = append(words, w)
		}
	}
	if len(words) != 3 {
		t.Fatalf("%q is not WHO ACTION MODEL", line)
	}
	q.Principal.ID, q.Action, m.Name, q.Resource.Name = words[0], Action(words[1]), words[2], words[2]
	if verified {
		q.Principal.Verified = q.Context.Time
	}
	return q
}

func answer(d Decision) string {
	if d.Allowed {
		if d.Clearance == (Clearance{}) {
			return "allowed"
		}
		return "allowed " + d.Clearance.String()
	}
	out := "refused"
	if len(d.Reasons) > 0 {
		out += " by " + strings.Join(d.Reasons, ", ")
	}
	if d.Needs != Nothing {
		out += fmt.Sprint(" needs ", d.Needs)
	}
	return out
}
