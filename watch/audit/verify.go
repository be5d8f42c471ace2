package audit

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/redoubt-ml/redoubt"
)

// Trust is what a log is held against that did not come with it. The zero value
// trusts the folder: it finds damage, and nothing that was done with care.
type Trust struct {
	// Key is the log's public key: its newest checkpoint must be signed with it.
	Key note.Verifier
	// Checkpoints were noted earlier and kept elsewhere: the log must have grown out
	// of each. They are checked with Key, if there is one.
	Checkpoints []Checkpoint
	// Quorum of the Witnesses must have signed the newest checkpoint that the folder
	// has with their signatures.
	Witnesses []note.Verifier
	Quorum    int
}

// Report is what [Verify] found in a log without damage.
type Report struct {
	Entries  int64 `json:"entries"`
	Segments int   `json:"segments"`
	// Pruned entries are gone, and their hashes are there.
	Pruned int64     `json:"pruned,omitempty"`
	First  time.Time `json:"first"` // of the first entry that is there
	Last   time.Time `json:"last"`
	// Head is the hash of the last entry, and Root that of the Merkle tree, in
	// hexadecimal.
	Head string `json:"head"`
	Root string `json:"root"`
	// Signed is how many entries the newest checkpoint is of, and Witnessed the
	// newest that the witnesses signed; 0 without one.
	Signed    int64 `json:"signed"`
	Witnessed int64 `json:"witnessed,omitempty"`
	// Unfinished is the bytes after the last entry that a crash or a write under
	// way has left.
	Unfinished int64 `json:"unfinished,omitempty"`
	// Unreadable is of how many persons the keys are not there, and no erasure is on
	// record: the log is whole, and does not tell what they did. So it is with a copy
	// that was made without keys.
	Unreadable int `json:"unreadable,omitempty"`
}

// Verify computes the whole log again: the chain, the tree, and what the
// checkpoints say of it. The error is a [*Damage] that names the first entry that
// does not fit. A log may be verified while it is written.
func Verify(ctx context.Context, dir string, trust Trust) (Report, error) {
	v := verification{dir: dir, trust: trust}
	defer v.close()
	// What is read first has grown less.
	if err := v.readPromises(); err != nil {
		return Report{}, err
	}
	if err := v.readEntries(ctx); err != nil {
		return Report{}, err
	}
	if err := v.holdPromises(); err != nil {
		return Report{}, err
	}
	return v.report, v.countUnreadable()
}

// verification is one run of Verify.
type verification struct {
	dir    string
	trust  Trust
	report Report

	promises []Checkpoint // that the log must have grown out of
	hashes   *Hashes      // nil if the log has none
	start    mark         // of what was pruned
	prunings map[string]string
	sealed   map[string]bool // whom entries tell of, without those who were erased

	edge    edge
	partial map[int64]tlog.Hash // root at the sizes that are asked for
	scanner scanner
}

func (v *verification) close() {
	if v.hashes != nil {
		v.hashes.Close() // it was read
	}
}

// readPromises reads all that says how much of a log there must be.
func (v *verification) readPromises() (err error) {
	for _, c := range v.trust.Checkpoints {
		if v.trust.Key != nil {
			if err := c.Check(v.trust.Key, nil, 0); err != nil {
				return err
			}
		}
		v.promises = append(v.promises, c)
	}
	if err := v.readOwn(); err != nil {
		return err
	}
	if v.hashes, err = OpenHashes(v.dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if v.start, err = readPruned(v.dir); err != nil {
		return err
	}
	if v.start.seq == 0 {
		return nil
	}
	if v.hashes == nil || v.hashes.leaves < v.start.seq {
		return &Damage{Entry: 1, Reason: "it was pruned, and the hashes of what was pruned are gone"}
	}
	v.edge, err = readEdge(v.hashes, v.start.seq)
	return err
}

// readOwn reads the checkpoints that the folder has.
func (v *verification) readOwn() error {
	own, err := ReadCheckpoint(v.dir, false)
	if err != nil {
		return err
	}
	if v.trust.Key != nil {
		if own.Note == nil {
			return fmt.Errorf("verify audit log: it has no checkpoint, and one of %s is asked for", v.trust.Key.Name())
		}
		if err := own.Check(v.trust.Key, nil, 0); err != nil {
			return err
		}
	}
	if own.Note != nil {
		v.promises = append(v.promises, own)
		v.report.Signed = own.Size
	}
	if v.trust.Quorum == 0 {
		return nil
	}
	witnessed, err := ReadCheckpoint(v.dir, true)
	if err != nil {
		return err
	}
	if witnessed.Note == nil || v.trust.Key == nil {
		return errors.New("verify audit log: no witness has signed a checkpoint of it, or its own key is not given")
	}
	if err := witnessed.Check(v.trust.Key, v.trust.Witnesses, v.trust.Quorum); err != nil {
		return err
	}
	v.promises = append(v.promises, witnessed)
	v.report.Witnessed = witnessed.Size
	return nil
}

func (v *verification) readEntries(ctx context.Context) error {
	names, err := segments(v.dir)
	if err != nil {
		return fmt.Errorf("verify audit log: %w", err)
	}
	v.report.Segments, v.report.Pruned = len(names), v.start.seq
	v.partial, v.sealed = map[int64]tlog.Hash{}, map[string]bool{}
	for _, p := range v.promises {
		v.partial[p.Size] = tlog.Hash{}
	}
	v.scanner = scanner{dir: v.dir, mark: v.start}
	var fresh []byte
	for l, err := range v.scanner.segments(names) {
		if err == nil {
			err = context.Cause(ctx)
		}
		if err != nil {
			return err
		}
		e, boxes, err := l.decode()
		if err != nil {
			return v.damage(l, err.Error())
		}
		if fresh = v.edge.add(fresh[:0], l.hash); !v.same(l.seq, fresh) {
			return v.damage(l, "it is not the entry that the tree of hashes has")
		}
		v.note(l, e, boxes)
	}
	r := &v.report
	r.Entries, r.Unfinished, r.Head = v.scanner.seq, v.scanner.left, hex.EncodeToString(v.scanner.hash[:])
	if v.edge.size > 0 {
		root := v.edge.root()
		r.Root = hex.EncodeToString(root[:])
	}
	return nil
}

func (v *verification) damage(l line, reason string) error {
	return &Damage{v.scanner.name, l.seq, v.scanner.size, reason}
}

// same reports whether the file of hashes has what an entry brings to the tree,
// as far as it goes.
func (v *verification) same(seq int64, fresh []byte) bool {
	if v.hashes == nil || seq > v.hashes.leaves {
		return true
	}
	have := make([]byte, len(fresh))
	_, err := v.hashes.ReadAt(have, tlog.StoredHashCount(seq-1)*tlog.HashSize)
	return (err == nil || errors.Is(err, io.EOF)) && string(have) == string(fresh)
}

// note keeps what later checks need of an entry.
func (v *verification) note(l line, e redoubt.Event, boxes []box) {
	for _, b := range boxes {
		v.sealed[b.Subject] = true
	}
	if v.report.First.IsZero() {
		v.report.First = e.Time
	}
	v.report.Last = e.Time
	if _, asked := v.partial[l.seq]; asked {
		v.partial[l.seq] = v.edge.root()
	}
	if e.Action == actionPrune && e.Outcome == redoubt.Allowed {
		v.prunings = maps.Clone(e.Details)
	}
	if e.Action == actionErase && e.Outcome == redoubt.Allowed {
		delete(v.sealed, strings.TrimPrefix(e.Resource, ofSubject))
	}
}

// countUnreadable looks for the keys of those whom entries tell of, which were
// written before these.
func (v *verification) countUnreadable() error {
	keys, err := openSubjects(v.dir)
	if err != nil {
		return fmt.Errorf("verify audit log: %w", err)
	}
	for id := range v.sealed {
		if keys.byID[id] == nil {
			v.report.Unreadable++
		}
	}
	return nil
}

// holdPromises holds the log against what was promised of it.
func (v *verification) holdPromises() error {
	if v.hashes != nil && v.report.Entries < v.hashes.leaves {
		return taken(v.hashes.leaves, v.report.Entries)
	}
	for _, p := range v.promises {
		if err := v.hold(p.head()); err != nil {
			return err
		}
	}
	if v.start.seq > 0 && (v.prunings["entries"] != strconv.FormatInt(v.start.seq, 10) || v.prunings["hash"] != hex.EncodeToString(v.start.hash[:])) {
		return &Damage{Entry: 1, Reason: fmt.Sprintf("its first %d entries are gone, and it does not say that they were pruned", v.start.seq)}
	}
	return nil
}

func (v *verification) hold(p head) error {
	switch root, computed := v.partial[p.size]; {
	case p.size > v.report.Entries:
		return taken(p.size, v.report.Entries)
	case p.size < v.start.seq || p.size == v.start.seq && p.size > 0:
		return extends(v.hashes, head{v.edge.size, v.edge.root()}, p)
	case p.size > 0 && computed && root != p.root:
		return &Damage{Entry: p.size, Reason: "the entries up to here are not those of a checkpoint: the log was forked or written anew"}
	}
	return nil
}
