package scan

import (
	"regexp"
	"strings"

	"github.com/redoubt-ml/redoubt"
)

// jinjaBad are the ways out of a template: attributes with two underscores
// however they are written, and the names that lead to code (CVE-2024-34359).
var jinjaBad = regexp.MustCompile(`__|\\x5[fF]|\\u005[fF]|\\137|\|\s*attr\b|\b(?:mro|subclasses|builtins|popen|importlib|subprocess|getattr|cycler|joiner|lipsum|func_globals|gi_frame|cr_frame|f_globals|url_for|get_flashed_messages)\b`)

// jinjaDoubt are pieces from which such a name could be put together, and parts
// that other files bring.
var jinjaDoubt = regexp.MustCompile(`["']_+["']|\{%-?\s*(?:import|include|extends|from)\b|\|\s*format\b|\|\s*map\s*\(\s*attribute`)

// checkTemplate looks at a chat template. It is a program; in the sandbox that
// it should be run in, what is named here is refused.
func checkTemplate(f *File, at int64, template string) {
	code := jinjaCode(template)
	if m := jinjaBad.FindString(code); m != "" {
		f.add(Unsafe, redoubt.High, "template/escape", at, "the chat template reaches %q, by which a template leaves its engine", m)
	}
	if m := jinjaDoubt.FindString(code); m != "" {
		f.add(Unproven, redoubt.Medium, "template/doubt", at, "the chat template uses %q, which chat templates do not need", m)
	}
}

// jinjaCode is what stands between the braces: text outside is only text.
func jinjaCode(template string) string {
	var b strings.Builder
	for {
		i := strings.IndexByte(template, '{')
		if i < 0 || i+1 >= len(template) {
			return b.String()
		}
		end := map[byte]string{'{': "}}", '%': "%}"}[template[i+1]]
		template = template[i+1:]
		if end == "" {
			continue
		}
		j := strings.Index(template, end)
		if j < 0 {
			j = len(template)
		}
		// A string may hold the end's characters: what follows is looked
		// at as well, up to the next brace that opens.
		if k := strings.LastIndex(template[:j], "\""); k >= 0 && strings.Count(template[:j], "\"")%2 == 1 || strings.Count(template[:j], "'")%2 == 1 {
			j = len(template)
		}
		b.WriteString("{" + template[:j] + "\n")
		template = template[j:]
	}
}
