package scan

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/redoubt-ml/redoubt"
)

// scanner is one scan under way. Files on disk are scanned at once, each by a
// scanner of its own.
type scanner struct {
	ctx      context.Context
	limits   Limits
	formats  []Format
	digest   bool
	report   *Report
	unpacked int64 // by the file on disk that is being scanned
	// claims are files that a model in the same folder reads as plain
	// numbers, with the format that says so.
	claims map[string]string
}

func (s *scanner) path(root string, progress func(string, int, int)) error {
	info, err := os.Stat(root)
	if err != nil {
		return fmt.Errorf("scan %s: %w", root, errors.Unwrap(err))
	}
	paths := []string{root}
	if info.IsDir() {
		if paths, err = files(root); err != nil {
			return err
		}
	}
	if err := s.each(paths, root, progress); err != nil {
		return err
	}
	s.settleClaims()
	return nil
}

// each scans the files, as many at once as there are processors, and reports
// them in their order.
func (s *scanner) each(paths []string, root string, progress func(string, int, int)) error {
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		next  int
		first error
		found = make([][]*File, len(paths))
	)
	take := func() (i int, ok bool) {
		mu.Lock()
		defer mu.Unlock()
		if first != nil || next == len(paths) {
			return 0, false
		}
		if progress != nil {
			progress(paths[next], next, len(paths))
		}
		next++
		return next - 1, true
	}
	for range min(runtime.GOMAXPROCS(0), len(paths)) {
		wg.Go(func() {
			for i, ok := take(); ok; i, ok = take() {
				one := &scanner{ctx: s.ctx, limits: s.limits, formats: s.formats, digest: s.digest, report: &Report{}, claims: map[string]string{}}
				err := one.open(paths[i], paths[i] == root)
				mu.Lock()
				if first == nil {
					first = err
				}
				found[i] = one.report.Files
				maps.Copy(s.claims, one.claims)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	for _, files := range found {
		s.report.Files = append(s.report.Files, files...)
	}
	return first
}

// files lists what is beneath a folder in the order of names.
func files(root string) ([]string, error) {
	var paths []string
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return fmt.Errorf("scan %s: %w", p, err)
		}
		if d.IsDir() && d.Name() == ".git" && p != root {
			return filepath.SkipDir
		}
		if !d.IsDir() {
			paths = append(paths, p)
		}
		return nil
	})
	return paths, err
}

// open scans one file on disk. named says that the user named it: then a link
// is followed.
func (s *scanner) open(path string, named bool) error {
	info, err := os.Lstat(path)
	if err != nil {
		return fmt.Errorf("scan %s: %w", path, errors.Unwrap(err))
	}
	if named || info.Mode()&fs.ModeSymlink != 0 {
		if info, err = os.Stat(path); err != nil {
			s.odd(path, "the link leads nowhere")
			return nil
		}
	}
	if !info.Mode().IsRegular() {
		s.odd(path, "not a regular file")
		return nil
	}
	f, err := os.Open(path)
	if err != nil {
		s.odd(path, fmt.Sprint(errors.Unwrap(err)))
		return nil
	}
	defer f.Close()
	if info, err = f.Stat(); err != nil { // what is read is what was opened
		return err
	}
	return s.file(&source{path: path, disk: path, r: f, size: info.Size()})
}

// odd reports what cannot be opened as a file.
func (s *scanner) odd(path, why string) {
	f := &File{Path: path, Format: "unknown", Findings: []Finding{}}
	f.add(Unproven, redoubt.Medium, "file/unreadable", 0, "cannot be read: %s", why)
	s.report.Files = append(s.report.Files, f)
}

// file scans a file on disk within the limit on its time.
func (s *scanner) file(src *source) error {
	outer := s.ctx
	ctx, cancel := context.WithTimeout(outer, s.limits.Time)
	defer cancel()
	s.ctx, s.unpacked = ctx, 0
	f := s.examine(src)
	s.ctx = outer
	if s.digest && outer.Err() == nil {
		h := sha256.New()
		if _, err := io.Copy(h, io.NewSectionReader(src.r, 0, src.size)); err != nil {
			f.unread("file/unreadable", 0, fmt.Errorf("read to the end: %w", err))
		} else {
			f.SHA256 = redoubt.Digest(hex.EncodeToString(h.Sum(nil)))
		}
	}
	return outer.Err()
}

// alive says whether work should go on: an interruption, or the file's time.
func (s *scanner) alive() error {
	if err := s.ctx.Err(); err != nil {
		return fmt.Errorf("stopped after the time for one file: %w; raise --limit-time", errLimit)
	}
	return nil
}

// examine lets every format that recognises the bytes look at them.
func (s *scanner) examine(src *source) *File {
	f := &File{Path: src.path, Size: src.size, Findings: []Finding{}, depth: src.depth}
	first := len(s.report.Files)
	s.report.Files = append(s.report.Files, f)
	if src.depth > s.limits.Depth {
		f.Format = "unknown"
		f.unread("limit", 0, fmt.Errorf("%w of %d containers within one another; raise --limit-depth if that is meant", errLimit, s.limits.Depth))
		return f
	}
	for _, format := range s.formats {
		if err := s.alive(); err != nil {
			f.unread("limit", 0, err)
			break
		}
		if format.match(s, src) {
			if f.Format == "" {
				f.Format = format.Name
			}
			format.scan(s, src, f)
		}
	}
	switch {
	case f.Format == "" && src.size == 0:
		f.Format, f.Verdict = "empty", Safe
	case f.Format == "":
		f.Format = "unknown"
		f.add(Unproven, redoubt.Medium, "file/unknown", 0, "the content is of no format that the scanner knows")
	case f.Verdict == "":
		f.Verdict = Safe
	}
	for _, member := range s.report.Files[first+1:] {
		f.Verdict = worse(f.Verdict, member.Verdict)
	}
	slices.SortStableFunc(f.Findings, func(a, b Finding) int { return int(min(max(a.Offset-b.Offset, -1), 1)) })
	return f
}

// settleClaims makes a file that is nothing else, and that a model of the same
// scan reads as plain numbers, what the model says it is.
func (s *scanner) settleClaims() {
	for _, f := range s.report.Files {
		if format, ok := s.claims[filepath.Clean(f.Path)]; ok && f.Format == "unknown" && len(f.Findings) == 1 && !strings.Contains(f.Path, "!") {
			f.Format, f.Verdict, f.Findings = format, Safe, []Finding{}
		}
	}
}

// unpack scans what a compressed stream holds, within the limits.
func (s *scanner) unpack(f *File, name string, src *source, r io.Reader, packed int64) *File {
	m := &meter{s: s, r: r, packed: packed}
	at, size, done, err := spool(m)
	if err != nil {
		f.unread("archive/damaged", 0, fmt.Errorf("unpack %q: %w", name, err))
		return nil
	}
	member := s.examine(&source{path: src.path + "!" + name, r: at, size: size, depth: src.depth + 1, torch: src.torch})
	if err := done(); err != nil {
		f.unread("archive/damaged", 0, err)
	}
	return member
}

// meter counts what is unpacked and stops at the limits.
type meter struct {
	s      *scanner
	r      io.Reader
	packed int64
	n      int64
}

func (m *meter) Read(b []byte) (int, error) {
	if err := m.s.alive(); err != nil {
		return 0, err
	}
	n, err := m.r.Read(b)
	m.n += int64(n)
	m.s.unpacked += int64(n)
	switch lim := m.s.limits; {
	case m.s.unpacked > lim.Unpacked:
		return n, fmt.Errorf("%w of %d unpacked bytes; raise --limit-unpacked if that is meant", errLimit, lim.Unpacked)
	case m.n > 16<<20 && m.n/max(m.packed, 1) > lim.Ratio:
		return n, fmt.Errorf("%w: it grows more than %d times; raise --limit-ratio if that is meant", errLimit, lim.Ratio)
	}
	return n, err
}
