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
	report, err := Verify(t.Context(), dir)
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
		path := filepath.Join(dir, name)
		for i, b := range files[name] {
			for _, c := range []byte{b ^ 1, b ^ 0x80, '\n', 0} {
				if c == b {
					continue
				}
				changed := slices.Clone(files[name])
				changed[i] = c
				if err := os.WriteFile(path, changed, 0o600); err != nil {
					t.Fatal(err)
				}
				_, err := Verify(t.Context(), dir)
				var d *Damage
				if !errors.As(err, &d) {
					t.Fatalf("byte %d of %s from %q to %q: %v", i, name, b, c, err)
				}
				if d.Entry != entry || d.Segment != name {
					t.Fatalf("byte %d of %s, in entry %d, from %q to %q: %v", i, name, entry, b, c, err)
				}
			}
			if b == '\n' {
				entry++
			}
		}
		if err := os.WriteFile(path, files[name], 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestDamageIsFoundAndNamed(t *testing.T) {
	dir, names, files := small(t)
	lines := func(i int) [][]byte { return bytes.SplitAfter(bytes.TrimSuffix(files[names[i]], nil), []byte("\n")) }
	write := func(i int, parts ...[]byte) {
		if err := os.WriteFile(filepath.Join(dir, names[i]), bytes.Join(parts, nil), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	first := slices.IndexFunc(names, func(n string) bool { return n == names[1] }) // of the middle segment
	l := lines(1)
	var at int64
	if _, err := fmt.Sscanf(names[first], "%d", &at); err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct {
		do    func()
		entry int64
	}{
		"a line less":                  {func() { write(1, append([][]byte{l[0]}, l[2:]...)...) }, at + 1},
		"a line twice":                 {func() { write(1, append([][]byte{l[0], l[0]}, l[1:]...)...) }, at + 1},
		"two lines swapped":            {func() { write(1, append([][]byte{l[1], l[0]}, l[2:]...)...) }, at},
		"the end cut off":              {func() { write(1, files[names[1]][:len(files[names[1]])-10]) }, at + int64(len(l)) - 2},
		"the last line of a segment":   {func() { write(1, l[:len(l)-2]...) }, at + int64(len(l)) - 2},
		"an empty segment":             {func() { write(1) }, at},
		"a segment less":               {func() { os.Remove(filepath.Join(dir, names[1])) }, at},
		"the first segment less":       {func() { os.Remove(filepath.Join(dir, names[0])) }, 1},
		"a line of another log":        {func() { other, _, f := small(t); _ = other; write(1, f[names[1]]) }, at},
		"a line put at the end":        {func() { write(2, files[names[2]], []byte("{}\n")) }, 10},
		"something put at the end":     {func() { write(2, files[names[2]], []byte("hello")) }, 10},
		"a line longer than any entry": {func() { write(2, files[names[2]], bytes.Repeat([]byte("x"), maxLine+10)) }, 0},
	} {
		c.do()
		_, err := Verify(t.Context(), dir)
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
		if _, err := Verify(t.Context(), dir); err != nil {
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
				} else if err := l.Enqueue(deed(g*1000 + i)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	shut(t, l)
	report, err := Verify(t.Context(), dir)
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
	if err := l.Enqueue(deed(1)); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(5 * time.Second); len(all(t, dir, Filter{})) == 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("never written")
		}
	}
}

// A slow disk fills the buffer, and then refuses.
func TestFull(t *testing.T) {
	l := open(t, t.TempDir(), Config{Delay: time.Hour, Buffer: 4})
	defer l.Close()
	l.mu.Lock() // hold the writer
	l.err = errors.New("slow")
	l.mu.Unlock()
	n := 0
	for err := error(nil); err == nil; n++ {
		if err = l.Enqueue(deed(n)); err != nil && !errors.Is(err, ErrFull) {
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

func TestNothingInjected(t *testing.T) {
	nasty := "a\nb\r\x00\x1b[2Jc\x7f\u009b31m\u202e\u2028\u00e9\U0001f600\xff\"\\}</script>"
	dir := t.TempDir()
	l := open(t, dir, Config{})
	record(t, l, redoubt.Event{Action: nasty, Outcome: redoubt.Outcome(nasty), Reason: nasty, Actor: nasty, Resource: nasty, Details: map[string]string{nasty: nasty}})
	shut(t, l)
	data, err := os.ReadFile(filepath.Join(dir, segmentName(1)))
	if err != nil {
		t.Fatal(err)
	}
	for i, b := range data {
		if (b < ' ' || b > '~') && i != len(data)-1 {
			t.Fatalf("byte %d is %#x", i, b)
		}
	}
	got := all(t, dir, Filter{})[0]
	if want := strings.ToValidUTF8(nasty, "\ufffd"); got.Reason != want || got.Details[want] != want {
		t.Errorf("%q, want %q", got.Reason, want)
	}
}

func TestLimitsOnFields(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Config{})
	long := strings.Repeat("\u0001", 1<<20)
	details := map[string]string{}
	for i := range 100 {
		details[fmt.Sprint(i, long[:9000])] = long[:9000]
	}
	record(t, l, redoubt.Event{Action: long, Reason: long, Actor: long, Resource: long, Before: long, After: long, Details: details, Time: time.Unix(1<<60, 0)})
	shut(t, l)
	info, err := os.Stat(filepath.Join(dir, segmentName(1)))
	if err != nil || info.Size() > maxLine {
		t.Error(info.Size(), err)
	}
	e := all(t, dir, Filter{})[0]
	if mark := fmt.Sprintf(" [cut from 1048576 bytes, sha256 %x]", sha256.Sum256([]byte(long))); !strings.HasSuffix(e.Reason, mark) || len(e.Reason) != maxField+len(mark) {
		t.Errorf("%q", e.Reason[maxField-4:])
	}
	if len(e.Details) != maxDetails || time.Since(e.Time) > time.Minute {
		t.Errorf("%d details, at %v", len(e.Details), e.Time)
	}
	if _, err := Verify(t.Context(), dir); err != nil {
		t.Error(err)
	}
}

func TestMask(t *testing.T) {
	for s, want := range map[string]string{
		"":                       "",
		"card 4111111111111111.": "card ************1111.",
		"4111 1111 1111 1111":    "**** **** **** 1111",
		"4111-1111-1111-1111 and 5500005555555559":  "****-****-****-1111 and ************5559",
		"378282246310005":                           "***********0005",
		"4111111111111112":                          "4111111111111112", // no card number
		"order 12345678901":                         "order 12345678901",
		"4111111111111111 2026":                     "************1111 2026",
		"paid 2026 4111111111111111":                "paid 2026 ************1111",
		"4111111111111111\n4111111111111111":        "************1111\n************1111",
		"at 1763812345678901234 ns":                 "at 1763812345678901234 ns",
		"mail anna.b+c@example.com!":                "mail a***@example.com!",
		"@ at the end@":                             "@ at the end@",
		"zoë@example.com":                           "z***@example.com",
		"authorization: BeArEr abcdefgh12345":       "authorization: BeArEr ***",
		"Bearer of news":                            "Bearer of news",
		"eyJhbGciOiJIUzI1NiJ9.e30.abc":              "eyJ***",
		"Basic dXNlcjpwYXNz and basic dXNlcjpwYXNz": "Basic *** and basic ***",
	} {
		if got := mask(s); got != want {
			t.Errorf("%q is masked as %q, want %q", s, got, want)
		}
	}
}

func FuzzEvent(f *testing.F) {
	f.Add("policy.change", "user:a", "4111 1111 1111 1111", "x@y.z", int64(0))
	f.Add("\x00\n\u2028", "\xff\xfe", "Bearer abcdefghijkl", "\U0010ffff", int64(1)<<62)
	f.Fuzz(func(t *testing.T, action, actor, reason, detail string, nanos int64) {
		e := presentable(redoubt.Event{ID: "1", Time: time.Unix(0, nanos), Action: action, Actor: actor, Reason: reason, Details: map[string]string{detail: reason}})
		event := appendEvent(nil, &e)
		b := appendLine(nil, 1, link{}.next(1, event), event)
		if len(b) > maxLine || bytes.IndexByte(b, '\n') != len(b)-1 {
			t.Fatalf("%q is no line", b)
		}
		l, err := parseLine(b[:len(b)-1])
		if err != nil || l.follows(0, link{}) != nil {
			t.Fatal(err, l)
		}
		if again, err := l.decode(); err != nil || !bytes.Equal(appendEvent(nil, &again), event) {
			t.Fatalf("%s: %v", event, err)
		}
	})
}

func FuzzLine(f *testing.F) {
	e := deed(1)
	event := appendEvent(nil, &e)
	f.Add(appendLine(nil, 1, link{}.next(1, event), event))
	f.Add([]byte(`{"seq":1,"hash":"`))
	f.Add([]byte(`{"seq":9223372036854775807,"hash":"0000000000000000000000000000000000000000000000000000000000000000","event":{}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		b = bytes.TrimSuffix(b, []byte("\n"))
		l, err := parseLine(b)
		if err != nil {
			return
		}
		if again := appendLine(nil, l.seq, l.hash, l.event); !bytes.Equal(again[:len(again)-1], b) {
			t.Errorf("%q is read as %q", b, again)
		}
		if _, err := l.decode(); err == nil && bytes.ContainsFunc(b, func(r rune) bool { return r < ' ' || r > '~' }) {
			t.Errorf("%q holds what no entry does", b)
		}
	})
}

func BenchmarkRecord(b *testing.B) {
	for _, writers := range []int{1, 16, 256} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			l := open(b, b.TempDir(), Config{})
			var wg sync.WaitGroup
			b.ResetTimer()
			for w := range writers {
				wg.Go(func() {
					for i := w; i < b.N; i += writers {
						if err := l.Record(b.Context(), deed(i)); err != nil {
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

// BenchmarkEnqueue measures what an inference pays that does not wait.
func BenchmarkEnqueue(b *testing.B) {
	l := open(b, b.TempDir(), Config{Buffer: 1 << 20})
	e := deed(1)
	for b.Loop() {
		for l.Enqueue(e) != nil {
			time.Sleep(time.Millisecond)
		}
	}
	b.StopTimer()
	shut(b, l)
}
