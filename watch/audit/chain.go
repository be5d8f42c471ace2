package audit

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/redoubt-ml/redoubt/internal/atomicfile"
)

// chain is the log on the disk: its last segment, open for writing, and where
// the next entry joins.
type chain struct {
	dir     string
	segment int64 // size after which another begins
	lock    *os.File

	file    file // nil where the next entry begins a segment
	end     mark // of what was written
	durable mark // of what was flushed
	torn    bool // there may be more in the file, which is to be cut off

	id string // of the last entry when the log was opened

	buf, event []byte // what write makes, kept for the next time
}

// mark is a place in the log, after an entry.
type mark struct {
	seq  int64
	hash link
	size int64 // of the segment up to here
}

// file is what is asked of an open segment: an [os.File], or one that a test has
// fail.
type file interface {
	io.WriterAt
	Truncate(size int64) error
	Sync() error
	Close() error
}

const suffix = ".jsonl"

func segmentName(first int64) string { return fmt.Sprintf("%020d%s", first, suffix) }

// segments are the files of a log in their order.
func segments(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, e := range entries {
		number, ok := strings.CutSuffix(e.Name(), suffix)
		if n, err := strconv.ParseInt(number, 10, 64); ok && err == nil && segmentName(n) == e.Name() {
			out = append(out, e.Name())
		}
	}
	slices.Sort(out)
	return out, nil
}

// openChain finds the end of a log, and cuts off a line that was not finished.
func openChain(dir string, segment int64) (c *chain, cut int64, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, 0, err
	}
	lock, err := lockFolder(dir)
	if err != nil {
		return nil, 0, err
	}
	c = &chain{dir: dir, segment: segment, lock: lock}
	if cut, err = c.resume(); err != nil {
		return nil, 0, errors.Join(err, c.close())
	}
	return c, cut, nil
}

// resume finishes what pruning began, and reads the last segment, and of the one before its last entry.
func (c *chain) resume() (cut int64, err error) {
	if err := finishPruning(c.dir); err != nil {
		return 0, err
	}
	names, err := segments(c.dir)
	if err != nil || len(names) == 0 {
		return 0, err
	}
	names = names[max(len(names)-2, 0):]
	s := scanner{dir: c.dir, trustFirst: names[0] != segmentName(1)}
	var last line
	for l, err := range s.segments(names) {
		if err != nil {
			return 0, err
		}
		last = line{l.seq, l.hash, append(last.event[:0], l.event...)}
	}
	if last.seq > 0 {
		e, _, err := last.decode()
		if err != nil {
			return 0, &Damage{Segment: s.name, Entry: last.seq, Reason: err.Error()}
		}
		c.id = e.ID
	}
	c.end = s.mark
	f, err := os.OpenFile(filepath.Join(c.dir, names[len(names)-1]), os.O_RDWR, 0)
	if err != nil {
		return 0, err
	}
	c.file, c.torn = f, s.left > 0
	if err := c.mend(); err != nil {
		return 0, err
	}
	// What the process before has written may not have been flushed.
	if err := f.Sync(); err != nil {
		return 0, err
	}
	c.durable = c.end
	return s.left, nil
}

// idTime is the time in an entry's id, in nanoseconds since 1970; 0 if there is
// none.
func idTime(id string) int64 {
	hex, _, _ := strings.Cut(id, "-")
	n, err := strconv.ParseInt(hex, 16, 64)
	if err != nil {
		return 0 // another version's ids
	}
	return n
}

// mend cuts off what is beyond the end.
func (c *chain) mend() error {
	if !c.torn {
		return nil
	}
	if err := c.file.Truncate(c.end.size); err != nil {
		return fmt.Errorf("cut off what was not written whole: %w", err)
	}
	if err := c.file.Sync(); err != nil {
		return err
	}
	c.torn = false
	return nil
}

// write hands entries to the system, all or none, and numbers them. When what was
// written before has been lost as well, it says so.
func (c *chain) write(batch []*entry) (lost bool, err error) {
	if lost, err := c.ready(); err != nil {
		return lost, err
	}
	end := c.end
	c.buf = c.buf[:0]
	for _, e := range batch {
		c.event = append(appendID(c.event[:0], e.id), e.rest...)
		end.seq++
		end.hash = end.hash.next(end.seq, c.event)
		c.buf = appendLine(c.buf, end.seq, end.hash, c.event)
		e.seq, e.hash = end.seq, end.hash
	}
	if _, err := c.file.WriteAt(c.buf, c.end.size); err != nil {
		c.torn = true
		return false, errors.Join(err, c.mend())
	}
	end.size += int64(len(c.buf))
	c.end = end
	if cap(c.buf) > maxLine {
		c.buf, c.event = nil, nil // a burst of large entries is not kept for ever
	}
	return false, nil
}

// rewind goes back to what is known to be durable, because of err.
func (c *chain) rewind(err error) error {
	c.end, c.torn = c.durable, true
	return errors.Join(err, c.mend())
}

// ready has a segment open that ends where the next entry begins.
func (c *chain) ready() (lost bool, err error) {
	if c.file != nil && c.end.size >= c.segment && !c.torn {
		if err := c.file.Sync(); err != nil {
			return true, err
		}
		c.durable = c.end
		err := c.file.Close()
		if c.file = nil; err != nil {
			return false, err
		}
	}
	if c.file != nil {
		return false, c.mend()
	}
	path := filepath.Join(c.dir, segmentName(c.end.seq+1))
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return false, fmt.Errorf("begin a segment: %w", err)
	}
	if err := atomicfile.SyncFolder(c.dir); err != nil {
		return false, errors.Join(err, f.Close(), os.Remove(path))
	}
	c.file = f
	c.end.size, c.durable.size = 0, 0
	return false, nil
}

func (c *chain) close() error {
	var err error
	if c.file != nil {
		err = errors.Join(c.mend(), c.file.Close())
	}
	return errors.Join(err, c.lock.Close())
}

// scanner reads entries and checks that each follows the one before.
type scanner struct {
	dir        string
	trustFirst bool // take the first entry's number and hash as they stand

	name string // of the segment
	mark        // after the last entry that fits
	left int64  // bytes after it: a line that was not finished
}

// segments yields the entries of segments, and the first that does not fit as a
// [*Damage].
func (s *scanner) segments(names []string) func(yield func(line, error) bool) {
	return func(yield func(line, error) bool) {
		for i, name := range names {
			if !s.segment(name, i == len(names)-1, yield) {
				return
			}
		}
	}
}

func (s *scanner) segment(name string, last bool, yield func(line, error) bool) bool {
	s.name, s.size, s.left = name, 0, 0
	damage := func(reason string) bool {
		yield(line{}, &Damage{Segment: name, Entry: s.seq + 1, Offset: s.size, Reason: reason})
		return false
	}
	if !s.trustFirst && name != segmentName(s.seq+1) {
		return damage(fmt.Sprintf("the segment that begins with entry %d is missing", s.seq+1))
	}
	f, err := os.Open(filepath.Join(s.dir, name))
	if err != nil {
		yield(line{}, err)
		return false
	}
	defer f.Close()
	lines := newLineReader(f)
	for {
		raw, err := lines.next()
		switch {
		case errors.Is(err, io.EOF) && len(raw) == 0:
			if s.size == 0 && !last {
				return damage("the segment is empty")
			}
			return true
		case errors.Is(err, io.EOF) && last && s.unfinished(raw):
			s.left = int64(len(raw))
			return true
		case errors.Is(err, io.EOF):
			return damage("its line does not end")
		case err != nil:
			yield(line{}, fmt.Errorf("read %s: %w", name, err))
			return false
		}
		l, err := parseLine(raw)
		if err != nil {
			return damage(err.Error())
		}
		if s.trustFirst {
			s.trustFirst = false
		} else if err := l.follows(s.seq, s.hash); err != nil {
			return damage(err.Error())
		}
		s.seq, s.hash = l.seq, l.hash
		if !yield(l, nil) {
			return false
		}
		s.size += int64(len(raw)) + 1
	}
}

// unfinished reports whether the last bytes of a log, which no newline ends, can
// be what a crash left of a line: its beginning, or pages that were never filled.
// Anything else was put there, such as a whole line with another end.
func (s *scanner) unfinished(raw []byte) bool {
	if end := bytes.LastIndexByte(raw, '}') + 1; end > 0 && end < len(raw) {
		if l, err := parseLine(raw[:end]); err == nil && l.follows(s.seq, s.hash) == nil {
			return false
		}
	}
	text := bytes.TrimRight(raw, "\x00")
	return bytes.HasPrefix(text, []byte(`{"seq":`)) || bytes.HasPrefix([]byte(`{"seq":`), text)
}
