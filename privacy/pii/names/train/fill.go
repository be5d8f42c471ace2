package main

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// A template is a text with choices (a|b) and slots {X}:
//
//	P person · F given name · L family name · I initial · T form of address · J occupation
//	A street and number · ST street · AA whole address · Z postal code
//	C town · K country · S region · SC its short form · CC code of a country
//	N nationality, religion or party · NP its members · O organisation · W product
//	v verb · u noun · j adjective · D one of the latter with a capital, which is no name
//	fonts, day, month, acronym, zone, server, client, host, hex: what is no name
//	and what recognisers find: email, phone, date, ...
type template struct {
	text  string
	group string
}

func readTemplates() ([]template, error) {
	files, err := embedded.ReadDir("templates")
	if err != nil {
		return nil, err
	}
	var out []template
	for _, f := range files {
		b, err := embedded.ReadFile("templates/" + f.Name())
		if err != nil {
			return nil, err
		}
		for i, line := range lines(string(b)) {
			out = append(out, template{line, fmt.Sprintf("%s:%d", f.Name(), i)})
		}
	}
	return out, nil
}

var (
	choice = regexp.MustCompile(`\(([^()]*\|[^()]*)\)`)
	slot   = regexp.MustCompile(`\{([A-Za-z]+)\}`)
)

// A filler fills templates. Given a seed it always fills them alike.
type filler struct {
	*lists
	r *rand.Rand
}

func pick[T any](r *rand.Rand, s []T) T { return s[r.IntN(len(s))] }

func (f *filler) fill(t template) sample {
	text := choice.ReplaceAllStringFunc(t.text, func(s string) string {
		return pick(f.r, strings.Split(s[1:len(s)-1], "|"))
	})
	if strings.Contains(text, "\n") && f.r.Float64() < 0.15 { // quoted, indented, listed
		prefix := pick(f.r, []string{"> ", "> ", ">> ", "| ", "  ", "\t", "* ", "- ", "# ", "// ", "?? ", ": "})
		text = prefix + strings.ReplaceAll(text, "\n", "\n"+prefix)
	}
	var w writer
	at := 0
	for _, m := range slot.FindAllStringSubmatchIndex(text, -1) {
		w.plain(text[at:m[0]])
		f.slot(&w, text[m[2]:m[3]])
		at = m[1]
	}
	w.plain(text[at:])
	return w.sample(t.group)
}

func (f *filler) slot(w *writer, name string) {
	r := f.r
	switch name {
	case "P":
		w.mark("PERSON", f.person())
	case "F":
		w.mark("PERSON", f.given(f.locale()))
	case "L":
		w.mark("PERSON", f.family(f.locale()))
	case "I":
		w.plain(string(rune('A' + r.IntN(26))))
	case "T":
		w.mark("TITLE", f.honour())
	case "J":
		w.mark("TITLE", f.occupation())
	case "C":
		w.mark("LOCATION", f.town())
	case "K":
		w.mark("LOCATION", f.land())
	case "S":
		w.mark("LOCATION", f.region())
	case "SC":
		w.mark("LOCATION", pick(r, f.states)[1])
	case "CC":
		w.mark("LOCATION", pick(r, f.codes))
	case "N":
		w.mark("NRP", pick(r, f.demonyms)[0])
	case "NP":
		w.mark("NRP", pick(r, f.demonyms)[1])
	case "O":
		w.mark("ORGANIZATION", f.organisation())
	case "A":
		f.mark(w, "STREET_ADDRESS", f.address())
	case "ST":
		w.mark("STREET_ADDRESS", f.streetName())
	case "AA":
		f.whole(w)
	case "Z":
		w.mark("ZIP_CODE", f.zipCode())
	case "W":
		w.plain(f.product())
	case "v":
		w.plain(pick(r, f.plain["verb"]))
	case "u":
		w.plain(pick(r, f.plain["noun"]))
	case "j":
		w.plain(pick(r, f.plain["adjective"]))
	case "D":
		w.plain(titled(pick(r, f.plain[pick(r, []string{"noun", "noun", "adjective"})])))
	case "fonts", "acronym", "zone", "server", "client":
		w.plain(pick(r, f.plain[name]))
	case "day":
		w.plain(pick(r, strings.Fields("Mon Tue Wed Thu Fri Sat Sun Monday Tuesday Wednesday Thursday Friday Saturday Sunday")))
	case "month":
		w.plain(pick(r, strings.Fields("Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec January February March April June July August September October November December")))
	case "host":
		w.plain(f.host())
	case "hex":
		w.plain(f.hex(8 + r.IntN(8)))
	case "hex4":
		w.plain(f.hex(4))
	default:
		f.other(w, name)
	}
}

func (f *filler) mark(w *writer, kind, s string) { w.mark(kind, strings.TrimSpace(s)) }

func (f *filler) locale() string {
	if f.r.Float64() < 0.3 {
		return pick(f.r, []string{"en_US", "en_US", "en_GB"})
	}
	return pick(f.r, f.locales)
}

func (f *filler) given(locale string) string { return f.one(f.first[locale]) }

func (f *filler) family(locale string) string {
	if f.r.Float64() < 0.12 {
		return pick(f.r, f.last["census.dist.all.last"])
	}
	return f.one(f.last[locale])
}

// one picks a name; now and then it makes one up of the halves of two, so that
// names that are on no list are learnt by their endings.
func (f *filler) one(names []string) string {
	name := pick(f.r, names)
	if f.r.Float64() < 0.5 {
		name = romanize(name)
	}
	if f.r.Float64() < 0.12 {
		a, b := []rune(name), []rune(pick(f.r, names))
		if len(a) > 4 && len(b) > 4 && script(a[0]) == script(b[0]) {
			name = string(a[:len(a)/2]) + strings.ToLower(string(b[len(b)/2:]))
		}
	}
	return name
}

func script(r rune) *unicode.RangeTable {
	for _, t := range []*unicode.RangeTable{unicode.Latin, unicode.Greek, unicode.Cyrillic} {
		if unicode.Is(t, r) {
			return t
		}
	}
	return nil
}

func (f *filler) person() string {
	locale, r := f.locale(), f.r
	a, b := f.given(locale), f.family(locale)
	initial := func() string { return string([]rune(f.given(locale))[:1]) }
	latin := strings.HasPrefix(locale, "nl") || strings.HasPrefix(locale, "de") || strings.HasPrefix(locale, "es") || strings.HasPrefix(locale, "fr") || strings.HasPrefix(locale, "it") || strings.HasPrefix(locale, "pt") || strings.HasPrefix(locale, "en")
	switch v := r.IntN(100); {
	case v < 52:
		return a + " " + b
	case v < 57:
		return a + " " + initial() + ". " + b
	case v < 61:
		return a + " " + initial() + " " + b
	case v < 65:
		return a + " " + b + "-" + f.family(locale)
	case v < 69:
		return a + " " + f.given(locale) + " " + b
	case v < 71:
		return a + "-" + f.given(locale) + " " + b
	case v < 75:
		return a + " " + b + " " + f.family(locale)
	case v < 77:
		return initial() + ". " + b
	case v < 78:
		return initial() + "." + initial() + ". " + b
	case v < 80:
		return a + " " + b + pick(r, []string{" Jr.", " Sr.", " II", " III", " IV", ", Jr."})
	case v < 83 && latin:
		return a + " " + pick(r, []string{"van", "van der", "van den", "de", "de la", "von", "von der", "zu", "di", "da", "dos", "del", "le", "ter", "bin", "al", "Mc", "O'", "ben"}) + " " + b
	case v < 85:
		return a + pick(r, []string{" \"", " '"}) + f.given(locale) + pick(r, []string{"\" ", "' "}) + b
	case v < 91:
		return a
	case v < 96:
		return b
	}
	return a + " " + b
}

func (f *filler) honour() string {
	r := f.r
	if r.Float64() < 0.8 {
		return pick(r, []string{"Mr.", "Mrs.", "Ms.", "Dr.", "Miss", "Mr", "Mrs", "Ms", "Dr", "Mr.", "Mrs.", "Ms.", "Dr.", "Prof.", "Prof", "Sir", "Madam"})
	}
	locale := pick(r, slices.Sorted(maps.Keys(f.prefix)))
	if known(f.prefix[locale][0]) {
		return pick(r, f.prefix[locale])
	}
	return "Mx."
}

func (f *filler) occupation() string {
	if f.r.Float64() < 0.8 {
		return pick(f.r, f.job["en_US"])
	}
	return pick(f.r, f.job[pick(f.r, slices.Sorted(maps.Keys(f.job)))])
}

// town is a place, large ones more often.
func (f *filler) town() string {
	r := f.r
	c := f.cities[r.IntN([]int{300, 3000, 30000, len(f.cities), len(f.cities)}[r.IntN(5)])]
	name := c.name
	switch v := r.Float64(); {
	case v < 0.06 && (c.country == "GR" || c.country == "CY" || c.country == "RU" || c.country == "UA" || c.country == "BG" || c.country == "RS"):
	case v < 0.05:
		locale := pick(r, slices.Sorted(maps.Keys(f.city)))
		name = pick(r, f.city[locale])
	}
	if strings.Contains(" GR CY RU UA BG RS BY ", " "+c.country+" ") && r.Float64() < 0.6 {
		for _, other := range c.others {
			if s := script(first(other)); s != unicode.Latin && s != nil && (s == unicode.Greek) == (c.country == "GR" || c.country == "CY") {
				name = other
				break
			}
		}
	}
	if strings.Contains(" GR CY FI HU EE ", " "+c.country+" ") && r.Float64() < 0.3 || r.Float64() < 0.06 {
		name = strings.ToUpper(name)
	}
	if r.Float64() < 0.02 {
		name += pick(r, []string{" N", " V", " K", " S", " City", " (Nord)", " am See"})
	}
	return name
}

func (f *filler) land() string {
	if f.r.Float64() < 0.08 {
		return pick(f.r, []string{"USA", "UK", "U.S.", "US", "UAE", "EU", "U.K.", "England", "Scotland", "Wales", "America", "Europe", "Asia", "Africa", "Holland", "Korea"})
	}
	if f.r.Float64() < 0.08 {
		return pick(f.r, f.country[pick(f.r, slices.Sorted(maps.Keys(f.country)))])
	}
	return pick(f.r, f.countries)
}

func (f *filler) region() string {
	switch f.r.IntN(4) {
	case 0:
		return pick(f.r, f.regions)
	case 1:
		return pick(f.r, f.states)[1]
	}
	return pick(f.r, f.states)[0]
}

func (f *filler) organisation() string {
	r := f.r
	english := func() string { return f.family("en_US") }
	switch v := r.IntN(100); {
	case v < 24:
		return plainCompany(pick(r, f.listed), r)
	case v < 40:
		return pick(r, f.company[pick(r, slices.Sorted(maps.Keys(f.company)))])
	case v < 55:
		switch r.IntN(4) {
		case 0:
			return english() + ", " + english() + " and " + english()
		case 1:
			return english() + pick(r, []string{" Ltd", " PLC", " Inc", " LLC", " Group", " and Sons", " GmbH", " AG", " S.A.", " AB", " Oy", " B.V."})
		case 2:
			return english() + "-" + english()
		}
		return english() + pick(r, []string{" & ", " and "}) + english()
	case v < 75:
		return f.brand() + pick(r, []string{"", "", "", " Inc.", " Ltd", " Labs", " Software", " Systems", " Health", " Analytics", " Capital", " Technologies", " Insurance", " Solutions", " Group", " Media", " Data", " Associates", " Partners", " Energy", " Networks", ".com", " Research", " Services", " Insights"})
	case v < 83:
		return pick(r, []string{"University of ", "Bank of ", "Port of ", "Museum of ", "City of ", "Institute of ", "Royal Society of "}) + f.town()
	case v < 90:
		return f.town() + pick(r, []string{" University", " Hospital", " Airport", " Museum", " FC", " United", " Council", " High School", " Bank", " Airlines", " Police Department", " Institute of Technology", " Times"})
	case v < 94:
		return pick(r, []string{"Ministry of Health", "Department of Justice", "Federal Reserve", "World Bank", "United Nations", "European Commission", "Red Cross", "Supreme Court", "Congress", "Senate", "NATO", "FBI", "NASA", "WHO", "BBC", "CNN", "IBM", "SAP", "UNICEF", "Interpol", "Greenpeace", "Microsoft", "Google", "Amazon", "Apple", "Siemens", "Toyota", "Oracle", "Intel", "Nokia", "Sony", "Yahoo", "Reuters", "Boeing", "Airbus", "Volvo", "Shell", "HSBC", "AT&T", "Walmart", "Vodafone", "Facebook", "Twitter"})
	}
	return f.patron() + pick(r, []string{" Memorial Hospital", " Clinic", " Medical Center", " Pharmacy", " Elementary School", " Trust", " Foundation"})
}

// patron is what hospitals and schools are named after.
func (f *filler) patron() string {
	if f.r.IntN(2) == 0 {
		return f.town()
	}
	return pick(f.r, []string{"St. ", "Saint ", "Mount ", "Good "}) + pick(f.r, []string{"Mary's", "Luke's", "Sinai", "Samaritan", "John's", "Anna"})
}

// plainCompany is a listed company as people write it: often without its legal
// form, and hardly ever all in capitals.
func plainCompany(name string, r *rand.Rand) string {
	if strings.ToUpper(name) == name && r.Float64() < 0.85 {
		name = titled(strings.ToLower(name))
	}
	if r.Float64() < 0.6 {
		for _, tail := range []string{" Co., Ltd.", ", Inc.", " Inc.", " Inc", " Limited", " Ltd.", " Ltd", " Corporation", " Corp.", " Corp", " AG", " plc", " PLC", " S.A.", " SA", " SE", " ASA", " AB", " Co", " N.V.", " Berhad", " Company", " Holdings", " Group"} {
			if s, ok := strings.CutSuffix(name, tail); ok && len(s) > 2 {
				name = s
			}
		}
	}
	return strings.TrimRight(name, " .,")
}

func titled(s string) string {
	up := true
	return strings.Map(func(r rune) rune {
		if up {
			r = unicode.ToUpper(r)
		}
		up = !unicode.IsLetter(r) && r != '\''
		return r
	}, s)
}

// brand makes up the name of a firm: syllables, words run together, initials.
func (f *filler) brand() string {
	r := f.r
	syllable := func() string {
		return pick(r, strings.Fields("al an ar av ax be bio bri ca ce cen chi clo co cor cu da del di do dy ec el en er ev ex fac fi flo fu gen gle go gra hex hi hu in io ix ja jo ka kin la le li lo lu ma me mi mo na ne no nu ob on or pa pe pi po pro pu qua que ra re ri ro ru sa se si so spi sta su sy ta te ti to tra tri tu un va ve vi vo wa we xa xi ya yo za ze zi zo"))
	}
	part := func() string {
		return pick(r, strings.Fields("Data Cloud Net Soft Health Care Home Food Car Smart Open Blue Green Red Clear Bright Fast First Prime Pro Quick Safe Sky Sun Star Social Trust True Up Urban Vital Web Wise World Zen Air Art Ever Farm Fin Game Gene Geo Gold Grid Job Key Land Law Life Light Link Live Loop Map Mark Med Mind Move Nova Ocean Path Pay Peak Plan Point Power Pulse Real Rock Room Sage Scout Shift Sight Sense Solar Sound Source Spark Spot Stack Stock Stone Stream Table Tech Tide Time Track Trade Trans Tree Truck Vault View Vision Voice Wave Way Wealth Well Wind Wire Yard"))
	}
	switch r.IntN(10) {
	case 0, 1, 2:
		s := ""
		for range 2 + r.IntN(2) {
			s += syllable()
		}
		return titled(s)
	case 3, 4:
		return part() + part()
	case 5:
		return part() + strings.ToLower(part())
	case 6, 7:
		return part() + " " + part()
	case 8:
		s := ""
		for range 2 + r.IntN(3) {
			s += string(rune('A' + r.IntN(26)))
		}
		return s
	}
	return titled(syllable()+syllable()) + " " + part()
}

func (f *filler) product() string {
	return pick(f.r, strings.Fields("Linux Windows Python Java Excel Word Outlook Firefox Chrome Safari Android Docker Postgres MySQL Apache Perl Ruby Kernel Debian Ubuntu Photoshop PowerPoint Netscape Mozilla Emacs JavaScript HTML XML SpamAssassin Razor Procmail Sendmail Playstation Walkman Bluetooth Internet Ethernet Pentium Athlon Quicktime Flash Acrobat Kubernetes Terraform Jenkins Slack Teams Zoom Battery Hamlet Titanic Frozen Halloween Easter Ramadan Jurassic Renaissance Baroque Gothic Jazz Rock Opera Catch Twenty"))
}

// street fills one of the patterns of streets.
func (f *filler) street() string {
	r := f.r
	country := pick(r, slices.Sorted(maps.Keys(f.patterns)))
	if r.Float64() < 0.2 {
		country = pick(r, []string{"US", "US", "GB"})
	}
	stems := f.stems[country]
	if stems == nil {
		stems = f.stems["US"]
	}
	locale := f.localeOf(country)
	return slotOrNumber.ReplaceAllStringFunc(pick(r, f.patterns[country]), func(s string) string {
		switch s[1 : len(s)-1] {
		case "L":
			return f.family(locale)
		case "F":
			return f.given(locale)
		case "P":
			return f.given(locale) + " " + f.family(locale)
		case "C":
			return f.townOf(country)
		case "t":
			return pick(r, strings.Fields("Street St St. Road Rd Rd. Avenue Ave Ave. Lane Ln Drive Dr Boulevard Blvd Court Ct Place Pl Square Way Close Crescent Highway Parkway Circle Cir Trail Terrace Alley Row Walk Gardens Grove Mews Hill Loop Bend Path Crossing Pike Plaza Run Hollow Heights Ridge Glen"))
		case "w":
			return pick(r, append(stems, f.family("en_US")))
		case "d":
			return pick(r, strings.Fields("North South East West N S E W NE NW SW N. S. Old New Upper Lower Great Little"))
		case "o":
			return pick(r, strings.Fields("First Second Third Fourth Fifth Sixth 1st 2nd 3rd 4th 5th 12th 21st 42nd 115th"))
		case "x":
			return string(rune('a' + r.IntN(6)))
		case "n":
			if r.Float64() < 0.25 {
				return f.family(locale)
			}
			return pick(r, stems)
		case "N":
			if r.Float64() < 0.25 {
				return f.townOf(country)
			}
			return pick(r, stems)
		case "#":
			return f.number()
		}
		return s
	})
}

var slotOrNumber = regexp.MustCompile(`\{[A-Za-z#]\}`)

func (f *filler) localeOf(country string) string {
	for _, locale := range f.locales {
		if strings.HasSuffix(locale, "_"+country) && f.r.IntN(3) > 0 {
			return locale
		}
	}
	return f.locale()
}

func (f *filler) townOf(country string) string {
	for range 40 {
		if c := f.cities[f.r.IntN(60000)]; c.country == country {
			return c.name
		}
	}
	return f.town()
}

func (f *filler) number() string {
	r := f.r
	n := fmt.Sprint(1 + r.IntN([]int{30, 200, 3000, 99999}[min(3, r.IntN(8)/2)]))
	if r.Float64() < 0.06 {
		n += string(rune('a' + r.IntN(5)))
	}
	if r.Float64() < 0.03 {
		n += "-" + fmt.Sprint(1+r.IntN(90))
	}
	if r.Float64() < 0.03 {
		n = "0" + n
	}
	return n
}

func (f *filler) unit() string {
	return pick(f.r, []string{"Apt.", "Suite", "Apt", "Unit", "Flat", "Floor", "#", "Room", "Ste", "Bldg."}) + " " + fmt.Sprintf("%0*d", 1+f.r.IntN(3), 1+f.r.IntN(900))
}

// address is a street with its number, and a flat now and then.
func (f *filler) address() string {
	r := f.r
	var s string
	switch v := r.IntN(100); {
	case v < 25:
		s = f.listedStreet()
	case v < 28:
		s = fmt.Sprintf("%s %d, Box %d\n%s %s", pick(r, []string{"PSC", "Unit", "CMR", "USS", "USNS"}), r.IntN(10000), r.IntN(10000),
			pick(r, []string{"APO", "FPO", "DPO"}), pick(r, []string{"AA ", "AE ", "AP "})+fmt.Sprintf("%05d", r.IntN(100000)))
		if r.IntN(2) == 0 {
			s = strings.Replace(s, ",", "", 1)
		}
		return s
	case v < 31:
		return pick(r, []string{"P.O. Box ", "PO Box ", "Postbox ", "Postfach ", "Box ", "BP ", "Apartado ", "C.P. ", "Postboks "}) + f.number()
	case v < 33:
		return "the corner of " + f.streetName() + " and " + f.streetName()
	case v < 35:
		return f.streetName()
	case v < 38: // a crossing
		return pick(r, []string{f.streetName(), f.given(f.locale()), f.family(f.locale())}) + pick(r, []string{" and ", " and ", " & "}) + f.street()
	default:
		s = f.street()
	}
	if r.Float64() < 0.22 {
		s = fmt.Sprint(1+r.IntN(99999)) + pick(r, []string{" ", " ", "\n", ", "}) + s
	}
	if r.Float64() < 0.2 {
		s += pick(r, []string{" ", " ", ", ", "\n", "\n ", "\n    "}) + f.unit()
	} else if r.Float64() < 0.03 {
		s = f.unit() + pick(r, []string{" ", ", ", "\n"}) + s
	}
	return s
}

// listedStreet is one that sources.py drew, in a script that the tagger is for.
func (f *filler) listedStreet() string {
	for range 20 {
		s := pick(f.r, f.lists.street[pick(f.r, slices.Sorted(maps.Keys(f.lists.street)))])
		if known(strings.TrimLeft(s, "0123456789 #/-.,")) && !strings.Contains(s, "\n") {
			if f.r.IntN(2) == 0 {
				return romanize(s)
			}
			return s
		}
	}
	return f.street()
}

// streetName is a street without its number.
func (f *filler) streetName() string {
	s := strings.Trim(digitsIn.ReplaceAllString(f.street(), ""), " ,./")
	if s == "" {
		return "Main Street"
	}
	return s
}

var digitsIn = regexp.MustCompile(`\b(Flat|Unit|No:?|nr\.|д\.|кв\.|apto|ap\.)? ?[0-9]+[a-z]?(-[0-9]+)?\b\.?`)

func (f *filler) zipCode() string {
	r := f.r
	switch r.IntN(8) {
	case 0, 1:
		return fmt.Sprintf("%05d", r.IntN(100000))
	case 2:
		return fmt.Sprintf("%04d", r.IntN(10000))
	case 3:
		return fmt.Sprintf("%05d-%04d", r.IntN(100000), r.IntN(10000))
	case 4:
		return fmt.Sprintf("%03d %02d", r.IntN(1000), r.IntN(100))
	case 5:
		return fmt.Sprintf("%06d", r.IntN(1000000))
	}
	return pick(r, f.zip[pick(r, slices.Sorted(maps.Keys(f.zip)))])
}

// whole writes an address as countries order it, on one line or several. Street,
// town and postal code in one go are one thing; a town alone behind a street is
// a place of its own.
func (f *filler) whole(w *writer) {
	r := f.r
	street := strings.TrimSpace(f.address())
	sep := pick(r, []string{", ", ", ", "\n", "\n", " ", "\n ", ",\n"})
	var rest string
	switch r.IntN(10) {
	case 0, 1, 2: // American
		region := pick(r, f.states)[1]
		if r.IntN(3) == 0 {
			region = pick(r, f.codes)
		}
		rest = f.town() + pick(r, []string{", ", ", ", "\n, ", " "}) + region + pick(r, []string{" ", " ", "\n "}) + f.zipCode()
	case 3, 4: // continental
		rest = f.zipCode() + " " + f.town()
	case 5:
		rest = f.town() + pick(r, []string{" ", ", ", "\n"}) + f.zipCode()
	case 6, 7, 8:
		rest = f.town() + pick(r, []string{", ", "\n", "\n ", " "}) + f.land()
		if r.IntN(2) == 0 {
			rest += " " + f.zipCode()
		}
	default:
		f.mark(w, "STREET_ADDRESS", street)
		w.plain(pick(r, []string{", ", ", ", "\n", " in "}))
		w.mark("LOCATION", f.town())
		return
	}
	if r.IntN(4) == 0 {
		rest += pick(r, []string{", ", "\n", "\n "}) + f.land()
	}
	w.mark("STREET_ADDRESS", street+sep+rest)
}

// other writes what recognisers find.
func (f *filler) other(w *writer, name string) {
	r := f.r
	digit := func(n int) string {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte('0' + r.IntN(10))
		}
		return string(b)
	}
	month := pick(r, strings.Fields("January February March April May June July August September October November December Jan Feb Mar Apr Jun Jul Aug Sep Oct Nov Dec"))
	day := pick(r, strings.Fields("Monday Tuesday Wednesday Thursday Friday Saturday Sunday Mon Tue Wed Thu Fri"))
	switch name {
	case "email":
		user := pick(r, []string{strings.ToLower(romanize(f.given("en_US"))), "info", "jsmith" + digit(2), strings.ToLower(f.given("de_DE") + "." + f.family("de_DE"))})
		w.mark("EMAIL_ADDRESS", user+"@"+pick(r, []string{"example.com", "mail.org", "gmail.com", "netnoteinc.com", "web.de"}))
	case "phone":
		w.mark("PHONE_NUMBER", pick(r, []string{"+1-" + digit(3) + "-" + digit(3) + "-" + digit(4), "(" + digit(3) + ") " + digit(3) + "-" + digit(4), "0" + digit(3) + " " + digit(6), "+49 " + digit(3) + " " + digit(7), digit(2) + "-" + digit(2) + "-" + digit(2) + "-" + digit(2), digit(3) + "-" + digit(3) + "-" + digit(4)}))
	case "date":
		w.mark("DATE_TIME", pick(r, []string{month + " " + digit(1) + ", 20" + digit(2), "1" + digit(1) + " " + month + " 20" + digit(2), day, day + ", 2 " + month + " 2002", "19" + digit(2), "20" + digit(2) + "-0" + digit(1) + "-1" + digit(1), "1" + digit(1) + "/" + digit(2) + "/19" + digit(2), "20" + digit(2) + "-0" + digit(1) + "-1" + digit(1) + " 12:" + digit(2) + ":" + digit(2), "1" + digit(1) + "." + digit(1) + ".20" + digit(2), month}))
	case "time":
		w.mark("DATE_TIME", pick(r, []string{"1" + digit(1) + ":3" + digit(1), digit(1) + " pm", "noon"}))
	case "card":
		w.mark("CREDIT_CARD", pick(r, []string{"4" + digit(15), "3" + digit(14), "4" + digit(3) + " " + digit(4) + " " + digit(4) + " " + digit(4)}))
	case "iban":
		w.mark("IBAN_CODE", pick(r, []string{"GB", "DE", "FR"})+digit(20))
	case "ip":
		w.mark("IP_ADDRESS", digit(2)+"."+digit(2)+"."+digit(2)+"."+digit(2))
	case "url":
		w.mark("URL", pick(r, []string{"https://www.", "http://", "www.", ""})+strings.ToLower(strings.ReplaceAll(f.brand(), " ", ""))+pick(r, []string{".com", ".org", ".com.br/", ".net/index.html"}))
	case "age":
		w.mark("AGE", fmt.Sprint(18+r.IntN(70)))
	case "money":
		w.plain(pick(r, []string{"$", "€", "USD ", "£"}) + digit(3) + pick(r, []string{"", ",000", ".50", " million"}))
	default:
		w.plain(f.number())
	}
}

func first(s string) rune {
	for _, r := range s {
		return r
	}
	return 0
}

// host is the name of a machine, as a recogniser may miss it.
func (f *filler) host() string {
	host := pick(f.r, f.plain["noun"])
	if f.r.IntN(3) > 0 {
		host += "." + pick(f.r, f.plain["noun"]) + pick(f.r, []string{".com", ".org", ".net", ".ie", ".de", ".com.br"})
	}
	return host
}

// hex is what programs number things with.
func (f *filler) hex(n int) string {
	alphabet := pick(f.r, []string{"0123456789ABCDEF", "0123456789abcdef", "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"})
	b := make([]byte, n)
	for i := range b {
		b[i] = alphabet[f.r.IntN(len(alphabet))]
	}
	return string(b)
}
