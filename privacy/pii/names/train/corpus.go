package main

import (
	"bufio"
	"os"
	"path/filepath"
	"strings"

	"github.com/redoubt-ml/redoubt/privacy/pii/names/internal/tagger"
)

// corpora are the texts with names marked by people, and what their marks mean.
var corpora = []struct {
	file  string
	train bool
}{
	{"wnut17.conll", true},
	{"wikigold.conll", true},
	{"btc.conll", true},
	{"crossner.politics.conll", true},
	{"crossner.science.conll", true},
	{"crossner.music.conll", true},
	{"crossner.literature.conll", true},
	{"crossner.ai.conll", true},
	{"wnut17.dev.conll", false},
	{"de.pud.iob2", false},
	{"ewt.dev.iob2", false},
	{"ewt.test.iob2", false},
}

var marks = map[string]string{
	"person": "PERSON", "PER": "PERSON",
	"location": "LOCATION", "LOC": "LOCATION",
	"corporation": "ORGANIZATION", "group": "ORGANIZATION", "ORG": "ORGANIZATION",
	"politician": "PERSON", "writer": "PERSON", "musicalartist": "PERSON", "scientist": "PERSON", "researcher": "PERSON",
	"country": "LOCATION", "organisation": "ORGANIZATION", "university": "ORGANIZATION", "politicalparty": "ORGANIZATION", "band": "ORGANIZATION",
}

// readCorpus reads sentences of words, one a line, with marks in the first or
// last column.
func readCorpus(dir, file string, words map[uint32]uint16) ([]sample, error) {
	f, err := os.Open(filepath.Join(dir, file))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var out []sample
	var tokens, labels []string
	flush := func() {
		if len(tokens) > 0 {
			out = append(out, join(tokens, labels, file, words))
		}
		tokens, labels = nil, nil
	}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		fields := strings.Fields(line)
		switch {
		case line == "" || strings.HasPrefix(line, "-DOCSTART-"):
			flush()
		case strings.HasPrefix(line, "# ") || len(fields) < 2:
		case strings.HasSuffix(file, ".iob2"):
			tokens, labels = append(tokens, fields[1]), append(labels, fields[2])
		default:
			tokens, labels = append(tokens, fields[0]), append(labels, fields[len(fields)-1])
		}
	}
	flush()
	return out, lines.Err()
}

// join writes words as a text. Titles before persons and words for nationalities
// are marked too, which these corpora leave out.
func join(tokens, labels []string, group string, words map[uint32]uint16) sample {
	var w writer
	last := ""
	glue := true
	for i := 0; i < len(tokens); {
		if !glue && !strings.Contains(".,;:!?)]}%'’", tokens[i][:1]) && tokens[i] != "n't" {
			w.plain(" ")
		}
		glue = strings.HasSuffix(tokens[i], "(") || strings.HasSuffix(tokens[i], "[")
		prefix, mark, _ := strings.Cut(labels[i], "-")
		kind := marks[mark]
		hash, word := tagger.WordHash(tokens[i])
		first := tokens[i][0]
		switch {
		case kind == "" && word && words[hash]&tagger.Honour != 0 && i+1 < len(tokens) && marks[after(labels[i+1])] == "PERSON":
			w.mark("TITLE", tokens[i])
		case kind == "" && word && words[hash]&tagger.Demonym != 0 && words[hash]&tagger.Common == 0 && (first < 'a' || first > 'z'):
			w.mark("NRP", tokens[i])
		case kind == "":
			w.plain(tokens[i])
		case last == kind && prefix == "I" && len(w.pieces) > 0:
			w.plain(tokens[i])
			w.pieces[len(w.pieces)-1].end = w.b.Len()
		default:
			w.mark(kind, tokens[i])
		}
		last = kind
		i++
	}
	return w.sample(group)
}

func after(label string) string {
	_, mark, _ := strings.Cut(label, "-")
	return mark
}

// readPlain reads files of text without names, such as the comments of programs:
// what a tagger must leave alone. Paragraphs that show a sign of an author go.
func readPlain(root string, most int) ([]sample, error) {
	var out []sample
	size := 0
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || size > most {
			return err
		}
		if ext := filepath.Ext(path); ext != ".go" && ext != ".md" && ext != ".txt" || strings.Contains(path, "testdata") {
			return nil
		}
		b, err := os.ReadFile(path)
		if err != nil || len(b) > 1<<18 {
			return err
		}
		n := 0
		for part := range strings.SplitSeq(string(b), "\n\n") {
			if len(part) > 2000 || strings.Contains(part, "Copyright") || strings.Contains(part, "Author") {
				continue
			}
			if n++; n%11 == 0 { // a little of each file
				out = append(out, sample{text: part + "\n", group: "plain"})
				size += len(part)
			}
		}
		return nil
	})
	return out, err
}

// readTreebanks reads sentences of treebanks, which say which words are proper
// nouns but not what they name. All others are no names, however many have
// capitals. Proper nouns that are names on a list, and no ordinary words, are
// taken to be names, the others may be anything.
func readTreebanks(dir string, most int, words map[uint32]uint16) ([]sample, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.conllu"))
	if err != nil {
		return nil, err
	}
	var out []sample
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		n := 0
		for part := range strings.SplitSeq(string(b), "\n\n") {
			if s, ok := readTree(part, filepath.Base(file), words); ok && n < most {
				out = append(out, s)
				n++
			}
		}
	}
	return out, nil
}

func readTree(part, group string, words map[uint32]uint16) (sample, bool) {
	s := sample{group: group}
	at := 0
	for line := range strings.Lines(part) {
		if text, ok := strings.CutPrefix(line, "# text = "); ok {
			s.text = strings.TrimSpace(text)
		}
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(f) < 4 || strings.Contains(f[0], "-") {
			continue
		}
		if i := strings.Index(s.text[at:], f[1]); i >= 0 {
			if f[3] == "PROPN" || f[3] == "X" {
				kind := anything
				hash, _ := tagger.WordHash(f[1])
				const name = tagger.Given | tagger.Surname | tagger.Place | tagger.Country
				if c := words[hash]; f[3] == "PROPN" && c&name != 0 && c&tagger.Common == 0 {
					kind = somebody
				}
				s.pieces = append(s.pieces, piece{at + i, at + i + len(f[1]), kind})
			}
			at += i + len(f[1])
		} else if f[3] == "PROPN" {
			return s, false // of a word that is written as one with another
		}
	}
	return s, s.text != ""
}
