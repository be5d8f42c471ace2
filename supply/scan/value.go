package scan

import (
	"fmt"
	"strings"
)

// kind is what the machine knows a Python value to be.
type kind uint8

const (
	kNone kind = iota
	kBool
	kInt
	kFloat
	kStr
	kBytes
	kByteArray
	kTuple
	kList
	kDict
	kSet
	kFrozenSet
	kGlobal     // an imported name; text is "module:name"
	kObject     // what a call gave; text is the class, empty when not known
	kPersistent // what persistent_load gives; items[0] is the id
	kBuffer     // an out-of-band buffer
)

var kindNames = [...]string{"none", "bool", "int", "float", "str", "bytes", "bytearray", "tuple", "list", "dict", "set", "frozenset", "global", "object", "persistent", "buffer"}

// value is a Python value as far as verdicts and conversion need it. Long
// strings and large containers are known by their kind and length only. It is
// small: a pickle may make millions.
type value struct {
	kind kind
	part bool   // text or items are not all there
	text string // of strings and bytes; of globals and objects their name
	// num is an int's or bool's number, a string's length, and a container's
	// weight: how many values there would be if none were shared. Loaders that
	// hash, print or copy a value visit them all.
	num int64
	at  int64 // where the content of a string or bytes begins in the file
	// items are a tuple's or list's elements, a dict's keys and values in
	// turn, and the arguments an object was made from.
	items []*value
	*instance
}

// instance is what an object became after it was made.
type instance struct {
	state   *value // by BUILD
	entries *value // by SETITEM: a dict
}

// built is an object's state, nil if it has none.
func (v *value) built() *value {
	if v == nil || v.instance == nil {
		return nil
	}
	return v.state
}

// filled are an object's entries, nil if it has none.
func (v *value) filled() *value {
	if v.instance == nil {
		return nil
	}
	return v.entries
}

const (
	maxWeight = 1e9 // values that sharing may stand for

	maxText = 4 << 10 // of one string that is kept
	maxKept = 1 << 20 // pointers kept in containers, in all
)

func (v *value) isGlobal(name string) bool { return v.kind == kGlobal && v.text == name }

// get is a dict's value under a key of text, nil if absent.
func (v *value) get(key string) *value {
	if v == nil || v.kind != kDict {
		return nil
	}
	for i := len(v.items) - 2; i >= 0; i -= 2 {
		if k := v.items[i]; k.kind == kStr && !k.part && k.text == key {
			return v.items[i+1]
		}
	}
	return nil
}

// String is a value's shape in words, for messages.
func (v *value) String() string {
	switch v.kind {
	case kGlobal:
		return "ref(" + v.text + ")"
	case kObject:
		if v.text == "" {
			return "unknown"
		}
		return v.text
	case kStr:
		if !v.part && len(v.text) <= 24 {
			return fmt.Sprintf("%q", v.text)
		}
	case kInt:
		return fmt.Sprint(v.num)
	}
	return kindNames[v.kind]
}

func shapeOf(args []*value) string {
	words := make([]string, 0, 8)
	for i, a := range args {
		if i == 8 {
			words = append(words, "...")
			break
		}
		words = append(words, a.String())
	}
	return "(" + strings.Join(words, ", ") + ")"
}
