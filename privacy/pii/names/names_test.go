package names_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/redoubt-ml/redoubt/internal/need"
	"github.com/redoubt-ml/redoubt/privacy/pii"
	"github.com/redoubt-ml/redoubt/privacy/pii/names"
)

func tag(t testing.TB, text string, found ...pii.Finding) []pii.Finding {
	t.Helper()
	out, err := names.Default().Tag(context.Background(), []byte(text), found)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// What the package's own words promise, and a case of each kind of text.
func TestFinds(t *testing.T) {
	for text, want := range map[string]string{
		"Dr. Anna Berg lives at Kirkegata 12, Oslo.":               "TITLE:Dr. PERSON:Anna Berg STREET_ADDRESS:Kirkegata 12 LOCATION:Oslo",
		"My name is Peter Johnson and I work for Siemens AG.":      "PERSON:Peter Johnson ORGANIZATION:Siemens AG",
		"my name is peter johnson and i live in berlin":            "PERSON:peter johnson LOCATION:berlin",
		"From: Maria Silva\nTo: Hans Müller":                       "PERSON:Maria Silva PERSON:Hans Müller",
		"Mrs. Papadopoulos moved to Athens, Greece.":               "TITLE:Mrs. PERSON:Papadopoulos LOCATION:Athens LOCATION:Greece",
		"The German government and the French people":              "NRP:German NRP:French",
		"The meeting is on the second floor at noon. Bring a pen.": "",
		"func main() { fmt.Println(x) }":                           "",
		"YmFzZTY0IGVuY29kZWQgdGV4dCB0aGF0IGlzIG5vIG5hbWUgYXQgYWxs": "",
		"": "",
	} {
		if got := show(text, tag(t, text)); got != want {
			t.Errorf("%q:\n got %s\nwant %s", text, got, want)
		}
	}
}

func TestTypes(t *testing.T) {
	x := names.Default()
	x.Types = []string{pii.Location}
	text := "Anna Berg lives in Oslo."
	found, err := x.Tag(t.Context(), []byte(text), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := show(text, found); got != "LOCATION:Oslo" {
		t.Errorf("got %s", got)
	}
}

// What was found before is one word, and stays alone.
func TestWhatIsFoundIsLeftAlone(t *testing.T) {
	text := "Anna Berg lives in Oslo."
	before := []pii.Finding{{Start: 0, End: 6, Type: "EMPLOYEE"}, {Start: 4, End: 9, Type: "EMPLOYEE"}}
	found := tag(t, text, before...)
	if got, want := show(text, found), "EMPLOYEE:Anna B EMPLOYEE: Berg LOCATION:Oslo"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	for _, broken := range []pii.Finding{{Start: -1, End: 3}, {Start: 3, End: 3}, {Start: 9, End: 4}, {Start: 20, End: 99}} {
		if got := tag(t, text, broken); len(got) != 3 {
			t.Errorf("beside %+v: %s", broken, show(text, got[1:]))
		}
	}
}

func TestManyAtOnce(t *testing.T) {
	text := strings.Repeat("Anna Berg met Peter Johnson at Siemens AG in Oslo. ", 40)
	x := names.Default()
	want := show(text, tag(t, text))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			found, err := x.Tag(context.Background(), []byte(text), nil)
			if got := show(text, found); err != nil || got != want {
				t.Errorf("error %v, got %s", err, got)
			}
		})
	}
	wg.Wait()
}

func TestStops(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := names.Default().Tag(ctx, []byte("Anna Berg"), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("after it was cancelled: %v", err)
	}
}

// Where a block of the search ends does not show: the same sentences are tagged
// alike wherever they stand in a long text.
func TestBlocksDoNotShow(t *testing.T) {
	line := "Anna Berg lives at Kirkegata 12, Oslo.\n"
	n := 3000
	found := tag(t, strings.Repeat(line, n))
	count := map[string]int{}
	for _, f := range found {
		count[f.Type]++
	}
	for _, kind := range []string{pii.Person, pii.StreetAddress, pii.Location} {
		if count[kind] != n {
			t.Errorf("%d of type %s, want %d", count[kind], kind, n)
		}
	}
}

// Texts that would make a careless search slow or large.
func TestHostileTexts(t *testing.T) {
	for _, text := range []string{
		strings.Repeat("A", 1<<18), strings.Repeat("Anna ", 1<<16), strings.Repeat("<a ", 1<<18), strings.Repeat("x@", 1<<17),
		strings.Repeat("\xff", 1<<18), strings.Repeat("\n", 1<<18), strings.Repeat("a\u0301", 1<<18), strings.Repeat("O'", 1<<18),
		strings.Repeat("Mr. ", 1<<18), strings.Repeat("1", 1<<18), strings.Repeat("(", 1<<18), strings.Repeat("(Anna ", 1<<17),
	} {
		check(t, text, nil, tag(t, text))
	}
}

// check holds findings against what Tag promises.
func check(t *testing.T, text string, before, found []pii.Finding) {
	t.Helper()
	last := 0
	for i, f := range found[len(before):] {
		if f.Start < last || f.End <= f.Start || f.End > len(text) || !(f.Score >= 0.5 && f.Score <= 1) || f.Why == "" || f.Type == "" {
			t.Fatalf("finding %d is %+v, behind %d", i, f, last)
		}
		for _, b := range before {
			if b.Start < f.End && f.Start < b.End {
				t.Fatalf("%+v overlaps %+v", f, b)
			}
		}
		last = f.End
	}
}

func FuzzTag(f *testing.F) {
	f.Add("Dr. Anna Berg lives at Kirkegata 12,\n0150 Oslo", 0, 3)
	f.Add("00 AA \u04000\xb2", 5, 6)
	f.Add("<b>Anna</b> O'Brien <x@y.z> Иван Петров ΑΘΗΝΑ 東京\xff", 5, 6)
	f.Fuzz(func(t *testing.T, text string, start, end int) {
		var before []pii.Finding
		if 0 <= start && start < end && end <= len(text) {
			before = []pii.Finding{{Start: start, End: end, Type: "PHONE_NUMBER"}}
		}
		check(t, text, before, tag(t, text, before...))
	})
}

// Weights that are broken are refused, or harmless.
func FuzzOpen(f *testing.F) {
	good, err := os.ReadFile("names.bin")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(0, byte(1), 0)
	f.Add(17, byte(0xff), 0)
	f.Add(900, byte(0x80), 5)
	f.Fuzz(func(t *testing.T, at int, flip byte, cut int) {
		b := slices.Clone(good)
		if at >= 0 && at < len(b) {
			b[at] ^= flip
		}
		if cut > 0 && cut < len(b) {
			b = b[:len(b)-cut]
		}
		x, err := names.Open(b)
		if err != nil {
			return
		}
		if cut > 0 && cut < len(b) {
			t.Fatalf("opened with %d bytes less", cut)
		}
		text := "Dr. Anna Berg lives at Kirkegata 12, Oslo."
		found, err := x.Tag(context.Background(), []byte(text), nil)
		if err != nil {
			t.Fatal(err)
		}
		check(t, text, nil, found)
	})
}

func TestOpenRefuses(t *testing.T) {
	good, err := os.ReadFile("names.bin")
	if err != nil {
		t.Fatal(err)
	}
	for want, b := range map[string][]byte{
		"not a file of weights":   []byte("PK"),
		"ends in its header":      good[:30],
		"bytes behind the header": good[:len(good)-1],
		"without an empty place":  append(slices.Clone(good[:len("redoubt names 1\n")]), fullTables()...),
	} {
		if _, err := names.Open(b); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q in it", err, want)
		}
	}
}

// fullTables are tables of one bucket each, with no empty place.
func fullTables() []byte {
	b := append([]byte{1, 0, 0, 0, 1, 0, 0, 0}, make([]byte, 15*15*2)...)
	b = append(b, bytes.Repeat([]byte{9}, 8+8)...)
	return append(b, bytes.Repeat([]byte{9}, 8+16*4)...)
}

// docs/pii-names.md names the weights that are shipped, so that whoever makes them
// again can compare.
func TestDocsNameTheWeights(t *testing.T) {
	b, err := os.ReadFile("names.bin")
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(need.Root(t), "docs", "pii-names.md"))
	if err != nil {
		t.Fatal(err)
	}
	if digest := fmt.Sprintf("%x", sha256.Sum256(b)); !strings.Contains(string(page), digest) {
		t.Errorf("docs/pii-names.md does not name the weights with the digest %s", digest)
	}
}
