package scan

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/redoubt-ml/redoubt/internal/need"
)

type witness struct {
	Imports []string
	Calls   []string
	Error   string
}

// TestAgainstCPython runs generated and mutated pickles through CPython's
// unpicklers with inert classes. Whatever the C unpickler imports or calls, the
// machine must have reported. Where the others differ from it, the file must not
// be safe.
func TestAgainstCPython(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		need.Missing(t, "python", "python3 in PATH")
	}
	n := 8_000
	if testing.Short() {
		n = 1_000
	}
	pickles := mutants(n)
	cmd := exec.Command(python, "testdata/oracle.py")
	var in bytes.Buffer
	for _, p := range pickles {
		in.Write(binary.LittleEndian.AppendUint32(nil, uint32(len(p))))
		in.Write(p)
	}
	cmd.Stdin = &in
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, errs.String())
	}
	lines := bufio.NewScanner(bytes.NewReader(out))
	lines.Buffer(nil, 16<<20)
	imports, calls := 0, 0
	for _, p := range pickles {
		if !lines.Scan() {
			t.Fatal("the oracle stopped early")
		}
		var saw struct{ C, Stream, Python witness }
		try(t, json.Unmarshal(lines.Bytes(), &saw))
		s := newScanner(t.Context(), Config{})
		f := &File{}
		m := newMachine(s, f, &source{path: "x", r: bytes.NewReader(p), size: int64(len(p))}, 0)
		_, err := m.run()
		imports, calls = imports+len(saw.C.Imports), calls+len(saw.C.Calls)
		if missed := missing(f, saw.C); missed != "" && !errors.Is(err, errLimit) { // over a limit it is unproven
			t.Errorf("%q: CPython reaches %s (%s), we do not: %v", p, missed, saw.C.Error, err)
		}
		for _, other := range []witness{saw.Stream, saw.Python} {
			if missed := missing(f, other); missed != "" && err == nil && f.Verdict == "" {
				t.Errorf("%q: another unpickler of CPython reaches %s, and the file is safe", p, missed)
			}
		}
	}
	t.Logf("%d pickles, %d imports and %d calls by CPython, none missed unless said above", len(pickles), imports, calls)
}

// missing is the first import or call of the witness that is not in the report.
func missing(f *File, w witness) string {
	for _, name := range w.Imports {
		if !slices.Contains(f.Imports, clean(name)) && !slices.Contains(f.Imports, clean(modern(name))) {
			return name
		}
	}
	for _, name := range w.Calls {
		if name != "persistent" && !slices.Contains(f.Calls, clean(name)) && !slices.Contains(f.Calls, clean(modern(name))) {
			return "a call of " + name
		}
	}
	return ""
}

func modern(name string) string {
	if to, ok := renamed[name]; ok {
		return to
	}
	module, rest, _ := strings.Cut(name, ":")
	if to, ok := moved[module]; ok {
		return to + ":" + rest
	}
	return name
}

// mutants are the generated pickles, and n made from them by changing bytes,
// cutting, doubling and joining pieces.
func mutants(n int) [][]byte {
	var seeds [][]byte
	for _, s := range slices.Concat(evil(), benign()) {
		if ext := path.Ext(s.name); (ext == ".pkl" || ext == ".bin" || ext == ".txt" || ext == ".md") && len(s.body) < 4<<10 && len(s.body) > 1 && s.family != "pickle: denial of service" {
			seeds = append(seeds, s.body)
		}
	}
	rng := rand.New(rand.NewPCG(1, 2))
	ops := []byte("(.012FIJKLMNPQRSTUVXabcde}ghijl]opqrst)uGBC\x80\x81\x85\x86\x87\x88\x89\x8a\x8c\x8f\x90\x91\x92\x93\x94\x95")
	out := slices.Clone(seeds)
	for len(out) < len(seeds)+n {
		b := slices.Clone(seeds[rng.IntN(len(seeds))])
		for range 1 + rng.IntN(4) {
			if len(b) == 0 {
				break
			}
			i := rng.IntN(len(b))
			switch rng.IntN(6) {
			case 0:
				b[i] = byte(rng.Uint32())
			case 1:
				b[i] = ops[rng.IntN(len(ops))]
			case 2:
				b = slices.Insert(b, i, ops[rng.IntN(len(ops))])
			case 3:
				b = slices.Delete(b, i, min(i+1+rng.IntN(3), len(b)))
			case 4:
				j := rng.IntN(len(b))
				b = slices.Insert(b, i, slices.Clone(b[min(i, j):max(i, j)])...)
			case 5:
				other := seeds[rng.IntN(len(seeds))]
				b = append(b[:i], other[rng.IntN(len(other)):]...)
			}
		}
		if len(b) < 8<<10 {
			out = append(out, b)
		}
	}
	return out
}
