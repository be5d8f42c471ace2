// Package subword cuts text into the pieces that a language model was trained
// on, as the tokenizer.json of Hugging Face's library describes: WordPiece with
// BERT's normalisation, and byte-level BPE. Everything else is refused by name
// rather than cut in another way than the model expects.
package subword

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// A Piece is what a model reads: a number of its vocabulary, the bytes of the
// text that it stands for, and the word that it is of.
type Piece struct {
	ID         int64
	Start, End int
	Word       int
}

// A Tokenizer cuts texts. It may be used by several goroutines at once.
type Tokenizer struct {
	Start, End, Pad int64 // ids around a text and behind it
	cut             func(text []byte, out []Piece) []Piece
}

// Cut appends the pieces of text, without those around it, in order. Time is
// linear in the text.
func (t *Tokenizer) Cut(text []byte, out []Piece) []Piece { return t.cut(text, out) }

const (
	maxFile  = 64 << 20
	maxVocab = 1 << 20
)

// Read makes a tokenizer of the files in a folder: of tokenizer.json, or of
// vocab.txt (and tokenizer_config.json, for do_lower_case) where that is all there
// is.
func Read(dir string) (*Tokenizer, error) {
	path := filepath.Join(dir, "tokenizer.json")
	b, err := ReadFile(path, maxFile)
	if errors.Is(err, os.ErrNotExist) {
		return readVocab(dir)
	}
	if err != nil {
		return nil, err
	}
	t, err := parse(b)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return t, nil
}

// ReadFile reads a file of at most limit bytes.
func ReadFile(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("read %s: larger than %d bytes", path, limit)
	}
	return b, nil
}

// file is tokenizer.json, as far as it is understood.
type file struct {
	AddedTokens []struct {
		ID      int64
		Content string
	} `json:"added_tokens"`
	Normalizer    *step `json:"normalizer"`
	PreTokenizer  *step `json:"pre_tokenizer"`
	PostProcessor *step `json:"post_processor"`
	Model         struct {
		Type     string
		Unk      string          `json:"unk_token"`
		Prefix   string          `json:"continuing_subword_prefix"`
		Suffix   string          `json:"end_of_word_suffix"`
		MaxChars int             `json:"max_input_chars_per_word"`
		Fallback bool            `json:"byte_fallback"`
		Ignore   bool            `json:"ignore_merges"`
		Vocab    json.RawMessage `json:"vocab"`
		Merges   json.RawMessage `json:"merges"`
	}
}

// step is a normaliser, pre-tokeniser or post-processor with its settings.
type step struct {
	Type         string
	CleanText    *bool           `json:"clean_text"`
	ChineseChars *bool           `json:"handle_chinese_chars"`
	StripAccents *bool           `json:"strip_accents"`
	Lowercase    *bool           `json:"lowercase"`
	PrefixSpace  *bool           `json:"add_prefix_space"`
	Regex        *bool           `json:"use_regex"`
	Cls          json.RawMessage `json:"cls"`
	Sep          json.RawMessage `json:"sep"`
	Special      map[string]struct {
		IDs []int64 `json:"ids"`
	} `json:"special_tokens"`
	Single []struct {
		SpecialToken *struct{ ID string } `json:"SpecialToken"`
		Sequence     *struct{ ID string } `json:"Sequence"`
	} `json:"single"`
}

func yes(b *bool, otherwise bool) bool {
	if b == nil {
		return otherwise
	}
	return *b
}

func parse(b []byte) (*Tokenizer, error) {
	var f file
	if err := json.Unmarshal(b, &f); err != nil {
		return nil, err
	}
	var t *Tokenizer
	var err error
	switch f.Model.Type {
	case "WordPiece":
		t, err = f.wordPiece()
	case "BPE":
		t, err = f.bytePair()
	default:
		return nil, fmt.Errorf("a model of type %q, which is not supported: WordPiece and byte-level BPE are", f.Model.Type)
	}
	if err != nil {
		return nil, err
	}
	return t, f.around(t)
}

func (f *file) vocab() (map[string]int64, error) {
	var v map[string]int64
	if err := json.Unmarshal(f.Model.Vocab, &v); err != nil {
		return nil, fmt.Errorf("its vocabulary: %w", err)
	}
	if len(v) == 0 || len(v) > maxVocab {
		return nil, fmt.Errorf("a vocabulary of %d entries, want 1 to %d", len(v), maxVocab)
	}
	return v, nil
}

// around finds the tokens that stand before and behind a single text.
func (f *file) around(t *Tokenizer) error {
	id := func(name string) (int64, bool) {
		for _, a := range f.AddedTokens {
			if a.Content == name {
				return a.ID, true
			}
		}
		return 0, false
	}
	for _, pad := range []string{"[PAD]", "<pad>"} {
		if n, ok := id(pad); ok {
			t.Pad = n
		}
	}
	p := f.PostProcessor
	if p == nil {
		return errors.New("no post_processor, which says what stands around a text")
	}
	var first, last string
	switch p.Type {
	case "BertProcessing", "RobertaProcessing":
		var cls, sep [2]any
		if json.Unmarshal(p.Cls, &cls) != nil || json.Unmarshal(p.Sep, &sep) != nil {
			return fmt.Errorf("a post_processor %s without cls and sep", p.Type)
		}
		a, ok1 := cls[1].(float64)
		b, ok2 := sep[1].(float64)
		if !ok1 || !ok2 {
			return fmt.Errorf("a post_processor %s without numbers of cls and sep", p.Type)
		}
		t.Start, t.End = int64(a), int64(b)
		return nil
	case "TemplateProcessing":
		if len(p.Single) == 3 && p.Single[0].SpecialToken != nil && p.Single[1].Sequence != nil && p.Single[2].SpecialToken != nil {
			first, last = p.Single[0].SpecialToken.ID, p.Single[2].SpecialToken.ID
		}
	}
	a, b := p.Special[first].IDs, p.Special[last].IDs
	if len(a) != 1 || len(b) != 1 {
		return fmt.Errorf("a post_processor %s that does not put one token before a text and one behind it, which is not supported", p.Type)
	}
	t.Start, t.End = a[0], b[0]
	return nil
}

// readVocab reads the older form: a word a line.
func readVocab(dir string) (*Tokenizer, error) {
	path := filepath.Join(dir, "vocab.txt")
	b, err := ReadFile(path, maxFile)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("read a tokenizer in %s: neither tokenizer.json nor vocab.txt is there", dir)
	}
	if err != nil {
		return nil, err
	}
	w := &wordPiece{prefix: "##", most: 100, clean: true, chinese: true, lower: true, strip: true, vocab: map[string]int64{}}
	lines := bufio.NewScanner(bytes.NewReader(b))
	for n := int64(0); lines.Scan(); n++ {
		if n == maxVocab {
			return nil, fmt.Errorf("read %s: more than %d entries", path, maxVocab)
		}
		w.vocab[lines.Text()] = n
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if b, err := ReadFile(filepath.Join(dir, "tokenizer_config.json"), maxFile); err == nil {
		var c struct {
			Lower *bool `json:"do_lower_case"`
		}
		if err := json.Unmarshal(b, &c); err != nil {
			return nil, fmt.Errorf("read %s: %w", filepath.Join(dir, "tokenizer_config.json"), err)
		}
		w.lower = yes(c.Lower, true)
		w.strip = w.lower
	}
	t := &Tokenizer{cut: w.cut, Pad: w.vocab["[PAD]"]}
	for name, id := range map[string]*int64{"[CLS]": &t.Start, "[SEP]": &t.End, "[UNK]": &w.unknown} {
		n, ok := w.vocab[name]
		if !ok {
			return nil, fmt.Errorf("read %s: no %s in it", path, name)
		}
		*id = n
	}
	return t, nil
}
