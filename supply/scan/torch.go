package scan

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
)

// storageSizes are the bytes of an element of each of PyTorch's storage
// classes, under the names that pickles use.
var storageSizes = map[string]int64{
	"torch:DoubleStorage": 8, "torch:FloatStorage": 4, "torch:HalfStorage": 2, "torch:BFloat16Storage": 2,
	"torch:LongStorage": 8, "torch:IntStorage": 4, "torch:ShortStorage": 2, "torch:CharStorage": 1,
	"torch:ByteStorage": 1, "torch:BoolStorage": 1, "torch:ComplexDoubleStorage": 16, "torch:ComplexFloatStorage": 8,
	"torch:QUInt8Storage": 1, "torch:QInt8Storage": 1, "torch:QInt32Storage": 4, "torch:QUInt4x2Storage": 1, "torch:QUInt2x4Storage": 1,
	"torch.storage:UntypedStorage": 1, "torch:UntypedStorage": 1,
}

// storage says what is wrong with the persistent id of a storage, which is
// ("storage", class, key, location, elements), and one more in old files.
func (m *machine) storage(id *value) string {
	if id.kind != kTuple || len(id.items) < 5 || len(id.items) > 6 || id.items[0].kind != kStr || id.items[0].text != "storage" {
		return "the id is not that of a storage"
	}
	class, key, location, n := id.items[1], id.items[2], id.items[3], id.items[4]
	size, known := storageSizes[class.text]
	switch {
	case class.kind != kGlobal || !known:
		return "no class of storages"
	case key.kind != kStr || key.part || location.kind != kStr:
		return "key or location is no text"
	case n.kind != kInt || n.num < 0 || n.num > math.MaxInt64/size:
		return "no number of elements"
	case m.src.torch != nil:
		have, ok := m.src.torch[key.text]
		if !ok {
			return fmt.Sprintf("the archive has no storage %q", short(key.text))
		}
		if have < n.num*size {
			return fmt.Sprintf("storage %q has %d bytes, %d are named", short(key.text), have, n.num*size)
		}
	}
	return ""
}

// storageBytes scans the bytes of a storage as the PyTorch file that they are:
// torch.load gets them.
func (m *machine) storageBytes(b *value) {
	part := &source{path: fmt.Sprintf("%s!storage@%d", m.src.path, b.at), r: io.NewSectionReader(m.src.r, b.at, b.num), size: b.num, depth: m.src.depth + 1}
	if m.probing {
		return
	}
	f := m.s.examine(part)
	m.f.Verdict = worse(m.f.Verdict, f.Verdict)
}

// legacyStorages are the bytes of an element of each storage a pickle names.
func legacyStorages(ids []*value) map[string]int64 {
	out := map[string]int64{}
	for _, v := range ids {
		if id := v.items[0]; id.kind == kTuple && len(id.items) >= 5 {
			out[id.items[2].text] = storageSizes[id.items[1].text]
		}
	}
	return out
}

// legacyData passes over the storages that follow the list of their keys: for
// each the number of its elements, in eight bytes, and the elements. found is
// told where each lies.
func legacyData(src *source, off int64, keys *value, size map[string]int64, found func(key string, off, n int64)) error {
	if keys.kind != kList || keys.part {
		return errors.New("the list of storages is no list")
	}
	for _, key := range keys.items {
		each := size[key.text]
		if key.kind != kStr || each == 0 {
			return fmt.Errorf("storage %q is listed but not used", short(key.text))
		}
		b, err := src.read(off, 8)
		if err != nil {
			return fmt.Errorf("storage %q: %w", short(key.text), err)
		}
		n := int64(binary.LittleEndian.Uint64(b))
		if off += 8; n < 0 || n > (src.size-off)/each {
			return fmt.Errorf("storage %q of %d elements is cut short", short(key.text), n)
		}
		if found != nil {
			found(key.text, off, n*each)
		}
		off += n * each
	}
	if off != src.size {
		return errors.New("bytes follow after the last storage")
	}
	return nil
}

// torchArchive looks for the layout of torch.save since 1.6: one folder with
// data.pkl and, beneath data/, the storages. prefix is that folder.
func torchArchive(entries []*zipEntry) (prefix string, storages map[string]int64, script bool) {
	for _, e := range entries {
		if p, ok := strings.CutSuffix(e.name, "data.pkl"); ok && strings.Count(e.name, "/") <= 1 {
			prefix, storages = p, map[string]int64{}
		}
	}
	if storages == nil {
		return "", nil, false
	}
	for _, e := range entries {
		if key, ok := strings.CutPrefix(e.name, prefix+"data/"); ok && !strings.Contains(key, "/") {
			storages[key] = e.size
		}
		script = script || strings.HasPrefix(e.name, prefix+"code/") || e.name == prefix+"constants.pkl"
	}
	return prefix, storages, script
}
