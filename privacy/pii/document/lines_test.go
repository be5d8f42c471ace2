package document_test

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/redoubt-ml/redoubt/privacy/pii"
	"github.com/redoubt-ml/redoubt/privacy/pii/document"
)

// A line is handed over before the next one is there, and nothing is lost.
func TestLines(t *testing.T) {
	s, err := pii.New(pii.Settings{})
	if err != nil {
		t.Fatal(err)
	}
	r, w := io.Pipe()
	seen := make(chan document.Part)
	done := make(chan error, 1)
	var out bytes.Buffer
	go func() {
		settings := document.Settings{Format: document.Text, Scanner: s, Lines: true}
		done <- document.Rewrite(t.Context(), r, &out, settings, func(p document.Part) ([]byte, error) {
			seen <- document.Part{Text: bytes.Clone(p.Text), Offset: p.Offset, Found: p.Found}
			return p.Text, nil
		})
		close(seen)
	}()
	long := strings.Repeat("x", 100_000)
	for i, line := range []string{"mail ada@lovelace.org\n", "\r\n", "card 4111111111111111\n"} {
		if _, err := io.WriteString(w, line); err != nil {
			t.Fatal(err)
		}
		if p := <-seen; string(p.Text) != line || len(p.Found) != 1-i%2 {
			t.Errorf("%q, %v instead of %q", p.Text, p.Found, line)
		}
	}
	go func() {
		io.WriteString(w, long+"\nno end") // whose error shows in what is read
		w.Close()
	}()
	rest := ""
	for p := range seen {
		rest += string(p.Text)
	}
	if err := <-done; err != nil || rest != long+"\nno end" || !strings.HasSuffix(out.String(), rest) {
		t.Errorf("%d bytes, %v", len(rest), err)
	}
}
