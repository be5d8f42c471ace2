package audit

import (
	"fmt"
	"runtime"
	"slices"
	"time"
)

// write is the one goroutine that touches the disk. What arrives while it
// flushes is flushed together the next time.
func (l *Log) write() {
	defer close(l.ended)
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		batch, next, closed := l.batch(time.Now())
		switch {
		case len(batch) > 0:
			err := l.chain.append(batch)
			l.settle(batch, err)
			if closed && err != nil {
				l.settle(l.rest(), err)
				return // Close tells of what is left
			}
			if l.few() {
				runtime.Gosched() // whoever was answered may come again, and join
			}
		case closed:
			return
		default:
			pause.Reset(next)
			select {
			case <-l.wake:
			case <-pause.C:
			}
		}
	}
}

// few reports whether a flush for those who wait would serve so few that it is
// better to let others join. For many it goes on at once: they come while the disk
// works.
func (l *Log) few() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.waiting) < 16
}

// idle is how long the writer sleeps when nothing waits and nobody wakes it.
const idle = time.Hour

// batch takes what waits if any of it is due; otherwise it says how long until
// then.
func (l *Log) batch(now time.Time) (batch []*entry, next time.Duration, closed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.waiting) == 0 {
		return nil, idle, l.closed
	}
	early := l.due.After(now) && (len(l.waiting) < l.cfg.Buffer/2 || l.err != nil)
	if early && !l.closed {
		return nil, l.due.Sub(now), false
	}
	batch, l.waiting = l.waiting, nil
	l.admit()
	return batch, 0, l.closed
}

// rest is what arrived before the log was closed and while the disk refused.
func (l *Log) rest() []*entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	rest := l.waiting
	l.waiting = nil
	return rest
}

// settle tells those who wait what became of a batch. Entries that nobody waits
// for go back to the head of the queue when the disk refused.
func (l *Log) settle(batch []*entry, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil && l.err == nil {
		l.cfg.Logger.Error("the audit log cannot be written: privileged actions are refused", "error", err)
	}
	if err == nil && l.err != nil {
		l.cfg.Logger.Info("the audit log is written again")
	}
	if l.err = err; err != nil {
		l.err = fmt.Errorf("write audit log: %w", err)
		again := slices.DeleteFunc(slices.Clone(batch), func(e *entry) bool { return e.done != nil })
		if !slices.ContainsFunc(l.waiting, func(e *entry) bool { return e.done != nil }) {
			l.due = time.Now().Add(l.cfg.Delay)
		}
		l.waiting = append(again, l.waiting...)
		l.admit() // to be refused
	}
	for _, e := range batch {
		if e.done != nil {
			e.done <- l.err
		}
	}
}
