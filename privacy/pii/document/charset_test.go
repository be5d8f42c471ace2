package document

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/unicode"

	"github.com/redoubt-ml/redoubt/privacy/pii"
)

// bytesOf is a text as a spreadsheet in Germany saves it.
func bytesOf(t *testing.T, text string) []byte {
	b, err := charmap.Windows1252.NewEncoder().Bytes([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestOlderCharacterSet: what stands in letters beyond ASCII is found, in text and in
// tables, under the names that columns have.
func TestOlderCharacterSet(t *testing.T) {
	s, err := pii.New(pii.Settings{})
	if err != nil {
		t.Fatal(err)
	}
	got := found(t, s, "letter.txt", bytesOf(t, strings.Repeat("ASCII. ", 20_000)+"Für jürgen@web.de"))
	if want := []string{": EMAIL_ADDRESS jürgen@web.de"}; !slices.Equal(got, want) {
		t.Errorf("text: got %q, want %q", got, want)
	}
	got = found(t, s, "list.csv", bytesOf(t, "Straße;Müllers Adresse\r\nx;jürgen@web.de\r\n"))
	if want := []string{"row 2, column Müllers Adresse: EMAIL_ADDRESS jürgen@web.de"}; !slices.Equal(got, want) {
		t.Errorf("table: got %q, want %q", got, want)
	}
}

// TestWideTable: spreadsheets save "Unicode text" as a table in UTF-16.
func TestWideTable(t *testing.T) {
	wide, err := unicode.UTF16(unicode.LittleEndian, unicode.UseBOM).NewEncoder().Bytes([]byte("name\tmail\nJürgen\tada@example.com\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"row 2, column mail: EMAIL_ADDRESS ada@example.com"}
	if got := found(t, scanner(t), "list.csv", wide); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	err = Rewrite(context.Background(), bytes.NewReader(wide), io.Discard, Settings{Format: CSV}, func(p Part) ([]byte, error) { return p.Text, nil })
	if !errors.Is(err, ErrReadOnly) {
		t.Errorf("got %v, want that UTF-16 is not written", err)
	}
}

// TestOlderCharacterSetIsKept: what is not replaced stays byte for byte, whatever the
// bytes are and however they come, and what is replaced is written in the same set.
func TestOlderCharacterSetIsKept(t *testing.T) {
	every := make([]byte, 0, 256)
	for b := range 256 {
		if b != 0 {
			every = append(every, byte(b))
		}
	}
	for name, doc := range map[string][]byte{
		"every byte": every,
		"one letter": []byte("M\xfcller"),
		"at the end": []byte("Andr\xe9"),
		"UTF-8":      []byte("Müller und Łukasz"),
		"broken":     []byte("Müller und Łukasz, M\xfcller"),
	} {
		for _, f := range []Format{Text, TSV} {
			for _, r := range []io.Reader{bytes.NewReader(doc), iotest.OneByteReader(bytes.NewReader(doc))} {
				var out bytes.Buffer
				keep := func(p Part) ([]byte, error) { return p.Text, nil }
				if f.Name == "tsv" && name == "every byte" {
					continue // a quote within a field is an error there
				}
				if err := Rewrite(context.Background(), r, &out, Settings{Format: f}, keep); err != nil {
					t.Fatalf("%s, %s: %v", f.Name, name, err)
				}
				if !bytes.Equal(out.Bytes(), doc) {
					t.Errorf("%s, %s: %q became %q", f.Name, name, doc, out.Bytes())
				}
			}
		}
	}
	var out bytes.Buffer
	err := Rewrite(context.Background(), bytes.NewReader(bytesOf(t, "Name\tOrt\nJürgen\tKöln\n")), &out, Settings{Format: TSV}, func(p Part) ([]byte, error) {
		return bytes.ReplaceAll(p.Text, []byte("Jürgen"), []byte("Zoë Łukasz")), nil
	})
	if want := bytesOf(t, "Name\tOrt\nZoë ?ukasz\tKöln\n"); err != nil || !bytes.Equal(out.Bytes(), want) {
		t.Errorf("got %q, %v, want %q", out.Bytes(), err, want)
	}
}
