package audit

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/internal/atomicfile"
)

// The newest checkpoint of a log, and the newest that witnesses have signed too.
const (
	checkpointFile = "checkpoint"
	witnessedFile  = "witnessed"
)

// maxCheckpoint bounds a checkpoint with its signatures, in bytes.
const maxCheckpoint = 64 << 10

// Checkpoint is what a log signs of itself (C2SP tlog-checkpoint): its size and
// the root of its Merkle tree.
type Checkpoint struct {
	Origin string // the log's name
	Size   int64  // entries
	Root   tlog.Hash
	// Note is the whole, with its signatures.
	Note []byte
}

// ParseCheckpoint reads a signed checkpoint. Its signatures are not looked at but
// by [Checkpoint.Check].
func ParseCheckpoint(b []byte) (Checkpoint, error) {
	c := Checkpoint{Note: b}
	if len(b) > maxCheckpoint {
		return c, fmt.Errorf("read checkpoint: %d bytes are more than %d", len(b), maxCheckpoint)
	}
	body, signatures, ok := bytes.Cut(b, []byte("\n\n"))
	lines := strings.Split(string(body), "\n")
	if !ok || len(lines) < 3 || lines[0] == "" {
		return c, errors.New("read checkpoint: it is none: want a name, a size and a root, a line each, and signatures")
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil || size < 0 || strconv.FormatInt(size, 10) != lines[1] {
		return c, fmt.Errorf("read checkpoint: %q is no size", lines[1])
	}
	root, err := parseHash(lines[2])
	if err != nil {
		return c, fmt.Errorf("read checkpoint: %q is no root", lines[2])
	}
	for text := range strings.Lines(string(signatures)) {
		// Package note takes several spellings of one signature.
		if _, err := base64.StdEncoding.Strict().DecodeString(strings.TrimSuffix(text[strings.LastIndexByte(text, ' ')+1:], "\n")); err != nil {
			return c, errors.New("read checkpoint: a signature is none")
		}
	}
	c.Origin, c.Size, c.Root = lines[0], size, root
	return c, nil
}

// noteWhole is the detail of [Noted] that holds the checkpoint as it was signed.
const noteWhole = "note"

// Noted is the event that another log's checkpoint was seen: what is on record in
// one log, the other can no longer take back. [NotedIn] reads it again.
func Noted(c Checkpoint) redoubt.Event {
	return redoubt.Event{
		Action: actionNote, Outcome: redoubt.Allowed, Resource: "audit:" + c.Origin,
		Details: map[string]string{"size": strconv.FormatInt(c.Size, 10), noteWhole: string(c.Note)},
	}
}

// NotedIn are the checkpoints of another log that the log of a folder has noted.
func NotedIn(ctx context.Context, dir, origin string) (out []Checkpoint, err error) {
	for e, err := range Read(ctx, dir, Filter{Action: actionNote, Resource: "audit:" + origin}) {
		if err != nil {
			return nil, err
		}
		c, err := ParseCheckpoint([]byte(e.Details[noteWhole]))
		if err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	return out, nil
}

// Check reports whether the log itself has signed a checkpoint, with the key
// named, and at least quorum of the witnesses have.
func (c Checkpoint) Check(key note.Verifier, witnesses []note.Verifier, quorum int) error {
	n, err := note.Open(c.Note, note.VerifierList(append([]note.Verifier{key}, witnesses...)...))
	if err != nil {
		return fmt.Errorf("check checkpoint of %s: %w", c.Origin, err)
	}
	if c.Origin != key.Name() {
		return fmt.Errorf("check checkpoint: it is of %s, want %s", c.Origin, key.Name())
	}
	own, others := false, map[string]bool{}
	for _, s := range n.Sigs {
		if s.Name == key.Name() && s.Hash == key.KeyHash() {
			own = true
		} else {
			others[s.Name] = true
		}
	}
	switch {
	case !own:
		return fmt.Errorf("check checkpoint: it is not signed with the key of %s", key.Name())
	case len(others) < quorum:
		return fmt.Errorf("check checkpoint of %s: %d witnesses have signed it, want %d", c.Origin, len(others), quorum)
	}
	return nil
}

func (c Checkpoint) head() head { return head{c.Size, c.Root} }

// sign is a signed checkpoint of a tree that is not empty.
func sign(e *edge, signer note.Signer) (Checkpoint, error) {
	c := Checkpoint{Origin: signer.Name(), Size: e.size, Root: e.root()}
	text := fmt.Sprintf("%s\n%d\n%s\n", c.Origin, c.Size, base64.StdEncoding.EncodeToString(c.Root[:]))
	var err error
	c.Note, err = note.Sign(&note.Note{Text: text}, signer)
	return c, err
}

// ReadCheckpoint is the newest checkpoint in the folder of a log, and the zero
// value if there is none. With witnessed it is the newest that witnesses signed.
func ReadCheckpoint(dir string, witnessed bool) (Checkpoint, error) {
	name := checkpointFile
	if witnessed {
		name = witnessedFile
	}
	b, err := os.ReadFile(filepath.Join(dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return Checkpoint{}, nil
	}
	if err != nil {
		return Checkpoint{}, err
	}
	return ParseCheckpoint(b)
}

// KeepWitnessed stores a checkpoint that witnesses have signed beside the log.
func KeepWitnessed(dir string, c Checkpoint) error {
	return atomicfile.Replace(filepath.Join(dir, witnessedFile), c.Note)
}

// Key loads the key that a log signs its checkpoints with, and makes one if there
// is none: Ed25519, in the form of package note, in a file that only its owner
// reads. Beside it, with the ending ".pub", is what verifies: keep a copy of that
// elsewhere.
func Key(path, name string) (note.Signer, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		private, public, err := note.GenerateKey(rand.Reader, name)
		if err != nil {
			return nil, fmt.Errorf("make the key of log %q: %w: name it without spaces and plus signs", name, err)
		}
		if err := errors.Join(atomicfile.Replace(path+".pub", []byte(public+"\n")), atomicfile.Replace(path, []byte(private+"\n"))); err != nil {
			return nil, err
		}
		return note.NewSigner(private)
	}
	if err != nil {
		return nil, fmt.Errorf("read the key of the audit log: %w", err)
	}
	s, err := note.NewSigner(strings.TrimSpace(string(b)))
	if err != nil {
		return nil, fmt.Errorf("read the key of the audit log %s: it is none", path) // and its text is secret
	}
	return s, nil
}

// ReadVerifier reads a public key of a log or, where it is one of cosignatures, of
// a witness: from a file, or as it stands.
func ReadVerifier(from string) (note.Verifier, error) {
	if b, err := os.ReadFile(from); err == nil {
		from = strings.TrimSpace(string(b))
	} else if strings.Count(from, "+") < 2 {
		return nil, fmt.Errorf("read public key: %w", err)
	}
	return newVerifier(from)
}

// checkpoints is how often a log signs itself, and what it signed last.
type checkpoints struct {
	newest Checkpoint
	next   time.Time // that it signs at the earliest
}

// checkpoint signs the tree if it has grown and it is time. It returns how long
// until then.
func (l *Log) checkpoint(now time.Time, ending bool) time.Duration {
	if l.cfg.Signer == nil || l.tree.size == l.signed.newest.Size {
		return idle
	}
	if wait := l.signed.next.Sub(now); wait > 0 && !ending {
		return wait
	}
	l.signed.next = now.Add(l.cfg.Checkpoints)
	c, err := sign(&l.tree.edge, l.cfg.Signer)
	if err == nil {
		err = atomicfile.Replace(filepath.Join(l.chain.dir, checkpointFile), c.Note)
	}
	if err != nil {
		l.cfg.Logger.Error("the audit log cannot be signed", "error", err)
		return l.cfg.Checkpoints
	}
	l.mu.Lock()
	l.signed.newest = c
	l.mu.Unlock()
	return idle
}

// Checkpoint is the newest that the log has signed, the zero value if none.
func (l *Log) Checkpoint() Checkpoint {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.signed.newest
}
