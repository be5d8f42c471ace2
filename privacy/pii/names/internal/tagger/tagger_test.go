package tagger

import (
	"math/rand/v2"
	"strings"
	"testing"
)

func tokensOf(text string, spans ...Span) string {
	s := scanner{text: []byte(text), spans: spans}
	var out []string
	for t := (Token{}); s.next(&t); {
		out = append(out, text[t.Start:t.End])
	}
	return strings.Join(out, "|")
}

func TestTokens(t *testing.T) {
	for text, want := range map[string]string{
		"Dr. Anna Berg-Olsen, 12a.":              "Dr|.|Anna|Berg|-|Olsen|,|12a|.",
		"Anna's don't O'Brien d’Artagnan":        "Anna|'|s|don|'|t|O'Brien|d’Artagnan",
		"mail anna.b@c.de or see www.x.org/y.":   "mail|anna.b@c.de|or|see|www.x.org/y|.",
		"Dr.Smith and J.R. and strings.Cut end.": "Dr|.|Smith|and|J|.|R|.|and|strings.Cut|end|.",
		"foo_bar a=b http://x y:z":               "foo_bar|a=b|http://x|y|:|z",
		"------ *** ...":                         "------|***|...",
		"Ærø\u00a0Łódź ΑΘΗΝΑ 東京 Jose\u0301":      "Ærø|Łódź|ΑΘΗΝΑ|東京|Jose\u0301",
		"<b>Anna</b> <font face=\"x\">< c <zzz>": "<b>|Anna|</b>|<font face=\"x\">|<|c|<|zzz|>",
		"12345 1234567 1,5 5th":                  "12345|1234567|1|,|5|5th",
		" \t\n ":                                 "",
		strings.Repeat("Ab1", 100):               strings.Repeat("Ab1", 100),
	} {
		if got := tokensOf(text); got != want {
			t.Errorf("%q:\n got %s\nwant %s", text, got, want)
		}
	}
	if got, want := tokensOf("call 030 1234 now", Span{5, 13, 1}), "call|030 1234|now"; got != want {
		t.Errorf("with a span: got %s, want %s", got, want)
	}
	if got, want := tokensOf("Annabella", Span{4, 6, 1}), "Anna|be|lla"; got != want {
		t.Errorf("with a span inside a word: got %s, want %s", got, want)
	}
}

// Case and accents do not change a word, other letters do.
func TestFolding(t *testing.T) {
	hash := func(s string) uint32 {
		h, ok := WordHash(s)
		if !ok {
			t.Fatalf("%q is no word", s)
		}
		return h
	}
	for _, same := range [][]string{
		{"jose", "José", "JOSÉ", "Jose\u0301"}, {"Łódź", "LODZ"}, {"Αθήνα", "ΑΘΗΝΑ", "αθηνα"}, {"Москва", "МОСКВА"}, {"Müller", "MULLER"}, {"straße", "STRASE"},
	} {
		for _, s := range same[1:] {
			if hash(s) != hash(same[0]) {
				t.Errorf("%q and %q differ", s, same[0])
			}
		}
	}
	for _, pair := range [][2]string{{"anna", "anne"}, {"ab", "ba"}, {"Αθηνα", "Anna"}, {"a", "aa"}} {
		if hash(pair[0]) == hash(pair[1]) {
			t.Errorf("%q and %q are the same", pair[0], pair[1])
		}
	}
	for _, s := range []string{"", "two words", "12", "a.b", "x@y"} {
		if _, ok := WordHash(s); ok {
			t.Errorf("%q is a word", s)
		}
	}
}

func TestIndexFindsWhatIsInIt(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, n := range []int{0, 1, 3, 100, 20_000} {
		x := newIndex(n)
		slots := map[uint32]int{}
		for range n {
			h := r.Uint32()
			slots[h] = x.add(h)
		}
		for h, want := range slots {
			if got := x.find(h); got != want {
				t.Fatalf("of %d: slot %d, want %d", n, got, want)
			}
		}
		false1, asked := 0, 100_000
		for range asked {
			if h := r.Uint32(); x.find(h) >= 0 {
				if _, in := slots[h]; !in {
					false1++
				}
			}
		}
		// A search compares at most a dozen fingerprints of 16 bits.
		if false1 > asked*12/(1<<16)*3 {
			t.Errorf("of %d: %d of %d others found", n, false1, asked)
		}
		if x.full() {
			t.Errorf("of %d: full", n)
		}
	}
}

// Adding up eight weights at a time is adding up one at a time.
func TestScoreIsTheSumOfWeights(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	weights := map[uint32][Labels]int8{}
	var features []uint32
	for range 257 {
		var row [Labels]int8
		for l := range row {
			row[l] = int8(r.IntN(255) - 127)
			if r.IntN(3) == 0 {
				row[l] = []int8{-127, 127}[r.IntN(2)]
			}
		}
		f := r.Uint32()
		features = append(features, f)
		weights[f] = row
	}
	m := NewModel(NewGazetteer(nil), weights, [Labels][Labels]int16{})
	for _, n := range []int{0, 1, 30, 257} {
		got := m.score(features[:n])
		for l := range Labels {
			want := int32(0)
			for _, f := range features[:n] {
				want += int32(weights[f][l])
			}
			if d := got[l] - int32(128*n); d != want {
				t.Errorf("%d features, label %d: %d, want %d", n, l, d, want)
			}
		}
	}
}

// The search finds what trying every sequence finds.
func TestSearchIsTheBestOfAll(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	const n = 4
	for range 20 {
		var steps [Labels][Labels]int16
		for a := range steps {
			for b := range steps[a] {
				steps[a][b] = int16(r.IntN(200) - 100)
			}
		}
		m := NewModel(NewGazetteer(nil), nil, steps)
		var scores [n][Labels + 1]int32
		for i := range scores {
			for l := range Labels {
				scores[i][l] = int32(r.IntN(200) - 100)
			}
		}
		best := int32(never)
		var try func(i int, last uint8, sum int32)
		try = func(i int, last uint8, sum int32) {
			if i == n {
				best = max(best, sum)
				return
			}
			for l := range uint8(Labels) {
				if Follows(last, l) {
					try(i+1, l, sum+int32(steps[last][l])+scores[i][l])
				}
			}
		}
		try(0, 0, 0)
		sum := [Labels]int32{}
		for l := 1; l < Labels; l++ {
			sum[l] = never
		}
		var back [n][Labels]uint8
		for i := range scores {
			sum = m.step(&sum, &scores[i], &back[i])
		}
		last, got := 0, int32(never)
		for l, v := range sum {
			if v > got {
				last, got = l, v
			}
		}
		if got != best {
			t.Fatalf("best sum %d, want %d", got, best)
		}
		path := []uint8{uint8(last)}
		for i := n - 1; i > 0; i-- {
			path = append([]uint8{back[i][path[0]]}, path...)
		}
		sumOf, before := int32(0), uint8(0)
		for i, l := range path {
			if !Follows(before, l) {
				t.Fatalf("label %d behind %d", l, before)
			}
			sumOf += int32(steps[before][l]) + scores[i][l]
			before = l
		}
		if sumOf != best {
			t.Fatalf("its path has the sum %d, want %d", sumOf, best)
		}
	}
}

func TestEncodeAndOpen(t *testing.T) {
	words := map[uint32]uint16{7: Given | Surname, 9: Place}
	weights := map[uint32][Labels]int8{1: {1, 2, 3}, 1 << 31: {-127, 127}}
	var steps [Labels][Labels]int16
	steps[0][1], steps[1][2] = -5, 7
	b := NewModel(NewGazetteer(words), weights, steps).Encode()
	m, err := Open(b)
	if err != nil {
		t.Fatal(err)
	}
	if string(m.Encode()) != string(b) {
		t.Error("encoded again, it differs")
	}
	for h, want := range words {
		if got := m.Gazetteer.Lookup(h); got != want {
			t.Errorf("word %d: %b, want %b", h, got, want)
		}
	}
	if m.Gazetteer.Lookup(8) != 0 {
		t.Error("a word that is not there has classes")
	}
	if m.steps[0][1] != -5 || m.steps[1][2] != 7 || m.steps[0][2] != never {
		t.Errorf("steps: %v", m.steps[:2])
	}
}

func TestTrim(t *testing.T) {
	for text, want := range map[string]string{
		"PERSON Anna Berg,":      "Anna Berg",
		"PERSON (Anna)":          "(Anna)",
		"PERSON Anna)":           "Anna",
		"PERSON John Smith Jr.":  "John Smith Jr.",
		"PERSON John Smith.":     "John Smith",
		"TITLE Dr.":              "Dr.",
		"TITLE Prof.":            "Prof.",
		"ZIP_CODE 12345-6789":    "12345-6789",
		"ZIP_CODE Oslo":          "",
		"ZIP_CODE 1234567890123": "",
		"LOCATION ...":           "",
		"LOCATION -12-":          "",
		"STREET_ADDRESS " + strings.Repeat("Oak Road 12 ", 17): "",
	} {
		name, name2, _ := strings.Cut(text, " ")
		k := 0
		for Types[k] != name {
			k++
		}
		got := ""
		if n, ok := trim([]byte(name2), Name{End: len(name2), Type: k}); ok {
			got = name2[n.Start:n.End]
		}
		if got != want {
			t.Errorf("%s: got %q, want %q", text, got, want)
		}
	}
}
