package scan

import (
	"errors"
	"fmt"
	"strings"

	"github.com/redoubt-ml/redoubt"
)

// maxNames bounds the lists of imports and calls in a report.
const maxNames = 1000

// report records a finding with the instructions that led to it.
func (m *machine) report(v Verdict, severity redoubt.Severity, rule string, at int64, format string, args ...any) {
	f := m.f.add(v, severity, rule, at, format, args...)
	if f.Rule == "" {
		return
	}
	for i := m.steps + 1; i <= m.steps+8; i++ {
		if s := m.ring[i&7]; s.op != 0 && s.at <= at {
			f.Trace = append(f.Trace, fmt.Sprintf("%d %s", s.at, names[s.op]))
		}
	}
}

// resolve is what importing a name gives. The import is judged once a name.
func (m *machine) resolve(module, name string, at int64) *value {
	if m.proto < 3 { // fix_imports is the default of every loader
		if to, ok := renamed[module+":"+name]; ok {
			module, name, _ = strings.Cut(to, ":")
		} else if to, ok := moved[module]; ok {
			module = to
		}
	}
	v := m.value(kGlobal)
	v.text = module + ":" + name
	if m.seen[v.text] {
		return v
	}
	m.seen[v.text] = true
	if len(m.f.Imports) < maxNames {
		m.f.Imports = append(m.f.Imports, clean(v.text))
	}
	switch why := forbids(module, name); {
	case allowed()[v.text] != nil: // an exact name outweighs its module
	case why != "":
		m.report(Unsafe, redoubt.Critical, "pickle/forbidden", at, "imports %s.%s: %s", module, name, why)
	default:
		m.report(Unproven, redoubt.Medium, "pickle/unknown-name", at, "imports %s.%s, which is not on the allow-list", module, name)
	}
	return v
}

func (m *machine) global(op byte, at int64) error {
	if op == 'c' {
		line, long1, err := m.c.line()
		if err != nil {
			return err
		}
		first := string(line)
		name, long2, err := m.c.line()
		if err != nil {
			return err
		}
		if first == "" || len(name) == 0 {
			return errors.New("an empty name")
		}
		if long1 || long2 {
			m.computedName(at)
			return nil
		}
		m.push(m.resolve(first, string(name), at))
		return nil
	}
	name, err := m.pop()
	if err != nil {
		return err
	}
	module, err := m.pop()
	if err != nil {
		return err
	}
	for _, v := range []*value{module, name} {
		switch {
		case v.kind == kObject && v.text == "" || v.kind == kPersistent || v.kind == kStr && v.part:
			m.computedName(at)
			return nil
		case v.kind != kStr: // no allowed call gives text
			return errors.New("a name must be text")
		}
	}
	m.push(m.resolve(module.text, name.text, at))
	return nil
}

func (m *machine) computedName(at int64) {
	m.report(Unproven, redoubt.High, "pickle/computed-name", at, "imports a name that is computed while loading or too long to be one")
	m.push(m.value(kObject))
}

// extension is a name that stands in the loading process's registry of copyreg:
// what it means cannot be known from the file.
func (m *machine) extension(op byte, at int64) error {
	code, err := m.uint(int(widths[op]))
	if err != nil {
		return err
	}
	if code == 0 || op == 0x84 && int32(code) < 0 {
		return fmt.Errorf("no extension has the code %d", int32(code))
	}
	m.report(Unproven, redoubt.High, "pickle/extension", at, "imports extension %d, whose meaning the loading process decides", code)
	m.push(m.value(kObject))
	return nil
}

func (m *machine) reduce(at int64) error {
	args, err := m.pop()
	if err != nil {
		return err
	}
	callee, err := m.pop()
	if err != nil {
		return err
	}
	v, err := m.call(callee, args, nil, func(e *entry) []shape { return e.calls }, at)
	if err == nil {
		m.push(v)
	}
	return err
}

// newObject is NEWOBJ and NEWOBJ_EX: cls.__new__(cls, *args, **kwargs).
func (m *machine) newObject(op byte, at int64) error {
	var kw *value
	var err error
	if op == 0x92 {
		if kw, err = m.pop(); err != nil {
			return err
		}
	}
	args, err := m.pop()
	if err != nil {
		return err
	}
	class, err := m.pop()
	if err != nil {
		return err
	}
	v, err := m.call(class, args, kw, func(e *entry) []shape { return e.news }, at)
	if err == nil {
		m.push(v)
	}
	return err
}

// instance is INST and OBJ, which make an old-style instance: by __new__ alone
// when there are no arguments, and by a call otherwise.
func (m *machine) instance(op byte, at int64) error {
	i, err := m.mark()
	if err != nil {
		return err
	}
	var class *value
	if op == 'o' {
		if i >= len(m.stack) {
			return errUnderflow
		}
		class = m.stack[i]
	}
	args := m.value(kTuple)
	items := m.cut(i)
	if op == 'o' {
		items = items[1:]
	} else {
		if err := m.global('c', at); err != nil {
			return err
		}
		if class, err = m.pop(); err != nil {
			return err
		}
	}
	args.items = items
	shapes := func(e *entry) []shape { return e.calls }
	if len(items) == 0 {
		shapes = func(e *entry) []shape { return append(e.news[:len(e.news):len(e.news)], e.calls...) }
	}
	v, err := m.call(class, args, nil, shapes, at)
	if err == nil {
		m.push(v)
	}
	return err
}

// call judges one call: the callee's name must be on the allow-list with
// arguments of this shape.
func (m *machine) call(callee, args, kw *value, shapes func(*entry) []shape, at int64) (*value, error) {
	result := m.value(kObject)
	switch callee.kind {
	case kGlobal:
	case kObject, kPersistent:
		m.report(Unproven, redoubt.High, "pickle/computed-callee", at, "calls %s, which is itself the result of a call", callee)
		return result, nil
	default:
		return nil, fmt.Errorf("a %s cannot be called", kindNames[callee.kind])
	}
	if args.kind != kTuple && args.kind != kObject {
		return nil, fmt.Errorf("the arguments are a %s, not a tuple", kindNames[args.kind])
	}
	if !m.seen["call "+callee.text] && len(m.f.Calls) < maxNames {
		m.seen["call "+callee.text] = true
		m.f.Calls = append(m.f.Calls, clean(callee.text))
	}
	module, name, _ := strings.Cut(callee.text, ":")
	e := allowed()[callee.text]
	if why := forbids(module, name); e == nil && why != "" {
		m.report(Unsafe, redoubt.Critical, "pickle/forbidden-call", at, "calls %s.%s%s: %s", module, name, shapeOf(args.items), why)
		return result, nil
	}
	if e == nil {
		m.report(Unproven, redoubt.High, "pickle/unknown-call", at, "calls %s.%s%s, which is not on the allow-list", module, name, shapeOf(args.items))
		return result, nil
	}
	s := find(shapes(e), args.items)
	if s == nil || args.part || args.kind != kTuple || kw != nil && (kw.kind != kDict || kw.part || len(kw.items) > 0) {
		m.report(Unproven, redoubt.High, "pickle/call-shape", at, "calls %s.%s%s, which is not how it is called in models", module, name, shapeOf(args.items))
		return result, nil
	}
	result.items = args.items
	if callee.text == "torch.storage:_load_from_bytes" {
		m.storageBytes(args.items[0])
	}
	switch s.result {
	case "":
		result.text = callee.text
	case "arg0":
		result.text = args.items[0].text
	default:
		result.text = s.result
	}
	return result, nil
}

// build is BUILD: it calls __setstate__ of the instance, or fills its __dict__.
func (m *machine) build(at int64) error {
	state, err := m.pop()
	if err != nil {
		return err
	}
	v, err := m.top()
	if err != nil {
		return err
	}
	switch v.kind {
	case kGlobal:
		m.report(Unsafe, redoubt.Critical, "pickle/rebind", at, "sets attributes of %s itself, for the whole process", strings.Replace(v.text, ":", ".", 1))
		return nil
	case kObject, kPersistent:
	default:
		return fmt.Errorf("a %s has no state", kindNames[v.kind])
	}
	e := allowed()[v.text]
	if v.kind != kObject || e == nil || find(e.builds, []*value{state}) == nil {
		m.report(Unproven, redoubt.High, "pickle/build-shape", at, "sets the state of %s from %s, which is not on the allow-list", v, shapeOf([]*value{state}))
		return nil
	}
	if key := dunder(state); key != "" {
		m.report(Unproven, redoubt.High, "pickle/build-shape", at, "sets %q of %s", key, v)
	}
	if !m.frozen {
		if v.instance == nil {
			v.instance = &instance{}
		}
		v.state = state
	}
	return m.arrays(v, at)
}

// dunder finds an attribute with a name such as __class__ in a state.
func dunder(state *value) string {
	switch state.kind {
	case kDict:
		for i := 0; i < len(state.items); i += 2 {
			if k := state.items[i]; k.kind == kStr && strings.HasPrefix(k.text, "__") && strings.HasSuffix(k.text, "__") {
				return k.text
			}
		}
	case kTuple:
		for _, part := range state.items {
			if part.kind == kDict {
				if key := dunder(part); key != "" {
					return key
				}
			}
		}
	}
	return ""
}

// method judges a method that APPEND, SETITEM and ADDITEMS call on what is not
// a plain container.
func (m *machine) method(v *value, name string, may func(*entry) bool, at int64) {
	if e := allowed()[v.text]; v.kind == kObject && e != nil && may(e) {
		return
	}
	verdict, severity := Unproven, redoubt.High
	if v.kind == kGlobal {
		verdict, severity = Unsafe, redoubt.Critical
	}
	m.report(verdict, severity, "pickle/method", at, "calls %s of %s", name, v)
}

// persistent is what the loader makes of an id. Only PyTorch's storages have a
// meaning that is known.
func (m *machine) persistent(id *value, at int64) *value {
	v := m.value(kPersistent)
	v.items = []*value{id}
	if m.legacy && id.kind == kTuple && len(id.items) == 4 && id.items[0].kind == kStr && id.items[0].text == "module" && id.items[1].kind == kGlobal {
		return id.items[1] // a class with its source, which is only compared
	}
	if m.src.torch == nil && !m.legacy {
		m.report(Unproven, redoubt.High, "pickle/persistent-id", at, "asks the loader for an object of its own choice (persistent id)")
		return v
	}
	if why := m.storage(id); why != "" {
		m.report(Unproven, redoubt.High, "pickle/persistent-id", at, "names a storage in a way that PyTorch does not: %s", why)
	}
	m.ordered = append(m.ordered, v)
	return v
}

func (m *machine) outOfBand(at int64) {
	m.report(Unproven, redoubt.High, "pickle/buffer", at, "takes a buffer from outside the file")
}

func (m *machine) frameCrossed(at int64) {
	m.report(Unproven, redoubt.High, "pickle/frame", at, "a frame does not end where an instruction does: CPython's two unpicklers read such a file differently")
}

func (m *machine) tooHeavy() {
	m.report(Unproven, redoubt.High, "pickle/expansion", m.c.offset(), "a few containers hold one another so often that visiting them would not end")
}

func (m *machine) misplacedProto(at int64) {
	m.report(Unproven, redoubt.Medium, "pickle/protocol", at, "the protocol is changed in the middle, which no pickler does")
}

// nested runs bytes or text that would itself be a pickle. Nothing loads them
// by itself; but nothing honest carries one that calls what is forbidden.
func (m *machine) nested(v *value) {
	if v.num < 6 || names[v.text[0]] == "" || v.text[0] == '.' {
		return
	}
	if v.text[0] != 0x80 && !mayImport(v.text) {
		return
	}
	m.within(&source{path: m.src.path, r: m.src.r, size: v.at + v.num, depth: m.src.depth}, v.at, v)
}

// mayImport says whether bytes hold what every import needs: a newline after a
// name, STACK_GLOBAL or one of the extensions.
func mayImport(s string) bool {
	for i := range len(s) {
		switch s[i] {
		case '\n', 0x93, 0x82, 0x83, 0x84:
			return true
		}
	}
	return false
}

// nestedText is nested for text with escapes, which is not in the file as such.
func (m *machine) nestedText(v *value) {
	if v.num < 6 || v.part || names[v.text[0]] == "" || !mayImport(v.text) {
		return
	}
	m.within(&source{path: m.src.path, r: strings.NewReader(v.text), size: v.num, depth: m.src.depth}, 0, v)
}

func (m *machine) within(src *source, off int64, v *value) {
	inner := newMachine(m.s, &File{}, src, off)
	if inner.steps, inner.depth = m.steps, m.depth+1; inner.depth > m.s.limits.Depth {
		m.report(Unproven, redoubt.High, "limit", v.at, "pickles lie more than %d deep in one another", m.s.limits.Depth)
		return
	}
	if !v.part {
		inner.c.buf = []byte(v.text)
	}
	began := inner.steps
	_, err := inner.run()
	m.steps += inner.steps - began - (inner.steps-began)%8 // the ring of the trace stays aligned
	if inner.f.Verdict == "" || err != nil && len(inner.f.Calls) == 0 && v.text[0] != 0x80 {
		return
	}
	worst := inner.f.Findings[0]
	for _, f := range inner.f.Findings {
		if f.Severity > worst.Severity {
			worst = f
		}
	}
	m.report(inner.f.Verdict, worst.Severity, "pickle/nested", v.at, "holds another pickle as data, which %s", worst.Message)
}
