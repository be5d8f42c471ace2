package audit

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// small is a log of three segments and the texts of their files by name.
func small(t *testing.T) (dir string, names []string, files map[string][]byte) {
	dir = t.TempDir()
	l := open(t, dir, Config{SegmentSize: 700})
	for i := range 9 {
		record(t, l, deed(i))
	}
	shut(t, l)
	names, err := segments(dir)
	if err != nil || len(names) != 3 {
		t.Fatal(names, err)
	}
	files = map[string][]byte{}
	for _, n := range names {
		if files[n], err = os.ReadFile(filepath.Join(dir, n)); err != nil {
			t.Fatal(err)
		}
	}
	return dir, names, files
}

// Every byte, changed to any of a few others, is noticed, and the entry named.
func TestEveryFlippedByteIsFound(t *testing.T) {
	dir, names, files := small(t)
	entry := int64(1)
	for _, name := range names {
		f, err := os.OpenFile(filepath.Join(dir, name), os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		put := func(b byte, at int) {
			if _, err := f.WriteAt([]byte{b}, int64(at)); err != nil {
				t.Fatal(err)
			}
		}
		for i, b := range files[name] {
			for _, c := range []byte{b ^ 1, b ^ 0x80, '\n', 0} {
				if c == b {
					continue
				}
				put(c, i)
				_, err := Verify(t.Context(), dir, Trust{})
				var d *Damage
				if !errors.As(err, &d) {
					t.Fatalf("byte %d of %s from %q to %q: %v", i, name, b, c, err)
				}
				if d.Entry != entry || d.Segment != name {
					t.Fatalf("byte %d of %s, in entry %d, from %q to %q: %v", i, name, entry, b, c, err)
				}
			}
			if put(b, i); b == '\n' {
				entry++
			}
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestDamageIsFoundAndNamed(t *testing.T) {
	dir, names, files := small(t)
	write := func(i int, parts ...[]byte) {
		if err := os.WriteFile(filepath.Join(dir, names[i]), bytes.Join(parts, nil), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	l := bytes.SplitAfter(files[names[1]], []byte("\n"))
	var at int64 // the first entry of the middle segment
	if _, err := fmt.Sscanf(names[1], "%d", &at); err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct {
		do    func()
		entry int64
	}{
		"a line less":                {func() { write(1, append([][]byte{l[0]}, l[2:]...)...) }, at + 1},
		"a line twice":               {func() { write(1, append([][]byte{l[0], l[0]}, l[1:]...)...) }, at + 1},
		"two lines swapped":          {func() { write(1, append([][]byte{l[1], l[0]}, l[2:]...)...) }, at},
		"the end cut off":            {func() { write(1, files[names[1]][:len(files[names[1]])-10]) }, at + int64(len(l)) - 2},
		"the last line of a segment": {func() { write(1, l[:len(l)-2]...) }, at + int64(len(l)) - 2},
		"an empty segment":           {func() { write(1) }, at},
		"a segment less":             {func() { os.Remove(filepath.Join(dir, names[1])) }, at},
		"the first segment less":     {func() { os.Remove(filepath.Join(dir, names[0])) }, 1},
		"a line of another log":      {func() { _, _, f := small(t); write(1, f[names[1]]) }, at},
		"an entry with a number too high": {func() {
			prev, err := parseLine(bytes.TrimSuffix(files[names[2]][bytes.LastIndexByte(files[names[2]][:len(files[names[2]])-1], '\n')+1:], []byte("\n")))
			if err != nil {
				t.Fatal(err)
			}
			write(2, files[names[2]], appendLine(nil, 11, prev.hash.next(11, prev.event), prev.event))
		}, 10},
		"an event in another encoding": {func() {
			prev, err := parseLine(l[0][:len(l[0])-1])
			if err != nil {
				t.Fatal(err)
			}
			e := deed(1)
			event := bytes.Replace(appendEvent(nil, &e), []byte(`"actor":`), []byte(`"actor":"user:innocent","actor":`), 1)
			write(1, l[0], appendLine(nil, at+1, prev.hash.next(at+1, event), event))
		}, at + 1},
		"a hash in capitals": {func() {
			end := bytes.Index(l[0], []byte(`","event"`))
			begin := end - 64
			write(1, l[0][:begin], bytes.ToUpper(l[0][begin:end]), l[0][end:], bytes.Join(l[1:], nil))
		}, at},
		"a line put at the end":        {func() { write(2, files[names[2]], []byte("{}\n")) }, 10},
		"something put at the end":     {func() { write(2, files[names[2]], []byte("hello")) }, 10},
		"a line longer than any entry": {func() { write(2, files[names[2]], bytes.Repeat([]byte("x"), maxLine+10)) }, 0},
	} {
		c.do()
		_, err := Verify(t.Context(), dir, Trust{})
		var d *Damage
		if errors.As(err, &d) && d.Entry != c.entry || d == nil && (err == nil || c.entry != 0) {
			t.Errorf("%s: %v, want entry %d", what, err, c.entry)
		}
		for _, err2 := range Read(t.Context(), dir, Filter{Action: "none"}) {
			if err2 == nil || err2.Error() != err.Error() {
				t.Errorf("%s: Read says %v, Verify %v", what, err2, err)
			}
		}
		for i, n := range names {
			write(i, files[n])
		}
		if _, err := Verify(t.Context(), dir, Trust{}); err != nil {
			t.Fatal(what, err)
		}
	}
	// Damage where the log would go on: it is not opened.
	write(2, files[names[2]], []byte("{}\n"))
	if _, err := Open(dir, Config{}); err == nil {
		t.Error("a damaged log was opened")
	}
}

// A last line cut anywhere is cut off, recorded, and the log goes on.
func TestTornLine(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Config{})
	record(t, l, deed(1), deed(2))
	shut(t, l)
	path := filepath.Join(dir, segmentName(1))
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	first := bytes.IndexByte(whole, '\n') + 1
	for n := first; n < len(whole); n += 7 {
		for _, zeros := range []int{0, 100} {
			if n == len(whole)-1 && zeros > 0 {
				continue // a whole entry with another end was put there: see TestEveryFlippedByteIsFound
			}
			if err := os.WriteFile(path, append(slices.Clone(whole[:n]), make([]byte, zeros)...), 0o600); err != nil {
				t.Fatal(err)
			}
			// What was not whole had no hash in the tree either.
			if err := os.Remove(filepath.Join(dir, hashesFile)); err != nil {
				t.Fatal(err)
			}
			l := open(t, dir, Config{})
			record(t, l, deed(3))
			shut(t, l)
			var actions []string
			for _, e := range all(t, dir, Filter{}) {
				actions = append(actions, e.Action)
			}
			want := []string{"model.invoke", "audit.cut", "model.invoke"}
			if n+zeros == first {
				want = []string{"model.invoke", "model.invoke"}
			}
			if !slices.Equal(actions, want) {
				t.Fatalf("cut at %d with %d zeros: %v, want %v", n, zeros, actions, want)
			}
		}
	}
}
