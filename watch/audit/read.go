package audit

import (
	"bufio"
	"bytes"
	"context"
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
	return fmt.Sprintf("audit log: entry %d (%s, byte %d) does not fit: %s", d.Entry, d.Segment, d.Offset, d.Reason)
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

// Read yields the events of a log that fit, oldest first, and checks the chain
// as it goes. An error, a [*Damage] among them, is yielded last. A log may be
// read while it is written.
func Read(ctx context.Context, dir string, f Filter) iter.Seq2[redoubt.Event, error] {
	return func(yield func(redoubt.Event, error) bool) {
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
			yield(redoubt.Event{}, fmt.Errorf("read audit log: %w", err))
			return
		}
		s := scanner{dir: dir, mark: start}
		for l, err := range s.segments(names) {
			if err == nil {
				err = context.Cause(ctx)
			}
			var e redoubt.Event
			if err == nil {
				var sealed []box
				if e, sealed, err = l.decode(); err == nil {
					err = keys.reveal(&e, sealed)
				}
				if err != nil {
					err = &Damage{s.name, l.seq, s.size, err.Error()}
				}
			}
			if err != nil {
				yield(redoubt.Event{}, err)
				return
			}
			if f.fits(&e) && !yield(e, nil) {
				return
			}
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
