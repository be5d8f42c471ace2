package scan

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// The report says where, and how it got there.
func TestFindings(t *testing.T) {
	_, r := verdictOf(t, sample{name: "x.pkl", body: whole(2, "]", text("weights"), "a0", inert)})
	f := r.Files[0]
	if f.Format != "pickle" || f.Verdict != Unsafe || len(f.Findings) != 2 {
		t.Fatalf("%+v", f)
	}
	first := f.Findings[0]
	if first.Rule != "pickle/forbidden" || first.Offset != 17 || !strings.Contains(first.Message, "os.getcwd") || first.Remedy == "" {
		t.Errorf("%+v", first)
	}
	if want := []string{"0 PROTO", "2 EMPTY_LIST", "3 BINUNICODE", "15 APPEND", "16 POP", "17 GLOBAL"}; !slices.Equal(first.Trace, want) {
		t.Errorf("trace %q, want %q", first.Trace, want)
	}
	if !slices.Equal(f.Imports, []string{"os:getcwd"}) || !slices.Equal(f.Calls, []string{"os:getcwd"}) {
		t.Errorf("imports %v, calls %v", f.Imports, f.Calls)
	}
}

func TestMembersAreFiles(t *testing.T) {
	_, r := verdictOf(t, sample{name: "m.pt", body: torchZip(whole(2, inert))})
	var paths []string
	for _, f := range r.Files {
		paths = append(paths, string(f.Verdict)+" "+f.Path)
	}
	if want := []string{"unsafe m.pt", "unsafe m.pt!m/data.pkl", "safe m.pt!m/version"}; !slices.Equal(paths, want) {
		t.Errorf("%q, want %q", paths, want)
	}
}

// A checkpoint of a gigabyte is scanned and converted in the memory of a small
// one. The files are sparse: their size is there, their zeros are not.
func TestConstantMemory(t *testing.T) {
	const size = 1 << 30
	dir := t.TempDir()
	legacy := filepath.Join(dir, "big.pt")
	state := whole(2, call(global("torch._utils", "_rebuild_tensor_v2"),
		"(", text("storage"), global("torch", "FloatStorage"), text("0"), text("cpu"), "J", le(size/4, 4), "tQ",
		"K", 0, "J", le(size/4, 4), 0x85, "K", 1, 0x85, 0x89, call(global("collections", "OrderedDict"))))
	head := legacyTorch(state, le(size/4, 8))
	sparse(t, legacy, head, int64(len(head))+size, nil)
	array := filepath.Join(dir, "big.npy")
	head = npy("'<f4'", "(268435456,)", nil)
	sparse(t, array, head, int64(len(head))+size, nil)
	pickled := filepath.Join(dir, "big.pkl")
	head = cat(protoOp(4), 0x8e, le(size, 8))
	sparse(t, pickled, head, int64(len(head))+size+1, []byte("."))

	peak := watchHeap(t, func() {
		for _, path := range []string{legacy, array, pickled} {
			r, err := Path(t.Context(), path, Config{})
			try(t, err)
			if r.Verdict() != Safe {
				t.Errorf("%s is %s: %+v", path, r.Verdict(), r.Files[0].Findings)
			}
		}
		if testing.Short() {
			return
		}
		done, err := Convert(t.Context(), legacy, filepath.Join(dir, "out.safetensors"), Config{})
		if err != nil || done.Bytes != size {
			t.Errorf("convert: %+v, %v", done, err)
		}
	})
	if peak > 64<<20 {
		t.Errorf("the heap grew to %d MB, want under 64", peak>>20)
	}
	t.Logf("heap at most %d MB", peak>>20)
}

// sparse makes a file that begins with head, ends with tail, and has the size.
func sparse(t *testing.T, path string, head []byte, size int64, tail []byte) {
	t.Helper()
	f, err := os.Create(path)
	try(t, err)
	_, err = f.Write(head)
	try(t, err)
	try(t, f.Truncate(size))
	_, err = f.WriteAt(tail, size-int64(len(tail)))
	try(t, err)
	try(t, f.Close())
}

// watchHeap is the largest heap that is seen while do runs.
func watchHeap(t *testing.T, do func()) (peak uint64) {
	t.Helper()
	runtime.GC() // of what other tests left
	done, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			peak = max(peak, m.HeapAlloc)
			select {
			case <-done:
				return
			case <-time.After(2 * time.Millisecond):
			}
		}
	}()
	do()
	close(done)
	<-stopped
	return peak
}

func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	path := filepath.Join(t.TempDir(), "x.pkl")
	try(t, os.WriteFile(path, whole(2, "N"), 0o600))
	if _, err := Path(ctx, path, Config{}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want the context's error", err)
	}
}

// A file that takes too long is unproven, and the next one is scanned.
func TestTimeLimit(t *testing.T) {
	dir := t.TempDir()
	try(t, os.WriteFile(filepath.Join(dir, "a.pkl"), cat(protoOp(2), strings.Repeat("N0", 10_000_000), "N."), 0o600))
	try(t, os.WriteFile(filepath.Join(dir, "b.txt"), []byte("text"), 0o600))
	r, err := Path(t.Context(), dir, Config{Limits: Limits{Time: time.Millisecond}})
	try(t, err)
	if len(r.Files) != 2 || r.Files[0].Verdict != Unproven || r.Files[0].Findings[0].Rule != "limit" {
		t.Errorf("%+v", r.Files[0])
	}
}

// What a link, a pipe and an unreadable file are is said, and nobody waits.
func TestOddFiles(t *testing.T) {
	dir := t.TempDir()
	try(t, os.Symlink("nowhere", filepath.Join(dir, "dangling")))
	try(t, os.Symlink("/", filepath.Join(dir, "folder")))
	r, err := Path(t.Context(), dir, Config{})
	try(t, err)
	if len(r.Files) != 2 || r.Verdict() != Unproven {
		t.Errorf("%+v", r.Files)
	}
	if _, err := Path(t.Context(), filepath.Join(dir, "absent"), Config{}); err == nil {
		t.Error("a path that is not there is no error")
	}
}

// A data file that a model names is numbers; the same bytes alone are unknown.
func TestClaims(t *testing.T) {
	dir := t.TempDir()
	body := cat(1, 2, 3, make([]byte, 13))
	try(t, os.WriteFile(filepath.Join(dir, "w.bin"), body, 0o600))
	r, err := Path(t.Context(), dir, Config{})
	try(t, err)
	if r.Verdict() != Unproven {
		t.Errorf("alone it is %s", r.Verdict())
	}
	try(t, os.WriteFile(filepath.Join(dir, "m.onnx"), onnxModel(onnxOutside("w.bin")), 0o600))
	if r, err = Path(t.Context(), dir, Config{}); err != nil || r.Verdict() != Safe {
		t.Errorf("beside its model it is %s, %v", r.Verdict(), err)
	}
	// A claim does not make a pickle safe.
	try(t, os.WriteFile(filepath.Join(dir, "w.bin"), whole(2, inert), 0o600))
	if r, err = Path(t.Context(), dir, Config{}); err != nil || r.Verdict() != Unsafe {
		t.Errorf("a pickle that a model names is %s, %v", r.Verdict(), err)
	}
}

// The lists are read whole, and no entry of them is also forbidden by its own
// exact name.
func TestLists(t *testing.T) {
	if n := len(allowed()); n < 500 {
		t.Errorf("%d allowed names", n)
	}
	for name := range allowed() {
		if why := forbidden()[name]; why != "" {
			t.Errorf("%s is allowed and forbidden: %s", name, why)
		}
		if module, attr, _ := strings.Cut(name, ":"); strings.Contains(attr, ".") || module == "" {
			t.Errorf("%s: a dotted name is never exact", name)
		}
	}
	for _, list := range []map[string]string{tfAllowed(), tfForbidden()} {
		if len(list) == 0 {
			t.Error("an empty list")
		}
	}
	for op := range tfAllowed() {
		if tfForbidden()[op] != "" {
			t.Errorf("%s is allowed and forbidden", op)
		}
	}
}

// Each format recognises one of the generated files at least, so none is dead.
func TestEveryFormatIsUsed(t *testing.T) {
	used := map[string]bool{}
	for _, s := range slices.Concat(evil(), benign()) {
		if s.disk == nil && len(s.body) < 1<<20 {
			_, r := verdictOf(t, s)
			for _, f := range r.Files {
				used[f.Format] = true
			}
		}
	}
	for _, f := range Formats {
		if !used[f.Name] && f.Name != "tensorflow-bundle" { // made by TensorFlow alone: see bench/peers
			t.Errorf("no generated file is %s", f.Name)
		}
	}
}
