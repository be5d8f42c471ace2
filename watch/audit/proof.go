package audit

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/redoubt-ml/redoubt"
)

// Proof shows that an event is in a log, to whoever has the log's public key and
// nothing else (C2SP tlog-proof).
type Proof struct {
	Number     int64 // of the entry, from 1
	Checkpoint Checkpoint
	previous   link   // hash of the entry before
	event      []byte // as it was encoded
	path       tlog.RecordProof
}

const (
	proofHeader = "c2sp.org/tlog-proof@v1"
	maxProof    = 2*maxLine + maxCheckpoint
)

// Prove is the proof that an entry is in the log of a folder, against its newest
// checkpoint, or the newest that witnesses signed.
func Prove(ctx context.Context, dir string, number int64, witnessed bool) (*Proof, error) {
	c, err := ReadCheckpoint(dir, witnessed)
	if err != nil {
		return nil, err
	}
	if number < 1 || number > c.Size {
		return nil, fmt.Errorf("prove entry %d: %w: the checkpoint is of %d entries; wait for the next", number, ErrNoEntry, c.Size)
	}
	h, err := OpenHashes(dir)
	if err != nil {
		return nil, err
	}
	defer h.Close()
	p := &Proof{Number: number, Checkpoint: c}
	if p.path, err = tlog.ProveRecord(c.Size, number-1, h); err != nil {
		return nil, fmt.Errorf("prove entry %d: %w", number, err)
	}
	if err := p.find(ctx, dir); err != nil {
		return nil, err
	}
	if _, err := p.included(); err != nil {
		return nil, err
	}
	return p, nil
}

// find reads the entry of a proof, and the hash of the one before.
func (p *Proof) find(ctx context.Context, dir string) error {
	names, err := segments(dir)
	if err != nil {
		return err
	}
	for len(names) > 1 && names[1] < segmentName(p.Number) {
		names = names[1:]
	}
	s := scanner{dir: dir, trustFirst: true}
	if start, err := readPruned(dir); err != nil {
		return err
	} else if start.seq+1 == p.Number {
		s = scanner{dir: dir, mark: start}
		p.previous = start.hash
	}
	for l, err := range s.segments(names) {
		if err == nil {
			err = context.Cause(ctx)
		}
		switch {
		case err != nil:
			return err
		case l.seq == p.Number-1:
			p.previous = l.hash
		case l.seq == p.Number:
			p.event = bytes.Clone(l.event)
			return nil
		case l.seq > p.Number:
			return fmt.Errorf("prove entry %d: %w: it was pruned", p.Number, ErrNoEntry)
		}
	}
	return fmt.Errorf("prove entry %d: it is not in the log", p.Number)
}

// included reports whether the entry is in the tree of the checkpoint.
func (p *Proof) included() (redoubt.Event, error) {
	hash := p.previous.next(p.Number, p.event)
	if err := tlog.CheckRecord(p.path, p.Checkpoint.Size, p.Checkpoint.Root, p.Number-1, tlog.RecordHash(hash[:])); err != nil {
		return redoubt.Event{}, fmt.Errorf("check proof: entry %d is not in the log of the checkpoint", p.Number)
	}
	e, _, err := line{p.Number, hash, p.event}.decode()
	return e, err
}

// Check is the event that a proof proves, if the checkpoint is signed with the
// log's key and by as many witnesses as asked. What of the event is sealed stays
// so: see [Subjects].
func (p *Proof) Check(key note.Verifier, witnesses []note.Verifier, quorum int) (redoubt.Event, error) {
	if err := p.Checkpoint.Check(key, witnesses, quorum); err != nil {
		return redoubt.Event{}, err
	}
	return p.included()
}

// parseHash reads a hash in base64, in its one spelling.
func parseHash(s string) (tlog.Hash, error) {
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil || len(b) != tlog.HashSize {
		return tlog.Hash{}, errors.New("it is no hash")
	}
	return tlog.Hash(b), nil
}

// extra is what a proof carries beside what its format asks: what the leaf of the
// tree is computed of.
type extra struct {
	Previous string          `json:"previous"`
	Event    json.RawMessage `json:"event"`
}

// MarshalText writes a proof in the form of C2SP tlog-proof. The extra line is the
// base64 of {"previous": HASH, "event": EVENT}.
func (p *Proof) MarshalText() ([]byte, error) {
	x := fmt.Appendf(nil, `{"previous":"%x","event":%s}`, p.previous, p.event) // whose bytes count
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s\nextra %s\nindex %d\n", proofHeader, base64.StdEncoding.EncodeToString(x), p.Number-1)
	for _, h := range p.path {
		fmt.Fprintln(&b, h)
	}
	b.WriteByte('\n')
	b.Write(p.Checkpoint.Note)
	return b.Bytes(), nil
}

// UnmarshalText reads what MarshalText writes.
func (p *Proof) UnmarshalText(b []byte) error {
	*p = Proof{}
	if len(b) > maxProof {
		return fmt.Errorf("read proof: %d bytes are more than one has", len(b))
	}
	top, checkpoint, ok := bytes.Cut(b, []byte("\n\n"))
	lines := bufio.NewScanner(bytes.NewReader(top))
	lines.Buffer(nil, maxProof)
	next := func(prefix string) string {
		if !lines.Scan() {
			ok = false
			return ""
		}
		rest, found := strings.CutPrefix(lines.Text(), prefix)
		ok = ok && found
		return rest
	}
	header, encoded, index := next(""), next("extra "), next("index ")
	if !ok || header != proofHeader {
		return errors.New("read proof: it is none of a Redoubt log: want " + proofHeader + ", extra and index")
	}
	n, err := strconv.ParseInt(index, 10, 64)
	if err != nil || n < 0 || strconv.FormatInt(n, 10) != index {
		return fmt.Errorf("read proof: %q is no index", index)
	}
	p.Number = n + 1
	for lines.Scan() {
		h, err := parseHash(lines.Text())
		if err != nil || len(p.path) == 63 {
			return errors.New("read proof: its path is none")
		}
		p.path = append(p.path, h)
	}
	if err := p.readExtra(encoded); err != nil {
		return err
	}
	p.Checkpoint, err = ParseCheckpoint(checkpoint)
	return err
}

func (p *Proof) readExtra(encoded string) error {
	b, err := base64.StdEncoding.Strict().DecodeString(encoded)
	var x extra
	if err == nil {
		err = json.Unmarshal(b, &x)
	}
	previous, hexErr := hex.DecodeString(x.Previous)
	if err != nil || hexErr != nil || len(previous) != len(p.previous) {
		return errors.New("read proof: what it says of the event is unreadable")
	}
	p.previous, p.event = link(previous), x.Event
	return nil
}

// Growth shows that one checkpoint of a log has grown out of another: that nothing
// before was changed or taken away. Witnesses ask for it.
type Growth struct {
	From int64 // entries
	To   Checkpoint
	Path tlog.TreeProof
}

// ProveGrowth is the proof that the newest checkpoint of the log of a folder, or
// the one given, grew out of the one of so many entries.
func ProveGrowth(dir string, from int64, to Checkpoint) (*Growth, error) {
	if from < 0 || from > to.Size {
		return nil, fmt.Errorf("prove growth from %d entries to %d: it is none", from, to.Size)
	}
	g := &Growth{From: from, To: to}
	if from == 0 || from == to.Size {
		return g, nil
	}
	h, err := OpenHashes(dir)
	if err != nil {
		return nil, err
	}
	defer h.Close()
	if g.Path, err = tlog.ProveTree(to.Size, from, h); err != nil {
		return nil, fmt.Errorf("prove growth: %w", err)
	}
	return g, nil
}

// Check reports whether the proof shows growth out of an earlier checkpoint.
func (g *Growth) Check(earlier Checkpoint) error {
	switch {
	case earlier.Origin != g.To.Origin:
		return fmt.Errorf("check growth: the checkpoints are of %s and of %s", earlier.Origin, g.To.Origin)
	case earlier.Size != g.From:
		return fmt.Errorf("check growth: the proof begins with %d entries, and the checkpoint has %d", g.From, earlier.Size)
	case earlier.Size == 0 && len(g.Path) == 0:
		return nil
	case earlier.Size == g.To.Size && len(g.Path) == 0 && earlier.Root == g.To.Root:
		return nil
	}
	if earlier.Size == 0 || earlier.Size >= g.To.Size || tlog.CheckTree(g.Path, g.To.Size, g.To.Root, earlier.Size, earlier.Root) != nil {
		return fmt.Errorf("check growth: the log of %d entries did not grow out of that of %d: it was forked", g.To.Size, earlier.Size)
	}
	return nil
}

// MarshalText writes the body of a witness's add-checkpoint (C2SP tlog-witness).
func (g *Growth) MarshalText() ([]byte, error) {
	var b bytes.Buffer
	fmt.Fprintf(&b, "old %d\n", g.From)
	for _, h := range g.Path {
		fmt.Fprintln(&b, h)
	}
	b.WriteByte('\n')
	b.Write(g.To.Note)
	return b.Bytes(), nil
}

// UnmarshalText reads what MarshalText writes.
func (g *Growth) UnmarshalText(b []byte) error {
	*g = Growth{}
	top, checkpoint, ok := bytes.Cut(b, []byte("\n\n"))
	first, rest, _ := strings.Cut(string(top), "\n")
	old, found := strings.CutPrefix(first, "old ")
	n, err := strconv.ParseInt(old, 10, 64)
	if !ok || !found || err != nil || n < 0 || strconv.FormatInt(n, 10) != old || len(top) > 64*50 {
		return errors.New("read growth: it is none: want \"old SIZE\", a path, an empty line and a checkpoint")
	}
	g.From = n
	for text := range strings.Lines(rest) {
		h, err := parseHash(strings.TrimSuffix(text, "\n"))
		if err != nil || len(g.Path) == 63 {
			return errors.New("read growth: its path is none")
		}
		g.Path = append(g.Path, h)
	}
	g.To, err = ParseCheckpoint(checkpoint)
	return err
}
