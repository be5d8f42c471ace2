package pii

import "context"

// A Finding is a part of a text that is personal data or a secret.
type Finding struct {
	Start, End int     // bytes of the text that was scanned
	Type       string  // what it is, such as CREDIT_CARD
	Score      float64 // how sure that is, from 0 to 1
	Recognizer string  // the name of what found it
	Why        string  // what spoke for it, in a few words: "passes Luhn's check; after the word card"
}

// Types as Presidio names them, where it has the type.
const (
	Person        = "PERSON"
	Location      = "LOCATION" // countries, cities, regions
	Organization  = "ORGANIZATION"
	StreetAddress = "STREET_ADDRESS"
	ZipCode       = "ZIP_CODE"
	NRP           = "NRP" // nationality, religion or politics
	Title         = "TITLE"
	Age           = "AGE"
	DateTime      = "DATE_TIME"
)

// A Tagger finds names in running text: what no pattern and no check digit tells.
type Tagger interface {
	// Tag appends to found what it finds in text, in order of Start. The findings
	// that are already in found, in the same order, belong to recognisers that
	// were sure of them: a tagger reads them as one word each, and adds nothing
	// that overlaps them. It may be called by several goroutines at once.
	Tag(ctx context.Context, text []byte, found []Finding) ([]Finding, error)
}
