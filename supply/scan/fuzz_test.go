package scan

import (
	"bytes"
	"encoding/json"
	"slices"
	"testing"
	"time"
)

// fuzz gives one format's reader whatever the fuzzer makes of the generated
// files that it recognises. It must end, within its limits, with a verdict.
func fuzz(f *testing.F, format Format) {
	limits := Limits{Unpacked: 1 << 20, Opcodes: 1 << 16, Memo: 1 << 16, Text: 1 << 20, Members: 100, Time: 5 * time.Second}
	for _, s := range slices.Concat(evil(), benign()) {
		src := &source{path: s.name, r: bytes.NewReader(s.body), size: int64(len(s.body))}
		if len(s.body) < 16<<10 && format.match(newScanner(f.Context(), Config{Limits: limits}), src) {
			f.Add(s.body)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s := newScanner(t.Context(), Config{Limits: limits})
		s.formats = []Format{format}
		began := time.Now()
		file := s.examine(&source{path: "x", r: bytes.NewReader(b), size: int64(len(b))})
		if file.Verdict != Safe && file.Verdict != Unproven && file.Verdict != Unsafe {
			t.Errorf("no verdict: %q", file.Verdict)
		}
		if (file.Verdict == Safe) != (len(file.Findings) == 0) && s.report.Verdict() != Unsafe && len(s.report.Files) == 1 {
			t.Errorf("verdict %s with %d findings", file.Verdict, len(file.Findings))
		}
		if d := time.Since(began); d > 10*time.Second {
			t.Errorf("took %v for %d bytes", d, len(b))
		}
		if _, err := json.Marshal(s.report); err != nil {
			t.Error(err)
		}
	})
}

func FuzzPickle(f *testing.F)      { fuzz(f, pickleFormat) }
func FuzzZip(f *testing.F)         { fuzz(f, zipFormat) }
func FuzzTar(f *testing.F)         { fuzz(f, tarFormat) }
func FuzzSevenZip(f *testing.F)    { fuzz(f, sevenZipFormat) }
func FuzzCompressed(f *testing.F)  { fuzz(f, compressedFormat) }
func FuzzNpy(f *testing.F)         { fuzz(f, npyFormat) }
func FuzzHDF5(f *testing.F)        { fuzz(f, hdf5Format) }
func FuzzSafetensors(f *testing.F) { fuzz(f, safetensorsFormat) }
func FuzzGGUF(f *testing.F)        { fuzz(f, ggufFormat) }
func FuzzONNX(f *testing.F)        { fuzz(f, onnxFormat) }
func FuzzTensorFlow(f *testing.F)  { fuzz(f, tensorflowFormat) }
func FuzzBundle(f *testing.F)      { fuzz(f, bundleFormat) }
func FuzzImage(f *testing.F)       { fuzz(f, imageFormat) }
func FuzzText(f *testing.F)        { fuzz(f, textFormat) }
