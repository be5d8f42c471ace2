// Package audit keeps the record of what was done and refused: an append-only
// log of events, each entry bound to all before it by SHA-256.
//
//	log, err := audit.Open(dir, audit.Config{})
//	...
//	err = log.Record(ctx, event)  // durable when it returns
//	err = log.Write(ctx, event)   // with the system when it returns, durable within 50 ms
//	err = log.Enqueue(ctx, event) // durable within 50 ms
//	...
//	for event, err := range audit.Read(ctx, dir, audit.Filter{Action: "policy."}) { ... }
//	report, err := audit.Verify(ctx, dir)
//
// # On the disk
//
// A folder holds one log of one writer. Its segments are files of lines, named
// by the number of their first entry:
//
//	{"seq":7,"hash":"9f86...","event":{"id":"...","time":"...",...}}
//
// A hash is SHA-256 over "redoubt.audit/v1\n", the hash of the entry before (32
// zero bytes for the first), the number in eight bytes, the higher first, and the
// bytes of the event as they stand. An event has one encoding: its fields in
// fixed order, printable ASCII, everything else as \uXXXX. So a line is a line
// whatever a client sent, a terminal that shows it is not told to do anything,
// and the chain can be computed again by a dozen lines in any language.
//
// # Promises
//
//   - What Record has taken is there after a crash of the machine at any moment,
//     and so is what Write and Enqueue have taken longer ago than the delay. What
//     Write has taken is there when the process is killed the moment after.
//
//   - A line that a crash cut short is recognised and cut off when the log is
//     opened again, which is recorded. Anything else that does not fit is damage,
//     and a damaged log is not opened.
//
//   - While the disk is slow and the buffer full, all wait for room, as long as
//     their contexts let them: a burst is slowed down, not refused.
//
//   - While the disk refuses, Record and Write fail at once and Enqueue when the
//     buffer is full; they go on by themselves when the disk takes entries again.
//     An entry that Record or Write failed to write is not in the log, and one that
//     Write or Enqueue took is tried again until it is.
//
//   - Card numbers, e-mail addresses and bearer tokens are masked before anything
//     is written, and long fields are cut, visibly. Only checkpoints of other logs
//     ([Noted]) stay as they were signed.
//
//   - What entries tell of a person can be erased ([Log.Erase]) and old entries be
//     pruned ([Log.Prune]), unless a legal hold stands, and every proof stays valid.
//
// # Proof
//
// The hashes of the entries are the leaves of a Merkle tree (RFC 6962), whose size
// and root the log signs once a second while it grows (C2SP tlog-checkpoint).
// [Prove] shows that an event is in the log to whoever has the public key, and
// [ProveGrowth] that a checkpoint grew out of an earlier one, which witnesses
// check before they sign it too.
//
// Whoever can write to the folder and has the key can write a whole log anew.
// Checkpoints that were kept elsewhere, or witnessed, find that, and entries taken
// off the end: give them to [Verify].
package audit

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/redoubt-ml/redoubt"
)

// Config is how a log is kept. The zero value works.
type Config struct {
	// Delay bounds how long an entry given to [Log.Write] or [Log.Enqueue] waits
	// until the disk is told to keep it; 50 ms if zero.
	Delay time.Duration
	// Buffer bounds the entries that are not durable yet; 4096 if zero.
	Buffer int
	// SegmentSize is the size in bytes after which a new file is begun; 64 MiB if
	// zero.
	SegmentSize int64
	// Signer signs checkpoints, under its name: see [Key]. Without one the log is
	// chained and not signed.
	Signer note.Signer
	// Checkpoints is how often the log signs itself while it grows; 1 s if zero.
	Checkpoints time.Duration
	// Personal seals what entries tell of persons, each under a key of his own, so
	// that it can be erased: see [Subjects].
	Personal bool
	// Mask replaces personal data and secrets in what entries say: reasons, details,
	// and states before and after. Nil has only card numbers, e-mail addresses and
	// bearer tokens masked, as they are in any case. It must be safe for concurrent
	// use.
	Mask func(string) string
	// Logger is told when the disk refuses and when it takes entries again, once
	// each; nil for nobody.
	Logger *slog.Logger
}

const (
	defaultDelay   = 50 * time.Millisecond
	defaultBuffer  = 4096
	defaultSegment = 64 << 20

	defaultCheckpoints = time.Second
)

// ErrFull says that the buffer is full and the disk refuses what is in it, or
// that it was full for as long as the caller could wait.
var ErrFull = errors.New("the buffer of the audit log is full: its disk is too slow or refuses")

// ErrLost says that the disk did not take what was to be written.
var ErrLost = errors.New("write audit log")

// ErrClosed says that the log was closed.
var ErrClosed = errors.New("the audit log is closed")

// Log is an open log. It is safe for concurrent use.
type Log struct {
	cfg  Config
	node string // tells the ids of this writer from those of others

	// Whoever holds disk may change what is on the disk. It is taken before mu, and
	// not held while the disk flushes.
	disk  sync.Mutex
	chain *chain

	writer, flusher task
	tree            *tree // the flusher's, like what is signed when
	signed          checkpoints

	subjects  *Subjects  // nil where persons are not sealed
	retaining sync.Mutex // held while something is kept, erased or pruned

	mu        sync.Mutex
	waiting   []*entry      // to be written
	unflushed []*entry      // written, and not known to be durable
	count     int           // of those that wait, are being written, or are unflushed
	due       time.Time     // when the first that waits is to be written at the latest
	flushDue  time.Time     // when the first that is unflushed is to be durable at the latest
	room      chan struct{} // closed, and replaced, when a full buffer may have room or nobody should wait for it
	last      int64         // nanoseconds since 1970, of the last id
	closed    bool
	err       error // why the disk refused last, nil when it did not
	failedAt  int64 // the last entry that was in the log then
}

// entry is an event on its way to the disk, encoded by whoever brought it.
type entry struct {
	id   string
	rest []byte // of the event, after its id
	want stage
	done chan error // who waits for that; nil when he was told, or nobody does
	seq  int64      // once it is written, like hash
	hash link
}

// stage is how far an entry has come.
type stage int

const (
	buffered stage = iota // it is in memory
	written               // the system has it
	durable               // the disk has it
)

// Open opens the log in a folder, which it makes if there is none, and begins
// where it ended. Only one process may have it open.
func Open(dir string, cfg Config) (*Log, error) {
	if cfg.Delay <= 0 {
		cfg.Delay = defaultDelay
	}
	if cfg.Buffer <= 0 {
		cfg.Buffer = defaultBuffer
	}
	if cfg.SegmentSize <= 0 {
		cfg.SegmentSize = defaultSegment
	}
	if cfg.Checkpoints <= 0 {
		cfg.Checkpoints = defaultCheckpoints
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	c, cut, err := openChain(dir, cfg.SegmentSize)
	if err != nil {
		return nil, fmt.Errorf("open audit log: %w", err)
	}
	node := make([]byte, 4)
	rand.Read(node) // it never fails
	l := &Log{
		cfg: cfg, node: hex.EncodeToString(node), chain: c, last: idTime(c.id),
		writer: newTask(), flusher: newTask(), room: make(chan struct{}),
	}
	if err := l.resume(); err != nil {
		return nil, errors.Join(fmt.Errorf("open audit log: %w", err), c.close())
	}
	go l.writer.run(l.write)
	go l.flusher.run(l.flush)
	if cut > 0 {
		err := l.Record(context.Background(), redoubt.Event{
			Action: "audit.cut", Outcome: redoubt.Failed, Actor: "local:" + strconv.Itoa(os.Getuid()), Resource: "audit:" + filepath.Base(dir),
			Reason:  "the last line was cut short when the process ended, and was removed",
			Details: map[string]string{"bytes": strconv.FormatInt(cut, 10)},
		})
		if err != nil {
			return nil, errors.Join(err, l.Close())
		}
	}
	return l, nil
}

// resume brings what is kept beside the entries up to them, and holds the log
// against what it has signed of itself.
func (l *Log) resume() (err error) {
	if l.cfg.Personal {
		if l.subjects, err = openSubjects(l.chain.dir); err != nil {
			return err
		}
	}
	if l.signed.newest, err = ReadCheckpoint(l.chain.dir, false); err != nil {
		return err
	}
	if l.tree, err = openTree(l.chain.dir, l.chain.durable); err != nil {
		return err
	}
	if c := l.signed.newest; c.Note != nil {
		err = taken(c.Size, l.tree.size)
		if l.tree.size >= c.Size {
			err = extends(l.tree.file, head{l.tree.size, l.tree.root()}, c.head())
		}
	}
	if err != nil {
		return errors.Join(err, l.tree.file.Close())
	}
	return nil
}

// Record writes an event and returns when it is durable. The log sets the
// event's id, and its time if it has none. When the context ends first, the event
// may be written or not. Of those who record at once one writes for all; him the
// context does not call back from a system that does not return.
func (l *Log) Record(ctx context.Context, e redoubt.Event) error { return l.await(ctx, e, durable) }

// Write is Record that returns when the operating system has the event: what
// happens to the process then does not matter to it, and what happens to the
// machine only within the delay of [Config].
func (l *Log) Write(ctx context.Context, e redoubt.Event) error { return l.await(ctx, e, written) }

// Enqueue has an event written within the delay of [Config], and returns as soon
// as the buffer has room for it, which is at once unless the disk is slow. When
// it fails, with [ErrFull] if the context ended first or the disk refuses, the
// event is not written.
func (l *Log) Enqueue(ctx context.Context, e redoubt.Event) error {
	return l.accept(ctx, e, buffered, nil)
}

func (l *Log) await(ctx context.Context, e redoubt.Event, want stage) error {
	done := make(chan error, 1)
	if err := l.accept(ctx, e, want, done); err != nil {
		return err
	}
	runtime.Gosched() // whoever is about to bring an entry may do so, and it joins
	if len(done) == 0 {
		l.writeOrWake()
	}
	select {
	case err := <-done:
		return err
	default: // ask for ctx.Done, which may make a timer, only where it is needed
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("wait for the audit log: %w", context.Cause(ctx))
	}
}

// Dir is the folder of the log.
func (l *Log) Dir() string { return l.chain.dir }

// Err is why the disk refused entries when it was last given some, nil if it
// took them.
func (l *Log) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// Close writes what waits, and closes the log.
func (l *Log) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return ErrClosed
	}
	l.closed = true
	l.admit()
	l.mu.Unlock()
	l.writer.end()
	l.flusher.end()
	err := errors.Join(l.tree.file.Close(), l.chain.close())
	if n := len(l.waiting); n > 0 {
		err = errors.Join(fmt.Errorf("close audit log: %d entries were not written: %w", n, l.err), err)
	}
	return err
}

func (l *Log) accept(ctx context.Context, e redoubt.Event, want stage, done chan error) error {
	e = presentable(e, l.cfg.Mask)
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	var boxes []box
	if l.subjects != nil {
		var err error
		if boxes, err = l.subjects.seal(&e); err != nil {
			return err
		}
	}
	var few [1024]byte
	rest := bytes.Clone(appendRest(few[:0], &e, boxes))
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.waitForRoom(ctx); err != nil {
		return err
	}
	now := time.Now()
	l.last = max(l.last+1, now.UnixNano()) // also when the clock is set back
	due := now
	if want == buffered {
		due = now.Add(l.cfg.Delay / 2) // the other half is the flush's
	}
	sooner := len(l.waiting) == 0 || due.Before(l.due)
	if sooner {
		l.due = due
	}
	l.count++
	l.waiting = append(l.waiting, &entry{id: l.newID(), rest: rest, want: want, done: done})
	if want == buffered && (sooner || len(l.waiting) == l.cfg.Buffer/2) {
		l.writer.wake()
	}
	return nil
}

// newID makes an id of the time of the last entry: 16 hexadecimal digits, which
// sort, and the node.
func (l *Log) newID() string {
	b := make([]byte, 0, 32)
	b = hex.AppendEncode(b, binary.BigEndian.AppendUint64(nil, uint64(l.last)))
	b = append(b, '-')
	return string(append(b, l.node...))
}

// waitForRoom returns when the buffer has room. The log is locked when it is
// called and when it returns, and not while it waits.
func (l *Log) waitForRoom(ctx context.Context) error {
	for !l.closed && l.count >= l.cfg.Buffer {
		if l.err != nil {
			return fmt.Errorf("%w: %w", ErrFull, l.err)
		}
		room := l.room
		l.mu.Unlock()
		select {
		case <-room:
		case <-ctx.Done():
		}
		l.mu.Lock()
		if ctx.Err() != nil {
			return fmt.Errorf("%w: %w", ErrFull, context.Cause(ctx))
		}
	}
	if l.closed {
		return ErrClosed
	}
	return nil
}

// admit has those who wait for room look again. The log is locked.
func (l *Log) admit() {
	close(l.room)
	l.room = make(chan struct{})
}
