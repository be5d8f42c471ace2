package scan

import (
	"embed"
	"fmt"
	"slices"
	"strings"
	"sync"
)

//go:embed allow/*.txt
var allowFiles embed.FS

// entry is an allowed name and what may be done with it. Importing it is
// always allowed.
type entry struct {
	calls  []shape // REDUCE, and INST and OBJ with arguments
	news   []shape // NEWOBJ, and INST and OBJ without arguments
	builds []shape // BUILD of an instance with a state
	items  bool    // SETITEM on an instance
	append bool    // APPEND on an instance
	add    bool    // ADDITEMS on an instance
}

// shape is the arguments of an allowed call, and what it gives.
type shape struct {
	args   []arg
	rest   bool   // the last argument may be repeated or absent
	least  int    // arguments before the first optional one
	result string // class of the result; "arg0" is the class that argument names
}

// arg is the alternatives of one argument: a kind; module:name for what a call
// of it gave, ref(module:name) for the name itself; 'text' for just that text;
// class for what may be made by NEWOBJ; storage, zero-shape and any.
type arg []string

// allowed is the allow-list, and forbidden the reason against each module or
// name that is never right in a model. Both are read once from folder allow.
var (
	allowed   = sync.OnceValue(func() map[string]*entry { return readAllow(allowFiles) })
	forbidden = sync.OnceValue(func() map[string]string { return readPairs("allow/forbidden.txt") })
)

// readAllow reads every allow/pickle-*.txt. A mistake in them is a bug of this
// package, which its tests find.
func readAllow(fs embed.FS) map[string]*entry {
	out := map[string]*entry{}
	for _, name := range textFiles("pickle-") {
		spec := ""
		for n, line := range lines(name) {
			if strings.HasPrefix(line, "[") {
				_, spec, _ = strings.Cut(line, "]")
				continue
			}
			key, own, _ := strings.Cut(line, " ")
			if strings.TrimSpace(own) == "" {
				own = spec
			}
			e, err := parseEntry(own)
			if err != nil || out[key] != nil || !strings.Contains(key, ":") {
				panic(fmt.Sprintf("%s: entry %d, %q: %v", name, n+1, line, err))
			}
			out[key] = e
		}
	}
	return out
}

func textFiles(prefix string) (names []string) {
	dir, err := allowFiles.ReadDir("allow")
	if err != nil {
		panic(err)
	}
	for _, d := range dir {
		if strings.HasPrefix(d.Name(), prefix) {
			names = append(names, "allow/"+d.Name())
		}
	}
	return names
}

// lines is a file without its comments and empty lines.
func lines(name string) (out []string) {
	b, err := allowFiles.ReadFile(name)
	if err != nil {
		panic(err)
	}
	for line := range strings.Lines(string(b)) {
		line, _, _ = strings.Cut(line, "#")
		if line = strings.TrimSpace(line); line != "" {
			out = append(out, line)
		}
	}
	return out
}

// readPairs reads lines of a name and what is said about it.
func readPairs(name string) map[string]string {
	out := map[string]string{}
	for _, line := range lines(name) {
		key, about, _ := strings.Cut(line, " ")
		out[key] = strings.TrimSpace(about)
	}
	return out
}

// parseEntry reads "call(int, str?)=m:n new() build(dict) items".
func parseEntry(spec string) (*entry, error) {
	e := &entry{}
	for spec = strings.TrimSpace(spec); spec != ""; spec = strings.TrimSpace(spec) {
		n := strings.IndexAny(spec, " (")
		if n < 0 {
			n = len(spec)
		}
		word := spec[:n]
		spec = spec[n:]
		var list *[]shape
		switch word {
		case "items":
			e.items = true
			continue
		case "append":
			e.append = true
			continue
		case "add":
			e.add = true
			continue
		case "call":
			list = &e.calls
		case "new":
			list = &e.news
		case "build":
			list = &e.builds
		default:
			return nil, fmt.Errorf("unknown word %q", word)
		}
		end := closing(spec)
		if end < 0 {
			return nil, fmt.Errorf("no closing bracket in %q", spec)
		}
		s, err := parseShape(spec[1:end])
		if err != nil {
			return nil, err
		}
		spec = spec[end+1:]
		if strings.HasPrefix(spec, "=") {
			s.result, spec, _ = strings.Cut(spec[1:], " ")
		}
		*list = append(*list, s)
	}
	return e, nil
}

// closing is where the bracket that opens s is closed, -1 if nowhere.
func closing(s string) int {
	depth := 0
	for i, c := range s {
		switch c {
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				return i
			}
		}
	}
	return -1
}

func parseShape(list string) (s shape, err error) {
	if strings.TrimSpace(list) == "" {
		return s, nil
	}
	for word := range strings.SplitSeq(list, ",") {
		word = strings.TrimSpace(word)
		if w, ok := strings.CutSuffix(word, "*"); ok {
			word, s.rest = w, true
		} else if w, ok := strings.CutSuffix(word, "?"); ok {
			word = w
		} else if s.least < len(s.args) {
			return s, fmt.Errorf("%q follows an optional argument", word)
		} else {
			s.least++
		}
		a := arg(strings.Split(word, "|"))
		for _, alternative := range a {
			if !strings.Contains(alternative, ":") && !strings.HasPrefix(alternative, "'") && !slices.Contains(kindNames[:], alternative) && !slices.Contains([]string{"any", "class", "storage", "zero-shape"}, alternative) {
				return s, fmt.Errorf("unknown argument %q", alternative)
			}
		}
		s.args = append(s.args, a)
	}
	return s, nil
}

// match says whether the arguments have the shape.
func (s *shape) match(args []*value) bool {
	if len(args) < s.least || len(args) > len(s.args) && !s.rest {
		return false
	}
	for i, v := range args {
		if !s.args[min(i, len(s.args)-1)].match(v) {
			return false
		}
	}
	return true
}

func (a arg) match(v *value) bool {
	for _, word := range a {
		ref, isRef := strings.CutPrefix(word, "ref(")
		switch {
		case word == "any":
			return true
		case word[0] == '\'':
			if v.kind == kStr && !v.part && v.text == strings.Trim(word, "'") {
				return true
			}
		case word == "zero-shape": // (0,), so that nothing is allocated
			if v.kind == kTuple && len(v.items) == 1 && v.items[0].kind == kInt && v.items[0].num == 0 {
				return true
			}
		case word == "storage":
			if v.kind == kPersistent || v.kind == kObject && v.text == "torch:Storage" {
				return true
			}
		case word == "class":
			if e := allowed()[v.text]; v.kind == kGlobal && e != nil && len(e.news) > 0 {
				return true
			}
		case isRef:
			if v.isGlobal(strings.TrimSuffix(ref, ")")) {
				return true
			}
		case strings.Contains(word, ":"):
			if v.kind == kObject && v.text == word {
				return true
			}
		case kindNames[v.kind] == word:
			return true
		}
	}
	return false
}

// find is the first of the shapes that the arguments have.
func find(shapes []shape, args []*value) *shape {
	for i := range shapes {
		if shapes[i].match(args) {
			return &shapes[i]
		}
	}
	return nil
}

// forbids gives the reason against a name of a module, empty if there is none
// on the list. A module's entry holds for all beneath it; a dotted name walks
// through attributes, and each of them may be a module.
func forbids(module, name string) string {
	list := forbidden()
	for m := module; ; {
		if why := list[m]; why != "" {
			return why
		}
		i := strings.LastIndexByte(m, '.')
		if i < 0 {
			break
		}
		m = m[:i]
	}
	if why := list[module+":"+name]; why != "" {
		return why
	}
	if !strings.Contains(name, ".") {
		return ""
	}
	for part := range strings.SplitSeq(name, ".") {
		if why := list[part]; why != "" {
			return why
		}
		if why := list["builtins:"+part]; why != "" {
			return why
		}
	}
	return ""
}
