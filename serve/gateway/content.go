package gateway

import (
	"context"
	"html"
	"net/url"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/redoubt-ml/redoubt/serve/oip"
)

var content = &Guard{
	Name: "content",
	Doc:  "refuses text that holds a script, a query, a command or another of Patterns",
	Body: true,
	wrap: func(g *Gateway, next Infer) Infer {
		return func(ctx context.Context, c *Call) (*oip.Response, error) {
			if c.Served.Model.Settings.Unchecked {
				return next(ctx, c)
			}
			for i := range c.Request.Inputs {
				for _, s := range c.Request.Inputs[i].Strings {
					if p := Malicious(string(s)); p != nil {
						c.Note("content", p.Name)
						return nil, oip.Errorf(oip.Unprocessable, "input '%s' holds potentially malicious content", c.Request.Inputs[i].Name)
					}
				}
			}
			return next(ctx, c)
		}
	},
}

// Pattern is a form of malicious text.
type Pattern struct {
	Name string // such as "script"
	Doc  string // one sentence
	expr *regexp.Regexp
}

// Patterns are what text inputs are searched for, in linear time, after
// character references, percent escapes, full-width letters, comments and
// repeated space have been undone.
var Patterns = []*Pattern{
	{"script", "an HTML element that runs code", regexp.MustCompile(`<\s*/?\s*(script|iframe|object|embed|applet|meta|base|svg|math)\b`)},
	{"event-handler", "an HTML attribute that runs code", regexp.MustCompile(`<[^>]{1,400}\bon[a-z]{3,20}\s*=`)},
	{"script-url", "a URL that runs code", regexp.MustCompile(`\b(javascript|vbscript)\s*:\s*[^\s]{0,80}[(=/\[]|\bdata\s*:\s*text/html`)},
	{"sql-union", "a second query joined to one of the server's", regexp.MustCompile(`\bunion\s+((all|distinct)\s+)?select\s+(\*|@@|null\b|\d|'|[\w.]+\s*(,|\(|\bfrom\b))`)},
	{"sql-stacked", "a statement after one of the server's", regexp.MustCompile(`['");]\s*;?\s*(drop|alter|truncate)\s+(table|database|schema|view|index|user)\b|;\s*(delete\s+from|insert\s+into|update\s+\w+\s+set|exec(ute)?\s+\w|shutdown\b)`)},
	{"sql-tautology", "a condition that always holds", regexp.MustCompile(`['"]\s*\)?\s*(or|and|\|\||&&)\s+\(?\s*(['"]\w{0,20}['"]?\s*(=|<|>|like\b)|\d+\s*(=|<|>)|\w{1,20}\s*=\s*['"\d]|(true|1)\s*(--|#|;|$))|\b(or|and)\s+\d+\s*=\s*\d+\s*(--|#|;|$)`)},
	{"sql-function", "a function of a database that waits or reads files", regexp.MustCompile(`\b(sleep|benchmark|pg_sleep|load_file|xp_cmdshell|waitfor\s+delay|extractvalue|updatexml)\s*[('"]`)},
	{"shell-call", "a call that runs a command", regexp.MustCompile(`\b(system|popen|exec|shell_exec|passthru|proc_open|os\.system|subprocess\.\w+|runtime\.getruntime\(\)\.exec|child_process)(\(|\s\(['"$])`)},
	{"shell-command", "a command after one of the server's", regexp.MustCompile("(;|\\||&&|\\$\\(|`)\\s*(/bin/|/usr/bin/)?(cat\\s+/|ls\\s+-|rm\\s+-|wget\\s|curl\\s|nc\\s+-|bash\\b|sh\\s+-|python[23]?\\s+-c|perl\\s+-e|powershell\\b|whoami\\b|id\\s*[;`)|]|chmod\\s|nslookup\\s)")},
	{"path-traversal", "a path out of a folder", regexp.MustCompile(`(\.\.[/\\]){2,}|\.\.[/\\](etc|windows|proc|boot|var)\b|/etc/(passwd|shadow)\b`)},
	{"template", "an expression that a template engine would evaluate", regexp.MustCompile(`\{\{[^}]{0,200}(__|\bconfig\b|\bself\b|\brequest\b|\d\s*\*\s*\d)|\$\{\s*(jndi|script|env|sys|java)\s*:|<%[=@]?\s|#\{[^}]{1,100}(runtime|exec|system)`)},
	{"null-byte", "a zero byte, which ends a string in some languages", regexp.MustCompile(`\x00`)},
}

// Malicious is the first of the patterns that text holds, nil for none.
func Malicious(text string) *Pattern {
	plain := unveil(text)
	for _, p := range Patterns {
		if p.expr.MatchString(plain) {
			return p
		}
	}
	return nil
}

// unveil undoes what hides text from a search and not from what executes it.
func unveil(text string) string {
	for range 2 { // one escape may hide another
		text = html.UnescapeString(text)
		if strings.Contains(text, "%") {
			text = unescapePercent(text)
		}
	}
	var b strings.Builder
	b.Grow(len(text))
	space := false
	for _, r := range withoutComments(text) {
		switch {
		case r >= '！' && r <= '～': // full-width forms of ASCII
			r -= '！' - '!'
		case r == '​' || r == '‌' || r == '‍' || r == '⁠' || r == '\ufeff':
			continue // no width at all
		}
		if unicode.IsSpace(r) {
			space = true
			continue
		}
		if space {
			b.WriteByte(' ')
			space = false
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

// unescapePercent undoes percent escapes where they stand for text, and leaves
// other percent signs.
func unescapePercent(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			if c, err := url.PathUnescape(s[i : i+3]); err == nil {
				b.WriteString(c)
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	if !utf8.ValidString(b.String()) {
		return strings.ToValidUTF8(b.String(), "\ufffd")
	}
	return b.String()
}

// withoutComments takes out comments between /* and */, which databases skip.
func withoutComments(s string) string {
	if !strings.Contains(s, "/*") {
		return s
	}
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(s, "/*")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		inside, after, closed := strings.Cut(rest, "*/")
		if !closed {
			b.WriteString(inside)
			return b.String()
		}
		if strings.HasPrefix(inside, "!") { // one that MySQL executes
			b.WriteString(" " + strings.TrimLeft(inside[1:], "0123456789"))
		}
		b.WriteByte(' ')
		s = after
	}
}
