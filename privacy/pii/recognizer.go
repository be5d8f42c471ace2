package pii

// A Recognizer finds one kind of data. Those of this package are in [All]; others
// may be made of Forms, Check and Context, or read by [Load].
type Recognizer struct {
	// Name tells it from others of the same Type: "us-ssn". Required.
	Name string
	// Type is what it finds, such as US_SSN. Required.
	Type string
	// Doc says what is found and whose definition it follows.
	Doc string

	// Forms are what it looks like: 9 is a digit, A a letter, X either, of ASCII
	// and in either case. A number in braces repeats what stands before it, as in
	// 9{8} and 9{8,17}. A space, hyphen, dot, slash, colon or parenthesis is itself, no-break
	// spaces and dashes of Unicode included; ~ is nothing, a space or a hyphen, the
	// same throughout a form. A form matches whole words only, and at most 64 bytes.
	Forms []string
	// Check judges what has one of the forms: how sure it is with no context, 0 for
	// no, and what spoke for it. Nil gives everything Score.
	Check func(m Match) (score float64, why string)
	// Score is what a match without a Check has.
	Score float64

	// Context are words that raise the score when they stand within eight words
	// before or three words after, or in the name of the part. They match whole
	// words in any case; several words match one after another.
	Context []string
	// Against are words that lower it.
	Against []string

	// on and find are for what has no fixed form: find is called at words or marks
	// that on names, and adds what it finds there.
	on    trigger
	words []string // for onWords: the words, in lower case
	find  func(v *view, at int)

	// knows are words that find asks for with lower; others read as "".
	knows []string
	// tail are marks that may follow a form and belong to something else.
	tail string
	expr []expression // of a user: see Load
}

// A Match is a part of a text that has one of a recogniser's forms.
type Match struct {
	Text  []byte // as it stands
	Plain []byte // its letters and digits alone, in upper case
}

// A trigger says where a recogniser is asked. The int that find gets is the index of
// a word for the first three, and of a byte for the others.
type trigger uint16

const (
	onNumber trigger = 1 << iota // a word that begins with a digit
	onLong                       // a word of 16 bytes and more
	onWords                      // a word of the list
	onHex                        // up to four hexadecimal digits and a colon, another such digit after it
	onAt                         // an at sign
	onScheme                     // a colon and two slashes
	onColons                     // two colons
)
