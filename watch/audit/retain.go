package audit

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/internal/atomicfile"
)

// What is done to the log is in the log.
const (
	actionErase   = "audit.erase"
	actionHold    = "audit.hold"
	actionRelease = "audit.release"
	actionPrune   = "audit.prune"
	actionNote    = "audit.note" // of another log's checkpoint
)

const (
	prunedFile = "pruned"
	holdsFile  = "holds"
)

// Hold keeps what would be pruned or erased, for as long as a proceeding lasts.
type Hold struct {
	ID     string    `json:"id"`
	Reason string    `json:"reason"`
	Since  time.Time `json:"since"`
	// Subject is the person whose keys are held; empty for everyone's. Every hold
	// keeps all entries.
	Subject string `json:"subject,omitempty"`
}

// ErrNoEntry says that what is asked for is not in the log, or not any more.
var ErrNoEntry = errors.New("there is none")

// ErrHeld says that a hold stands against pruning or erasing.
var ErrHeld = errors.New("a legal hold stands")

// Holds are those that stand in the log of a folder.
func Holds(dir string) ([]Hold, error) {
	b, err := os.ReadFile(filepath.Join(dir, holdsFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var holds []Hold
	if err == nil {
		err = json.Unmarshal(b, &holds)
	}
	if err != nil {
		return nil, fmt.Errorf("read the holds of the audit log: %w", err)
	}
	return holds, nil
}

// Hold begins a hold. The event says who ordered it.
func (l *Log) Hold(ctx context.Context, h Hold, by redoubt.Event) error {
	if h.ID == "" || h.Reason == "" {
		return errors.New("hold: a hold has an id and a reason")
	}
	return l.changeHolds(func(holds []Hold) ([]Hold, error) {
		if slices.ContainsFunc(holds, func(o Hold) bool { return o.ID == h.ID }) {
			return nil, fmt.Errorf("hold %s: %w already", h.ID, ErrHeld)
		}
		if h.Since.IsZero() {
			h.Since = time.Now().UTC()
		}
		by.Action, by.Outcome, by.Resource, by.Reason = actionHold, redoubt.Allowed, "hold:"+h.ID, h.Reason
		return append(holds, h), l.Record(ctx, by)
	})
}

// Release ends a hold.
func (l *Log) Release(ctx context.Context, id string, by redoubt.Event) error {
	return l.changeHolds(func(holds []Hold) ([]Hold, error) {
		i := slices.IndexFunc(holds, func(h Hold) bool { return h.ID == id })
		if i < 0 {
			return nil, fmt.Errorf("release hold %s: %w", id, ErrNoEntry)
		}
		by.Action, by.Outcome, by.Resource = actionRelease, redoubt.Allowed, "hold:"+id
		return slices.Delete(holds, i, i+1), l.Record(ctx, by)
	})
}

func (l *Log) changeHolds(change func([]Hold) ([]Hold, error)) error {
	l.retaining.Lock()
	defer l.retaining.Unlock()
	holds, err := Holds(l.chain.dir)
	if err != nil {
		return err
	}
	if holds, err = change(holds); err != nil {
		return err
	}
	b, err := json.MarshalIndent(holds, "", "  ")
	if err != nil {
		return err
	}
	return atomicfile.Replace(filepath.Join(l.chain.dir, holdsFile), append(b, '\n'))
}

// held is ErrHeld where a hold stands: against a subject, or any if that is empty.
func (l *Log) held(subject string) error {
	holds, err := Holds(l.chain.dir)
	for _, h := range holds {
		if subject == "" || h.Subject == "" || h.Subject == subject {
			return fmt.Errorf("%w: %s (%s)", ErrHeld, h.ID, h.Reason)
		}
	}
	return err
}

// Erase destroys the key under which the log keeps what it tells of a person, who
// is named as events name actors ("user:4f1c"). Entries stay, and their proofs
// hold; nobody can read again what they told of that person. It cannot be undone.
// Copies of the file of keys elsewhere are not reached.
func (l *Log) Erase(ctx context.Context, name string, by redoubt.Event) error {
	l.retaining.Lock()
	defer l.retaining.Unlock()
	if l.subjects == nil {
		return errors.New("erase: this log does not seal what it tells of persons")
	}
	if err := l.held(name); err != nil {
		return fmt.Errorf("erase %s: %w", name, err)
	}
	id := l.subjects.id(name)
	if id == "" {
		return fmt.Errorf("erase %s: of the keys of persons %w", name, ErrNoEntry)
	}
	by.Action, by.Outcome, by.Resource = actionErase, redoubt.Allowed, ofSubject+id
	if err := l.Record(ctx, by); err != nil {
		return err
	}
	return l.subjects.erase(name)
}

// Prune removes segments all of whose entries were written before a time, oldest
// first, and returns how many entries the log has lost in all. Their hashes stay,
// so that what is left can be verified and proved as before.
func (l *Log) Prune(ctx context.Context, before time.Time, by redoubt.Event) (int64, error) {
	l.retaining.Lock()
	defer l.retaining.Unlock()
	start, err := readPruned(l.chain.dir)
	if err != nil {
		return 0, err
	}
	upTo, err := prunable(l.chain.dir, before, start)
	if err != nil || upTo == start {
		return start.seq, err
	}
	if err := l.held(""); err != nil {
		return start.seq, fmt.Errorf("prune audit log: %w", err)
	}
	p := pruned{upTo.seq, hex.EncodeToString(upTo.hash[:])}
	by.Action, by.Outcome, by.Resource = actionPrune, redoubt.Allowed, "audit:"+filepath.Base(l.chain.dir)
	by.Details = map[string]string{"entries": strconv.FormatInt(p.Entries, 10), "hash": p.Hash}
	if err := l.Record(ctx, by); err != nil {
		return start.seq, err
	}
	b, err := json.Marshal(p)
	if err != nil {
		return start.seq, err
	}
	if err := atomicfile.Replace(filepath.Join(l.chain.dir, prunedFile), append(b, '\n')); err != nil {
		return start.seq, err
	}
	return p.Entries, finishPruning(l.chain.dir)
}

// prunable is where the oldest entries end that may go: with a segment that was
// full before that time, which the time in its successor's first id tells.
func prunable(dir string, before time.Time, start mark) (mark, error) {
	names, err := segments(dir)
	if err != nil {
		return start, err
	}
	upTo := start
	for i := 0; i+1 < len(names); i++ {
		next := scanner{dir: dir, trustFirst: true}
		var first redoubt.Event
		for line, err := range next.segments(names[i+1 : i+2]) {
			if err == nil {
				first, _, err = line.decode()
			}
			if err != nil {
				return start, err
			}
			break
		}
		if when := idTime(first.ID); when == 0 || !time.Unix(0, when).Before(before) {
			break
		}
		s := scanner{dir: dir, mark: upTo}
		for _, err := range s.segments(names[i : i+1]) {
			if err != nil {
				return start, err
			}
		}
		upTo = mark{seq: s.seq, hash: s.hash}
	}
	return upTo, nil
}

// pruned says which entries are gone, and the hash of the last of them.
type pruned struct {
	Entries int64  `json:"entries"`
	Hash    string `json:"hash"`
}

// readPruned is where the entries of a log begin.
func readPruned(dir string) (mark, error) {
	b, err := os.ReadFile(filepath.Join(dir, prunedFile))
	if errors.Is(err, fs.ErrNotExist) {
		return mark{}, nil
	}
	var p pruned
	if err == nil {
		err = json.Unmarshal(b, &p)
	}
	var hash []byte
	if err == nil {
		hash, err = hex.DecodeString(p.Hash)
	}
	if err != nil || p.Entries < 1 || len(hash) != len(link{}) {
		return mark{}, &Damage{Entry: 1, Reason: "what says where it was pruned is unreadable"}
	}
	return mark{seq: p.Entries, hash: link(hash)}, nil
}

// finishPruning removes the segments that were pruned.
func finishPruning(dir string) error {
	start, err := readPruned(dir)
	if err != nil || start.seq == 0 {
		return err
	}
	names, err := segments(dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		first, err := strconv.ParseInt(strings.TrimSuffix(name, suffix), 10, 64)
		if err != nil {
			return err
		}
		if first > start.seq {
			break
		}
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			return fmt.Errorf("prune audit log: %w", err)
		}
	}
	return atomicfile.SyncFolder(dir)
}
