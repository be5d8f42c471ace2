package sign

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"github.com/zeebo/blake3"
	"golang.org/x/crypto/blake2b"

	"github.com/redoubt-ml/redoubt"
)

// The hash algorithms of the specification's registry.
const (
	SHA256  = "sha256"
	BLAKE2b = "blake2b" // 512 bits
	BLAKE3  = "blake3"  // 256 bits
)

var hashes = map[string]func() hash.Hash{
	SHA256: sha256.New,
	BLAKE2b: func() hash.Hash {
		h, _ := blake2b.New512(nil) // it fails for keys that are too long
		return h
	},
	BLAKE3: func() hash.Hash { return blake3.New() },
}

// Manifest is the list of what a model is made of: the predicate of OMS v1.0
// (sections 5.2 and 6.3).
type Manifest struct {
	// Name is the base name of the model's file or folder. It proves nothing.
	Name string
	// Algorithm is the hash of the resources: SHA256, BLAKE2b or BLAKE3.
	Algorithm string
	// ShardSize is the size of the pieces in bytes where files are hashed in
	// pieces, and 0 where they are hashed whole.
	ShardSize int64
	// Links is set when symbolic links were followed.
	Links bool
	// Ignored are paths, relative to the model, that were left out, with what lies
	// beneath them. They are not signed.
	Ignored []string
	// Resources are the files or pieces, sorted by name.
	Resources []Resource
	// Legacy is set of a manifest that was read from the format of the reference
	// implementation's version 0.2.
	Legacy bool

	single bool // made from a model that is a file
}

// Resource is a file, or a piece of one, and its digest.
type Resource struct {
	// Path is relative to the model, with slashes.
	Path string
	// Start and End are the piece's first byte and the one after its last; both
	// are 0 of a whole file.
	Start, End int64
	// Digest is in lower-case hexadecimal.
	Digest string
}

// name is how the predicate calls the resource.
func (m *Manifest) name(r Resource) string {
	if m.ShardSize == 0 {
		return r.Path
	}
	return fmt.Sprintf("%s:%d:%d", r.Path, r.Start, r.End)
}

// sort puts the resources in the order of section 6.4: by name, by code point,
// which for UTF-8 is by byte.
func (m *Manifest) sort() {
	slices.SortFunc(m.Resources, func(a, b Resource) int { return strings.Compare(m.name(a), m.name(b)) })
}

// Root is the root digest of section 6.5.1: SHA-256 over the digests in order.
// Attestations are about it.
func (m *Manifest) Root() redoubt.Digest { return rootOf(m.Resources) }

func rootOf(resources []Resource) redoubt.Digest {
	h := sha256.New()
	for _, r := range resources {
		b, _ := hex.DecodeString(r.Digest) // checked when the manifest was read or made
		h.Write(b)
	}
	return redoubt.Digest(hex.EncodeToString(h.Sum(nil)))
}

// Paths are the files of the manifest, sorted.
func (m *Manifest) Paths() []string {
	var out []string
	for _, r := range m.Resources {
		out = append(out, r.Path)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Check reads one file to its end and holds it against the manifest: an error of
// kind [Files] says that it is not the file that was signed. To load what was
// checked and nothing else, read it through an [io.TeeReader] and use the copy
// after Check has agreed. Where the manifest calls its only file ".", as the
// reference implementation does with a model that is one file, any name will do.
func (m *Manifest) Check(name string, r io.Reader) error {
	if m.nameless() {
		name = "."
	}
	var pieces []Resource
	for _, p := range m.Resources {
		if p.Path == name {
			pieces = append(pieces, p)
		}
	}
	if len(pieces) == 0 {
		return fail(Files, "%q is not in the manifest", name)
	}
	slices.SortFunc(pieces, func(a, b Resource) int { return int(min(max(a.Start-b.Start, -1), 1)) })
	for _, p := range pieces {
		var piece io.Reader = r
		if m.ShardSize > 0 {
			piece = io.LimitReader(r, p.End-p.Start)
		}
		h := hashes[m.Algorithm]()
		if _, err := io.CopyBuffer(h, piece, make([]byte, 1<<20)); err != nil {
			return fmt.Errorf("read %s: %w", name, err)
		}
		if hex.EncodeToString(h.Sum(nil)) != p.Digest {
			return fail(Files, "%q is not what was signed: its digest differs", name)
		}
	}
	if n, _ := io.ReadFull(r, make([]byte, 1)); n > 0 {
		return fail(Files, "%q is longer than what was signed", name)
	}
	return nil
}

// nameless reports whether the model is one file whose name was not signed.
func (m *Manifest) nameless() bool { return m.Resources[0].Path == "." }

// parseName reads a resource's name: a path, or a path and a range.
func parseName(name string, shard int64) (Resource, error) {
	if shard == 0 {
		return Resource{Path: name}, checkPath(name)
	}
	rest, end, ok := cutLast(name)
	path, start, ok2 := cutLast(rest)
	if !ok || !ok2 || end <= start || start%shard != 0 || end-start > shard {
		return Resource{}, fmt.Errorf("resource %q: want PATH:START:END with pieces of %d bytes", name, shard)
	}
	return Resource{Path: path, Start: start, End: end}, checkPath(path)
}

// cutLast splits at the last colon and reads what follows as a decimal number in
// its one spelling.
func cutLast(s string) (string, int64, bool) {
	i := strings.LastIndexByte(s, ':')
	if i < 0 {
		return "", 0, false
	}
	n, err := strconv.ParseInt(s[i+1:], 10, 64)
	return s[:i], n, err == nil && n >= 0 && strconv.FormatInt(n, 10) == s[i+1:]
}

// checkPath demands the canonical form of section 6.1.2.
func checkPath(p string) error {
	if !fs.ValidPath(p) || strings.ContainsRune(p, 0) {
		return fmt.Errorf("path %q: want a relative path in UTF-8 without empty, %q or %q parts", p, ".", "..")
	}
	return nil
}

// check is what every manifest must satisfy, whoever made it. The resources are
// sorted.
func (m *Manifest) check() error {
	if hashes[m.Algorithm] == nil {
		return fmt.Errorf("hash %q: want %s, %s or %s", m.Algorithm, SHA256, BLAKE2b, BLAKE3)
	}
	if len(m.Resources) == 0 {
		return fmt.Errorf("the manifest lists no files")
	}
	for _, p := range m.Ignored {
		if err := checkIgnored(p); err != nil {
			return err
		}
	}
	size := hashes[m.Algorithm]().Size()
	for i, r := range m.Resources {
		if r.Path == "." && r.Path != m.Resources[(i+1)%len(m.Resources)].Path {
			return fmt.Errorf("the manifest calls a file %q among others", ".")
		}
		if b, err := hex.DecodeString(r.Digest); err != nil || len(b) != size || strings.ToLower(r.Digest) != r.Digest {
			return fmt.Errorf("digest of %q: want %d bytes in lower-case hexadecimal", r.Path, size)
		}
		if i > 0 && m.name(r) == m.name(m.Resources[i-1]) {
			return fmt.Errorf("%q stands twice in the manifest", m.name(r))
		}
	}
	return m.checkPieces()
}

// checkPieces demands that pieces cover their files: every one is whole but the
// last, and none is missing.
func (m *Manifest) checkPieces() error {
	if m.ShardSize == 0 {
		return nil
	}
	type start struct {
		path string
		at   int64
	}
	starts, covered, ends := map[start]bool{}, map[string]int64{}, map[string]int64{}
	for _, r := range m.Resources {
		if starts[start{r.Path, r.Start}] {
			return fmt.Errorf("two pieces of %q begin at byte %d", r.Path, r.Start)
		}
		starts[start{r.Path, r.Start}] = true
		covered[r.Path] += r.End - r.Start
		ends[r.Path] = max(ends[r.Path], r.End)
	}
	for path, end := range ends {
		if covered[path] != end {
			return fmt.Errorf("pieces of %q: %d of its %d bytes are in the manifest", path, covered[path], end)
		}
	}
	return nil
}

// checkIgnored demands the form of section 6.2.1.
func checkIgnored(p string) error {
	if p == "." || checkPath(p) != nil {
		return fmt.Errorf("ignored path %q: want a path relative to the model", p)
	}
	if strings.ContainsAny(p, "*?[") {
		return fmt.Errorf("ignored path %q: patterns are not allowed, name each path", p)
	}
	return nil
}

// differences says how two lists of one kind differ, the first few of them.
func (m *Manifest) differences(actual *Manifest) error {
	want := map[string]string{}
	for _, r := range m.Resources {
		want[m.name(r)] = r.Digest
	}
	var lines []string
	for _, r := range actual.Resources {
		name := m.name(r)
		digest, listed := want[name]
		delete(want, name)
		switch {
		case !listed:
			lines = append(lines, fmt.Sprintf("%q is not signed", r.Path))
		case listed && r.Digest != digest:
			lines = append(lines, fmt.Sprintf("%q is not what was signed", name))
		}
	}
	for name := range want {
		lines = append(lines, fmt.Sprintf("%q is missing", name))
	}
	if len(lines) == 0 {
		return nil
	}
	slices.Sort(lines)
	lines = slices.Compact(lines) // a file of many pieces
	var b bytes.Buffer
	for i, l := range lines {
		if i == 5 {
			fmt.Fprintf(&b, ", and %d more", len(lines)-i)
			break
		}
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(l)
	}
	return fail(Files, "the model is not what was signed: %s", b.String())
}
