package pii

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
)

// No recogniser looks at a text more than a bounded number of times per byte: four times
// the text takes four times the looks, whatever is in it.
func TestLinearTime(t *testing.T) {
	units := []string{"1", "1 ", "1-", "12.", "a@", "@", "<1@", "a@b.", "://", "a://", "http://", "www.", "x.com", "::", "a:", "1:", "12:30:", "(1", "+1 ", "1,", "1.5 ", "48.8583 ",
		"-----BEGIN PRIVATE KEY-----\n", "eyJhbGciOiJub25lIn0.", "eyJhbGciOiJub25lIn0-", "AKIA", "ghp_", "sk-", "password=", "password: ", "token=a1", "https://a:b", "Sep 1 ", "Monday, ", "1 January ",
		"2002-09-1", "GB82 WEST ", "AB12 ", "a1", "A1 ", "0x", "\xff", "é1", "我1", "card 4111 1111 1111 1111 ", "[", "=", "\n", " ", "-", "bc1q", "years old 1 "}
	for _, r := range All {
		s := only(t, 1e-9, r)
		own := slices.Clone(units)
		for _, e := range examples[r.Name] {
			own = append(own, e, e+" ", strings.ReplaceAll(e, " ", ""))
		}
		for _, u := range own {
			steps := func(n int) int {
				v := &view{s: s, text: bytes.Repeat([]byte(u), n/len(u)+1)}
				v.look()
				v.resolve()
				return v.steps
			}
			const n = 3 << 10
			if once, more := steps(n), steps(4*n); more > 4*once+16*n || once > 700*n {
				t.Errorf("%s: %q over and over: %d looks at %d bytes, %d at %d", r.Name, u, once, n, more, 4*n)
			}
		}
	}
}

func sample(size int) []byte {
	parts := []string{"Dear Ms Smith,\n", "card 4111 1111 1111 1111 ", "mail bob@example.com, ", "call +44 20 7946 0958 or ", "SSN: 514-69-0360\n", "些字é ", "\xff\xfe", "words and words ", "\r\n\r\n",
		"https://example.com/" + strings.Repeat("path/", 30), "-----BEGIN PRIVATE KEY-----\n" + strings.Repeat("MIIEvQIBADANBgkqhkiG9w0B\n", 60) + "-----END PRIVATE KEY-----\n", strings.Repeat("x", 3000)}
	random := rand.New(rand.NewPCG(1, 2))
	var b []byte
	for len(b) < size {
		b = append(b, parts[random.IntN(len(parts))]...)
	}
	return b
}

func pieces(t *testing.T, s *Scanner, r io.Reader) (whole []byte, found []Finding) {
	t.Helper()
	err := s.Pieces(context.Background(), r, func(text []byte, f []Finding) error {
		if len(text) > pieceSize {
			t.Errorf("a piece of %d bytes", len(text))
		}
		for _, x := range f {
			if x.Start < 0 || x.End > len(text) {
				t.Errorf("%+v in a piece of %d bytes", x, len(text))
			}
			x.Start, x.End = x.Start+len(whole), x.End+len(whole)
			found = append(found, x)
		}
		whole = append(whole, text...)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return whole, found
}

// Pieces together are the text, whole findings are in them, and neither how the reader
// cuts nor the cuts of the pieces change what is found.
func TestPieces(t *testing.T) {
	s := only(t, 0, All...)
	for _, text := range [][]byte{sample(1 << 20), {}, []byte("a"), bytes.Repeat([]byte("4111 1111 1111 1111 "), 20000), bytes.Repeat([]byte("x"), 300_000),
		[]byte(strings.Repeat("bob@example.com,", 20000)), []byte(strings.Repeat("é", 100_000)), []byte(strings.Repeat("https://example.com/a;", 10_000)),
		bytes.Repeat([]byte("-----BEGIN PRIVATE KEY-----\n"), 10_000)} {
		whole, found := pieces(t, s, bytes.NewReader(text))
		if !bytes.Equal(whole, text) {
			t.Fatalf("%.20q: the pieces are not the text", text)
		}
		for name, r := range map[string]io.Reader{"bytes": iotest.OneByteReader(bytes.NewReader(text)), "halves": iotest.HalfReader(bytes.NewReader(text)), "late errors": iotest.DataErrReader(bytes.NewReader(text))} {
			if _, again := pieces(t, s, r); !slices.Equal(found, again) {
				t.Errorf("%.20q by %s: %d findings, not %d", text, name, len(again), len(found))
			}
		}
		all, err := s.Scan(context.Background(), text)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(all, found) {
			t.Errorf("%.20q at once: %d findings, in pieces %d", text, len(all), len(found))
		}
	}
	bad := errors.New("bad")
	if err := s.Pieces(context.Background(), iotest.ErrReader(bad), func([]byte, []Finding) error { return nil }); err != bad {
		t.Errorf("got %v, want the reader's error", err)
	}
}

// A context word on the other side of a cut counts, and so does what is cut before its
// context: every finding of the middle is found wherever the cuts come.
func TestPiecesKeepContext(t *testing.T) {
	s := only(t, 0, All...)
	for shift := range 120 {
		text := strings.Repeat("x", 50) + "\n"
		text = strings.Repeat(text, (pieceSize-2*after)/len(text)) + strings.Repeat("y", shift) + "\n"
		for len(text) < pieceSize+after {
			text += "passport number\n912803456 and more\n"
		}
		want := strings.Count(text, "912803456")
		if _, found := pieces(t, s, strings.NewReader(text)); len(found) != want {
			t.Fatalf("shifted by %d: %d findings, want %d", shift, len(found), want)
		}
	}
}

func TestOverlaps(t *testing.T) {
	form := func(name, form string, score float64) Recognizer {
		return Recognizer{Name: name, Type: strings.ToUpper(name), Forms: []string{form}, Score: score}
	}
	for want, list := range map[string][]Recognizer{
		"B": {form("a", "999", 0.6), form("b", "999 999", 0.6)}, // the longer
		"A": {form("a", "999", 0.7), form("b", "999 999", 0.6)}, // the surer
		"C": {form("c", "999 999", 0.6), form("b", "999 999", 0.6)},
	} {
		if found := scanNamed(t, only(t, 0, list...), "", "123 456"); found[0].Type != want {
			t.Errorf("got %+v, want %s first", found, want)
		}
	}
}

// A tagger gets what was found, adds to it, and its findings obey the settings.
type fakeTagger struct{ saw *[]Finding }

func (f fakeTagger) Tag(_ context.Context, text []byte, found []Finding) ([]Finding, error) {
	*f.saw = slices.Clone(found)
	for _, word := range []string{"Bob", "Rome", "maybe"} {
		if i := bytes.Index(text, []byte(word)); i >= 0 {
			found = append(found, Finding{Start: i, End: i + len(word), Type: map[string]string{"Bob": Person, "Rome": Location, "maybe": NRP}[word], Score: map[string]float64{"maybe": 0.2}[word] + 0.6*float64(len(word)%5)/4})
		}
	}
	return found, nil
}

func TestTagger(t *testing.T) {
	var saw []Finding
	s, err := New(Settings{Tagger: fakeTagger{&saw}, Exclude: []string{Location}})
	if err != nil {
		t.Fatal(err)
	}
	found := scanNamed(t, s, "", "bob@example.com or Bob in Rome, maybe")
	if len(saw) != 1 || len(found) != 1 || found[0].Type != "EMAIL_ADDRESS" {
		t.Errorf("Bob at 0.45: saw %+v, found %+v", saw, found)
	}
	if s, err = New(Settings{Tagger: fakeTagger{&saw}, Thresholds: map[string]float64{Person: 0.4}, Types: []string{Person}}); err != nil {
		t.Fatal(err)
	}
	if found = scanNamed(t, s, "", "bob@example.com or Bob in Rome"); len(saw) != 0 || len(found) != 1 || found[0].Type != Person {
		t.Errorf("persons only: saw %+v, found %+v", saw, found)
	}
}

func TestSettings(t *testing.T) {
	for want, settings := range map[string]Settings{
		"threshold 2":          {Threshold: 2},
		"threshold -1":         {Thresholds: map[string]float64{"URL": -1}},
		"region \"XX\"":        {Regions: []string{"XX"}},
		"both are required":    {Recognizers: []Recognizer{{Name: "a"}}},
		"must begin with a":    {Recognizers: []Recognizer{{Name: "a", Type: "A", Forms: []string{"-9"}}}},
		"is not 9, A, X":       {Recognizers: []Recognizer{{Name: "a", Type: "A", Forms: []string{"9B"}}}},
		"want a number or two": {Recognizers: []Recognizer{{Name: "a", Type: "A", Forms: []string{"9{x}"}}}},
		"longer than 64":       {Recognizers: []Recognizer{{Name: "a", Type: "A", Forms: []string{"9{60}9{60}"}}}},
	} {
		if _, err := New(settings); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q in it", err, want)
		}
	}
}

func TestLists(t *testing.T) {
	deny, err := LoadList([]byte("texts: [Project Nightjar, '[x1]']\npatterns: ['NJ-[0-9]{4}']\ntype: CODE_NAME\n"))
	if err != nil {
		t.Fatal(err)
	}
	allow := List{Texts: []string{"Info@Example.com"}, Patterns: []*regexp.Regexp{regexp.MustCompile(`test-\d+@example\.(com|community)`)}}
	s, err := New(Settings{Allow: allow, Deny: deny, Explain: true})
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]int{
		"about PROJECT nightjar": 1, "project nightjars": 0, "NJ-1234": 1, "xNJ-12345": 1, "info@example.com": 0, "info@example.com.au": 1, "test-12@example.community": 0, "atest-12@example.com": 1,
	} {
		if found := scanNamed(t, s, "", text); len(found) != want {
			t.Errorf("%q: found %+v, want %d", text, found, want)
		}
	}
	for _, bad := range []string{"texts: ['-']", "patterns: ['(']", "text: [a]"} {
		if _, err := LoadList([]byte(bad)); err == nil {
			t.Errorf("%q is no list, and was read", bad)
		}
	}
}

func TestLoad(t *testing.T) {
	own, err := Load([]byte(`
recognizers:
  - name: employee
    type: EMPLOYEE_ID
    forms: ['A-999999']
    expressions: ['\bstaff no\. (\d{4})\b']
    score: 0.3
    context: [employee, staff]
    examples: ['employee E-123456', 'staff no. 1234']
    not: ['E-123456', 'E-1234567']
  - name: member
    type: MEMBER
    forms: ['9{10}']
    checksum: luhn
    examples: ['1234567897']
    not: ['1234567898']
`))
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(Settings{Recognizers: own})
	if err != nil {
		t.Fatal(err)
	}
	found := scanNamed(t, s, "", "the staff no. 1234 and member 1234567897")
	if len(found) != 2 || found[0].Type != "EMPLOYEE_ID" || found[0].Start != 14 || found[0].End != 18 || found[1].Type != "MEMBER" {
		t.Errorf("found %+v", found)
	}
	for want, bad := range map[string]string{
		"is not found":               "recognizers: [{name: a, type: A, forms: ['99'], examples: ['123']}]",
		"is found and must not be":   "recognizers: [{name: a, type: A, forms: ['99'], not: ['12']}]",
		"must be one of damm, luhn":  "recognizers: [{name: a, type: A, forms: ['99'], checksum: sum}]",
		"name and type are required": "recognizers: [{name: a, forms: ['99']}]",
		"expressions or forms are":   "recognizers: [{name: a, type: A}]",
		"expression \"(\"":           "recognizers: [{name: a, type: A, expressions: ['(']}]",
		"must be above 0":            "recognizers: [{name: a, type: A, forms: ['99'], score: 3}]",
		"patern":                     "recognizers: [{name: a, type: A, patern: ['99']}]",
	} {
		if _, err := Load([]byte(bad)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q in it", bad, err, want)
		}
	}
}

func TestManyGoroutines(t *testing.T) {
	s := only(t, 0, All...)
	text := sample(100_000)
	want, err := s.Scan(context.Background(), text)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if got, err := s.Scan(context.Background(), text); err != nil || !slices.Equal(got, want) {
				t.Errorf("%d findings, %v, want %d", len(got), err, len(want))
			}
		})
	}
	wg.Wait()
	ctx, stop := context.WithCancel(context.Background())
	stop()
	if _, err := s.Scan(ctx, text); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the context's error", err)
	}
}

// The check digit schemes agree with the examples of those who made them.
func TestChecksums(t *testing.T) {
	for name, valid := range map[string]string{"luhn": "79927398713", "mod97": "GB82WEST12345698765432", "mod11-10": "33392005961", "verhoeff": "2363", "damm": "5724"} {
		check := checksums[name]
		if !check([]byte(valid)) {
			t.Errorf("%s refuses %s", name, valid)
		}
		for i := range valid {
			wrong := []byte(valid)
			for d := byte('0'); d <= '9'; d++ {
				if wrong[i] = d; d != valid[i] && check(wrong) {
					t.Errorf("%s takes %s", name, wrong)
				}
			}
		}
	}
}

func BenchmarkShort(b *testing.B) {
	s, err := New(Settings{})
	if err != nil {
		b.Fatal(err)
	}
	text := sample(4 << 10)[:4<<10]
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Scan(context.Background(), text); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkNew(b *testing.B) {
	for b.Loop() {
		if _, err := New(Settings{}); err != nil {
			b.Fatal(err)
		}
	}
}
