package audit

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/redoubt-ml/redoubt"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv("REDOUBT_AUDIT_CHILD"); dir != "" {
		child(dir)
		return
	}
	goleak.VerifyTestMain(m)
}

func open(t testing.TB, dir string, cfg Config) *Log {
	t.Helper()
	l, err := Open(dir, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func record(t testing.TB, l *Log, events ...redoubt.Event) {
	t.Helper()
	for _, e := range events {
		if err := l.Record(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
}

func shut(t testing.TB, l *Log) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

func all(t testing.TB, dir string, f Filter) (out []redoubt.Event) {
	t.Helper()
	for e, err := range Read(t.Context(), dir, f) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, e)
	}
	return out
}

func deed(i int) redoubt.Event {
	return redoubt.Event{Action: "model.invoke", Outcome: redoubt.Allowed, Actor: fmt.Sprint("user:", i), Resource: "model:loans", Request: fmt.Sprint("r", i)}
}

func TestRecordAndRead(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	when := time.Date(2026, 11, 22, 12, 0, 0, 123456789, time.FixedZone("", 3600))
	events := []redoubt.Event{
		{Time: when, Action: "policy.change", Outcome: redoubt.Allowed, Actor: "user:a", Method: "passkey", Credential: "c1", From: "192.0.2.1",
			Resource: "policy:credit", Request: "r1", Before: "permit (\n);", After: "forbid (\n);", Details: map[string]string{"b": "2", "a": "1"}},
		{Time: when.Add(time.Second), Action: "model.invoke", Outcome: redoubt.Denied, Reason: "limit", Resource: "model:loans"},
		{Action: "policy.delete", Outcome: redoubt.Failed, Actor: "user:b", Resource: "policy:credit"},
	}
	l := open(t, dir, Config{})
	record(t, l, events[:2]...)
	shut(t, l)
	l = open(t, dir, Config{}) // it goes on where it ended
	record(t, l, events[2])
	if _, err := Open(dir, Config{}); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("opened twice: %v", err)
	}
	shut(t, l)
	if err := l.Record(t.Context(), events[0]); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}

	got := all(t, dir, Filter{})
	if len(got) != 3 || got[2].Time.IsZero() || !slices.IsSortedFunc(got, func(a, b redoubt.Event) int { return strings.Compare(a.ID, b.ID) }) {
		t.Fatalf("%+v", got)
	}
	for i, e := range got {
		want := events[i]
		if want.ID = e.ID; want.Time.IsZero() {
			want.Time = e.Time
		}
		want.Time = want.Time.UTC()
		if fmt.Sprint(e) != fmt.Sprint(want) {
			t.Errorf("got  %+v\nwant %+v", e, want)
		}
	}
	for _, c := range []struct {
		f    Filter
		want string
	}{
		{Filter{Action: "policy."}, "0 2"}, {Filter{Action: "policy"}, ""}, {Filter{Action: "policy.delete"}, "2"},
		{Filter{Resource: "model:"}, "1"}, {Filter{Resource: "policy:credit", Actor: "user:a"}, "0"}, {Filter{Request: "r1"}, "0"},
		{Filter{Outcome: redoubt.Denied}, "1"}, {Filter{From: when.Add(time.Second)}, "1 2"}, {Filter{To: when.Add(time.Second)}, "0"},
	} {
		var places []string
		for _, e := range all(t, dir, c.f) {
			places = append(places, fmt.Sprint(slices.IndexFunc(got, func(g redoubt.Event) bool { return g.ID == e.ID })))
		}
		if s := strings.Join(places, " "); s != c.want {
			t.Errorf("%+v: entries %q, want %q", c.f, s, c.want)
		}
	}
}

// The chain as the package comment describes it, computed without the package.
func TestChainFromItsDescription(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Config{SegmentSize: 600})
	for i := range 20 {
		record(t, l, deed(i))
	}
	shut(t, l)
	report, err := Verify(t.Context(), dir, Trust{})
	if err != nil || report.Entries != 20 || report.Segments < 3 {
		t.Fatal(report, err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	before := make([]byte, 32)
	n := uint64(0)
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for s := bufio.NewScanner(bytes.NewReader(data)); s.Scan(); {
			var entry struct {
				Seq   uint64
				Hash  string
				Event json.RawMessage
			}
			if err := json.Unmarshal(s.Bytes(), &entry); err != nil {
				t.Fatal(err)
			}
			n++
			text := "redoubt.audit/v1\n" + string(before)
			for shift := 56; shift >= 0; shift -= 8 {
				text += string([]byte{byte(n >> shift)})
			}
			sum := sha256.Sum256(append([]byte(text), entry.Event...))
			if entry.Seq != n || entry.Hash != hex.EncodeToString(sum[:]) {
				t.Fatalf("entry %d: %+v, want the hash %x", n, entry, sum)
			}
			before = sum[:]
		}
	}
	if report.Head != hex.EncodeToString(before) {
		t.Errorf("head %s, want %x", report.Head, before)
	}
}

func TestConcurrentWriters(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Config{SegmentSize: 64 << 10, Delay: time.Millisecond, Buffer: 1 << 16})
	var wg sync.WaitGroup
	for g := range 16 {
		wg.Go(func() {
			for i := range 100 {
				if i%2 == 0 {
					if err := l.Record(context.Background(), deed(g*1000+i)); err != nil {
						t.Error(err)
					}
				} else if err := l.Enqueue(t.Context(), deed(g*1000+i)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	shut(t, l)
	report, err := Verify(t.Context(), dir, Trust{})
	if err != nil || report.Entries != 1600 || report.Segments < 4 {
		t.Fatal(report, err)
	}
	seen := map[string]bool{}
	last := ""
	for _, e := range all(t, dir, Filter{}) {
		if seen[e.Actor] = true; e.ID <= last {
			t.Fatal("ids do not rise")
		}
		last = e.ID
	}
	if len(seen) != 1600 {
		t.Errorf("%d different events", len(seen))
	}
}

func TestEnqueueIsWrittenInTime(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Config{Delay: 20 * time.Millisecond})
	defer shut(t, l)
	if err := l.Enqueue(t.Context(), deed(1)); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(5 * time.Second); len(all(t, dir, Filter{})) == 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("never written")
		}
	}
}

// stalled is a segment whose flushes wait until they are let go.
type stalled struct {
	*os.File
	begun, let chan struct{}
}

func (s *stalled) Sync() error {
	select {
	case s.begun <- struct{}{}:
	case <-s.let:
	}
	<-s.let
	return s.File.Sync()
}

// order is the requests of the entries in a log, one behind the other.
func order(t *testing.T, dir string) string {
	t.Helper()
	var requests []string
	for _, e := range all(t, dir, Filter{}) {
		requests = append(requests, e.Request)
	}
	return strings.Join(requests, " ")
}

// hanging is a segment whose writes wait until they are let go.
type hanging struct {
	*os.File
	begun, let chan struct{}
}

func (h *hanging) WriteAt(b []byte, at int64) (int, error) {
	select {
	case h.begun <- struct{}{}:
	case <-h.let:
	}
	<-h.let
	return h.File.WriteAt(b, at)
}

// Whoever brings an entry writes it himself. While the system does not come back to
// him, others wait no longer than they can, and what they brought follows.
func TestHangingWrite(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Config{})
	record(t, l, deed(0))
	h := &hanging{File: l.chain.file.(*os.File), begun: make(chan struct{}), let: make(chan struct{})}
	l.disk.Lock()
	l.chain.file = h
	l.disk.Unlock()
	patient, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	write := func(n int) {
		if err := l.Write(patient, deed(n)); err != nil {
			t.Error(n, err)
		}
	}
	var wg sync.WaitGroup
	wg.Go(func() { write(1) })
	<-h.begun
	hasty, leave := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer leave()
	if err := l.Write(hasty, deed(2)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v while the system holds the entry before, want the deadline", err)
	}
	wg.Go(func() { write(3) })
	time.Sleep(20 * time.Millisecond) // for it to find the disk taken
	close(h.let)
	wg.Wait()
	shut(t, l)
	if got := order(t, dir); got != "r0 r1 r2 r3" {
		t.Error(got)
	}
}

// A burst on a slow disk fills the buffer. Who comes then waits for room, but no
// longer than he can, and nobody is refused by a disk that takes entries.
func TestBurst(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Config{Buffer: 5})
	record(t, l, deed(0))
	s := &stalled{File: l.chain.file.(*os.File), begun: make(chan struct{}), let: make(chan struct{})}
	l.chain.file = s // the writer sleeps
	var wg sync.WaitGroup
	wg.Go(func() { record(t, l, deed(1)) })
	<-s.begun
	for i := range 4 {
		if err := l.Enqueue(t.Context(), deed(2+i)); err != nil {
			t.Fatal(err)
		}
	}
	for name, way := range map[string]func(context.Context, redoubt.Event) error{"Enqueue": l.Enqueue, "Record": l.Record} {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		if err := way(ctx, redoubt.Event{Action: "impatient"}); !errors.Is(err, ErrFull) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s, with no room for as long as it could wait: %v", name, err)
		}
		cancel()
	}
	for i := range 20 {
		wg.Go(func() {
			if err := l.Enqueue(t.Context(), deed(6+i)); err != nil {
				t.Error(err)
			}
		})
	}
	close(s.let)
	wg.Wait()
	shut(t, l)
	if got := all(t, dir, Filter{}); len(got) != 26 {
		t.Errorf("%d entries, want 26", len(got))
	}
}

// Who waits for room is told when the log is closed.
func TestClosedWhileFull(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Config{Buffer: 2})
	record(t, l, deed(0))
	s := &stalled{File: l.chain.file.(*os.File), begun: make(chan struct{}), let: make(chan struct{})}
	l.chain.file = s // the writer sleeps
	var wg sync.WaitGroup
	wg.Go(func() { record(t, l, deed(1)) })
	<-s.begun
	if err := l.Enqueue(t.Context(), deed(2)); err != nil {
		t.Fatal(err)
	}
	wg.Go(func() {
		if err := l.Enqueue(t.Context(), deed(3)); !errors.Is(err, ErrClosed) {
			t.Errorf("%v, want %v", err, ErrClosed)
		}
	})
	wg.Go(func() {
		for l.Enqueue(t.Context(), deed(4)) == nil { // until it is closed
		}
		close(s.let)
	})
	shut(t, l)
	wg.Wait()
	if got := all(t, dir, Filter{}); len(got) != 3 {
		t.Errorf("%d entries, want 3", len(got))
	}
}

// A full buffer is refused at once where the disk refuses.
func TestFull(t *testing.T) {
	l := open(t, t.TempDir(), Config{Delay: time.Hour, Buffer: 4})
	defer l.Close()
	l.mu.Lock() // hold the writer
	l.err = errors.New("slow")
	l.mu.Unlock()
	n := 0
	for err := error(nil); err == nil; n++ {
		if err = l.Enqueue(t.Context(), deed(n)); err != nil && !errors.Is(err, ErrFull) {
			t.Fatal(err)
		}
		if n > 10 {
			t.Fatal("the buffer has no end")
		}
	}
	if n != 5 {
		t.Errorf("refused at entry %d, want the fifth", n)
	}
}

func BenchmarkRecord(b *testing.B) { benchmark(b, (*Log).Record) }
func BenchmarkWrite(b *testing.B)  { benchmark(b, (*Log).Write) }

func benchmark(b *testing.B, way func(*Log, context.Context, redoubt.Event) error) {
	for _, writers := range []int{1, 16, 256} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			signer, _ := key(b, "log")
			l := open(b, b.TempDir(), Config{Signer: signer, Personal: true})
			var wg sync.WaitGroup
			b.ResetTimer()
			for w := range writers {
				wg.Go(func() {
					for i := w; i < b.N; i += writers {
						if err := way(l, b.Context(), deed(i%10)); err != nil {
							b.Error(err)
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "entries/s")
			shut(b, l)
		})
	}
}

// BenchmarkEnqueue measures what an inference pays that does not wait, with the
// writer keeping up.
func BenchmarkEnqueue(b *testing.B) {
	l := open(b, b.TempDir(), Config{})
	e := deed(1)
	b.ReportAllocs()
	for b.Loop() {
		if err := l.Enqueue(b.Context(), e); err != nil {
			b.Fatal(err)
		}
	}
	shut(b, l)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "entries/s")
}
