package audit

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
	"time"

	"github.com/redoubt-ml/redoubt"
)

// Damage is the first place where a log is not what was written.
type Damage struct {
	Segment string // name of the file
	Entry   int64  // number of the entry, from 1
	Offset  int64  // of its line in the file, in bytes
	Reason  string
}

func (d *Damage) Error() string {
	place := ""
	if d.Segment != "" {
		place = fmt.Sprintf(" (%s, byte %d)", d.Segment, d.Offset)
	}
	return fmt.Sprintf("audit log: entry %d%s does not fit: %s", d.Entry, place, d.Reason)
}

// Filter chooses entries. Every field that is set must fit.
type Filter struct {
	From, To time.Time // From is within, To is not
	// Actor and Request are compared whole.
	Actor   string
	Request string
	// Action and Resource are compared whole, or from the beginning where they
	// end with a dot or a colon: "policy." or "model:".
	Action   string
	Resource string
	Outcome  redoubt.Outcome
}

func (f *Filter) fits(e *redoubt.Event) bool {
	return (f.From.IsZero() || !e.Time.Before(f.From)) &&
		(f.To.IsZero() || e.Time.Before(f.To)) &&
		(f.Actor == "" || f.Actor == e.Actor) &&
		(f.Request == "" || f.Request == e.Request) &&
		(f.Outcome == "" || f.Outcome == e.Outcome) &&
		within(f.Action, e.Action) && within(f.Resource, e.Resource)
}

func within(pattern, s string) bool {
	if strings.HasSuffix(pattern, ".") || strings.HasSuffix(pattern, ":") {
		return strings.HasPrefix(s, pattern)
	}
	return pattern == "" || pattern == s
}

// Entry is an event as it stands in a log.
type Entry struct {
	Number         int64  // from 1
	Previous, Hash string // of the entry before, and of this, in hexadecimal
	// Raw is the event as it was encoded, what is sealed of it sealed. It is valid
	// until the next entry.
	Raw   []byte
	Event redoubt.Event
}

// Read yields the events of a log that fit, oldest first, and checks the chain
// as it goes. An error, a [*Damage] among them, is yielded last. A log may be
// read while it is written.
func Read(ctx context.Context, dir string, f Filter) iter.Seq2[redoubt.Event, error] {
	return func(yield func(redoubt.Event, error) bool) {
		for e, err := range entries(ctx, dir, f, nil) {
			if !yield(e.Event, err) {
				return
			}
		}
	}
}

// Entries is Read with all that the log knows of each event.
func Entries(ctx context.Context, dir string, f Filter) iter.Seq2[Entry, error] {
	return entries(ctx, dir, f, func(e *Entry, l line, previous link) {
		e.Number, e.Raw = l.seq, l.event
		e.Previous, e.Hash = hex.EncodeToString(previous[:]), hex.EncodeToString(l.hash[:])
	})
}

func entries(ctx context.Context, dir string, f Filter, describe func(*Entry, line, link)) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		names, err := segments(dir)
		var start mark
		if err == nil {
			start, err = readPruned(dir)
		}
		var keys *Subjects
		if err == nil {
			keys, err = openSubjects(dir)
		}
		if err != nil {
			yield(Entry{}, fmt.Errorf("read audit log: %w", err))
			return
		}
		s := scanner{dir: dir, mark: start}
		previous := start.hash
		for l, err := range s.segments(names) {
			if err == nil {
				err = context.Cause(ctx)
			}
			var e Entry
			if err == nil {
				if e.Event, err = keys.read(l); err != nil {
					err = &Damage{s.name, l.seq, s.size, err.Error()}
				}
			}
			if err != nil {
				yield(Entry{}, err)
				return
			}
			if f.fits(&e.Event) {
				if describe != nil {
					describe(&e, l, previous)
				}
				if !yield(e, nil) {
					return
				}
			}
			previous = l.hash
		}
	}
}

// lineReader yields lines of bounded length.
type lineReader struct {
	r    *bufio.Reader
	long []byte
}

func newLineReader(r io.Reader) *lineReader {
	return &lineReader{r: bufio.NewReaderSize(r, 64<<10)}
}

// next is a line without its newline, valid until the next call. At the end it
// returns io.EOF with what follows the last newline.
func (l *lineReader) next() ([]byte, error) {
	l.long = l.long[:0]
	for {
		part, err := l.r.ReadSlice('\n')
		if len(l.long)+len(part) > maxLine {
			return nil, errors.New("a line is longer than any entry")
		}
		if err == nil && len(l.long) == 0 {
			return bytes.TrimSuffix(part, []byte("\n")), nil
		}
		l.long = append(l.long, part...)
		if !errors.Is(err, bufio.ErrBufferFull) {
			if err == nil {
				return l.long[:len(l.long)-1], nil
			}
			return l.long, err
		}
	}
}
