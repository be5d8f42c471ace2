package seal

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A rotation exchanges the key-encryption key and leaves the data alone.
func TestRotate(t *testing.T) {
	k, text := newKey(t)
	s := &Sealer{Keys: []Key{k}, Life: -1}
	path := filepath.Join(t.TempDir(), "f.sealed")
	if err := s.SealFile(t.Context(), path, strings.NewReader("content"), loans); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	old, err := ListKeys(text, "")
	if err != nil || len(old) != 1 {
		t.Fatalf("%v %v", old, err)
	}
	if err := RetireKey(text, "", old[0]); err == nil {
		t.Error("the only key was taken away")
	}
	if err := RotateKey(text, ""); err != nil {
		t.Fatal(err)
	}
	ids, err := ListKeys(text, "")
	if err != nil || len(ids) != 2 || ids[1] != old[0] {
		t.Fatalf("keys %v after %v: %v", ids, old, err)
	}
	read := func() error {
		f, err := s.OpenFile(t.Context(), path, loans)
		if err != nil {
			return err
		}
		defer f.Close()
		b, err := io.ReadAll(f)
		if err == nil && string(b) != "content" {
			t.Errorf("it holds %q", b)
		}
		return err
	}
	if err := read(); err != nil {
		t.Errorf("the old key is not read any more: %v", err)
	}
	if err := s.Rotate(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	after, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(before[2*slotSize:], after[2*slotSize:]) || bytes.Equal(before[:2*slotSize], after[:2*slotSize]) {
		t.Errorf("the data were rewritten, or the header not: %v", err)
	}
	if !bytes.Equal(after[:slotSize], after[slotSize:2*slotSize]) {
		t.Error("the old data key is still in one of the copies of the header")
	}
	if err := RetireKey(text, "", old[0]); err != nil {
		t.Fatal(err)
	}
	if err := read(); err != nil {
		t.Errorf("after the rotation it does not open under the new key: %v", err)
	}
	if err := os.WriteFile(path, before, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := read(); !errors.Is(err, ErrRefused) {
		t.Errorf("the old file opens although its key is retired: %v", err)
	}
}

// From one provider to another.
func TestRotateToAnotherKey(t *testing.T) {
	from, _ := newKey(t)
	to, _ := newKey(t)
	path := filepath.Join(t.TempDir(), "f.sealed")
	if err := (&Sealer{Keys: []Key{from}}).SealFile(t.Context(), path, strings.NewReader("content"), loans); err != nil {
		t.Fatal(err)
	}
	if err := (&Sealer{Keys: []Key{to, from}}).Rotate(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	if _, err := (&Sealer{Keys: []Key{from}}).OpenFile(t.Context(), path, loans); !errors.Is(err, ErrRefused) {
		t.Errorf("it still opens under the first key: %v", err)
	}
	if f, err := (&Sealer{Keys: []Key{to}}).OpenFile(t.Context(), path, loans); err != nil {
		t.Error(err)
	} else {
		f.Close()
	}
}

// A rotation that was cut off at any byte leaves a file that says so or opens, and
// that another rotation mends.
func TestCutOffRotation(t *testing.T) {
	k, text := newKey(t)
	s := &Sealer{Keys: []Key{k}, Life: -1}
	path := filepath.Join(t.TempDir(), "f.sealed")
	if err := s.SealFile(t.Context(), path, strings.NewReader("content"), loans); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := RotateKey(text, ""); err != nil {
		t.Fatal(err)
	}
	if err := s.Rotate(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	after, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	written := append(bytes.Clone(after[slotSize:2*slotSize]), after[:slotSize]...) // in this order
	for cut := 0; cut <= len(written); cut += 61 {
		b := bytes.Clone(before)
		copy(b[slotSize:], written[:min(cut, slotSize)])
		copy(b, written[min(cut, slotSize):cut])
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := opened(t.Context(), s, b, loans); err != nil && !errors.Is(err, ErrRefused) || err == nil && string(got) != "content" {
			t.Fatalf("cut after %d bytes: %q %v", cut, got, err)
		}
		if err := s.Rotate(t.Context(), path); err != nil {
			t.Fatalf("cut after %d bytes, it cannot be mended: %v", cut, err)
		}
		mended, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := opened(t.Context(), s, mended, loans); err != nil || string(got) != "content" {
			t.Fatalf("cut after %d bytes and mended: %q %v", cut, got, err)
		}
	}
}

// Files are read and written all the time while keys come, files are rotated, and
// old keys go.
func TestRotationUnderLoad(t *testing.T) {
	k, text := newKey(t)
	server, operator := &Sealer{Keys: []Key{k}, Life: -1}, &Sealer{Keys: []Key{k}, Life: -1}
	dir := t.TempDir()
	var paths []string
	for i := range 8 {
		paths = append(paths, filepath.Join(dir, strconv.Itoa(i)))
		if err := server.SealFile(t.Context(), paths[i], strings.NewReader(strings.Repeat("x", 100_000)), loans); err != nil {
			t.Fatal(err)
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	reads := make([]int, 4)
	for n := range reads {
		wg.Go(func() {
			for i := n; ctx.Err() == nil; i++ {
				f, err := server.OpenFile(t.Context(), paths[i%len(paths)], loans)
				if err != nil {
					t.Errorf("a read fails during a rotation: %v", err)
					return
				}
				if b, err := io.ReadAll(f); err != nil || len(b) != 100_000 {
					t.Errorf("%d bytes: %v", len(b), err)
				}
				f.Close()
				reads[n]++
			}
		})
	}
	for range 20 {
		if err := RotateKey(text, ""); err != nil {
			t.Fatal(err)
		}
		ids, err := ListKeys(text, "")
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range paths {
			if err := operator.Rotate(t.Context(), p); err != nil {
				t.Fatal(err)
			}
		}
		for _, id := range ids[1:] {
			if err := RetireKey(text, "", id); err != nil {
				t.Fatal(err)
			}
		}
	}
	stop()
	wg.Wait()
	for n, r := range reads {
		if r == 0 {
			t.Errorf("reader %d read nothing", n)
		}
	}
}

func TestTwoRotationsAtOnce(t *testing.T) {
	k, _ := newKey(t)
	s := &Sealer{Keys: []Key{k}}
	path := filepath.Join(t.TempDir(), "f.sealed")
	if err := s.SealFile(t.Context(), path, strings.NewReader("content"), loans); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := lock(f); err != nil {
		t.Fatal(err)
	}
	if err := s.Rotate(t.Context(), path); err == nil || !strings.Contains(err.Error(), "under way") {
		t.Errorf("a second rotation: %v", err)
	}
}

// Keys that are added at once are all there, or refused: none is lost.
func TestKeysAddedAtOnce(t *testing.T) {
	_, text := newKey(t)
	var wg sync.WaitGroup
	var mu sync.Mutex
	added := 1
	for range 8 {
		wg.Go(func() {
			for range 5 {
				err := RotateKey(text, "")
				mu.Lock()
				if err == nil {
					added++
				} else if !strings.Contains(err.Error(), "under way") {
					t.Error(err)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if ids, err := ListKeys(text, ""); err != nil || len(ids) != added {
		t.Errorf("%d keys of %d: %v", len(ids), added, err)
	}
}

// away is a key whose service can be lost.
type away struct {
	Key
	lost  bool
	asked int
}

func (a *away) Unwrap(ctx context.Context, w, ad []byte) ([]byte, error) {
	a.asked++
	if a.lost {
		return nil, ErrUnavailable
	}
	return a.Key.Unwrap(ctx, w, ad)
}

// Keys live for their time while the service is lost, then nothing opens, and when
// it is back all does.
func TestServiceLostAndBack(t *testing.T) {
	inner, _ := newKey(t)
	synctest.Test(t, func(t *testing.T) {
		k := &away{Key: inner}
		s := &Sealer{Keys: []Key{k}, Life: time.Minute}
		known := sealed(t, s, []byte("known"), loans)
		unknown := sealed(t, s, []byte("unknown"), loans)
		try := func(b []byte) error { _, err := opened(t.Context(), s, b, loans); return err }
		if err := errors.Join(try(known), try(known)); err != nil || k.asked != 1 {
			t.Fatalf("%v, asked %d times", err, k.asked)
		}
		k.lost = true
		time.Sleep(time.Minute - 1)
		if err := try(known); err != nil {
			t.Errorf("a key in its time: %v", err)
		}
		if err := try(unknown); !errors.Is(err, ErrUnavailable) || errors.Is(err, ErrRefused) {
			t.Errorf("a key that is not known: %v", err)
		}
		time.Sleep(time.Nanosecond)
		if err := try(known); !errors.Is(err, ErrUnavailable) {
			t.Errorf("a key whose time is over: %v", err)
		}
		k.lost = false
		if err := errors.Join(try(known), try(unknown)); err != nil {
			t.Errorf("the service is back: %v", err)
		}
	})
}

func TestWhatIsRememberedIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c cache
		for i := range maxRemembered + 5 {
			c.keep(c.slot(header{key: strconv.Itoa(i)}), []byte{1}, 0)
		}
		if len(c.keys) != maxRemembered {
			t.Errorf("%d keys are remembered", len(c.keys))
		}
		time.Sleep(defaultLife)
		c.keep(slot{}, []byte{1}, 0)
		if len(c.keys) != 1 {
			t.Errorf("%d keys are remembered after their time", len(c.keys))
		}
		c = cache{}
		c.keep(slot{}, []byte{1}, -1)
		if len(c.keys) != 0 {
			t.Error("a key is remembered that should not be")
		}
	})
}
