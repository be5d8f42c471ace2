package seal

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/streamingaead"
	"google.golang.org/protobuf/proto"

	gcmhkdf "github.com/tink-crypto/tink-go/v2/proto/aes_gcm_hkdf_streaming_go_proto"
	common "github.com/tink-crypto/tink-go/v2/proto/common_go_proto"
	"github.com/tink-crypto/tink-go/v2/proto/tink_go_proto"
)

var loans = Place{Purpose: "model", Tenant: "acme", Name: "loans"}

// newKey is a key in a new file, and its URI.
func newKey(t testing.TB) (Key, string) {
	t.Helper()
	text := "file:" + filepath.Join(t.TempDir(), "kek.json")
	if err := MakeKey(text, ""); err != nil {
		t.Fatal(err)
	}
	k, err := OpenKey(text, "")
	if err != nil {
		t.Fatal(err)
	}
	return k, text
}

func sealed(t testing.TB, s *Sealer, content []byte, p Place) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := s.Seal(t.Context(), &b, p)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// opened reads a sealed stream to its end.
func opened(ctx context.Context, s *Sealer, b []byte, p Place) ([]byte, error) {
	r, err := s.Open(ctx, bytes.NewReader(b), p)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}

func TestRoundTrip(t *testing.T) {
	k, _ := newKey(t)
	s := &Sealer{Keys: []Key{k}}
	first := segmentSize - 40 - 16 // what the first segment holds
	for _, n := range []int{0, 1, 1000, first - 1, first, first + 1, first + segmentSize - 16, 3 << 20} {
		content := make([]byte, n)
		rand.Read(content)
		b := sealed(t, s, content, loans)
		if n > 100 && bytes.Contains(b, content[:100]) {
			t.Fatal("the content lies in the clear")
		}
		r, err := s.Open(t.Context(), iotest.HalfReader(bytes.NewReader(b)), loans)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r)
		if err != nil || !bytes.Equal(got, content) {
			t.Errorf("%d bytes came back as %d: %v", n, len(got), err)
		}
	}
}

// What we write is Tink's streaming AEAD: Tink reads it from a keyset with the data
// key, by its public interface.
func TestTinkReadsTheStream(t *testing.T) {
	k, _ := newKey(t)
	s := &Sealer{Keys: []Key{k}}
	content := bytes.Repeat([]byte("weights "), 200_000)
	b := sealed(t, s, content, loans)
	h, err := decode(b[:2*slotSize])
	if err != nil {
		t.Fatal(err)
	}
	data, err := k.Unwrap(t.Context(), h.wrapped, loans.associated())
	if err != nil {
		t.Fatal(err)
	}
	key, err := proto.Marshal(&gcmhkdf.AesGcmHkdfStreamingKey{
		KeyValue: data,
		Params:   &gcmhkdf.AesGcmHkdfStreamingParams{CiphertextSegmentSize: 1 << 20, DerivedKeySize: 32, HkdfHashType: common.HashType_SHA256},
	})
	if err != nil {
		t.Fatal(err)
	}
	text, err := proto.Marshal(&tink_go_proto.Keyset{PrimaryKeyId: 1, Key: []*tink_go_proto.Keyset_Key{{
		KeyId: 1, Status: tink_go_proto.KeyStatusType_ENABLED, OutputPrefixType: tink_go_proto.OutputPrefixType_RAW,
		KeyData: &tink_go_proto.KeyData{TypeUrl: "type.googleapis.com/google.crypto.tink.AesGcmHkdfStreamingKey", Value: key, KeyMaterialType: tink_go_proto.KeyData_SYMMETRIC},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	handle, err := insecurecleartextkeyset.Read(keyset.NewBinaryReader(bytes.NewReader(text)))
	if err != nil {
		t.Fatal(err)
	}
	stream, err := streamingaead.New(handle)
	if err != nil {
		t.Fatal(err)
	}
	r, err := stream.NewDecryptingReader(bytes.NewReader(b[2*slotSize:]), loans.associated())
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, content) {
		t.Errorf("Tink reads %d of %d bytes: %v", len(got), len(content), err)
	}
}

// Every byte of a sealed file counts.
func TestEveryFlippedByteIsRefused(t *testing.T) {
	k, _ := newKey(t)
	s := &Sealer{Keys: []Key{k}, Life: -1}
	b := sealed(t, s, []byte("a small model"), loans)
	for i := range b {
		for _, bit := range []byte{1, 0x80} {
			b[i] ^= bit
			if got, err := opened(t.Context(), s, b, loans); !errors.Is(err, ErrRefused) {
				t.Fatalf("byte %d of %d was flipped, and it opens as %q: %v", i, len(b), got, err)
			}
			b[i] ^= bit
		}
	}
	if _, err := opened(t.Context(), s, b, loans); err != nil {
		t.Fatal(err)
	}
}

func TestCutAndReorderedIsRefused(t *testing.T) {
	k, _ := newKey(t)
	s := &Sealer{Keys: []Key{k}}
	content := make([]byte, 3<<20)
	rand.Read(content)
	b := sealed(t, s, content, loans)
	segment := func(i int) []byte { return b[2*slotSize+i*segmentSize:][:segmentSize] }
	reordered := bytes.Clone(b)
	copy(reordered[2*slotSize+segmentSize:], segment(2))
	copy(reordered[2*slotSize+2*segmentSize:], segment(1))
	cases := map[string][]byte{
		"empty": {}, "half a header": b[:slotSize], "a header": b[:2*slotSize], "a header and a byte": b[:2*slotSize+1],
		"a segment": b[:2*slotSize+segmentSize], "three segments": b[:2*slotSize+3*segmentSize], "less a byte": b[:len(b)-1],
		"reordered": reordered, "with a byte more": append(bytes.Clone(b), 0), "twice": append(bytes.Clone(b), b...),
	}
	for name, b := range cases {
		if got, err := opened(t.Context(), s, b, loans); !errors.Is(err, ErrRefused) {
			t.Errorf("%s: it opens with %d bytes: %v", name, len(got), err)
		} else if !strings.Contains(err.Error(), "cut short") && !strings.Contains(err.Error(), "shorter than a header") {
			t.Errorf("%s: the error does not say what is wrong: %v", name, err)
		}
	}
}

func TestOtherPlacesAreRefused(t *testing.T) {
	k, _ := newKey(t)
	other, _ := newKey(t)
	s := &Sealer{Keys: []Key{k}}
	b := sealed(t, s, []byte("weights"), loans)
	for _, p := range []Place{
		{"model", "rival", "loans"}, {"model", "", "loans"}, {"data", "acme", "loans"}, {"model", "acme", "fraud"},
		{"model", "acmel", "oans"}, // the same letters in a row
	} {
		if _, err := opened(t.Context(), s, b, p); !errors.Is(err, ErrRefused) {
			t.Errorf("it opens at %s: %v", p, err)
		}
		// The header may be rewritten to speak of that place: it is held against what
		// was encrypted.
		h, err := decode(b[:2*slotSize])
		if err != nil {
			t.Fatal(err)
		}
		h.place = p
		forged := append(append(h.encode(), h.encode()...), b[2*slotSize:]...)
		if _, err := opened(t.Context(), s, forged, p); !errors.Is(err, ErrRefused) {
			t.Errorf("with another header it opens at %s: %v", p, err)
		}
	}
	// The stream of another file under the same key, at the same place.
	b2 := sealed(t, s, []byte("weights"), loans)
	if _, err := opened(t.Context(), s, append(bytes.Clone(b[:2*slotSize]), b2[2*slotSize:]...), loans); !errors.Is(err, ErrRefused) {
		t.Errorf("the stream of another file opens: %v", err)
	}
	if _, err := opened(t.Context(), &Sealer{Keys: []Key{other}}, b, loans); !errors.Is(err, ErrRefused) {
		t.Errorf("it opens under another key: %v", err)
	}
	if got, err := opened(t.Context(), &Sealer{Keys: []Key{other, k}}, b, loans); err != nil || string(got) != "weights" {
		t.Errorf("the second key is not tried: %v", err)
	}
}

func TestBadPlacesAndNoKey(t *testing.T) {
	k, _ := newKey(t)
	for p, want := range map[Place]string{
		{}:                                   "needs a purpose and a name",
		{Purpose: "model"}:                   "needs a purpose and a name",
		{Purpose: "m", Name: "a\nb"}:         "no text",
		{Purpose: "m", Name: "\xff"}:         "no text",
		{"m", strings.Repeat("x", 257), "n"}: "257 bytes",
		{Purpose: "m", Name: strings.Repeat("x", 1025)}:   "1025 bytes",
		{Purpose: strings.Repeat("x", 65), Name: "loans"}: "65 bytes",
	} {
		if _, err := (&Sealer{Keys: []Key{k}}).Seal(t.Context(), io.Discard, p); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", p, err, want)
		}
	}
	if _, err := (&Sealer{}).Seal(t.Context(), io.Discard, loans); err == nil || !strings.Contains(err.Error(), "no key-encryption key") {
		t.Errorf("without a key: %v", err)
	}
	// The longest that are allowed fit.
	s := &Sealer{Keys: []Key{&named{k, strings.Repeat("k", maxKeyID)}}}
	p := Place{strings.Repeat("p", maxPurpose), strings.Repeat("t", maxTenant), strings.Repeat("n", maxName)}
	if got, err := opened(t.Context(), s, sealed(t, s, []byte("x"), p), p); err != nil || string(got) != "x" {
		t.Errorf("the longest place: %v", err)
	}
}

// named is a key under another name, whose wrapped keys are as long as they may be.
type named struct {
	Key
	id string
}

func (n *named) ID() string { return n.id }

func (n *named) Wrap(ctx context.Context, p, a []byte) ([]byte, error) {
	b, err := n.Key.Wrap(ctx, p, a)
	return append(b, make([]byte, maxWrapped-len(b))...), err
}

func (n *named) Unwrap(ctx context.Context, w, a []byte) ([]byte, error) {
	return n.Key.Unwrap(ctx, bytes.TrimRight(w, "\x00"), a)
}

func TestFiles(t *testing.T) {
	k, _ := newKey(t)
	s := &Sealer{Keys: []Key{k}}
	dir := t.TempDir()
	path, plain := filepath.Join(dir, "f.sealed"), filepath.Join(dir, "f")
	if err := s.SealFile(t.Context(), path, strings.NewReader("content"), loans); err != nil {
		t.Fatal(err)
	}
	if err := s.UnsealFile(t.Context(), path, plain, loans); err != nil {
		t.Fatal(err)
	}
	if b, _ := os.ReadFile(plain); string(b) != "content" {
		t.Errorf("unsealed %q", b)
	}
	if p, key, err := Inspect(path); p != loans || key != "keyset" || err != nil {
		t.Errorf("Inspect: %v %v %v", p, key, err)
	}
	for _, f := range []string{path, plain} {
		if st, err := os.Stat(f); err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %v %v", f, st.Mode(), err)
		}
	}
	// What fails leaves what was there, and nothing beside.
	broken := io.MultiReader(strings.NewReader("new"), iotest.ErrReader(errors.New("the source broke")))
	if err := s.SealFile(t.Context(), path, broken, loans); err == nil || !strings.Contains(err.Error(), "the source broke") {
		t.Errorf("sealed what broke: %v", err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b[:len(b)-1], 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.UnsealFile(t.Context(), path, plain, loans); !errors.Is(err, ErrRefused) {
		t.Errorf("unsealed what was cut: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.SealFile(ctx, path, strings.NewReader("x"), loans); !errors.Is(err, context.Canceled) {
		t.Errorf("an interrupted seal: %v", err)
	}
	if b, _ := os.ReadFile(plain); string(b) != "content" {
		t.Errorf("the file that was there holds %q", b)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".*")); left != nil {
		t.Errorf("left %v", left)
	}
}

// zeros never end.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

func TestMemoryIsConstant(t *testing.T) {
	k, _ := newKey(t)
	s := &Sealer{Keys: []Key{k}}
	const size = 512 << 20
	r, w := io.Pipe()
	go func() {
		sealed, err := s.Seal(t.Context(), w, loans)
		if err == nil {
			_, err = io.Copy(sealed, io.LimitReader(zeros{}, size))
		}
		if err == nil {
			err = sealed.Close()
		}
		w.CloseWithError(err)
	}()
	plain, err := s.Open(t.Context(), r, loans)
	if err != nil {
		t.Fatal(err)
	}
	most, total, b := uint64(0), 0, make([]byte, 64<<10)
	for n := 0; err == nil; {
		n, err = plain.Read(b)
		if total%(64<<20) == 0 {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			most = max(most, m.HeapInuse)
		}
		total += n
	}
	if err != io.EOF || total != size {
		t.Fatalf("%d bytes: %v", total, err)
	}
	if most > 64<<20 {
		t.Errorf("%d MiB of memory for a stream of %d", most>>20, size>>20)
	}
}

// The input is what stands in a slot before its zeros; digests are put to it, for a
// fuzzer does not guess them.
func FuzzDecode(f *testing.F) {
	h := header{generation: 3, key: "keyset", place: loans, wrapped: []byte("wrapped")}
	f.Add(bytes.TrimRight(h.encode()[:digestStart], "\x00"), true)
	f.Add(magic, true)
	f.Add(append(bytes.Clone(magic), bytes.Repeat([]byte{0xff}, 100)...), true)
	f.Add([]byte{}, false)
	f.Fuzz(func(t *testing.T, b []byte, proper bool) {
		slot := make([]byte, slotSize)
		copy(slot[:digestStart], b)
		if proper {
			copy(slot[digestStart:], sum(slot[:digestStart]))
		}
		h, err := decodeSlot(slot)
		if err != nil {
			return
		}
		if err := h.place.check(); err != nil || !proper {
			t.Errorf("%+v: %v", h, err)
		}
		if !bytes.Equal(h.encode(), slot) {
			t.Errorf("%+v is written in two ways", h)
		}
		if again, err := decode(append(slot, slot...)); err != nil || again.place != h.place {
			t.Errorf("twice it is %+v: %v", again, err)
		}
	})
}

func sum(b []byte) []byte {
	var out []byte
	_, err := fmt.Sscanf(digest(b), "%x", &out)
	if err != nil {
		panic(err)
	}
	return out
}

func BenchmarkSeal(b *testing.B) {
	k, _ := newKey(b)
	s := &Sealer{Keys: []Key{k}}
	content := make([]byte, 64<<20)
	b.SetBytes(int64(len(content)))
	for b.Loop() {
		w, err := s.Seal(b.Context(), io.Discard, loans)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := w.Write(content); err != nil {
			b.Fatal(err)
		}
		if err := w.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	k, _ := newKey(b)
	s := &Sealer{Keys: []Key{k}}
	content := sealed(b, s, make([]byte, 64<<20), loans)
	b.SetBytes(64 << 20)
	for b.Loop() {
		r, err := s.Open(b.Context(), bytes.NewReader(content), loans)
		if err == nil {
			_, err = io.Copy(io.Discard, r)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}
