package main

import (
	"embed"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
	"strings"
	"unicode"

	"github.com/redoubt-ml/redoubt/privacy/pii/names/internal/tagger"
)

//go:embed words templates
var embedded embed.FS

// Lists are the names that templates are filled with.
type lists struct {
	locales   []string // with given and family names of their own
	first     map[string][]string
	last      map[string][]string
	prefix    map[string][]string
	street    map[string][]string
	zip       map[string][]string
	company   map[string][]string
	job       map[string][]string
	city      map[string][]string
	country   map[string][]string
	cities    []city // largest first
	countries []string
	codes     []string
	states    [][2]string // name and short form
	regions   []string
	listed    []string // companies on stock exchanges
	demonyms  [][2]string
	patterns  map[string][]string // of streets, by country
	stems     map[string][]string
	signs     map[string][]string
	plain     map[string][]string // ordinary words, by kind
	common    []string
}

type city struct {
	people  int
	country string
	name    string
	others  []string
}

func lines(data string) []string {
	var out []string
	for line := range strings.SplitSeq(data, "\n") {
		if line = strings.TrimRight(line, "\r"); line != "" && !strings.HasPrefix(line, "# ") {
			out = append(out, strings.ReplaceAll(line, `\n`, "\n"))
		}
	}
	return out
}

func words(name string) []string {
	b, err := embedded.ReadFile("words/" + name)
	if err != nil {
		panic(err) // part of the program
	}
	return lines(string(b))
}

func readLists(dir, companies string) (*lists, error) {
	l := &lists{patterns: map[string][]string{}, stems: map[string][]string{}, signs: map[string][]string{}, plain: map[string][]string{}}
	files := map[string]map[string][]string{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, err
		}
		kind, locale, _ := strings.Cut(e.Name(), ".")
		if files[kind] == nil {
			files[kind] = map[string][]string{}
		}
		if all := lines(string(b)); len(all) > 0 {
			files[kind][locale] = all
		}
	}
	l.first, l.last, l.prefix = files["first"], files["last"], files["prefix"]
	l.street, l.zip, l.company, l.job = files["street"], files["zip"], files["company"], files["job"]
	l.city, l.country = files["city"], files["country"]
	l.countries, l.codes, l.regions = files["countries"][""], files["countrycodes"][""], files["regions"][""]
	for locale := range l.first {
		if len(l.last[locale]) > 0 && !strings.HasPrefix(locale, "census") {
			l.locales = append(l.locales, locale)
		}
	}
	sort.Strings(l.locales)
	for _, line := range files["cities"][""] {
		f := strings.Split(line, "\t")
		people, _ := strconv.Atoi(f[0])
		l.cities = append(l.cities, city{people, f[1], f[2], strings.Split(f[3], "|")})
	}
	for _, line := range files["usstates"][""] {
		name, code, _ := strings.Cut(line, "\t")
		l.states = append(l.states, [2]string{name, code})
	}
	l.states = append(l.states, [][2]string{{"Ontario", "ON"}, {"Quebec", "QC"}, {"British Columbia", "BC"}, {"Alberta", "AB"},
		{"New South Wales", "NSW"}, {"Queensland", "QLD"}, {"Victoria", "VIC"}, {"Nova Scotia", "NS"}, {"Manitoba", "MB"}}...)
	for _, line := range words("demonyms.txt") {
		one, many, ok := strings.Cut(line, " ")
		if !ok {
			many = one
		}
		l.demonyms = append(l.demonyms, [2]string{one, many})
	}
	for _, line := range words("streets.txt") {
		f := strings.Split(line, "|")
		l.patterns[f[0]] = f[1:]
	}
	for _, line := range words("stems.txt") {
		country, all, _ := strings.Cut(line, "|")
		l.stems[country] = strings.Fields(all)
	}
	for _, line := range words("signs.txt") {
		f := strings.Fields(line)
		l.signs[f[0]] = append(l.signs[f[0]], f[1:]...)
	}
	for _, line := range words("plain.txt") {
		f := strings.Fields(line)
		l.plain[f[0]] = f[1:]
	}
	l.common = strings.Fields(strings.Join(words("common.txt"), " "))
	l.listed, err = readCompanies(companies)
	return l, err
}

// readCompanies reads names of companies, one a line.
func readCompanies(path string) ([]string, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return lines(string(b)), nil
}

// gazetteer gives each word its classes, and how many lists of names have it.
func (l *lists) gazetteer(running []sample) map[uint32]uint16 {
	g := make(map[uint32]uint16)
	add := func(class uint16, texts ...string) {
		for _, text := range texts {
			tagger.Words(text, func(word string, hash uint32) {
				if len(word) > 1 {
					g[hash] |= class
				}
			})
		}
	}
	spread := make(map[uint32]int)
	for _, locale := range slices.Sorted(maps.Keys(l.first)) {
		add(tagger.Given, romanized(l.first[locale])...)
		for _, name := range l.first[locale] {
			if hash, ok := tagger.WordHash(name); ok {
				spread[hash]++
			}
		}
	}
	for _, locale := range slices.Sorted(maps.Keys(l.last)) {
		names := l.last[locale]
		if strings.HasPrefix(locale, "census") {
			names = names[:min(25000, len(names))]
		}
		add(tagger.Surname, romanized(names)...)
	}
	for hash, n := range spread {
		if n >= 4 {
			g[hash] |= tagger.Known
		}
	}
	for i, c := range l.cities {
		if c.people >= 3000 {
			add(tagger.Place, c.name)
		}
		if i < 1500 {
			add(tagger.Major, c.name)
		}
		if i < 6000 {
			for _, other := range c.others {
				if known(other) {
					add(tagger.Place, other)
				}
			}
		}
	}
	for _, locale := range slices.Sorted(maps.Keys(l.city)) {
		if !strings.HasPrefix(locale, "en") {
			add(tagger.Place, l.city[locale]...)
		}
	}
	add(tagger.Place, l.regions...)
	for _, s := range l.states {
		add(tagger.Place, s[0])
	}
	add(tagger.Country|tagger.Major, l.countries...)
	add(tagger.Country, "USA", "UK", "EU", "UAE", "England", "Scotland", "Wales", "Britain", "America", "Europe", "Asia", "Africa", "Russia", "Korea", "Vietnam", "Syria", "Iran", "Burma", "Holland")
	for _, d := range l.demonyms {
		add(tagger.Demonym, d[0], d[1])
	}
	add(tagger.Legal, l.signs["legal"]...)
	add(tagger.Street, l.signs["street"]...)
	add(tagger.Honour, l.signs["honour"]...)
	count := make(map[uint32]int)
	for _, name := range l.listed {
		tagger.Words(name, func(_ string, hash uint32) { count[hash]++ })
	}
	for hash, n := range count {
		if n >= 4 {
			g[hash] |= tagger.Company
		}
	}
	clear(count)
	for _, locale := range slices.Sorted(maps.Keys(l.job)) {
		for _, job := range l.job[locale] {
			tagger.Words(job, func(_ string, hash uint32) { count[hash]++ })
		}
	}
	for hash, n := range count {
		if n >= 2 {
			g[hash] |= tagger.Job
		}
	}
	clear(count)
	large := make(map[uint32]int)
	for _, s := range running {
		tagger.Words(s.text, func(word string, hash uint32) {
			switch c := rune(word[0]); {
			case len(word) == 1:
			case unicode.IsLower(c) || c >= 0x80:
				count[hash]++
			default:
				large[hash]++
			}
		})
	}
	for hash, n := range count { // written small more often than not
		if n >= 4 && n > large[hash] {
			g[hash] |= tagger.Common
		}
	}
	add(tagger.Common|tagger.Frequent, l.common...)
	return g
}

// known tells whether a name is in a script that the tagger is meant for.
func known(s string) bool {
	if s == "" {
		return false
	}
	for _, r := range s {
		if unicode.IsLetter(r) && !unicode.In(r, unicode.Latin, unicode.Greek, unicode.Cyrillic, unicode.Hebrew, unicode.Arabic) {
			return false
		}
		if r < 0x250 && unicode.IsLower(r) {
			first := []rune(s)[0]
			return unicode.IsUpper(first)
		}
	}
	return true
}

// romanized adds to names in Cyrillic and Greek how they are written in Latin.
func romanized(names []string) []string {
	out := names
	for _, n := range names {
		if r := romanize(n); r != n {
			out = append(out[:len(out):len(out)], r)
		}
	}
	return out
}

var roman = func() *strings.Replacer {
	pairs := strings.Fields(`щ shch ж zh ч ch ш sh ю yu я ya х kh ц ts ё yo а a б b в v г g д d е e з z и i й y к k л l м m н n о o п p р r
		с s т t у u ф f ъ - ы y ь - э e і i ї yi є ye ґ g ђ dj ј j љ lj њ nj ћ c џ dz ѓ gj ќ kj ѕ dz
		α a β v γ g δ d ε e ζ z η i θ th ι i κ k λ l μ m ν n ξ x ο o π p ρ r σ s ς s τ t υ y φ f χ ch ψ ps ω o ά a έ e ή i ί i ό o ύ y ώ o ϊ i`)
	var all []string
	for i := 0; i < len(pairs); i += 2 {
		to := strings.Trim(pairs[i+1], "-")
		upper := strings.ToUpper(pairs[i])
		all = append(all, pairs[i], to)
		if to != "" {
			to = strings.ToUpper(to[:1]) + to[1:]
		}
		if upper != pairs[i] {
			all = append(all, upper, to)
		}
	}
	return strings.NewReplacer(all...)
}()

func romanize(s string) string { return roman.Replace(s) }
