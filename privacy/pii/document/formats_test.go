package document

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/redoubt-ml/redoubt/privacy/pii"
)

func scanner(t testing.TB) *pii.Scanner {
	s, err := pii.New(pii.Settings{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// found lists what a document has, as "part: TYPE text".
func found(t testing.TB, s *pii.Scanner, name string, b []byte) []string {
	t.Helper()
	var out []string
	err := Read(context.Background(), bytes.NewReader(b), Settings{Format: Detect(name, b[:min(len(b), 512)]), Scanner: s}, func(p Part) error {
		for _, f := range p.Found {
			out = append(out, p.Name+": "+f.Type+" "+string(p.Text[f.Start:f.End]))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// What other people's libraries wrote (testdata/make.py) is read with the names of its
// parts.
func TestDocumentsOfOthers(t *testing.T) {
	s := scanner(t)
	for name, want := range map[string][]string{
		"fpdf2.pdf": {"URI: URL https://example.com/pay", "page 1: CREDIT_CARD 4111 1111 1111 1111", "page 1: EMAIL_ADDRESS ada@example.com",
			"page 2: IBAN_CODE GB82 WEST 1234 5698 7654 32"},
		"reportlab.pdf": {"page 1: US_SSN 514-69-0360", "page 2: PHONE_NUMBER +44 20 7946 0958"},
		"pyarrow.parquet": {"row 1, column email: EMAIL_ADDRESS ada@example.com", "row 3, column email: EMAIL_ADDRESS bob@example.org",
			"row 3, column tags.list.element: PHONE_NUMBER 541-714-1388"},
		"python.eml": {"From: EMAIL_ADDRESS juergen@example.com", "To: EMAIL_ADDRESS ada@example.com", "part 1.1: PHONE_NUMBER 541-714-1388",
			"part 1.1: EMAIL_ADDRESS ada@example.org", "part 1.2!a href: EMAIL_ADDRESS eve@example.com", "part 1.2!text: CREDIT_CARD 4111 1111 1111 1111",
			"part 2 leute.csv!row 2, column ssn: US_SSN 514-69-0360", "part 4!From: EMAIL_ADDRESS carol@example.net", "part 4!body: EMAIL_ADDRESS dave@example.net"},
		"letter.docx": {"word/document.xml!text: CREDIT_CARD 4111 1111 1111 1111", "word/document.xml!text: EMAIL_ADDRESS ada@example.com"},
	} {
		b, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		if got := found(t, s, name, b); !slices.Equal(got, want) {
			t.Errorf("%s:\n got %s\nwant %s", name, strings.Join(got, "\n     "), strings.Join(want, "\n     "))
		}
	}
}

// The letters of a PDF are the right ones: brackets, a backslash, an umlaut.
func TestLettersOfPDF(t *testing.T) {
	for name, want := range map[string]string{"reportlab.pdf": "Dear Jürgen, (brackets) and \\ backslash", "fpdf2.pdf": "Dear Jürgen,"} {
		b, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		var text strings.Builder
		err = Read(context.Background(), bytes.NewReader(b), Settings{Format: PDF}, func(p Part) error { text.Write(p.Text); return nil })
		if err != nil || !strings.Contains(text.String(), want) {
			t.Errorf("%s: got %q, %v, want %q in it", name, text.String(), err, want)
		}
	}
}

// Links of office documents stand in a file of their own, some with, some without the
// declaration of XML; where they lead is told, what kind they are is not.
func TestLinksOfOfficeDocuments(t *testing.T) {
	const links = `<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">` +
		`<Relationship Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/hyperlink" Target="mailto:ada@example.com" TargetMode="External"/></Relationships>`
	for _, text := range []string{links, `<?xml version="1.0"?>` + links} {
		var b bytes.Buffer
		z := zip.NewWriter(&b)
		w, err := z.Create("word/_rels/document.xml.rels")
		if err == nil {
			_, err = w.Write([]byte(text))
		}
		if err := errors.Join(err, z.Close()); err != nil {
			t.Fatal(err)
		}
		want := []string{"word/_rels/document.xml.rels!relationship target: EMAIL_ADDRESS ada@example.com"}
		if got := found(t, scanner(t), "letter.docx", b.Bytes()); !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
