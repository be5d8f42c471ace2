package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/redoubt-ml/redoubt/privacy/pii/names/internal/tagger"
)

// small are lists as sources.py writes them, but short.
func small(t *testing.T) *lists {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"first.en_US": "Anna\nPeter\nMary", "last.en_US": "Berg\nJohnson\nMiller", "prefix.en_US": "Mr.\nDr.",
		"first.ru_RU": "Иван\nАнна", "last.ru_RU": "Петров\nИванов", "last.census.dist.all.last": "Smith\nJones",
		"first.de_DE": "Jürgen\nUte", "last.de_DE": "Müller\nKoch", "first.en_GB": "Emma\nOliver", "last.en_GB": "Hughes\nEvans",
		"street.en_US": "12 Main Street\\nApt. 3\n7 Oak Road", "zip.en_US": "12345", "company.en_US": "Acme Inc", "job.en_US": "Nurse\nClerk",
		"city.fr_FR": "Lyon", "country.en_US": "France", "countries": "France\nNorway", "countrycodes": "FR\nNO",
		"cities": "500000\tNO\tOslo\tKristiania|Осло\n900\tGR\tRiga Vouno\t\n700\tGR\tAthina\tΑθήνα", "usstates": "Ohio\tOH", "regions": "Bavaria",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	companies := filepath.Join(dir, "companies")
	if err := os.WriteFile(companies, []byte("Beta Holdings Ltd\nGAMMA OIL CORP\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := readLists(dir, companies)
	if err != nil {
		t.Fatal(err)
	}
	for len(l.cities) < 60_000 { // some slots ask for the first so many
		l.cities = append(l.cities, l.cities[:3]...)
	}
	return l
}

var leftover = regexp.MustCompile(`\{[A-Za-z]+\}|\|[a-z]+\)`)

// Every template can be filled, again and again alike, and its marks lie on what
// they name.
func TestTemplates(t *testing.T) {
	l := small(t)
	templates, err := readTemplates()
	if err != nil {
		t.Fatal(err)
	}
	if len(templates) < 300 {
		t.Errorf("%d templates", len(templates))
	}
	one, two := &filler{l, rand.New(rand.NewPCG(1, 1))}, &filler{l, rand.New(rand.NewPCG(1, 1))}
	for _, tpl := range templates {
		for range 10 {
			s := one.fill(tpl)
			if other := two.fill(tpl); s.text != other.text || !slices.Equal(s.pieces, other.pieces) {
				t.Fatalf("%s: filled in two ways with one seed", tpl.group)
			}
			if left := leftover.FindString(s.text); left != "" && !strings.Contains(tpl.text, `"{`) {
				t.Errorf("%s: %q is left in %q", tpl.group, left, s.text)
			}
			last := 0
			for _, p := range s.pieces {
				if p.start < last || p.end <= p.start || p.end > len(s.text) || strings.TrimSpace(s.text[p.start:p.end]) == "" {
					t.Fatalf("%s: piece %+v behind %d in %q", tpl.group, p, last, s.text)
				}
				last = p.end
			}
		}
	}
}

// What is learnt from samples is found in others like them, and what the file
// holds is what was learnt.
func TestLearns(t *testing.T) {
	l := small(t)
	f := &filler{l, rand.New(rand.NewPCG(2, 2))}
	var learn, test []sample
	for i := range 600 {
		for j, text := range []string{"My name is {P}.", "I live in {C} with {F}.", "The house is red."} {
			s := f.fill(template{text, fmt.Sprint(j)})
			if i < 500 {
				learn = append(learn, s)
			} else {
				test = append(test, s)
			}
		}
	}
	g := tagger.NewGazetteer(l.gazetteer(learn))
	r := rand.New(rand.NewPCG(3, 3))
	p := newPerceptron(learn, g, r)
	first := p.pass(r)
	for range 4 {
		p.pass(r)
	}
	if last := p.pass(r); last >= first {
		t.Errorf("wrong in the first pass %.3f, in the last %.3f", first, last)
	}
	model, err := tagger.Open(p.model(g).Encode())
	if err != nil {
		t.Fatal(err)
	}
	count := measure(model, test)
	if right, missed := count.right["PERSON"], count.missed["PERSON"]; right < 20*missed {
		t.Errorf("%d words of persons found, %d missed", right, missed)
	}
	if right, missed := count.right["LOCATION"], count.missed["LOCATION"]; right < 20*missed {
		t.Errorf("%d words of places found, %d missed", right, missed)
	}
}

func TestReadTree(t *testing.T) {
	part := "# sent_id = 1\n# text = Die Stadt Berlin ist groß.\n" +
		"1\tDie\tder\tDET\n2\tStadt\tStadt\tNOUN\n3\tBerlin\tBerlin\tPROPN\n4\tist\tsein\tAUX\n5\tgroß\tgroß\tADJ\n6\t.\t.\tPUNCT"
	hash, _ := tagger.WordHash("Berlin")
	s, ok := readTree(part, "g", map[uint32]uint16{hash: tagger.Place})
	if !ok || len(s.pieces) != 1 || s.text[s.pieces[0].start:s.pieces[0].end] != "Berlin" || s.pieces[0].kind != somebody {
		t.Errorf("got %+v, %v", s, ok)
	}
	if s, _ := readTree(part, "g", nil); s.pieces[0].kind != anything {
		t.Errorf("a proper noun on no list: %+v", s)
	}
}

func TestReadCorpus(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a.conll"), []byte("Dr. O\nAnna B-person\nBerg I-person\n, O\nAcme B-corporation\n\nGerman O\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	words := map[uint32]uint16{}
	for word, class := range map[string]uint16{"German": tagger.Demonym} {
		hash, _ := tagger.WordHash(word)
		words[hash] = class
	}
	got, err := readCorpus(dir, "a.conll", words)
	if err != nil {
		t.Fatal(err)
	}
	var parts []string
	for _, s := range got {
		for _, p := range s.pieces {
			parts = append(parts, p.kind+":"+s.text[p.start:p.end])
		}
	}
	if want := "PERSON:Anna Berg ORGANIZATION:Acme NRP:German"; strings.Join(parts, " ") != want {
		t.Errorf("got %v, want %s", parts, want)
	}
}
