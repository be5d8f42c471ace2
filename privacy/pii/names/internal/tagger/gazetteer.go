package tagger

import "encoding/binary"

// What the gazetteer knows of a word. A word may be several things.
const (
	Given    uint16 = 1 << iota // a given name
	Surname                     // a family name
	Place                       // a word of the name of a town or region
	Country                     // a word of the name of a country
	Demonym                     // a nationality, religion or party
	Company                     // a word of the name of an organisation
	Legal                       // what shows that something is an organisation: Ltd, bank, university
	Street                      // what shows that something is a street: road, via, utca
	Honour                      // Mr, Dr, Frau
	Job                         // a word of the name of an occupation
	Common                      // an ordinary word of a language
	Frequent                    // one of the most ordinary, which is hardly ever a name
	Known                       // a name so common that it is one even where nothing speaks for it
	Major                       // a word of the name of a large town
)

// A Gazetteer is a set of words with classes.
type Gazetteer struct {
	index index
	words []byte // 2 bytes a slot: the classes
}

// Lookup gives the classes of a word, 0 for one that is not known.
func (g *Gazetteer) Lookup(hash uint32) uint16 {
	slot := g.index.find(hash)
	if slot < 0 {
		return 0
	}
	return binary.LittleEndian.Uint16(g.words[2*slot:])
}

// NewGazetteer makes a table of words by their hashes.
func NewGazetteer(words map[uint32]uint16) *Gazetteer {
	x := newIndex(len(words))
	g := &Gazetteer{x, make([]byte, 2*x.slots())}
	for _, hash := range sorted(words) {
		slot := x.add(hash)
		old := binary.LittleEndian.Uint16(g.words[2*slot:])
		binary.LittleEndian.PutUint16(g.words[2*slot:], old|words[hash])
	}
	return g
}
