package scan

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// checkpoint collects the tensors of a file.
type checkpoint struct {
	s       *scanner
	src     *source
	tensors []*view
	names   map[string]bool
	leftOut []string
	total   int64
	closers []func() error
	raw     io.ReaderAt // the pickle, whose bytes are the elements of arrays
	// storage finds the bytes of a PyTorch storage by its key.
	storage func(key string) (*io.SectionReader, error)
}

func (c *checkpoint) close() {
	for _, done := range c.closers {
		_ = done() // unnamed temporary files, which go with the process at the latest
	}
}

func (c *checkpoint) read() error {
	switch {
	case zipFormat.match(c.s, c.src):
		return c.readZip()
	case c.src.has(0, "\x93NUMPY"):
		return c.readNpy("tensor", c.src)
	case isPickle(c.s, c.src):
		return c.readPickle()
	}
	return errors.New("it is no PyTorch checkpoint, pickle, NPY or NPZ; 'redoubt scan' says what it is")
}

// add takes a tensor, within the limits on what comes out of what goes in: a
// view with strides of zero can show few bytes very often.
func (c *checkpoint) add(v *view) error {
	if err := v.check(); err != nil {
		return fmt.Errorf("tensor %q: %w", v.name, err)
	}
	if c.names[v.name] {
		return fmt.Errorf("two tensors would be called %q", v.name)
	}
	c.names[v.name] = true
	if c.total += v.bytes(); c.total < 0 || c.total > max(16<<20, c.s.limits.Ratio*c.src.size) || c.total > c.s.limits.Unpacked {
		return fmt.Errorf("its tensors unfold to more than %d times its size: %w; raise --limit-ratio if that is meant", c.s.limits.Ratio, errLimit)
	}
	c.tensors = append(c.tensors, v)
	return nil
}

func (c *checkpoint) skip(name string, v *value) {
	if len(c.leftOut) < maxNames {
		c.leftOut = append(c.leftOut, clean(name)+" ("+clean(v.String())+")")
	}
}

func (c *checkpoint) readZip() error {
	f := &File{Format: "zip"}
	entries, err := zipDirectory(c.s, c.src, f)
	if err != nil {
		return err
	}
	checkNames(f, entries)
	prefix, storages, script := torchArchive(entries)
	if script {
		return errors.New("it is TorchScript, whose tensors belong to a program; save the state_dict of the module instead")
	}
	byName := map[string]*zipEntry{}
	for _, e := range entries {
		byName[e.name] = e
		if e.end > 0 && e.method == 0 {
			zipStorage(c.s, c.src, f, e)
		}
	}
	if f.Verdict != "" {
		return fmt.Errorf("the archive is not sound: %s", f.Findings[0].Message)
	}
	if storages == nil {
		return c.readNpz(entries)
	}
	if e := byName[prefix+"byteorder"]; e != nil {
		b, err := c.member(e)
		if err != nil {
			return err
		}
		if order, err := io.ReadAll(io.LimitReader(b, 16)); err != nil || string(order) != "little" {
			return errors.New("its numbers are most significant byte first, which is not read")
		}
	}
	c.storage = func(key string) (*io.SectionReader, error) {
		e := byName[prefix+"data/"+key]
		if e == nil {
			return nil, fmt.Errorf("the archive has no storage %q", short(key))
		}
		return c.member(e)
	}
	b, err := c.member(byName[prefix+"data.pkl"])
	if err != nil {
		return err
	}
	c.raw = b
	m := newMachine(c.s, &File{}, &source{path: c.src.path, r: b, size: b.Size(), torch: storages}, 0)
	v, err := m.run()
	if err != nil {
		return err
	}
	return c.walk("", v, nil)
}

// member is the content of a member, unpacked where it is packed.
func (c *checkpoint) member(e *zipEntry) (*io.SectionReader, error) {
	if e.method == 0 {
		return io.NewSectionReader(c.src.r, e.data, e.size), nil
	}
	r, err := unzip(c.src, e)
	if err != nil {
		return nil, err
	}
	at, n, done, err := spool(&meter{s: c.s, r: r, packed: e.packed})
	if err != nil {
		return nil, fmt.Errorf("member %q: %w", e.name, err)
	}
	c.closers = append(c.closers, done)
	if n != e.size {
		return nil, fmt.Errorf("member %q has another size than the archive says", e.name)
	}
	return io.NewSectionReader(at, 0, n), nil
}

func (c *checkpoint) readNpz(entries []*zipEntry) error {
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.name, ".npy")
		if !ok {
			c.leftOut = append(c.leftOut, clean(e.name))
			continue
		}
		b, err := c.member(e)
		if err != nil {
			return err
		}
		if err := c.readNpy(name, &source{path: e.name, r: b, size: b.Size()}); err != nil {
			return err
		}
	}
	return nil
}

func (c *checkpoint) readNpy(name string, src *source) error {
	h, err := npyHeader(src, 0)
	if err != nil {
		return fmt.Errorf("array %q: %w", name, err)
	}
	dtype := numpyType(h.dtype)
	if dtype == "" {
		return fmt.Errorf("array %q has elements that safetensors does not have (%s)", name, short(h.descr))
	}
	if h.count > (src.size-h.data)/max(h.size, 1) {
		return fmt.Errorf("array %q is cut short", name)
	}
	return c.add(&view{name: name, dtype: dtype, size: h.size, shape: h.shape, strides: rowMajor(h.shape, h.fortran),
		data: io.NewSectionReader(src.r, h.data, src.size-h.data), big: h.big})
}

// numpyType is what safetensors calls a NumPy type, empty if it has none.
func numpyType(d dtype) string {
	return map[string]string{"f2": "F16", "f4": "F32", "f8": "F64", "i1": "I8", "i2": "I16", "i4": "I32", "i8": "I64",
		"u1": "U8", "u2": "U16", "u4": "U32", "u8": "U64", "b1": "BOOL", "c8": "C64"}[string(d.kind)+strconv.FormatInt(d.size, 10)]
}

// readPickle reads a plain pickle, or the five in a row of PyTorch before 1.6.
func (c *checkpoint) readPickle() error {
	c.raw = c.src.r
	off := int64(0)
	var object *value
	var sizes map[string]int64
	for n := 0; ; n++ {
		m := newMachine(c.s, &File{}, c.src, off)
		m.legacy = n == 3
		v, err := m.run()
		if err != nil {
			return err
		}
		off = m.c.offset()
		switch n {
		case 0:
			if v.kind != kInt || v.text != torchMagic {
				if m.joblib {
					return errors.New("it is written by joblib, whose arrays are not converted; save them as NPZ")
				}
				return c.walk("", v, nil)
			}
		case 3:
			object, sizes = v, legacyStorages(m.ordered)
		case 4:
			at := map[string]*io.SectionReader{}
			err := legacyData(c.src, off, v, sizes, func(key string, off, n int64) { at[key] = io.NewSectionReader(c.src.r, off, n) })
			if err != nil {
				return err
			}
			c.storage = func(key string) (*io.SectionReader, error) {
				if at[key] == nil {
					return nil, fmt.Errorf("the file has no storage %q", short(key))
				}
				return at[key], nil
			}
			return c.walk("", object, nil)
		}
	}
}

// walk goes through containers and objects down to the tensors. path are the
// values above, which a value may not be among.
func (c *checkpoint) walk(name string, v *value, path []*value) error {
	if len(path) > 64 || slices.Contains(path, v) {
		return fmt.Errorf("%q contains itself, or lies too deep", short(name))
	}
	path = append(path, v)
	below := func(key string) string {
		switch {
		case key == "_parameters" || key == "_buffers" || key == "_modules":
			return name
		case name == "":
			return key
		}
		return name + "." + key
	}
	if v.part && (v.kind == kDict || v.kind == kList || v.kind == kTuple) {
		return fmt.Errorf("%q has more values than are kept: %w", short(name), errLimit)
	}
	switch {
	case v.kind == kList || v.kind == kTuple:
		for i, item := range v.items {
			if err := c.walk(below(strconv.Itoa(i)), item, path); err != nil {
				return err
			}
		}
		return nil
	case v.kind == kDict:
		return c.walkDict(below, v, path)
	case v.kind != kObject:
		if name != "" {
			c.skip(name, v)
		}
		return nil
	}
	switch {
	case v.text == "torch:Tensor":
		return c.tensor(name, v)
	case v.text == "numpy:ndarray":
		return c.array(name, v)
	case v.filled() != nil: // a dict of some class; its attributes are not the model's
		return c.walkDict(below, v.filled(), path)
	case v.text == "collections:OrderedDict" && len(v.items) == 0:
		return nil
	case v.built() != nil && v.built().kind == kDict:
		return c.walkDict(below, v.built(), path)
	case v.text == "collections:OrderedDict" && len(v.items) == 1 && v.items[0].kind == kList: // protocol 0 and 1
		return c.walkPairs(below, v.items[0], path)
	}
	c.skip(name, v)
	return nil
}

func (c *checkpoint) walkDict(below func(string) string, v *value, path []*value) error {
	last := map[string]*value{}
	var order []string
	for i := 0; i+1 < len(v.items); i += 2 {
		key := ""
		switch k := v.items[i]; {
		case k.kind == kStr && !k.part:
			key = k.text
		case k.kind == kInt:
			key = strconv.FormatInt(k.num, 10)
		default:
			c.skip(below("?"), k)
			continue
		}
		if last[key] == nil {
			order = append(order, key)
		}
		last[key] = v.items[i+1]
	}
	for _, key := range order {
		if err := c.walk(below(key), last[key], path); err != nil {
			return err
		}
	}
	return nil
}

func (c *checkpoint) walkPairs(below func(string) string, list *value, path []*value) error {
	for _, pair := range list.items {
		if (pair.kind != kTuple && pair.kind != kList) || len(pair.items) != 2 || pair.items[0].kind != kStr {
			return errors.New("an OrderedDict is not made of keys and values")
		}
		if err := c.walk(below(pair.items[0].text), pair.items[1], path); err != nil {
			return err
		}
	}
	return nil
}

// torchTypes are what safetensors calls the elements of PyTorch's storages and
// types.
var torchTypes = map[string]string{
	"DoubleStorage": "F64", "FloatStorage": "F32", "HalfStorage": "F16", "BFloat16Storage": "BF16", "LongStorage": "I64",
	"IntStorage": "I32", "ShortStorage": "I16", "CharStorage": "I8", "ByteStorage": "U8", "BoolStorage": "BOOL", "ComplexFloatStorage": "C64",
	"float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16", "int64": "I64", "int32": "I32", "int16": "I16",
	"int8": "I8", "uint8": "U8", "uint16": "U16", "uint32": "U32", "uint64": "U64", "bool": "BOOL", "complex64": "C64",
	"float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2", "float8_e8m0fnu": "F8_E8M0",
}

// tensor reads what _rebuild_tensor_v2 and its relatives were called with:
// storage, offset, shape, strides, and for version 3 the type.
func (c *checkpoint) tensor(name string, v *value) error {
	if name == "" {
		name = "tensor"
	}
	if len(v.items) > 0 && v.items[0].kind == kObject && v.items[0].text == "torch:Tensor" { // a parameter
		return c.tensor(name, v.items[0])
	}
	if len(v.items) == 4 && v.items[0].isGlobal("torch._utils:_rebuild_tensor_v2") && v.items[2].kind == kTuple { // a subclass
		v = v.items[2]
	}
	a := v.items
	if len(a) < 4 || a[0].kind != kPersistent || a[1].kind != kInt || a[2].kind != kTuple || a[3].kind != kTuple {
		return fmt.Errorf("tensor %q is quantised, sparse or of a kind that is not converted", short(name))
	}
	if len(a) > 4 && a[4].kind == kTuple {
		return fmt.Errorf("tensor %q is quantised, which is not converted", short(name))
	}
	id := a[0].items[0]
	if id.kind != kTuple || len(id.items) < 5 || id.items[1].kind != kGlobal || id.items[2].kind != kStr {
		return fmt.Errorf("tensor %q has a storage that is not PyTorch's", short(name))
	}
	if len(id.items) > 5 && id.items[5].kind != kNone {
		return fmt.Errorf("tensor %q views its storage in the way of PyTorch 0.3, which is not converted", short(name))
	}
	kind := id.items[1].text
	if len(a) > 6 && a[6].kind == kGlobal {
		kind = a[6].text
	}
	dtype := torchTypes[kind[strings.LastIndexByte(kind, ':')+1:]]
	if dtype == "" {
		return fmt.Errorf("tensor %q has elements that safetensors does not have (%s)", short(name), short(kind))
	}
	data, err := c.storage(id.items[2].text)
	if err != nil {
		return fmt.Errorf("tensor %q: %w", short(name), err)
	}
	t := &view{name: name, dtype: dtype, size: safetensorsTypes[dtype] / 8, offset: a[1].num, data: data}
	for _, list := range []struct {
		from *value
		to   *[]int64
	}{{a[2], &t.shape}, {a[3], &t.strides}} {
		for _, d := range list.from.items {
			if d.kind != kInt || d.part {
				return fmt.Errorf("tensor %q has sizes that are no numbers", short(name))
			}
			*list.to = append(*list.to, d.num)
		}
	}
	return c.add(t)
}

// array reads the state of an ndarray: version, shape, type, order, and the
// elements as bytes.
func (c *checkpoint) array(name string, v *value) error {
	if name == "" {
		name = "tensor"
	}
	if v.built() == nil || v.built().kind != kTuple || len(v.built().items) != 5 {
		return fmt.Errorf("array %q has no state", short(name))
	}
	s := v.built().items
	d, ok := dtypeOf(s[2])
	n, fits := elements(s[1])
	dtype := numpyType(d)
	if !ok || dtype == "" || s[4].kind == kList {
		c.skip(name, v)
		return nil
	}
	raw := s[4]
	if raw.kind == kObject && raw.text == "_codecs:encode" {
		return fmt.Errorf("array %q is written as text, as Python 3 does in protocols 0 to 2; save it with protocol 3 or later", short(name))
	}
	if raw.kind != kBytes || !fits || n > raw.num/d.size || n*d.size != raw.num {
		return fmt.Errorf("array %q has another number of bytes than its shape asks for", short(name))
	}
	t := &view{name: name, dtype: dtype, size: d.size, data: io.NewSectionReader(c.raw, raw.at, raw.num), big: d.big}
	for _, dim := range s[1].items {
		t.shape = append(t.shape, dim.num)
	}
	t.strides = rowMajor(t.shape, s[3].num != 0)
	return c.add(t)
}
