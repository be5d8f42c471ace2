package audit

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/mod/sumdb/tlog"
)

// hashesFile holds the hashes of the tree's complete subtrees, 32 bytes each, in
// the order in which they come to be, which is that of package tlog. They can be
// computed from the entries again, but for those that were pruned.
const hashesFile = "hashes"

// tree is the Merkle tree of RFC 6962 over the hashes of the entries, as far as
// they are durable.
type tree struct {
	edge
	file    *os.File
	saved   int64  // bytes of the file
	pending []byte // hashes that are not in it yet
}

// edge is the right edge of a tree: the roots of its complete subtrees, the
// largest first.
type edge struct {
	size  int64 // leaves
	roots []tlog.Hash
}

// add appends an entry, and the hashes that are new to the tree to b.
func (e *edge) add(b []byte, entry link) []byte {
	h := tlog.RecordHash(entry[:])
	b = append(b, h[:]...)
	for n := e.size; n&1 == 1; n >>= 1 {
		last := len(e.roots) - 1
		h = tlog.NodeHash(e.roots[last], h)
		e.roots = e.roots[:last]
		b = append(b, h[:]...)
	}
	e.roots = append(e.roots, h)
	e.size++
	return b
}

// root is the root of a tree that is not empty.
func (e *edge) root() tlog.Hash {
	h := e.roots[len(e.roots)-1]
	for _, left := range slices.Backward(e.roots[:len(e.roots)-1]) {
		h = tlog.NodeHash(left, h)
	}
	return h
}

// readEdge is the edge of the tree of the first n entries.
func readEdge(r io.ReaderAt, n int64) (edge, error) {
	e := edge{size: n}
	var at []int64
	start := int64(0)
	for level := 62; level >= 0; level-- {
		if n&(1<<level) != 0 {
			at = append(at, tlog.StoredHashIndex(level, start>>level))
			start += 1 << level
		}
	}
	var err error
	e.roots, err = stored{r}.ReadHashes(at)
	return e, err
}

// stored is a file of hashes as package tlog reads them.
type stored struct{ io.ReaderAt }

func (s stored) ReadHashes(at []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(at))
	for i, n := range at {
		if _, err := s.ReadAt(out[i][:], n*tlog.HashSize); err != nil {
			return nil, fmt.Errorf("read hash %d of the tree: %w", n, err)
		}
	}
	return out, nil
}

// leaves is how many entries a file of hashes of that size is whole for.
func leaves(size int64) int64 {
	count := size / tlog.HashSize
	n := count / 2
	for tlog.StoredHashCount(n+1) <= count {
		n++
	}
	return n
}

// openTree brings the tree up to the end of the log.
func openTree(dir string, end mark) (_ *tree, err error) {
	f, err := os.OpenFile(filepath.Join(dir, hashesFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close())
		}
	}()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	n := leaves(info.Size())
	if n > end.seq {
		return nil, taken(n, end.seq)
	}
	t := &tree{file: f, saved: tlog.StoredHashCount(n) * tlog.HashSize}
	if t.edge, err = readEdge(f, n); err != nil {
		return nil, err
	}
	if err := f.Truncate(t.saved); err != nil {
		return nil, err
	}
	return t, t.catchUp(dir)
}

// taken is the damage of a log whose last entries are gone.
func taken(had, has int64) error {
	return &Damage{Entry: has + 1, Reason: fmt.Sprintf("entries were taken off its end: there were %d, and there are %d", had, has)}
}

// catchUp adds the entries that the file of hashes does not have yet, and checks
// the last that it has.
func (t *tree) catchUp(dir string) error {
	names, err := segments(dir)
	if err != nil {
		return err
	}
	from := t.size
	for len(names) > 1 && names[1] <= segmentName(max(from, 1)) {
		names = names[1:]
	}
	s := scanner{dir: dir, trustFirst: true}
	for l, err := range s.segments(names) {
		switch {
		case err != nil:
			return err
		case l.seq == from:
			var have tlog.Hash
			if _, err := t.file.ReadAt(have[:], tlog.StoredHashIndex(0, from-1)*tlog.HashSize); err != nil {
				return err
			}
			if have != tlog.RecordHash(l.hash[:]) {
				return &Damage{Segment: s.name, Entry: l.seq, Offset: s.size, Reason: "it is not the entry that the tree of hashes has"}
			}
		case l.seq > from:
			if l.seq != t.size+1 {
				return &Damage{Segment: s.name, Entry: l.seq, Offset: s.size, Reason: fmt.Sprintf("the tree of hashes ends with entry %d", t.size)}
			}
			t.append(l.hash)
			if len(t.pending) > 1<<20 {
				if err := t.save(); err != nil {
					return err
				}
			}
		}
	}
	return t.save()
}

func (t *tree) append(entry link) { t.pending = t.add(t.pending, entry) }

// save writes what is pending. What is lost of it in a crash is computed again.
func (t *tree) save() error {
	if _, err := t.file.WriteAt(t.pending, t.saved); err != nil {
		return fmt.Errorf("write the hashes of the audit log: %w", err)
	}
	t.saved += int64(len(t.pending))
	t.pending = t.pending[:0]
	return nil
}

// head is the tree at a size, of a log that is not being changed or has grown.
type head struct {
	size int64
	root tlog.Hash
}

// extends reports whether the tree of a file of hashes, whose head is now, has
// grown out of then.
func extends(r io.ReaderAt, now, then head) error {
	if then.size == now.size && then.root == now.root || then.size == 0 {
		return nil
	}
	if then.size > now.size {
		return taken(then.size, now.size)
	}
	p, err := tlog.ProveTree(now.size, then.size, stored{r})
	if err == nil {
		err = tlog.CheckTree(p, now.size, now.root, then.size, then.root)
	}
	if err != nil {
		return &Damage{Entry: then.size, Reason: "the entries up to here are not those of a checkpoint"}
	}
	return nil
}

// Hashes are the hashes of the tree of a log, as package tlog reads them.
type Hashes struct {
	stored
	file   *os.File
	leaves int64 // entries that they are whole for
}

// OpenHashes opens the tree of the log of a folder for reading.
func OpenHashes(dir string) (*Hashes, error) {
	f, err := os.Open(filepath.Join(dir, hashesFile))
	if err != nil {
		return nil, fmt.Errorf("read the tree of the audit log: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &Hashes{stored{f}, f, leaves(info.Size())}, nil
}

// Close closes them.
func (h *Hashes) Close() error { return h.file.Close() }
