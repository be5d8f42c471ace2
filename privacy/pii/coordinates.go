package pii

import "strconv"

// coordinates are places on earth: ISO 6709.
var coordinates = Recognizer{
	Name: "coordinates", Type: "COORDINATES", Doc: "latitude and longitude in decimal degrees, with three places or more (ISO 6709); told by context",
	on: onNumber,
	find: func(v *view, at int) {
		w := v.words[at]
		if w.len() > 2 || int(w.end) == len(v.text) || v.text[w.end] != '.' {
			return
		}
		start := int(w.start)
		if start > 0 && (v.text[start-1] == '-' || v.text[start-1] == '+') {
			start--
		}
		if start > 0 && (isAlnum(v.text[start-1]) || v.text[start-1] == '.') {
			return
		}
		lat, end, places := v.degrees(start)
		if places < 3 || lat > 90 || lat < -90 {
			return
		}
		i := end
		for i < len(v.text) && i-end < 3 && (v.text[i] == ',' || v.text[i] == ' ' || v.text[i] == ';') {
			i++
		}
		lon, end, more := v.degrees(i)
		if i == end || more < 3 || lon > 180 || lon < -180 || end < len(v.text) && (isAlnum(v.text[end]) || v.text[end] == '.' && end+1 < len(v.text) && isDigit(v.text[end+1])) {
			return
		}
		score := 0.2 // any two numbers in a table look so
		if places >= 4 && more >= 4 {
			score = 0.4
		}
		v.found(start, end, score, "are degrees of latitude and longitude")
	},
	Context: []string{"lat", "lon", "long", "lng", "latitude", "longitude", "gps", "coordinates", "coords", "geo", "location", "position", "latlng", "coordinate"},
}

// degrees reads a decimal number of up to 20 bytes.
func (v *view) degrees(start int) (value float64, end, places int) {
	end = start
	dot := -1
	for end < len(v.text) && end-start < 20 {
		b := v.text[end]
		if b == '.' && dot < 0 {
			dot = end
		} else if !isDigit(b) && !(end == start && (b == '-' || b == '+')) {
			break
		}
		end++
	}
	v.steps += end - start
	if dot < 0 {
		return 0, end, 0
	}
	value, err := strconv.ParseFloat(string(v.text[start:end]), 64)
	if err != nil {
		return 0, start, 0
	}
	return value, end, end - dot - 1
}
