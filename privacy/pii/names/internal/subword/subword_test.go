package subword

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The pieces, and what they stand for, are those of Hugging Face's library;
// testdata/make.py asked it.
func TestPiecesAreThoseOfTokenizers(t *testing.T) {
	for _, name := range []string{"bert-uncased", "bert-cased", "roberta", "roberta-prefix"} {
		b, err := os.ReadFile(filepath.Join("testdata", name+".answers.json"))
		if err != nil {
			t.Fatal(err)
		}
		var answers []struct {
			Text    string
			IDs     []int64
			Offsets [][2]int
		}
		if err := json.Unmarshal(b, &answers); err != nil {
			t.Fatal(err)
		}
		tok := open(t, name)
		for _, a := range answers {
			n := len(a.IDs) - 1
			if a.IDs[0] != tok.Start || a.IDs[n] != tok.End {
				t.Errorf("%s: around %q: %d and %d, want %d and %d", name, a.Text, tok.Start, tok.End, a.IDs[0], a.IDs[n])
			}
			want, offsets := a.IDs[1:n], a.Offsets[1:n]
			got := tok.Cut([]byte(a.Text), nil)
			if len(got) != len(want) {
				t.Errorf("%s: %q: %d pieces, want %d", name, a.Text, len(got), len(want))
				continue
			}
			for i, p := range got {
				if p.ID != want[i] || p.Start != offsets[i][0] || p.End != offsets[i][1] {
					t.Errorf("%s: %q: piece %d is %d at %d-%d, want %d at %v", name, a.Text, i, p.ID, p.Start, p.End, want[i], offsets[i])
				}
			}
		}
	}
}

// open reads a tokenizer of testdata as a folder of its own.
func open(t testing.TB, name string) *Tokenizer {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "tokenizer.json"), b, 0o600); err != nil {
		t.Fatal(err)
	}
	tok, err := Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

func TestWhatIsNotSupportedIsRefusedByName(t *testing.T) {
	good, err := os.ReadFile("testdata/bert-cased.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ old, new, want string }{
		{`"type": "WordPiece"`, `"type": "Unigram"`, `"Unigram", which is not supported`},
		{`"type": "BertNormalizer"`, `"type": "Precompiled"`, "Precompiled, which is not supported"},
		{`"type": "BertPreTokenizer"`, `"type": "Metaspace"`, "no BertPreTokenizer"},
		{`"type": "TemplateProcessing"`, `"type": "ByteLevel"`, "post_processor ByteLevel"},
		{`"unk_token": "[UNK]"`, `"unk_token": "?!"`, `"?!" is not in its vocabulary`},
		{`{`, `[`, "json"},
	} {
		if !strings.Contains(string(good), c.old) {
			t.Fatalf("no %s in the good file", c.old)
		}
		_, err := parse([]byte(strings.Replace(string(good), c.old, c.new, 1)))
		if err == nil || !strings.Contains(err.Error(), c.want) && c.want != "json" {
			t.Errorf("%s: error %v, want %q in it", c.new, err, c.want)
		}
	}
	if _, err := Read(t.TempDir()); err == nil || !strings.Contains(err.Error(), "neither tokenizer.json nor vocab.txt") {
		t.Errorf("an empty folder: %v", err)
	}
}

func TestVocabAlone(t *testing.T) {
	dir := t.TempDir()
	vocab := "[PAD]\n[UNK]\n[CLS]\n[SEP]\nanna\nberg\n##s\n,\n"
	if err := os.WriteFile(filepath.Join(dir, "vocab.txt"), []byte(vocab), 0o600); err != nil {
		t.Fatal(err)
	}
	tok, err := Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	var ids []int64
	for _, p := range tok.Cut([]byte("Anna Bergs, Ole"), nil) {
		ids = append(ids, p.ID)
	}
	if want := "[4 5 6 7 1]"; jsonOf(ids) != strings.ReplaceAll(want, " ", ",") {
		t.Errorf("got %v, want %s", ids, want)
	}
	if tok.Start != 2 || tok.End != 3 || tok.Pad != 0 {
		t.Errorf("around a text: %d, %d, %d", tok.Start, tok.End, tok.Pad)
	}
}

func jsonOf(v any) string {
	b, _ := json.Marshal(v)
	return string(b)
}

// Pieces are in order, inside the text, and of words that count up.
func FuzzCut(f *testing.F) {
	for _, s := range []string{"", "Anna Berg", "don't  x", "\xff\xfe", "東京 A\u0301", strings.Repeat("z", 3000)} {
		f.Add(s)
	}
	toks := []*Tokenizer{open(f, "bert-uncased"), open(f, "bert-cased"), open(f, "roberta"), open(f, "roberta-prefix")}
	f.Fuzz(func(t *testing.T, s string) {
		for i, tok := range toks {
			last := Piece{}
			for _, p := range tok.Cut([]byte(s), nil) {
				if p.Start < last.Start || p.End < p.Start || p.End > len(s) || p.Word < last.Word {
					t.Fatalf("tokenizer %d, %q: piece %+v behind %+v", i, s, p, last)
				}
				last = p
			}
		}
	})
}

// A tokenizer is read from anything without a panic.
func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"model":{"type":"WordPiece","unk_token":"a","vocab":{"a":0}},"pre_tokenizer":{"type":"BertPreTokenizer"},"post_processor":{"type":"BertProcessing","cls":["a",0],"sep":["a",0]}}`))
	f.Add([]byte(`{"model":{"type":"BPE","vocab":{},"merges":["a b"]},"pre_tokenizer":{"type":"ByteLevel"}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if tok, err := parse(b); err == nil {
			tok.Cut([]byte("Anna Berg"), nil)
		}
	})
}
