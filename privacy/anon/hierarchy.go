package anon

import (
	"bufio"
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// Limits on a hierarchy.
const (
	MaxLevels = 64
	MaxValues = 1 << 22
)

// Hierarchy says what the values of a column become at each level: level 0 is the
// values themselves, and each level merges values of the one below.
type Hierarchy struct {
	index  map[string]uint32
	labels [][]string // of each level, by code
	up     [][]uint32 // of each level, from the code of the value
	leaves [][]int64  // of each level, by code: how many values it stands for
}

// builder collects the paths of values.
type builder struct {
	h    *Hierarchy
	ids  []map[string]uint32
	seen map[string]int // of this path, for cycles
}

func newBuilder(levels int) *builder {
	b := &builder{h: &Hierarchy{index: map[string]uint32{}, labels: make([][]string, levels), up: make([][]uint32, levels), leaves: make([][]int64, levels)}, seen: map[string]int{}}
	for range levels {
		b.ids = append(b.ids, map[string]uint32{})
	}
	return b
}

// add enters a value with its labels from level 1 on.
func (b *builder) add(path []string) error {
	if len(path) != len(b.ids) {
		return fmt.Errorf("value %q has %d levels where the first has %d: write every level", path[0], len(path), len(b.ids))
	}
	if _, twice := b.h.index[path[0]]; twice {
		return fmt.Errorf("value %q stands there twice", path[0])
	}
	if len(b.h.index) == MaxValues {
		return fmt.Errorf("it has more than %d values", MaxValues)
	}
	clear(b.seen)
	for l, label := range path {
		if at, ok := b.seen[label]; ok && at != l-1 {
			return fmt.Errorf("value %q goes round in a circle: it is %q at level %d, something else, and %q again at level %d", path[0], label, at, label, l)
		}
		b.seen[label] = l
	}
	b.h.index[path[0]] = uint32(len(b.h.index))
	for l, label := range path {
		id, ok := b.ids[l][label]
		if !ok {
			id = uint32(len(b.h.labels[l]))
			b.ids[l][label] = id
			b.h.labels[l] = append(b.h.labels[l], strings.Clone(label))
			b.h.leaves[l] = append(b.h.leaves[l], 0)
		}
		b.h.up[l] = append(b.h.up[l], id)
		b.h.leaves[l][id]++
	}
	return nil
}

// build checks that each level merges values of the one below and never parts them.
func (b *builder) build() (*Hierarchy, error) {
	h := b.h
	if len(h.index) == 0 {
		return nil, errors.New("it has no values")
	}
	const none = ^uint32(0)
	for l := 1; l < len(h.up); l++ {
		parent := make([]uint32, len(h.labels[l-1]))
		for i := range parent {
			parent[i] = none
		}
		for v := range h.up[0] {
			low, high := h.up[l-1][v], h.up[l][v]
			if parent[low] == none {
				parent[low] = high
			} else if parent[low] != high {
				return nil, fmt.Errorf("%q at level %d becomes %q for some values and %q for %q: a level must merge what is below it", h.labels[l-1][low], l-1, h.labels[l][parent[low]], h.labels[l][high], h.labels[0][v])
			}
		}
	}
	return h, nil
}

// ReadHierarchy reads the form that ARX writes: a line for each value, with its
// label at each further level, apart by semicolons; or commas, if no semicolon
// stands in the first line. Gaps, circles, values that stand there twice and levels
// that part what a lower one has merged are refused by name.
func ReadHierarchy(r io.Reader) (*Hierarchy, error) {
	lines := bufio.NewScanner(io.LimitReader(r, 1<<28))
	lines.Buffer(make([]byte, 64<<10), 1<<20)
	var b *builder
	comma := ";"
	for n := 1; lines.Scan(); n++ {
		line := lines.Bytes()
		if n == 1 {
			line = bytes.TrimPrefix(line, []byte("\xef\xbb\xbf"))
		}
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		if !utf8.Valid(line) {
			return nil, fmt.Errorf("line %d is not UTF-8: save the hierarchy as UTF-8", n)
		}
		if b == nil && !bytes.ContainsRune(line, ';') {
			comma = ","
		}
		path, err := splitPath(string(line), comma)
		if err == nil && b == nil {
			if len(path) > MaxLevels {
				return nil, fmt.Errorf("line %d has %d levels, more than %d", n, len(path), MaxLevels)
			}
			b = newBuilder(len(path))
		}
		if err == nil {
			err = b.add(path)
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read lines of at most a megabyte: %w", err)
	}
	if b == nil {
		return nil, errors.New("it is empty: write a line for each value, such as Berlin;Germany;*")
	}
	return b.build()
}

// splitPath splits a line; a field may stand in quotes.
func splitPath(line, comma string) ([]string, error) {
	var out []string
	for rest, more := line, true; more; {
		var field string
		if strings.HasPrefix(rest, `"`) {
			end := 1
			for {
				i := strings.IndexByte(rest[end:], '"')
				if i < 0 {
					return nil, errors.New("a quote is not closed")
				}
				end += i + 1
				if !strings.HasPrefix(rest[end:], `"`) {
					break
				}
				end++
			}
			field = strings.ReplaceAll(rest[1:end-1], `""`, `"`)
			if rest = rest[end:]; rest != "" && !strings.HasPrefix(rest, comma) {
				return nil, errors.New("text follows a closing quote")
			}
			rest, more = strings.TrimPrefix(rest, comma), rest != ""
		} else {
			field, rest, more = strings.Cut(rest, comma)
			field = strings.TrimSpace(field)
		}
		if field == "" && len(out) > 0 {
			return nil, fmt.Errorf("value %q has no label at level %d: fill the gap", out[0], len(out))
		}
		out = append(out, field)
	}
	return out, nil
}

// Levels is how many there are, level 0 included.
func (h *Hierarchy) Levels() int { return len(h.labels) }

// Values is how many values it knows.
func (h *Hierarchy) Values() int { return len(h.up[0]) }

// Label is what a value becomes at a level; ok is false for a value that the
// hierarchy does not know.
func (h *Hierarchy) Label(value string, level int) (label string, ok bool) {
	v, ok := h.index[value]
	if !ok {
		return "", false
	}
	return h.labels[level][h.up[level][v]], true
}

// share is which part of all values a code at a level stands for.
func (h *Hierarchy) share(level int, code uint32) float64 {
	return float64(h.leaves[level][code]) / float64(len(h.up[0]))
}

// Digest is the SHA-256 of all values with their labels, sorted, in hexadecimal.
func (h *Hierarchy) Digest() string {
	d := sha256.New()
	w := bufio.NewWriter(d)
	order := slices.Clone(h.up[0])
	slices.SortFunc(order, func(a, b uint32) int { return cmp.Compare(h.labels[0][a], h.labels[0][b]) })
	for _, v := range order {
		for l := range h.labels {
			fmt.Fprintf(w, "%q;", h.labels[l][h.up[l][v]])
		}
		w.WriteByte('\n')
	}
	w.Flush() // to a hash: never fails
	return hex.EncodeToString(d.Sum(nil))
}
