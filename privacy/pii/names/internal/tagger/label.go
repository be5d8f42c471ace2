package tagger

// Types are what a token can belong to. Label 0 is none of them; label 2k+1
// begins a name of type k, label 2k+2 goes on with it.
var Types = [...]string{
	"PERSON", "LOCATION", "ORGANIZATION", "STREET_ADDRESS", "ZIP_CODE", "NRP", "TITLE",
}

// Labels is how many labels there are.
const Labels = 2*len(Types) + 1

// Begin is the label that begins a name of type k.
func Begin(k int) uint8 { return uint8(2*k + 1) }

// Inside is the label that goes on with a name of type k.
func Inside(k int) uint8 { return uint8(2*k + 2) }

// Type is the type of a label, -1 for none.
func Type(label uint8) int { return (int(label) - 1) >> 1 }

// begins tells whether a label begins a name.
func begins(label uint8) bool { return label&1 == 1 }

// Follows tells whether label b may come after label a.
func Follows(a, b uint8) bool {
	return b == 0 || begins(b) || a == b || a+1 == b
}
