package sign

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
)

// Limits on a model: a folder beyond them is refused.
const (
	maxFiles = 1 << 20
	maxDepth = 64
)

// alwaysIgnored is left out of every model (section 6.2).
var alwaysIgnored = []string{".git", ".gitattributes", ".github", ".gitignore"}

// Hashing is how a model becomes a [Manifest]. The zero value hashes whole files
// by SHA-256 and refuses symbolic links.
type Hashing struct {
	// Algorithm is SHA256 (if empty), BLAKE2b or BLAKE3.
	Algorithm string
	// ShardSize, unless 0, hashes files in pieces of so many bytes, which can be
	// done in parallel. Empty files are then left out, as section 6.3.2 says.
	ShardSize int64
	// FollowLinks takes symbolic links for what they point to. Where they lead out
	// of the model, or back to a folder above them, the model is refused.
	FollowLinks bool
	// Ignore are paths relative to the model to leave out, with all beneath them.
	// ".git", ".gitattributes", ".github" and ".gitignore" at the top always are.
	Ignore []string
	// Workers bounds the files that are read at once; the processors if 0.
	Workers int
	// Progress, unless nil, is told how many bytes of how many have been read. It
	// is called from several goroutines.
	Progress func(done, total int64)

	// only, unless nil, are the files and folders to look at.
	only map[string]bool
}

// Manifest reads a model, a file or a folder, and lists the digests of its files.
func (h Hashing) Manifest(ctx context.Context, model string) (*Manifest, error) {
	t, err := h.list(model)
	if err != nil {
		return nil, fmt.Errorf("list model %s: %w", model, err)
	}
	defer t.root.Close()
	return h.digest(ctx, model, t)
}

// tree is a model's files within their root.
type tree struct {
	root   *os.Root
	files  []file
	total  int64
	single bool   // the model is a file
	as     string // what to call that file, unless empty
}

type file struct {
	path string
	size int64
}

func (h Hashing) digest(ctx context.Context, model string, t *tree) (*Manifest, error) {
	m := &Manifest{Name: baseName(model), Algorithm: h.Algorithm, ShardSize: h.ShardSize, Links: h.FollowLinks, single: t.single}
	if m.Algorithm == "" {
		m.Algorithm = SHA256
	}
	if hashes[m.Algorithm] == nil || m.ShardSize < 0 {
		return nil, fmt.Errorf("hash %q in pieces of %d bytes: want %s, %s or %s, and a size above 0", m.Algorithm, m.ShardSize, SHA256, BLAKE2b, BLAKE3)
	}
	m.Ignored = append(append(m.Ignored, alwaysIgnored...), h.Ignore...)
	for _, f := range t.files {
		if h.ShardSize > 0 && f.size/h.ShardSize > maxResources-int64(len(m.Resources)) {
			return nil, fmt.Errorf("hash model %s: in pieces of %d bytes it has more than %d: choose larger ones", model, h.ShardSize, maxResources)
		}
		m.Resources = append(m.Resources, f.pieces(h.ShardSize)...)
	}
	if err := h.read(ctx, m, t); err != nil {
		return nil, fmt.Errorf("hash model %s: %w", model, err)
	}
	for i := range m.Resources {
		if t.as != "" {
			m.Resources[i].Path = t.as
		}
	}
	m.sort()
	return m, m.check()
}

// baseName is the last element of the path as the system sees it: that of "."
// is the folder's.
func baseName(model string) string {
	if abs, err := filepath.Abs(model); err == nil {
		model = abs
	}
	return filepath.Base(model)
}

// pieces divides a file, which is whole for size 0.
func (f file) pieces(size int64) []Resource {
	if size == 0 {
		return []Resource{{Path: f.path, End: 0}}
	}
	var out []Resource
	for start := int64(0); start < f.size; start += size {
		out = append(out, Resource{Path: f.path, Start: start, End: min(start+size, f.size)})
	}
	return out
}

// list finds the files of a model.
func (h Hashing) list(model string) (*tree, error) {
	for _, p := range h.Ignore {
		if err := checkIgnored(p); err != nil {
			return nil, err
		}
	}
	info, err := os.Lstat(model)
	if err != nil {
		return nil, cause(err)
	}
	if target, err := os.Stat(model); err == nil && target.IsDir() {
		return h.listFolder(model)
	}
	root, err := os.OpenRoot(filepath.Dir(model))
	if err != nil {
		return nil, cause(err)
	}
	w := &walk{Hashing: h, tree: &tree{root: root, single: true}}
	name := filepath.Base(model)
	if err := errors.Join(checkPath(name), w.visit(name, info, nil)); err != nil {
		return nil, errors.Join(err, root.Close())
	}
	return w.tree, nil
}

func (h Hashing) listFolder(model string) (*tree, error) {
	root, err := os.OpenRoot(model)
	if err != nil {
		return nil, cause(err)
	}
	w := &walk{Hashing: h, tree: &tree{root: root}}
	top, err := root.Stat(".")
	if err == nil {
		err = w.folder(".", []fs.FileInfo{top})
	}
	if err == nil && len(w.tree.files) == 0 {
		err = errors.New("it has no files that are not ignored: there is nothing to sign")
	}
	if err != nil {
		return nil, errors.Join(err, root.Close())
	}
	return w.tree, nil
}

// walk goes through a folder without leaving its root.
type walk struct {
	Hashing
	tree *tree
}

func (w *walk) folder(dir string, above []fs.FileInfo) error {
	if len(above) > maxDepth {
		return fmt.Errorf("%s lies more than %d folders deep", dir, maxDepth)
	}
	f, err := w.tree.root.Open(dir)
	if err != nil {
		return err
	}
	entries, err := f.ReadDir(-1)
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	for _, e := range entries {
		name := path.Join(dir, e.Name())
		if w.ignored(name) {
			continue
		}
		if err := checkPath(name); err != nil {
			return err
		}
		info, err := w.tree.root.Lstat(name)
		if err == nil {
			err = w.visit(name, info, above)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (w *walk) visit(name string, info fs.FileInfo, above []fs.FileInfo) error {
	if info.Mode()&fs.ModeSymlink != 0 {
		if !w.FollowLinks {
			return fmt.Errorf("%s is a symbolic link: put the file itself there, ignore it, or allow links", name)
		}
		var err error
		if info, err = w.tree.root.Stat(name); err != nil {
			return fmt.Errorf("follow the link %s, which must stay within the model: %w", name, cause(err))
		}
	}
	switch {
	case info.IsDir():
		for _, a := range above {
			if os.SameFile(a, info) {
				return fmt.Errorf("%s leads back to a folder above it", name)
			}
		}
		return w.folder(name, append(above[:len(above):len(above)], info))
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s is neither a file nor a folder", name)
	case len(w.tree.files) == maxFiles:
		return fmt.Errorf("it has more than %d files", maxFiles)
	}
	w.tree.files = append(w.tree.files, file{name, info.Size()})
	w.tree.total += info.Size()
	return nil
}

func (w *walk) ignored(name string) bool {
	return ignored(alwaysIgnored, name) || ignored(w.Ignore, name) || w.only != nil && !w.only[name]
}

// ignored reports whether name is in the list or beneath an entry of it.
func ignored(list []string, name string) bool {
	for _, p := range list {
		if name == p || strings.HasPrefix(name, p+"/") {
			return true
		}
	}
	return false
}

// read fills in the digests.
func (h Hashing) read(ctx context.Context, m *Manifest, t *tree) error {
	workers := h.Workers
	if workers <= 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	sizes := map[string]int64{}
	for _, f := range t.files {
		sizes[f.path] = f.size
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var next, done atomic.Int64
	var all sync.WaitGroup
	for range min(workers, len(m.Resources)) {
		all.Go(func() {
			r := &reader{root: t.root, hash: hashes[m.Algorithm](), buf: make([]byte, 1<<20), follow: h.FollowLinks}
			r.progress = func(n int) {
				if d := done.Add(int64(n)); h.Progress != nil {
					h.Progress(d, t.total)
				}
			}
			for i := next.Add(1) - 1; i < int64(len(m.Resources)) && ctx.Err() == nil; i = next.Add(1) - 1 {
				if err := r.resource(ctx, &m.Resources[i], sizes[m.Resources[i].Path], m.ShardSize); err != nil {
					stop(err)
				}
			}
		})
	}
	all.Wait()
	return context.Cause(ctx)
}

// reader hashes one resource after another with one buffer.
type reader struct {
	root     *os.Root
	hash     hash.Hash
	buf      []byte
	follow   bool
	progress func(n int)
}

var errChanged = errors.New("the file changed while it was read")

func (r *reader) resource(ctx context.Context, res *Resource, size, shard int64) (err error) {
	f, err := r.open(res.Path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	start, left := res.Start, res.End-res.Start
	if shard == 0 {
		start, left = 0, size
	}
	r.hash.Reset()
	for part := io.NewSectionReader(f, start, left); left > 0; {
		if ctx.Err() != nil {
			return nil
		}
		n, err := part.Read(r.buf)
		r.hash.Write(r.buf[:n])
		r.progress(n)
		if left -= int64(n); left > 0 && err != nil {
			return fmt.Errorf("%s: %w", res.Path, errors.Join(errChanged, err))
		}
	}
	if n, _ := f.ReadAt(r.buf[:1], size); n > 0 {
		return fmt.Errorf("%s: %w", res.Path, errChanged)
	}
	res.Digest = hex.EncodeToString(r.hash.Sum(nil))
	return nil
}

// open opens what was listed, and nothing that took its place since. It does not
// wait for the other end of a pipe.
func (r *reader) open(name string) (*os.File, error) {
	f, err := r.root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, cause(err))
	}
	at := r.root.Lstat
	if r.follow {
		at = r.root.Stat
	}
	named, err := at(name)
	opened, err2 := f.Stat()
	if err := errors.Join(err, err2); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if !opened.Mode().IsRegular() || !os.SameFile(named, opened) {
		return nil, errors.Join(fmt.Errorf("%s: %w", name, errChanged), f.Close())
	}
	return f, nil
}

// cause takes operation and path off an error of the system, where the message
// names them already.
func cause(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}
