package audit

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/note"

	"github.com/redoubt-ml/redoubt"
)

// key is a log's key, and what verifies it.
func key(t testing.TB, name string) (note.Signer, note.Verifier) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "key")
	s, err := Key(path, name)
	if err != nil {
		t.Fatal(err)
	}
	v, err := ReadVerifier(path + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	return s, v
}

// witness is the key of one of several witnesses, and what verifies it.
func witness(t *testing.T, i int) (note.Signer, note.Verifier) {
	t.Helper()
	secret, _, err := note.GenerateKey(rand.Reader, fmt.Sprint("witness", i))
	if err != nil {
		t.Fatal(err)
	}
	w, public, err := Cosigner(secret)
	if err != nil {
		t.Fatal(err)
	}
	v, err := ReadVerifier(public)
	if err != nil {
		t.Fatal(err)
	}
	return w, v
}

// signed is a log of n entries in segments of about three, signed at each size
// that is named, and those checkpoints.
func signed(t *testing.T, signer note.Signer, n int, sizes ...int) (dir string, checkpoints []Checkpoint) {
	t.Helper()
	dir = t.TempDir()
	for i, size := range append(sizes, n) {
		l := open(t, dir, Config{SegmentSize: 700, Signer: signer})
		from := 0
		if i > 0 {
			from = sizes[i-1]
		}
		for k := from; k < size; k++ {
			record(t, l, deed(k))
		}
		shut(t, l)
		checkpoints = append(checkpoints, l.Checkpoint())
	}
	return dir, checkpoints
}

// leavesOf are the leaves of a log's tree, read out of its files without the
// package.
func leavesOf(t *testing.T, dir string) (out [][]byte) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for text := range bytes.Lines(b) {
			var e struct{ Hash string }
			if err := json.Unmarshal(text, &e); err != nil {
				t.Fatal(err)
			}
			var h []byte
			if _, err := fmt.Sscanf(e.Hash, "%x", &h); err != nil {
				t.Fatal(err)
			}
			out = append(out, h)
		}
	}
	return out
}

// Roots and proofs are those of an independent implementation of RFC 6962, at
// every size.
func TestTreeAgainstAnother(t *testing.T) {
	signer, _ := key(t, "log")
	const n = 70
	var sizes []int
	for i := 1; i < n; i++ {
		sizes = append(sizes, i)
	}
	dir, checkpoints := signed(t, signer, n, sizes...)
	leaves := leavesOf(t, dir)
	if len(leaves) != n || len(checkpoints) != n {
		t.Fatal(len(leaves), len(checkpoints))
	}
	tree := (&compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}).NewEmptyRange(0)
	var roots [][]byte
	for i, l := range leaves {
		if err := tree.Append(rfc6962.DefaultHasher.HashLeaf(l), nil); err != nil {
			t.Fatal(err)
		}
		root, err := tree.GetRootHash(nil)
		if err != nil {
			t.Fatal(err)
		}
		roots = append(roots, root)
		if c := checkpoints[i]; c.Size != int64(i+1) || !bytes.Equal(c.Root[:], root) {
			t.Fatalf("after %d entries the log signs size %d, root %x, want %x", i+1, c.Size, c.Root, root)
		}
	}
	for i, l := range leaves {
		p, err := Prove(t.Context(), dir, int64(i+1), false)
		if err != nil {
			t.Fatal(err)
		}
		if err := proof.VerifyInclusion(rfc6962.DefaultHasher, uint64(i), n, rfc6962.DefaultHasher.HashLeaf(l), plainHashes(p.path), roots[n-1]); err != nil {
			t.Errorf("entry %d: %v", i+1, err)
		}
	}
	for from := int64(0); from <= n; from++ {
		for to := max(from, 1); to <= n; to++ {
			g, err := ProveGrowth(dir, from, checkpoints[to-1])
			if err != nil {
				t.Fatal(err)
			}
			earlier := Checkpoint{Origin: "log", Size: 0}
			if from > 0 {
				earlier = checkpoints[from-1]
				if err := proof.VerifyConsistency(rfc6962.DefaultHasher, uint64(from), uint64(to), plainHashes(g.Path), roots[from-1], roots[to-1]); err != nil {
					t.Errorf("from %d to %d: %v", from, to, err)
				}
			}
			if err := g.Check(earlier); err != nil {
				t.Errorf("from %d to %d: %v", from, to, err)
			}
		}
	}
}

func plainHashes[H ~[32]byte](in []H) (out [][]byte) {
	for _, h := range in {
		out = append(out, h[:])
	}
	return out
}

// A proof stands alone: a file, a public key, and nothing of the log. Every byte
// of it counts.
func TestProof(t *testing.T) {
	signer, verifier := key(t, "models.example/audit")
	dir, _ := signed(t, signer, 13)
	p, err := Prove(t.Context(), dir, 6, false)
	if err != nil {
		t.Fatal(err)
	}
	text, err := p.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	var again Proof
	if err := again.UnmarshalText(text); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if e, err := again.Check(verifier, nil, 0); err != nil || e.Request != "r5" {
		t.Errorf("%+v, %v", e, err)
	}
	for i := range text {
		for _, c := range []byte{text[i] ^ 1, text[i] ^ 0x20, 0} {
			if c == text[i] {
				continue
			}
			changed := slices.Clone(text)
			changed[i] = c
			var p Proof
			if err := p.UnmarshalText(changed); err != nil {
				continue
			}
			if e, err := p.Check(verifier, nil, 0); err == nil {
				t.Errorf("byte %d from %q to %q: proves %+v", i, text[i], c, e)
			}
		}
	}
	_, other := key(t, "models.example/audit")
	if _, err := again.Check(other, nil, 0); err == nil {
		t.Error("proved with another key")
	}
	if _, err := Prove(t.Context(), dir, 14, false); err == nil || !strings.Contains(err.Error(), "checkpoint is of 13 entries") {
		t.Error(err)
	}
	for _, n := range []int64{1, 2, 3, 4, 13} { // first and last of segments among them
		p, err := Prove(t.Context(), dir, n, false)
		if err != nil {
			t.Fatal(err)
		}
		if e, err := p.Check(verifier, nil, 0); err != nil || e.Request != fmt.Sprint("r", n-1) {
			t.Errorf("entry %d: %+v, %v", n, e, err)
		}
	}
}

// files are those of a folder, to be put back.
func files(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if out[e.Name()], err = os.ReadFile(filepath.Join(dir, e.Name())); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

func restore(t *testing.T, dir string, to map[string][]byte) {
	t.Helper()
	for name := range files(t, dir) {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	for name, b := range to {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// Every byte of everything that a log consists of, changed, is noticed by whoever
// has the public key.
func TestEveryByteOfASignedLog(t *testing.T) {
	signer, verifier := key(t, "log")
	dir, _ := signed(t, signer, 7)
	for name, b := range files(t, dir) {
		f, err := os.OpenFile(filepath.Join(dir, name), os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		for i := range b {
			for _, c := range []byte{b[i] ^ 1, b[i] ^ 0x20, 0, '\n'} {
				if c == b[i] {
					continue
				}
				if _, err := f.WriteAt([]byte{c}, int64(i)); err != nil {
					t.Fatal(err)
				}
				if r, err := Verify(t.Context(), dir, Trust{Key: verifier}); err == nil {
					t.Errorf("byte %d of %s from %q to %q: %+v", i, name, b[i], c, r)
				}
			}
			if _, err := f.WriteAt(b[i:i+1], int64(i)); err != nil {
				t.Fatal(err)
			}
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Verify(t.Context(), dir, Trust{Key: verifier}); err != nil {
		t.Error(err)
	}
}

// What somebody does who may write to the folder and knows the format, with the
// key of the log or without, and what finds it.
func TestForgery(t *testing.T) {
	signer, verifier := key(t, "log")
	dir, checkpoints := signed(t, signer, 9, 5, 8)
	whole := files(t, dir)
	names, err := segments(dir)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name string, b []byte) {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	remove := func(names ...string) {
		for _, n := range names {
			if err := os.Remove(filepath.Join(dir, n)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Fatal(err)
			}
		}
	}
	last := names[len(names)-1]
	shorter := bytes.SplitAfter(whole[last], []byte("\n"))
	// anew writes a log of other entries as the log itself would.
	anew := func(s note.Signer, n int) {
		restore(t, dir, nil)
		l := open(t, dir, Config{SegmentSize: 700, Signer: s})
		for i := range n {
			e := deed(i)
			e.Actor = "user:nobody"
			record(t, l, e)
		}
		shut(t, l)
	}
	stranger, _ := key(t, "log")
	own := Trust{Key: verifier}
	noted := Trust{Key: verifier, Checkpoints: checkpoints[:2]} // of 5 and of 8 entries
	for what, c := range map[string]struct {
		do    func()
		trust Trust
		open  bool // the log itself notices, too
	}{
		"entries off the end":                              {func() { write(last, bytes.Join(shorter[:len(shorter)-2], nil)) }, own, true},
		"and no hashes":                                    {func() { write(last, bytes.Join(shorter[:len(shorter)-2], nil)); remove(hashesFile) }, own, true},
		"a segment off the end":                            {func() { remove(last, hashesFile) }, own, true},
		"all but the checkpoint":                           {func() { remove(append(names, hashesFile)...) }, own, true},
		"entries off the end, and no checkpoint":           {func() { write(last, bytes.Join(shorter[:len(shorter)-2], nil)); remove(hashesFile, checkpointFile) }, own, false},
		"everything gone":                                  {func() { restore(t, dir, nil) }, own, false},
		"an earlier checkpoint and log":                    {func() { rollBack(t, dir, whole, names, checkpoints[0]) }, noted, false},
		"a log written anew, signed by a stranger":         {func() { anew(stranger, 9) }, own, false},
		"a log written anew, with the key":                 {func() { anew(signer, 9) }, noted, false},
		"a longer log written anew, with the key":          {func() { anew(signer, 20) }, noted, false},
		"the checkpoint of another log":                    {func() { write(checkpointFile, checkpoints[0].Note[1:]) }, own, false},
		"hashes of another log":                            {func() { anew(signer, 9); b := files(t, dir)[hashesFile]; restore(t, dir, whole); write(hashesFile, b) }, own, true},
		"a claim that it was pruned":                       {func() { remove(names[0]); prunedBy(t, dir, whole, names) }, own, false},
		"a claim that more was pruned than hashes tell of": {func() { remove(names[0], hashesFile); prunedBy(t, dir, whole, names) }, own, true},
	} {
		c.do()
		if r, err := Verify(t.Context(), dir, c.trust); err == nil {
			t.Errorf("%s: %+v", what, r)
		}
		if l, err := Open(dir, Config{Signer: signer}); err == nil {
			shut(t, l)
			if c.open {
				t.Errorf("%s: the log goes on", what)
			}
		} else if !c.open {
			t.Logf("%s: not opened either: %v", what, err)
		}
		restore(t, dir, whole)
	}
	for _, trust := range []Trust{{}, own, noted} {
		if r, err := Verify(t.Context(), dir, trust); err != nil || r.Signed != 9 || r.Entries != 9 {
			t.Errorf("%+v, %v", r, err)
		}
	}
}

// rollBack puts back a log as it was when it had signed a checkpoint.
func rollBack(t *testing.T, dir string, whole map[string][]byte, names []string, c Checkpoint) {
	t.Helper()
	restore(t, dir, nil)
	n := int64(0)
	for _, name := range names {
		var b []byte
		for text := range bytes.Lines(whole[name]) {
			if n++; n <= c.Size {
				b = append(b, text...)
			}
		}
		if b != nil {
			if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := os.WriteFile(filepath.Join(dir, checkpointFile), c.Note, 0o600); err != nil {
		t.Fatal(err)
	}
}

// prunedBy claims that the first segment was pruned.
func prunedBy(t *testing.T, dir string, whole map[string][]byte, names []string) {
	t.Helper()
	lines := bytes.Split(bytes.TrimSpace(whole[names[0]]), []byte("\n"))
	l, err := parseLine(lines[len(lines)-1])
	if err != nil {
		t.Fatal(err)
	}
	b := fmt.Sprintf(`{"entries":%d,"hash":"%x"}`, l.seq, l.hash)
	if err := os.WriteFile(filepath.Join(dir, prunedFile), []byte(b), 0o600); err != nil {
		t.Fatal(err)
	}
}

// A log that has no hashes yet, or lost them, or the end of them, gets them again.
func TestHashesAgain(t *testing.T) {
	signer, verifier := key(t, "log")
	dir, _ := signed(t, signer, 20)
	whole := files(t, dir)[hashesFile]
	for _, n := range []int{0, 1, 32, 33, 64, 96, 300, 500, len(whole) - 1, len(whole)} {
		if err := os.WriteFile(filepath.Join(dir, hashesFile), whole[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		shut(t, open(t, dir, Config{Signer: signer}))
		if got := files(t, dir)[hashesFile]; !bytes.Equal(got, whole) {
			t.Errorf("after %d bytes: %d bytes, want %d", n, len(got), len(whole))
		}
	}
	if err := os.Remove(filepath.Join(dir, hashesFile)); err != nil {
		t.Fatal(err)
	}
	if _, err := Verify(t.Context(), dir, Trust{Key: verifier}); err != nil {
		t.Error(err)
	}
}

// A busy log signs itself every now and then, and not at every entry.
func TestCheckpointsInTime(t *testing.T) {
	signer, verifier := key(t, "log")
	l := open(t, t.TempDir(), Config{Signer: signer, Checkpoints: 20 * time.Millisecond})
	seen := map[int64]bool{}
	for i := range 200 {
		record(t, l, deed(i))
		if c := l.Checkpoint(); c.Note != nil {
			seen[c.Size] = true
			if err := c.Check(verifier, nil, 0); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Millisecond)
	}
	for deadline := time.Now().Add(10 * time.Second); l.Checkpoint().Size < 200; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the last entries are never signed")
		}
	}
	shut(t, l)
	if len(seen) < 2 || len(seen) > 100 {
		t.Errorf("%d checkpoints while 200 entries came", len(seen))
	}
}

// A checkpoint that another log notes is read again as it was signed, though its
// signatures look like a token and are longer than a detail may be. Other details
// of the event, and what is no checkpoint, are masked as ever.
func TestNotedAsSigned(t *testing.T) {
	signer, verifier := key(t, "log")
	_, checkpoints := signed(t, signer, 5)
	c := checkpoints[0]
	var witnesses []note.Verifier
	for i := 0; len(c.Note) < 2*maxField || mask(string(c.Note)) == string(c.Note); i++ {
		w, v := witness(t, i)
		next, err := note.Sign(&note.Note{Text: string(c.Note[:bytes.Index(c.Note, []byte("\n\n"))+1])}, w)
		if err != nil {
			t.Fatal(err)
		}
		line := next[bytes.Index(next, []byte("\n\n"))+2:]
		if len(c.Note) > maxCheckpoint-200 {
			t.Fatal("no signature looks like a token")
		}
		if len(witnesses) > 60 && mask(string(line)) == string(line) {
			continue // package note takes a hundred signatures
		}
		c.Note, witnesses = append(c.Note, line...), append(witnesses, v)
	}
	dir := t.TempDir()
	l := open(t, dir, Config{Signer: signer, Mask: strings.ToUpper})
	e := Noted(c)
	e.Details["because"] = "Bearer secret-of-somebody"
	record(t, l, e)
	e = Noted(c)
	e.Details[noteWhole] = "log\n5\nBearer secret-of-somebody\n"
	record(t, l, e)
	shut(t, l)
	var events []redoubt.Event
	for e, err := range Read(t.Context(), dir, Filter{Action: actionNote}) {
		if err != nil {
			t.Fatal(err)
		}
		events = append(events, e)
	}
	if len(events) != 2 || events[0].Details["because"] != "BEARER ***" || strings.Contains(strings.ToLower(events[1].Details[noteWhole]), "secret") {
		t.Errorf("read %+v", events)
	}
	back, err := ParseCheckpoint([]byte(events[0].Details[noteWhole]))
	if err != nil {
		t.Fatal(err)
	}
	if err := back.Check(verifier, witnesses, len(witnesses)); err != nil {
		t.Error(err)
	}
}

// Cosignatures verify, count once each, and are of their checkpoint alone.
func TestCosignature(t *testing.T) {
	signer, verifier := key(t, "log")
	_, checkpoints := signed(t, signer, 5, 3)
	var witnesses []note.Verifier
	c := checkpoints[1]
	for i := range 3 {
		w, v := witness(t, i)
		witnesses = append(witnesses, v)
		if i == 2 {
			break
		}
		n, err := note.Open(c.Note, note.VerifierList(append(witnesses, verifier)...))
		if err != nil {
			t.Fatal(err)
		}
		if c.Note, err = note.Sign(n, w); err != nil {
			t.Fatal(err)
		}
	}
	for quorum, ok := range []bool{true, true, true, false} {
		if err := c.Check(verifier, witnesses, quorum); (err == nil) != ok {
			t.Errorf("quorum of %d: %v", quorum, err)
		}
	}
	if err := c.Check(verifier, witnesses[2:], 1); err == nil {
		t.Error("one who has not signed counts")
	}
	_, sigs, _ := bytes.Cut(c.Note, []byte("\n\n"))
	other := checkpoints[0]
	body, _, _ := bytes.Cut(other.Note, []byte("\n\n"))
	other.Note = slices.Concat(body, []byte("\n\n"), sigs)
	if err := other.Check(verifier, witnesses, 0); err == nil {
		t.Error("signatures of another checkpoint are taken")
	}
}

// What is told of a person is not in the files but sealed, is read as before, and
// is gone when the key is destroyed, with every proof as valid as it was.
func TestErase(t *testing.T) {
	signer, verifier := key(t, "log")
	dir := t.TempDir()
	cfg := Config{Signer: signer, Personal: true, SegmentSize: 2000}
	l := open(t, dir, cfg)
	anna := redoubt.Event{Action: "model.invoke", Outcome: redoubt.Allowed, Actor: "user:anna", Method: "passkey", Credential: "credential-1", From: "192.0.2.77", Resource: "model:loans"}
	admin := redoubt.Event{Action: "user.change", Outcome: redoubt.Allowed, Actor: "user:admin", From: "192.0.2.1", Resource: "user:anna",
		Before: "Anna Adams", After: "Anna Baker", Details: map[string]string{"mail": "anna at example"}}
	robot := redoubt.Event{Action: "model.invoke", Outcome: redoubt.Allowed, Actor: "service:robot", From: "192.0.2.9", Resource: "model:loans"}
	for range 5 {
		record(t, l, anna, admin, robot)
	}
	shut(t, l)
	for name, b := range files(t, dir) {
		for _, secret := range []string{"anna", "Anna", "192.0.2.77", "192.0.2.1\"", "credential-1"} {
			if name != subjectsFile && bytes.Contains(b, []byte(secret)) {
				t.Errorf("%s holds %q", name, secret)
			}
		}
	}
	want := fmt.Sprint(all(t, dir, Filter{}))
	if n := len(all(t, dir, Filter{Actor: "user:anna"})); n != 5 {
		t.Errorf("%d entries of anna, want 5", n)
	}
	p, err := Prove(t.Context(), dir, 2, false)
	if err != nil {
		t.Fatal(err)
	}

	l = open(t, dir, cfg) // it knows its subjects
	record(t, l, anna)
	if err := l.Erase(t.Context(), "user:unknown", redoubt.Event{Actor: "user:admin"}); err == nil {
		t.Error("erased who is unknown")
	}
	if err := l.Hold(t.Context(), Hold{ID: "case-7", Reason: "litigation", Subject: "user:anna"}, redoubt.Event{Actor: "user:admin"}); err != nil {
		t.Fatal(err)
	}
	if err := l.Erase(t.Context(), "user:anna", redoubt.Event{Actor: "user:admin"}); !errors.Is(err, ErrHeld) {
		t.Errorf("erased what is held: %v", err)
	}
	if err := l.Release(t.Context(), "case-7", redoubt.Event{Actor: "user:admin"}); err != nil {
		t.Fatal(err)
	}
	if err := l.Erase(t.Context(), "user:anna", redoubt.Event{Actor: "user:admin"}); err != nil {
		t.Fatal(err)
	}
	record(t, l, anna) // she comes back as somebody else
	shut(t, l)
	if b, err := os.ReadFile(filepath.Join(dir, subjectsFile)); err != nil || bytes.Count(b, []byte("\n")) != 2 {
		t.Errorf("%s %v", b, err)
	}
	got := all(t, dir, Filter{})
	text := fmt.Sprint(got)
	if strings.Contains(text, "Anna") || strings.Count(text, "192.0.2.77") != 1 || !strings.Contains(text, "erased:") || !strings.Contains(text, "service:robot") {
		t.Errorf("before %s\nafter %s", want, text)
	}
	if got[1].Actor != "user:admin" || got[1].From != "192.0.2.1" || !strings.HasPrefix(got[1].Resource, "erased:") || got[0].Actor != got[1].Resource {
		t.Errorf("%+v", got[:2])
	}
	if _, err := Verify(t.Context(), dir, Trust{Key: verifier, Checkpoints: []Checkpoint{p.Checkpoint}}); err != nil {
		t.Error(err)
	}
	if e, err := p.Check(verifier, nil, 0); err != nil || !strings.HasPrefix(e.Resource, "sealed:") {
		t.Errorf("%+v, %v", e, err)
	}
	if _, err := Prove(t.Context(), dir, 1, false); err != nil {
		t.Error(err)
	}
	// What was erased is on record. Keys that are gone otherwise are missed, and the
	// log is whole all the same.
	for _, c := range []struct {
		what string
		do   func() error
		want int
	}{
		{"erased", func() error { return nil }, 0},
		{"without the keys", func() error { return os.Remove(filepath.Join(dir, subjectsFile)) }, 2},
	} {
		if err := c.do(); err != nil {
			t.Fatal(err)
		}
		if r, err := Verify(t.Context(), dir, Trust{}); err != nil || r.Unreadable != c.want {
			t.Errorf("%s: %d persons unreadable, want %d; %v", c.what, r.Unreadable, c.want, err)
		}
	}
}

// Old segments go, unless they are held, and what is left is verified and proved
// as before.
func TestPrune(t *testing.T) {
	signer, verifier := key(t, "log")
	dir, before := signed(t, signer, 20)
	early := before[0]
	l := open(t, dir, Config{Signer: signer, SegmentSize: 700})
	by := redoubt.Event{Actor: "user:admin"}
	if n, err := l.Prune(t.Context(), time.Now().Add(-time.Hour), by); n != 0 || err != nil {
		t.Errorf("pruned what is young: %d, %v", n, err)
	}
	if err := l.Hold(t.Context(), Hold{ID: "h", Reason: "audit"}, by); err != nil {
		t.Fatal(err)
	}
	if n, err := l.Prune(t.Context(), time.Now(), by); n != 0 || !errors.Is(err, ErrHeld) {
		t.Errorf("pruned what is held: %d, %v", n, err)
	}
	if err := l.Release(t.Context(), "h", by); err != nil {
		t.Fatal(err)
	}
	n, err := l.Prune(t.Context(), time.Now(), by)
	if err != nil || n < 15 {
		t.Fatal(n, err)
	}
	for i := range 10 {
		record(t, l, deed(100+i))
	}
	shut(t, l)
	trust := Trust{Key: verifier, Checkpoints: []Checkpoint{early}}
	r, err := Verify(t.Context(), dir, trust)
	if err != nil || r.Pruned != n || r.Entries <= 25 {
		t.Fatalf("%+v, %v", r, err)
	}
	if got := all(t, dir, Filter{}); int64(len(got)) != r.Entries-n {
		t.Errorf("%d entries are left of %d", len(got), r.Entries)
	}
	for _, number := range []int64{n + 1, n + 2, r.Entries} {
		p, err := Prove(t.Context(), dir, number, false)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Check(verifier, nil, 0); err != nil {
			t.Error(err)
		}
	}
	if _, err := Prove(t.Context(), dir, n, false); err == nil || !strings.Contains(err.Error(), "pruned") {
		t.Error(err)
	}
	// It goes on, and prunes again.
	l = open(t, dir, Config{Signer: signer, SegmentSize: 700})
	if again, err := l.Prune(context.Background(), time.Now(), by); err != nil || again <= n {
		t.Error(again, err)
	}
	shut(t, l)
	if _, err := Verify(t.Context(), dir, trust); err != nil {
		t.Error(err)
	}
}

func FuzzProof(f *testing.F) {
	f.Add([]byte(proofHeader + "\nextra e30=\nindex 0\n\nlog\n1\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n\n— log AAAA\n"))
	f.Add([]byte("old 1\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n\nlog\n2\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n\n— log AAAA\n"))
	_, verifier := key(f, "log")
	f.Fuzz(func(t *testing.T, b []byte) {
		var p Proof
		if p.UnmarshalText(b) == nil {
			if _, err := p.Check(verifier, nil, 0); err == nil {
				t.Errorf("%q proves something", b)
			}
		}
		var g Growth
		if g.UnmarshalText(b) == nil {
			if g.From < 0 || g.To.Size < 0 || g.To.Check(verifier, nil, 0) == nil {
				t.Errorf("%q is growth of a signed log", b)
			}
		}
	})
}
