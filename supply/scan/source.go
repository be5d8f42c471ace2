package scan

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
)

// source is bytes to be examined: a file on disk or a member of an archive.
type source struct {
	path  string // as reported
	disk  string // the file's own path, empty for members
	r     io.ReaderAt
	size  int64
	depth int
	// torch, for pickles inside a PyTorch archive, are its storages: the
	// persistent ids that such a pickle may name, with their sizes.
	torch map[string]int64
	// role is what the archive around it says it is, such as "keras-config".
	role string
}

// base is the name without folders and archives, in lower case.
func (s *source) base() string {
	p := s.path[strings.LastIndexByte(s.path, '!')+1:]
	return strings.ToLower(path.Base(filepath.ToSlash(p)))
}

// has reports whether the bytes at off are want.
func (s *source) has(off int64, want string) bool {
	if off < 0 || off+int64(len(want)) > s.size {
		return false
	}
	b := make([]byte, len(want))
	n, _ := s.r.ReadAt(b, off)
	return n == len(b) && string(b) == want
}

// read is n bytes at off. The caller has bounded n.
func (s *source) read(off, n int64) ([]byte, error) {
	if off < 0 || n < 0 || off > s.size || n > s.size-off {
		return nil, fmt.Errorf("%d bytes at %d lie beyond the end, which is at %d", n, off, s.size)
	}
	b := make([]byte, n)
	if got, err := s.r.ReadAt(b, off); int64(got) < n {
		return nil, fmt.Errorf("read %d bytes at %d: %w", n, off, noEOF(err))
	}
	return b, nil
}

func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// part is n bytes from off on, as a source of its own.
func (s *source) part(name string, off, n int64) *source {
	return &source{path: s.path + "!" + name, r: io.NewSectionReader(s.r, off, n), size: n, depth: s.depth + 1}
}

// cursor reads a source forwards through a buffer.
type cursor struct {
	src *source
	buf []byte
	at  int64 // offset of buf[0]
	i   int   // next byte in buf

	ahead int // how much is read at once
}

const window = 64 << 10

func (s *source) cursor(off int64) *cursor { return &cursor{src: s, at: off} }

func (c *cursor) offset() int64 { return c.at + int64(c.i) }
func (c *cursor) left() int64   { return c.src.size - c.offset() }

// peek is the next n bytes, at most a window, or an error when there are fewer.
// They are valid until the next call.
func (c *cursor) peek(n int) ([]byte, error) {
	if len(c.buf)-c.i >= n {
		return c.buf[c.i : c.i+n], nil
	}
	if int64(n) > c.left() {
		return nil, io.ErrUnexpectedEOF
	}
	off := c.offset()
	// Small at first: most files are, and many cursors read one value only.
	c.ahead = min(max(4*c.ahead, 2<<10), window)
	size := min(int64(max(n, c.ahead)), c.src.size-off)
	if int64(cap(c.buf)) < size {
		c.buf = make([]byte, size)
	}
	c.buf = c.buf[:size]
	got, err := c.src.r.ReadAt(c.buf, off)
	if got < n {
		c.buf, c.at, c.i = c.buf[:0], off, 0
		return nil, noEOF(err)
	}
	c.buf, c.at, c.i = c.buf[:got], off, 0
	return c.buf[:n], nil
}

func (c *cursor) next(n int) ([]byte, error) {
	b, err := c.peek(n)
	if err == nil {
		c.i += n
	}
	return b, err
}

// skip passes over n bytes without reading them.
func (c *cursor) skip(n int64) error {
	if n < 0 || n > c.left() {
		return io.ErrUnexpectedEOF
	}
	if n <= int64(len(c.buf)-c.i) {
		c.i += int(n)
		return nil
	}
	c.at, c.buf, c.i = c.offset()+n, c.buf[:0], 0
	return nil
}

// maxLine is how much of a line is kept.
const maxLine = 64 << 10

// line is what stands before the next newline, which is consumed. long says
// that it is cut to maxLine; however long, it is read to its end.
func (c *cursor) line() (line []byte, long bool, err error) {
	n := int(min(maxLine, c.left()))
	for size := min(256, n); size <= n; size = min(4*size, n) {
		b, err := c.peek(size)
		if err != nil {
			return nil, false, err
		}
		if i := bytes.IndexByte(b, '\n'); i >= 0 {
			c.i += i + 1
			return b[:i], false, nil
		}
		if size == n {
			break
		}
	}
	head, err := c.next(n)
	if err != nil {
		return nil, false, err
	}
	head = bytes.Clone(head)
	for c.left() > 0 {
		b, err := c.peek(int(min(window, c.left())))
		if err != nil {
			return nil, false, err
		}
		if i := bytes.IndexByte(b, '\n'); i >= 0 {
			c.i += i + 1
			return head, true, nil
		}
		c.i += len(b)
	}
	return nil, false, io.ErrUnexpectedEOF
}

// spool keeps what a stream unpacks to: in memory while it is small, else in a
// file that has no name any more, so that nothing stays behind.
func spool(r io.Reader) (io.ReaderAt, int64, func() error, error) {
	b := make([]byte, 64<<10)
	n, err := io.ReadFull(r, b)
	done := func() error { return nil }
	if err == nil {
		big := spools.Get().(*[]byte)
		done = func() error { spools.Put(big); return nil }
		copy(*big, b)
		var more int
		more, err = io.ReadFull(r, (*big)[n:])
		b, n = *big, n+more
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return bytes.NewReader(b[:n]), int64(n), done, nil
	}
	if err != nil {
		return nil, int64(n), nil, errors.Join(err, done())
	}
	defer done()
	f, err := os.CreateTemp("", "redoubt-scan-*")
	if err != nil {
		return nil, int64(n), nil, fmt.Errorf("keep unpacked bytes: %w", err)
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, int64(n), nil, errors.Join(err, f.Close())
	}
	total, err := io.Copy(f, io.MultiReader(bytes.NewReader(b[:n]), r))
	if err != nil {
		return nil, total, nil, errors.Join(err, f.Close())
	}
	return f, total, f.Close, nil
}

// spools holds buffers for what is unpacked in memory. Thousands of members would
// leave thousands of buffers behind.
var spools = sync.Pool{New: func() any {
	b := make([]byte, 4<<20)
	return &b
}}
