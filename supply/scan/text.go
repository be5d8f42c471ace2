package scan

import (
	"bytes"
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/redoubt-ml/redoubt"
)

var textFormat = Format{
	Name:  "text",
	Doc:   "plain text: JSON, YAML, XML, CSV, tokenisers, documents, and programs",
	match: isText,
	scan:  scanText,
}

// isText looks at the beginning; scanText sees to it that the rest is text too.
func isText(_ *scanner, src *source) bool {
	n := min(src.size, 512)
	b, err := src.read(0, n)
	return err == nil && n > 0 && plainText(b, n < src.size)
}

// plainText says whether bytes are UTF-8 without control characters. The last
// character of a part may be cut.
func plainText(b []byte, more bool) bool {
	for len(b) > 0 {
		if b[0] < utf8.RuneSelf {
			if b[0] < ' ' && strings.IndexByte("\t\n\r\f\x1b", b[0]) < 0 || b[0] == 0x7f {
				return false
			}
			b = b[1:]
			continue
		}
		r, n := utf8.DecodeRune(b)
		if r == utf8.RuneError && n == 1 {
			return more && !utf8.FullRune(b)
		}
		b = b[n:]
	}
	return true
}

// programs are the endings of what is run, not read.
var programs = []string{".py", ".pyw", ".pyi", ".ipynb", ".sh", ".bash", ".bat", ".cmd", ".ps1", ".js", ".mjs", ".rb", ".pl", ".lua", ".php", ".r", ".jl", ".java", ".c", ".cc", ".cpp", ".cu"}

// textBad is what makes a reader of text run or fetch something. Only a text that
// holds one of the words of a pattern is searched for it.
var textBad = []struct {
	words    []string
	pattern  *regexp.Regexp
	verdict  Verdict
	severity redoubt.Severity
	rule     string
	message  string
}{
	{[]string{"2002:python/", "!!python/"}, regexp.MustCompile(`!!python/|!<tag:yaml\.org,2002:python/|tag:yaml\.org,2002:python/`), Unsafe, redoubt.Critical, "yaml/python",
		"a YAML tag makes a Python object while reading"},
	{[]string{"<!"}, regexp.MustCompile(`(?i)<!ENTITY[^>]{0,200}\b(?:SYSTEM|PUBLIC)\b`), Unsafe, redoubt.High, "xml/entity",
		"an entity of XML reads another file or address"},
	{[]string{"<!"}, regexp.MustCompile(`(?i)<!ENTITY`), Unproven, redoubt.Medium, "xml/entity", "an entity of XML may grow without bounds"},
	{[]string{"_target_"}, regexp.MustCompile(`["']?_target_["']?\s*[:=]`), Unproven, redoubt.High, "hydra/target",
		"a Hydra target names a function that the reader calls (CVE-2025-23304)"},
	{[]string{"auto_map"}, regexp.MustCompile(`"auto_map"\s*:`), Unproven, redoubt.Medium, "transformers/remote-code",
		"auto_map names Python code beside the model, which is run if the loader trusts it"},
	{[]string{"%"}, regexp.MustCompile(`!![\w/.:]*%|!<[^>\n]*%|(?m)^%TAG\b`), Unproven, redoubt.High, "yaml/tag",
		"a tag of YAML is written in a way that hides its name"},
	{[]string{`\u00`, `\x5`}, regexp.MustCompile(`\\u00(?:4[1-9A-Fa-f]|5[0-9AaFf]|6[1-9A-Fa-f]|7[0-9Aa])|\\x5[Ff]`), Unproven, redoubt.Medium, "text/escaped",
		"a letter is written as an escape, which hides names from readers of the text"},
	{[]string{"<!DOCTYPE", "<xi:include"}, regexp.MustCompile(`<!DOCTYPE\s+[\w.:-]+\s+(?:SYSTEM|PUBLIC)\s+["'][^"'\n]*["'](?:\s+["'][^"'\n]*["'])?\s*[\[>]|<xi:include\b`), Unproven, redoubt.Medium, "xml/entity",
		"the document reads another one"},
}

// yamlTag is a tag where YAML may have one; yamlPlain are those that make values.
var (
	yamlTag   = regexp.MustCompile(`(?m)(?:^|[\s\[{,])(![A-Za-z!<][^\s,\]}]*)`)
	yamlPlain = regexp.MustCompile(`^!!(?:str|int|float|bool|null|map|seq|binary|timestamp|set|omap|pairs|merge)$`)
)

var hydraTarget = regexp.MustCompile(`["']?_target_["']?\s*[:=]\s*["']?([\w.]+)`)

// scanText reads text in overlapping windows.
func scanText(s *scanner, src *source, f *File) {
	if ext := path.Ext(src.base()); slices.Contains(programs, ext) || src.has(0, "#!") {
		f.Format = "program"
		f.add(Unproven, redoubt.Medium, "file/program", 0, "a program: it runs if the loader trusts code that comes with a model")
	}
	const overlap = 4 << 10
	for off := int64(0); off < src.size; off += window - overlap {
		if err := s.alive(); err != nil {
			f.unread("limit", off, err)
			return
		}
		b, err := src.read(off, min(window, src.size-off))
		if err != nil {
			f.unread("file/unreadable", off, err)
			return
		}
		if off > 0 {
			for len(b) > 0 && !utf8.RuneStart(b[0]) {
				b = b[1:]
			}
		}
		if !plainText(b, off+window < src.size) {
			if f.Format == "text" {
				f.unread("text/binary", off, errors.New("it begins as text and goes on as something else"))
			}
			return
		}
		textWindow(f, off, b)
		if ext := path.Ext(src.base()); ext == ".yaml" || ext == ".yml" {
			yamlTags(f, off, b)
		}
		if off+window >= src.size {
			break
		}
	}
	textDocument(s, src, f)
}

func yamlTags(f *File, off int64, b []byte) {
	for _, m := range yamlTag.FindAllSubmatchIndex(b, 1000) {
		if !yamlPlain.Match(b[m[2]:m[3]]) {
			f.add(Unproven, redoubt.Medium, "yaml/tag", off+int64(m[2]), "a tag of YAML makes what its reader has registered")
			return
		}
	}
}

func textWindow(f *File, off int64, b []byte) {
	for _, bad := range textBad {
		if !slices.ContainsFunc(bad.words, func(word string) bool { return bytes.Contains(b, []byte(word)) }) {
			continue
		}
		if at := bad.pattern.FindIndex(b); at != nil {
			f.add(bad.verdict, bad.severity, bad.rule, off+int64(at[0]), "%s", bad.message)
		}
	}
	if !bytes.Contains(b, []byte("_target_")) {
		return
	}
	for _, m := range hydraTarget.FindAllSubmatch(b, 100) {
		target := string(m[1])
		if i := strings.LastIndexByte(target, '.'); i > 0 {
			if why := forbids(target[:i], target[i+1:]); why != "" {
				f.add(Unsafe, redoubt.Critical, "hydra/target", off, "a Hydra target calls %s: %s", target, why)
			}
		}
	}
}

// textDocument looks at documents whose parts mean something to a loader.
func textDocument(s *scanner, src *source, f *File) {
	c := src.cursor(0)
	for c.left() > 0 {
		b, err := c.peek(1)
		if err != nil || b[0] > ' ' {
			break
		}
		_, _ = c.next(1)
	}
	template := path.Ext(src.base()) == ".jinja"
	if b, err := c.peek(1); !template && (err != nil || b[0] != '{') {
		return
	}
	if src.role == "" && !template && !jsonHints(src) {
		return
	}
	if src.size > s.limits.Text {
		f.unread("limit", 0, fmt.Errorf("a document of %d bytes: %w of %d; raise --limit-text if that is meant", src.size, errLimit, s.limits.Text))
		return
	}
	b, err := src.read(0, src.size)
	switch {
	case err != nil:
		f.unread("file/unreadable", 0, err)
	case template:
		checkTemplate(f, 0, string(b))
	case src.role == "keras-config":
		f.Format = "keras-config"
		checkKeras(s, f, 0, b)
	case src.role == "skops-schema":
		f.Format = "skops-schema"
		checkSkops(f, b)
	default:
		jsonDocument(s, f, b)
	}
}

// jsonHints says whether a JSON text holds a word that makes it worth parsing.
func jsonHints(src *source) bool {
	const overlap = 64
	for off := int64(0); off < src.size; off += window - overlap {
		b, err := src.read(off, min(window, src.size-off))
		if err != nil {
			return true
		}
		for _, word := range []string{`chat_template`, `class_name`} {
			if bytes.Contains(b, []byte(word)) {
				return true
			}
		}
	}
	return false
}

// jsonDocument looks at a tokeniser's templates and at Keras models in JSON.
func jsonDocument(s *scanner, f *File, b []byte) {
	v, err := decodeJSON(b)
	top, ok := v.(map[string]any)
	if err != nil || !ok {
		return // no reader of JSON takes it
	}
	switch t := top["chat_template"].(type) {
	case string:
		checkTemplate(f, int64(bytes.Index(b, []byte("chat_template"))), t)
	case []any:
		for _, e := range t {
			if named, ok := e.(map[string]any); ok {
				text, _ := named["template"].(string)
				checkTemplate(f, int64(bytes.Index(b, []byte("chat_template"))), text)
			}
		}
	}
	_, class := top["class_name"].(string)
	_, config := top["config"]
	if class && config {
		f.Format = "keras-config"
		checkKeras(s, f, 0, b)
	}
}

// clean makes text from a file fit for a terminal and a report: one line,
// printable, not long.
func clean(s string) string {
	var b strings.Builder
	for i, r := range strings.ToValidUTF8(s, "\ufffd") {
		if i > 400 {
			b.WriteString("...")
			break
		}
		if unicode.IsPrint(r) {
			b.WriteRune(r)
		} else {
			b.WriteRune('\ufffd')
		}
	}
	return b.String()
}
