package document

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"

	"golang.org/x/net/html"
)

// HTML is pages and XML. Its parts are the attributes that people's data stands in,
// named by element and attribute ("a href"), then what scripts and comments say, and
// at the end "text": what is to be read, each block on a line of its own.
var HTML = Format{Name: "html", Extensions: []string{".html", ".htm", ".xhtml", ".xml", ".svg", ".rels", ".vml"},
	magic: func(head []byte) bool {
		h := bytes.ToLower(bytes.TrimLeft(head, " \t\r\n\ufeff"))
		return bytes.HasPrefix(h, []byte("<!doctype html")) || bytes.HasPrefix(h, []byte("<html")) || bytes.HasPrefix(h, []byte("<?xml"))
	},
	walk: readHTML}

// inline are elements that do not part words: those of HTML, and the runs of office
// documents.
var inline = strings.Fields("a abbr b bdi bdo big cite code del dfn em font i ins kbd mark q s samp small span strike strong sub sup tt u var wbr w:r w:t w:rpr a:r a:t a:rpr text:span r t")

// told are attributes whose values are for people or about them; target is where links
// of office documents lead to.
var told = strings.Fields("href src target content value alt title placeholder action data summary label aria-label")

func readHTML(j *job, r io.Reader) error {
	b, err := j.whole(r)
	if err != nil {
		return fmt.Errorf("%sread HTML: %w", j.prefix, err)
	}
	var text bytes.Buffer
	raw := "" // within a script or a style
	z := html.NewTokenizer(bytes.NewReader(b))
	for {
		switch z.Next() {
		case html.ErrorToken:
			if err := z.Err(); err != io.EOF {
				return fmt.Errorf("%sread HTML: %w", j.prefix, err)
			}
			return j.stream("text", &text)
		case html.TextToken:
			if raw == "" {
				text.Write(z.Text())
			} else if _, err := j.part(Part{Name: raw, Text: z.Raw()}); err != nil {
				return err
			}
		case html.CommentToken:
			if _, err := j.part(Part{Name: "comment", Text: z.Text()}); err != nil {
				return err
			}
		case html.StartTagToken, html.SelfClosingTagToken:
			name, more := z.TagName()
			tag := string(name)
			if !slices.Contains(inline, tag) {
				text.WriteByte('\n')
			}
			if raw = ""; tag == "script" || tag == "style" {
				raw = tag
			}
			for more {
				var key, value []byte
				key, value, more = z.TagAttr()
				if len(value) == 0 || !slices.Contains(told, string(key)) && !bytes.HasPrefix(key, []byte("data-")) {
					continue
				}
				if _, err := j.part(Part{Name: tag + " " + string(key), Text: value}); err != nil {
					return err
				}
			}
		case html.EndTagToken:
			raw = ""
			if name, _ := z.TagName(); !slices.Contains(inline, string(name)) {
				text.WriteByte('\n')
			}
		}
	}
}
