package audit

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/redoubt-ml/redoubt"
)

// child is another process that writes to a log until it is killed. It prints
// the request of an event when Record or Write has returned, and not before.
func child(dir string) {
	signer, err := Key(dir+".key", "killed")
	if err != nil {
		fmt.Println("error", err)
		return
	}
	l, err := Open(dir, Config{SegmentSize: 16 << 10, Delay: time.Millisecond, Signer: signer, Checkpoints: 5 * time.Millisecond, Personal: true})
	if err != nil {
		fmt.Println("error", err)
		return
	}
	var out sync.Mutex
	for w := range 8 {
		way := l.Record
		if w%2 == 0 {
			way = l.Write
		}
		go func() {
			for i := 0; ; i++ {
				e := deed(i % 50)
				e.Request = fmt.Sprintf("%d-%d-%d", os.Getpid(), w, i)
				if err := way(context.Background(), e); err != nil {
					fmt.Println("error", err)
					return
				}
				out.Lock()
				fmt.Println("done", e.Request)
				out.Unlock()
				e.Request = "queued"
				l.Enqueue(context.Background(), e) // it may be lost, and must not get in the way
			}
		}()
	}
	select {}
}

// A process is killed at random moments, again and again: every entry that it
// was told to be written is there, and the chain is whole.
func TestKilled(t *testing.T) {
	rounds := 25
	if testing.Short() {
		rounds = 5
	}
	dir := filepath.Join(t.TempDir(), "log")
	random := rand.New(rand.NewPCG(1, 2))
	var acknowledged []string
	// On a busy machine a process may be killed before it has written anything.
	for round := 0; round < rounds || len(acknowledged) < rounds && round < 10*rounds; round++ {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "REDOUBT_AUDIT_CHILD="+dir)
		pipe, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		kill := time.AfterFunc(time.Duration(20+random.IntN(80))*time.Millisecond, func() { cmd.Process.Kill() })
		for s := bufio.NewScanner(pipe); s.Scan(); {
			word, rest, _ := strings.Cut(s.Text(), " ")
			if word != "done" {
				t.Error(s.Text())
			}
			acknowledged = append(acknowledged, rest)
		}
		cmd.Wait() // it was killed
		kill.Stop()
	}
	l := open(t, dir, Config{}) // cuts what the last kill left
	shut(t, l)
	verifier, err := ReadVerifier(dir + ".key.pub")
	if err != nil {
		t.Fatal(err)
	}
	report, err := Verify(t.Context(), dir, Trust{Key: verifier})
	if err != nil {
		t.Fatal(err)
	}
	there := map[string]bool{}
	cuts := 0
	for _, e := range all(t, dir, Filter{}) {
		if there[e.Request] && e.Request != "queued" && e.Request != "" {
			t.Errorf("%s is there twice", e.Request)
		}
		there[e.Request] = true
		if e.Action == "audit.cut" {
			cuts++
		}
	}
	for _, r := range acknowledged {
		if !there[r] {
			t.Errorf("%s was acknowledged and is lost", r)
		}
	}
	if len(acknowledged) < rounds {
		t.Errorf("only %d entries in %d rounds: the test tried nothing", len(acknowledged), rounds)
	}
	t.Logf("%d entries acknowledged, %d written, %d lines cut", len(acknowledged), report.Entries, cuts)
}

// The disk is full, which a limit on the size of files stands for: a write is
// cut short and fails. Record says so at once; what was enqueued is kept, and
// written when there is room again; the chain is whole throughout.
func TestDiskFull(t *testing.T) {
	signal.Ignore(syscall.SIGXFSZ)
	defer signal.Reset(syscall.SIGXFSZ)
	var old syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	l := open(t, dir, Config{Delay: time.Millisecond, Buffer: 8})
	record(t, l, deed(1))
	info, err := os.Stat(filepath.Join(dir, segmentName(1)))
	if err != nil {
		t.Fatal(err)
	}
	tight := syscall.Rlimit{Cur: uint64(info.Size()) + 100, Max: old.Max}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &tight); err != nil {
		t.Fatal(err)
	}
	var refused, queued error
	for range 3 {
		refused = l.Record(context.Background(), redoubt.Event{Action: "refused"})
	}
	for range 100 {
		if queued = l.Enqueue(context.Background(), redoubt.Event{Action: "queued"}); queued != nil {
			break
		}
		time.Sleep(time.Millisecond)
	}
	during := l.Err()
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
		t.Fatal(err)
	}
	if !errors.Is(refused, syscall.EFBIG) || !errors.Is(during, syscall.EFBIG) {
		t.Errorf("Record: %v; Err: %v", refused, during)
	}
	if !errors.Is(queued, ErrFull) {
		t.Errorf("Enqueue with a full buffer: %v", queued)
	}
	for deadline := time.Now().Add(10 * time.Second); l.Err() != nil; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal(l.Err())
		}
	}
	record(t, l, deed(2))
	shut(t, l)
	count := map[string]int{}
	for _, e := range all(t, dir, Filter{}) {
		count[e.Action]++
	}
	if count["model.invoke"] != 2 || count["refused"] != 0 || count["queued"] < 8 {
		t.Errorf("%v", count)
	}
	if _, err := Verify(t.Context(), dir, Trust{}); err != nil {
		t.Error(err)
	}
}

// flaky is a segment whose flushes can be made to fail, and are counted.
type flaky struct {
	*os.File
	fails   atomic.Bool
	flushed int64 // size at the last flush
}

func (f *flaky) Sync() error {
	if f.fails.Load() {
		return syscall.EIO
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	f.flushed = info.Size()
	return f.File.Sync()
}

// Record returns when its entry was flushed. One whose flush failed is not in the
// log, at once and later, for what a failed flush left nobody knows.
func TestFlush(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Config{})
	record(t, l, deed(1))
	f := &flaky{File: l.chain.file.(*os.File)}
	l.chain.file = f // the writer sleeps
	record(t, l, deed(2))
	info, err := f.Stat()
	if err != nil || f.flushed != info.Size() {
		t.Errorf("flushed up to %d of %d, %v", f.flushed, info.Size(), err)
	}
	f.fails.Store(true)
	long := deed(3)
	long.Before = strings.Repeat("x", 1000)
	if err := l.Record(t.Context(), long); !errors.Is(err, syscall.EIO) {
		t.Error(err)
	}
	if got, err := os.Stat(f.Name()); err != nil || got.Size() != info.Size() {
		t.Errorf("%d bytes after a failed flush, want %d", got.Size(), info.Size())
	}
	f.fails.Store(false)
	record(t, l, deed(4))
	shut(t, l)
	if r, err := Verify(t.Context(), dir, Trust{}); err != nil || r.Entries != 3 || r.Unfinished != 0 {
		t.Error(r, err)
	}
}

// What Write has taken is flushed within the delay, and written again when the
// flush fails, in its order and once. Entries that come meanwhile are not held up
// by a flush under way.
func TestWrite(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Config{Delay: 10 * time.Millisecond})
	record(t, l, deed(0))
	f := &flaky{File: l.chain.file.(*os.File)}
	f.fails.Store(true)
	l.chain.file = f // writer and flusher sleep
	for i := range 3 {
		if err := l.Write(t.Context(), deed(i+1)); err != nil {
			t.Fatal(err)
		}
	}
	for deadline := time.Now().Add(10 * time.Second); l.Err() == nil; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("a flush that fails is not noticed")
		}
	}
	f.fails.Store(false)
	for deadline := time.Now().Add(10 * time.Second); l.Err() != nil; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal(l.Err())
		}
	}
	s := &stalled{File: f.File, begun: make(chan struct{}), let: make(chan struct{})}
	l.disk.Lock()
	l.chain.file = s
	l.disk.Unlock()
	var wg sync.WaitGroup
	wg.Go(func() { record(t, l, deed(4)) })
	<-s.begun
	if err := l.Write(t.Context(), deed(5)); err != nil {
		t.Fatal(err)
	}
	close(s.let)
	wg.Wait()
	shut(t, l)
	if got := order(t, dir); got != "r0 r1 r2 r3 r4 r5" {
		t.Error(got)
	}
	if _, err := Verify(t.Context(), dir, Trust{}); err != nil {
		t.Error(err)
	}
}

// A disk that cannot begin a file: the log goes on when it can.
func TestFolderGone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	l := open(t, dir, Config{SegmentSize: 1, Delay: time.Millisecond})
	record(t, l, deed(1))
	if err := os.Rename(dir, dir+"-away"); err != nil {
		t.Fatal(err)
	}
	if err := l.Record(t.Context(), deed(2)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("recorded in a folder that is gone: %v", err)
	}
	if err := l.Enqueue(t.Context(), deed(3)); err != nil {
		t.Error(err)
	}
	if err := os.Rename(dir+"-away", dir); err != nil {
		t.Fatal(err)
	}
	record(t, l, deed(4))
	shut(t, l)
	if got := all(t, dir, Filter{}); len(got) != 3 {
		t.Errorf("%+v", got)
	}
	if _, err := Verify(t.Context(), dir, Trust{}); err != nil {
		t.Error(err)
	}
}
