package scan

import (
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"unicode"

	"github.com/redoubt-ml/redoubt"
)

var pickleFormat = Format{
	Name:  "pickle",
	Doc:   "Python pickles of all protocols, several in a row, joblib and PyTorch before 1.6",
	match: isPickle,
	scan:  scanPickle,
}

// isPickle says whether loading the bytes as a pickle would do anything. Pickles
// of protocols 0 and 1 have no magic, so the machine tries: what reaches its
// end, calls something or imports what is forbidden, is one. Text and numbers
// that happen to begin with an instruction fail before that.
func isPickle(s *scanner, src *source) bool {
	if src.size < 2 {
		return false
	}
	b, err := src.read(0, 2)
	if err != nil || names[b[0]] == "" || b[0] == 0x80 && b[1] > 5 {
		return false
	}
	probe := newMachine(s, &File{}, src, 0)
	if probe.probing, probe.enough = true, 4096; b[0] == 0x80 {
		probe.enough = 16
	}
	_, err = probe.run()
	switch {
	case err == nil, errors.Is(err, errLimit), probe.steps >= probe.enough, slices.ContainsFunc(probe.f.Calls, plausible), probe.f.Verdict == Unsafe:
		return true
	case b[0] == 0x80 && probe.steps > 3:
		return true
	}
	hint := slices.Contains([]string{".pkl", ".pickle", ".p", ".pt", ".pth", ".bin", ".ckpt", ".joblib", ".dat", ".data"}, path.Ext(src.base()))
	return hint && (b[0] == 0x80 || len(probe.f.Imports) > 0)
}

// plausible says whether a module could be called that. Text that begins with
// "(i" calls what is in its first line.
func plausible(name string) bool {
	module, _, _ := strings.Cut(name, ":")
	return !strings.ContainsFunc(module, func(r rune) bool {
		return r != '.' && r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r)
	})
}

// torchMagic begins PyTorch files of before 1.6: 0x1950a86a20f9469cfc6c.
const torchMagic = "\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"

// scanPickle follows one pickle after the other to the end of the file: a
// loader may load them all.
func scanPickle(s *scanner, src *source, f *File) {
	legacy := false
	var storages map[string]int64
	for off, n := int64(0), 0; off < src.size; n++ {
		m := newMachine(s, f, src, off)
		m.legacy = legacy && n == 3
		v, err := m.run()
		if err != nil {
			pickleBroken(f, m, n, err)
			return
		}
		if m.joblib && f.Format == "pickle" {
			f.Format = "joblib"
		}
		if off = m.c.offset(); src.has(off, "\n") && off+1 == src.size {
			off++ // what an editor leaves behind; no loader reads it
		}
		switch {
		case n == 0 && v.kind == kInt && v.text == torchMagic:
			legacy, f.Format = true, "pytorch-legacy"
		case legacy && n == 3:
			storages = legacyStorages(m.ordered)
		case legacy && n == 4:
			if err := legacyData(src, off, v, storages, nil); err != nil {
				f.unread("pytorch/storage", off, err)
			}
			return
		}
	}
}

// pickleBroken records that the n-th pickle does not end well. The real
// unpickler has by then done all that came before.
func pickleBroken(f *File, m *machine, n int, err error) {
	rule := "pickle/broken"
	if n > 0 && m.steps <= 2 {
		rule, err = "pickle/trailing", errors.New("bytes follow after the end of the pickle that are no pickle")
	} else {
		err = fmt.Errorf("the pickle cannot be followed to its end: %w", err)
	}
	at := m.start
	if n == 0 {
		at = m.c.offset()
	}
	f.unread(rule, at, err)
}

// arrays reads what joblib writes between the instructions: after the BUILD of
// a NumpyArrayWrapper the array's own bytes follow (joblib.numpy_pickle).
func (m *machine) arrays(v *value, at int64) error {
	if v.text != "joblib.numpy_pickle:NumpyArrayWrapper" || m.frozen {
		return nil
	}
	m.joblib = true
	if m.frameEnd > m.c.offset() {
		m.frameCrossed(at)
	}
	m.frameEnd = 0
	m.asPlain()
	dtype, ok := dtypeOf(v.built().get("dtype"))
	count, fits := elements(v.built().get("shape"))
	if !ok || !fits {
		return errors.New("the array that follows has no size that can be computed")
	}
	v.text = "numpy:ndarray"
	if dtype.object {
		inner := newMachine(m.s, m.f, m.src, m.c.offset())
		inner.steps, inner.depth = m.steps, m.depth+1
		if inner.depth > m.s.limits.Depth {
			return fmt.Errorf("%w of %d pickles within one another", errLimit, m.s.limits.Depth)
		}
		if _, err := inner.run(); err != nil {
			return fmt.Errorf("array of objects: %w", err)
		}
		return m.c.skip(inner.c.offset() - m.c.offset())
	}
	if align := v.built().get("numpy_array_alignment_bytes"); align != nil && align.kind != kNone {
		pad, err := m.c.next(1)
		if err != nil {
			return err
		}
		if err := m.c.skip(int64(pad[0])); err != nil {
			return err
		}
	}
	if dtype.size > 0 && count > m.c.left()/dtype.size {
		return fmt.Errorf("array of %d elements: %w", count, io.ErrUnexpectedEOF)
	}
	return m.c.skip(count * dtype.size)
}

// asPlain goes on as pickle.load would, which knows nothing of joblib and takes
// an array's bytes for instructions. In an honest file it stops at once.
func (m *machine) asPlain() {
	plain := *m
	plain.f, plain.seen, plain.probing, plain.frozen, plain.slab = &File{}, map[string]bool{}, true, true, nil
	plain.stack, plain.marks = slices.Clone(m.stack), slices.Clone(m.marks)
	plain.memo = slices.Clone(m.memo)
	plain.c = m.src.cursor(m.c.offset())
	_, err := plain.run()
	doubts := slices.ContainsFunc(plain.f.Findings, func(x Finding) bool { return x.Rule != "pickle/protocol" }) // each pickled array sets it
	if plain.f.Verdict == Unsafe || doubts && (err == nil || len(plain.f.Calls) > 0) || errors.Is(err, errLimit) {
		m.report(worse(Unproven, plain.f.Verdict), redoubt.High, "joblib/polyglot", m.c.offset(),
			"the bytes of an array are instructions as well, for a loader that is not joblib's")
	}
}
