package pii

import (
	"slices"
	"strings"
)

// dateTime is dates and times, dates of birth among them.
var dateTime = Recognizer{
	Name: "date-time", Type: DateTime,
	Doc: "dates, days of the week, years and times as people write them; stamps that machines write, with seconds and a zone, need context",
	on:  onNumber | onWords,
	knows: strings.Fields("de del of at gmt utc est edt pst pdt cst cdt mst mdt cet cest bst ist in since until till during circa year born founded early late mid by before after spring summer " +
		"autumn winter seit jahr jahre anno année depuis año desde dal nel ano rok roku sinds copyright c from to class a the"),
	words: append(slices.Concat(months[:]...), append(weekdays, shortDays...)...),
	find: func(v *view, at int) {
		d := dateReader{v: v, i: int(v.words[at].start)}
		w := v.words[at]
		if int(w.start) < v.dated {
			return // in a date that was read already
		}
		if n := w.len(); w.kind&digit != 0 && (n > 4 || n == 3 && w.kind == digit) {
			return // not a day, a month, an hour or a year
		}
		if w.start > 0 && (v.text[w.start-1] == '_' || v.text[w.start-1] == '@' || v.text[w.start-1] == '$') || v.gluedLeft(at) {
			return
		}
		score, why := d.read(at)
		end := d.i
		v.steps += end - int(w.start)
		if score == 0 || end < len(v.text) && (isAlnum(v.text[end]) || glued(v.text, end)) {
			return
		}
		v.dated = end
		v.found(int(w.start), end, score, why)
	},
	Context: []string{"born", "birth", "birthday", "birthdate", "dob", "dateofbirth", "geboren", "geburtsdatum", "geburtstag", "né", "née", "naissance", "nacido", "nacida",
		"nacimiento", "nascita", "nato", "nata", "nascimento", "geboortedatum", "urodzenia", "född", "født", "syntymäaika", "рождения", "出生", "생년월일", "生年月日"},
}

// months are the names of each month in several languages, with the forms that are
// short.
var months = [12][]string{
	{"january", "jan", "januar", "janvier", "enero", "gennaio", "janeiro", "januari"},
	{"february", "feb", "februar", "février", "febrero", "febbraio", "fevereiro", "februari"},
	{"march", "mar", "märz", "mars", "marzo", "março", "maart"},
	{"april", "apr", "avril", "abril", "aprile"},
	{"may", "mai", "mayo", "maggio", "maio", "mei"},
	{"june", "jun", "juni", "juin", "junio", "giugno", "junho"},
	{"july", "jul", "juli", "juillet", "julio", "luglio", "julho"},
	{"august", "aug", "août", "agosto", "augustus", "augusti"},
	{"september", "sep", "sept", "septembre", "septiembre", "settembre", "setembro"},
	{"october", "oct", "oktober", "octobre", "octubre", "ottobre", "outubro", "okt"},
	{"november", "nov", "novembre", "noviembre", "novembro"},
	{"december", "dec", "dezember", "décembre", "diciembre", "dicembre", "dezembro", "dez"},
}

var weekdays = []string{"monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"}
var shortDays = []string{"mon", "tue", "tues", "wed", "thu", "thur", "thurs", "fri", "sat", "sun"}

// A dateReader reads on from i. Its methods move i behind what they read, or leave it
// where it is.
type dateReader struct {
	v       *view
	i       int
	machine bool // has a zone: programs write those
}

func (d *dateReader) at(b byte) bool {
	if d.i < len(d.v.text) && d.v.text[d.i] == b {
		d.i++
		return true
	}
	return false
}

// number reads from low to top digits, and not more.
func (d *dateReader) number(low, top int) (n, length int) {
	text := d.v.text
	j := d.i
	for j < len(text) && isDigit(text[j]) && j-d.i <= top {
		n = n*10 + int(text[j]-'0')
		j++
	}
	if length = j - d.i; length < low || length > top {
		return 0, 0
	}
	d.i = j
	return n, length
}

// try undoes what f read when it says no.
func (d *dateReader) try(f func() bool) bool {
	i := d.i
	if f() {
		return true
	}
	d.i = i
	return false
}

func year(n, length int) bool { return length == 4 && n >= 1850 && n <= 2099 }

// read reads what begins with the word at.
func (d *dateReader) read(at int) (float64, string) {
	w := d.v.words[at]
	switch {
	case w.kind&digit == 0:
		return d.named(at)
	case d.try(d.yearFirst):
		if d.try(d.clock) && d.machine {
			return 0.3, "is a stamp with a zone"
		}
		return 0.75, "is a date"
	case d.try(d.yearLast):
		if d.try(d.clock) && d.machine {
			return 0.3, "is a stamp with a zone"
		}
		return 0.75, "is a date"
	case d.try(func() bool { return d.dayMonth(at) }):
		if d.try(d.clock) && d.machine {
			return 0.3, "is a stamp with a zone"
		}
		return 0.7, "names a day of a month"
	case d.try(d.time):
		if half := d.try(d.half); half {
			return 0.6, "is a time of day"
		}
		return 0.3, "is a time of day"
	case d.try(func() bool { _, n := d.number(1, 2); return n > 0 && d.try(d.half) }):
		return 0.6, "is a time of day"
	case w.kind == digit && w.len() == 4:
		return d.bareYear(at)
	}
	return 0, ""
}

// yearFirst reads 1978-04-13 and the like.
func (d *dateReader) yearFirst() bool {
	y, n := d.number(4, 4)
	if !year(y, n) || d.i >= len(d.v.text) {
		return false
	}
	sep := d.v.text[d.i]
	if sep != '-' && sep != '/' && sep != '.' {
		return false
	}
	d.i++
	m, n := d.number(1, 2)
	if n == 0 || !d.at(sep) {
		return false
	}
	day, n := d.number(1, 2)
	return n > 0 && monthDay(m, day)
}

// yearLast reads 4/13/1978, 13.4.1978, 13-04-1978 and, with slashes or dots, 13/4/78.
func (d *dateReader) yearLast() bool {
	a, n := d.number(1, 2)
	if n == 0 || d.i >= len(d.v.text) {
		return false
	}
	sep := d.v.text[d.i]
	if sep != '-' && sep != '/' && sep != '.' {
		return false
	}
	d.i++
	b, n := d.number(1, 2)
	if n == 0 || !d.at(sep) {
		return false
	}
	if !monthDay(a, b) && !monthDay(b, a) {
		return false
	}
	y, n := d.number(2, 4)
	return year(y, n) || n == 2 && sep == '/'
}

// word is the word that begins at i, in lower case, and its end.
func (d *dateReader) word() (string, int) {
	k := d.v.wordAt(d.i)
	if int(d.v.words[k].start) != d.i {
		return "", d.i
	}
	return d.v.lower(k), int(d.v.words[k].end)
}

// month reads the name of one.
func (d *dateReader) month() bool {
	name, end := d.word()
	if name == "" || monthNumber[name] == 0 {
		return false
	}
	d.i = end
	return true
}

// monthNumber is a month by its name.
var monthNumber = func() map[string]int {
	m := map[string]int{}
	for i, names := range months {
		for _, n := range names {
			m[n] = i + 1
		}
	}
	return m
}()

// spaces skips two of them, or the end of a line that the next one continues, as
// headers of mail do.
func (d *dateReader) spaces() {
	top := 2
	for n := 0; n < top; n++ {
		if n < 2 && top == 2 && d.at('\n') {
			top = 12
		} else if !d.at(' ') && !d.at('\t') {
			break
		}
	}
}

// yearAfter reads a year behind a month, with what may stand between.
func (d *dateReader) yearAfter() bool {
	return d.try(func() bool {
		d.at('.')
		d.at(',')
		if !d.at('-') {
			d.spaces()
		}
		if name, end := d.word(); name == "de" || name == "del" || name == "of" {
			d.i = end
			d.spaces()
		}
		if d.at('\'') {
			_, n := d.number(2, 2)
			return n == 2
		}
		return year(d.number(4, 4))
	})
}

// dayMonth reads 13 April 1978, 13th of April, 13-Apr-1978.
func (d *dateReader) dayMonth(at int) bool {
	day, n := d.number(1, 2)
	if n == 0 || day == 0 || day > 31 {
		return false
	}
	if name, _ := d.word(); name == "" && d.i < int(d.v.words[at].end) { // 13th
		switch string(d.v.text[d.i:min(d.i+2, len(d.v.text))]) {
		case "st", "nd", "rd", "th", "ST", "ND", "RD", "TH":
			d.i += 2
		default:
			return false
		}
	}
	d.at('.')
	hyphen := d.at('-') || d.at('/')
	d.spaces()
	if name, end := d.word(); name == "of" || name == "de" {
		d.i = end
		d.spaces()
	}
	if !d.month() {
		return false
	}
	return d.yearAfter() || !hyphen
}

// named reads what begins with the name of a day or a month.
func (d *dateReader) named(at int) (float64, string) {
	name := d.v.lower(at)
	d.i = int(d.v.words[at].end)
	if monthNumber[name] > 0 {
		return d.monthFirst(name)
	}
	long := slices.Contains(weekdays, name)
	rest := d.try(func() bool { // Wed, 11 Sep 2002; Wednesday, September 11th; Wed Sep 11
		d.at('.')
		d.at(',')
		d.spaces()
		k := d.v.wordAt(d.i)
		if int(d.v.words[k].start) != d.i {
			return false
		}
		if d.v.words[k].kind&digit != 0 {
			return d.try(d.yearFirst) || d.try(d.yearLast) || d.try(func() bool { return d.dayMonth(k) })
		}
		name := d.v.lower(k)
		if monthNumber[name] == 0 {
			return false
		}
		d.i = int(d.v.words[k].end)
		score, _ := d.monthFirst(name)
		return score > 0
	})
	if rest && (d.machine || d.try(d.clock) && d.machine) {
		return 0.3, "is a stamp as programs write it"
	}
	if rest {
		return 0.75, "names a day"
	}
	if long {
		return 0.6, "is a day of the week"
	}
	return 0, ""
}

// monthFirst reads April 13th, 1978; April 1978; Apr 13.
func (d *dateReader) monthFirst(name string) (float64, string) {
	if d.try(func() bool {
		d.at('.')
		if !d.at('-') {
			d.spaces()
		}
		day, n := d.number(1, 2)
		if n == 0 || day == 0 || day > 31 {
			return false
		}
		if d.i+1 < len(d.v.text) && isLetter(d.v.text[d.i]) {
			switch string(d.v.text[d.i : d.i+2]) {
			case "st", "nd", "rd", "th":
				d.i += 2
			default:
				return false
			}
		}
		return !(d.i < len(d.v.text) && d.v.text[d.i] == ':')
	}) {
		if !d.yearAfter() {
			d.try(func() bool { // Sep 11 19:42:14 2002
				d.spaces()
				d.machine = d.time() && d.spaces1() && year(d.number(4, 4))
				return d.machine
			})
		} else {
			d.try(d.clock)
		}
		if d.machine {
			return 0.3, "is a stamp as programs write it"
		}
		return 0.7, "names a day of a month"
	}
	if d.yearAfter() {
		return 0.65, "names a month of a year"
	}
	return 0, ""
}

func (d *dateReader) spaces1() bool {
	i := d.i
	d.spaces()
	return d.i > i
}

// time reads 12:20, 12:20:39 and 12:20:39.123.
func (d *dateReader) time() bool {
	h, n := d.number(1, 2)
	if n == 0 || h > 24 || !d.at(':') {
		return false
	}
	m, n := d.number(2, 2)
	if n == 0 || m > 59 {
		return false
	}
	d.try(func() bool {
		if !d.at(':') {
			return false
		}
		s, n := d.number(2, 2)
		if n == 0 || s > 60 {
			return false
		}
		d.try(func() bool {
			_, n := 0, 0
			if d.at('.') || d.at(',') {
				_, n = d.number(1, 9)
			}
			return n > 0
		})
		return true
	})
	return true
}

// half reads am or pm.
func (d *dateReader) half() bool {
	d.at(' ')
	rest := d.v.text[d.i:min(d.i+4, len(d.v.text))]
	if len(rest) < 2 || lowerByte(rest[0]) != 'a' && lowerByte(rest[0]) != 'p' {
		return false
	}
	n := 2
	if lowerByte(rest[1]) != 'm' {
		if len(rest) < 4 || rest[1] != '.' || lowerByte(rest[2]) != 'm' || rest[3] != '.' {
			return false
		}
		n = 4
	}
	if d.i+n < len(d.v.text) && isAlnum(d.v.text[d.i+n]) {
		return false
	}
	d.i += n
	return true
}

// clock reads the time behind a date, and its zone.
func (d *dateReader) clock() bool {
	if !d.at('T') && !d.at('t') {
		d.at(',')
		if !d.spaces1() {
			return false
		}
		d.try(func() bool { name, end := d.word(); d.i = end; return name == "at" && d.spaces1() })
	}
	if !d.time() {
		return false
	}
	d.try(d.half)
	d.try(func() bool {
		if d.at('Z') {
			d.machine = true
			return true
		}
		d.spaces()
		if name, end := d.word(); slices.Contains([]string{"gmt", "utc", "est", "edt", "pst", "pdt", "cst", "cdt", "mst", "mdt", "cet", "cest", "bst", "ist"}, name) {
			d.i, d.machine = end, true
			return true
		}
		if !d.at('+') && !d.at('-') {
			return false
		}
		_, n := d.number(2, 4)
		if n == 2 && d.at(':') {
			_, n = d.number(2, 2)
		}
		d.machine = n == 4 || n == 2
		return d.machine
	})
	return true
}

// bareYear reads a year that the word before it says is one.
func (d *dateReader) bareYear(at int) (float64, string) {
	y, n := d.number(4, 4)
	before := d.v.lower(at - 1)
	if !year(y, n) || at == 0 || d.v.words[at].start-d.v.words[at-1].end > 2 {
		return 0, ""
	}
	switch before {
	case "in", "of", "since", "until", "till", "during", "circa", "year", "born", "founded", "early", "late", "mid", "by", "before", "after",
		"spring", "summer", "autumn", "winter", "seit", "jahr", "jahre", "anno", "année", "depuis", "año", "desde", "dal", "nel", "ano", "rok", "roku", "sinds":
		return 0.6, "is a year"
	case "copyright", "c", "from", "to", "class":
		return 0.35, "may be a year"
	case "a", "the":
		// "a 1979 film", not "the 2000 people"
		if y >= 1900 && y <= 2050 && y%100 != 0 {
			return 0.55, "is a year before a noun"
		}
	}
	return 0, ""
}
