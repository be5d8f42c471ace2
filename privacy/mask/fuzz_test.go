package mask_test

import (
	"bytes"
	"context"
	"testing"

	"github.com/redoubt-ml/redoubt/privacy/mask"
	"github.com/redoubt-ml/redoubt/privacy/pii"
)

// Whatever a text holds, restoring what was never masked leaves it as it is, and
// pieces put together are the text.
func FuzzRestore(f *testing.F) {
	p, err := mask.ParsePolicy([]byte("default: {method: token}"))
	if err != nil {
		f.Fatal(err)
	}
	e, err := mask.New(p, mask.Settings{Key: key})
	if err != nil {
		f.Fatal(err)
	}
	token, err := e.Text(context.Background(), []byte("Ada"), []pii.Finding{{End: 3, Type: "PERSON"}}, "")
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range []string{"", "[", "[A:", "[A:]", "[A=:AAAA]", "[A#OLRNDQBX7FQ7Y5P2NIEZYRD43I]", "[[A:b]", "\xff[A:b\x00]", string(token), string(token) + "]"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		out, n, err := e.Restore(t.Context(), text)
		if err != nil {
			t.Fatal(err)
		}
		if n.Done == 0 && !bytes.Equal(out, text) {
			t.Fatalf("%q became %q", text, out)
		}
		if n.Done > 0 && !bytes.Contains(text, token) {
			t.Fatalf("%q holds no token and became %q", text, out)
		}
		var whole []byte
		err = mask.Pieces(t.Context(), bytes.NewReader(text), func(piece []byte) error {
			whole = append(whole, piece...)
			return nil
		})
		if err != nil || !bytes.Equal(whole, text) {
			t.Fatalf("pieces of %q are %q, %v", text, whole, err)
		}
	})
}

func FuzzParsePolicy(f *testing.F) {
	for _, s := range []string{"", "default: {method: redact}", "types: {A: {method: fpe}}", "columns: {a: {method: fpe, alphabet: abc, first: 1}}", "subject: [", "default: {method: shift, days: 1e9}"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := mask.ParsePolicy(text)
		if err != nil {
			return
		}
		if _, vault := p.Needs(); vault {
			return
		}
		if _, err := mask.New(p, mask.Settings{Key: key}); err != nil {
			t.Fatalf("%q is a policy, and %v", text, err)
		}
	})
}

// A token that does not fit into one piece any more is still found.
func TestPiecesKeepTokens(t *testing.T) {
	e := engine(t, "default: {method: token}")
	secret := bytes.Repeat([]byte("secret "), 8000)
	token, err := e.Text(t.Context(), secret, []pii.Finding{{End: len(secret), Type: "SECRET"}}, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, before := range []int{0, 1, 400_000, 512<<10 - 1, 512 << 10} {
		text := append(bytes.Repeat([]byte("x"), before), token...)
		text = append(text, bytes.Repeat([]byte("y"), 300_000)...)
		var out []byte
		done := 0
		err := mask.Pieces(t.Context(), bytes.NewReader(text), func(piece []byte) error {
			restored, n, err := e.Restore(t.Context(), piece)
			out, done = append(out, restored...), done+n.Done
			return err
		})
		if err != nil || done != 1 || len(out) != before+len(secret)+300_000 {
			t.Errorf("after %d bytes: %d tokens, %d bytes, %v", before, done, len(out), err)
		}
	}
}
