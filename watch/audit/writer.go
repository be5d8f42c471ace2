package audit

import (
	"fmt"
	"runtime"
	"slices"
	"time"
)

// task is a goroutine that does what is due, and sleeps in between.
type task struct {
	woken, ending, ended chan struct{}
}

func newTask() task {
	return task{make(chan struct{}, 1), make(chan struct{}), make(chan struct{})}
}

// run calls do again and again: it does what is due, and returns how long until
// more is, 0 for at once. After end it is called until it has no more to do.
func (t task) run(do func(ending bool) (pause time.Duration)) {
	defer close(t.ended)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ending := false; ; {
		pause := do(ending)
		switch {
		case pause == 0:
			continue
		case ending:
			return
		}
		timer.Reset(pause)
		select {
		case <-t.woken:
		case <-timer.C:
		case <-t.ending:
			ending = true
		}
	}
}

// wake has what is due looked at again.
func (t task) wake() {
	select {
	case t.woken <- struct{}{}:
	default:
	}
}

// end returns when nothing is left to do.
func (t task) end() {
	close(t.ending)
	<-t.ended
}

// idle is how long to sleep when nothing waits.
const idle = time.Hour

// write hands what waits to the system if any of it is due. What arrives
// meanwhile goes together the next time.
func (l *Log) write(ending bool) (pause time.Duration) {
	l.disk.Lock()
	defer l.disk.Unlock()
	return l.writeDue(ending)
}

// writeOrWake writes what waits, as write does, unless somebody has the disk: then
// the writer does when it is free. Who waits for an entry mostly finds the disk free,
// and spares the way to the writer and back.
func (l *Log) writeOrWake() {
	if !l.disk.TryLock() {
		l.writer.wake()
		return
	}
	defer l.disk.Unlock()
	l.writeDue(false)
}

// writeDue is write for whoever holds the disk.
func (l *Log) writeDue(ending bool) (pause time.Duration) {
	batch, pause := l.batch(time.Now(), ending)
	if len(batch) == 0 {
		return pause
	}
	lost, err := l.chain.write(batch)
	if lost {
		l.retreat(err)
	}
	l.written(batch, err)
	if ending && err != nil {
		return idle // Close tells of what is left
	}
	return 0
}

// batch takes what waits if any of it is due; otherwise it says how long until
// then.
func (l *Log) batch(now time.Time, ending bool) (batch []*entry, pause time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.waiting) == 0 {
		return nil, idle
	}
	early := l.due.After(now) && (len(l.waiting) < l.cfg.Buffer/2 || l.err != nil)
	if early && !ending {
		return nil, l.due.Sub(now)
	}
	batch, l.waiting = l.waiting, nil
	return batch, 0
}

// written tells those who wait for no more what became of a batch.
func (l *Log) written(batch []*entry, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.refused(batch, err)
		return
	}
	if len(l.unflushed) == 0 {
		l.flushDue = time.Now().Add(l.cfg.Delay / 2)
	}
	l.unflushed = append(l.unflushed, batch...)
	wanted := len(l.unflushed) == len(batch)
	for _, e := range batch {
		switch {
		case e.want == durable:
			l.flushDue, wanted = time.Time{}, true
		case e.done != nil:
			e.done <- nil
			e.done = nil
		}
	}
	if len(l.unflushed) >= l.cfg.Buffer/2 {
		l.flushDue, wanted = time.Time{}, true
	}
	if wanted {
		l.flusher.wake()
	}
}

// flush has the disk keep what was written if any of it is due. The system goes
// on taking entries meanwhile.
func (l *Log) flush(ending bool) (pause time.Duration) {
	if pause = l.unflushedFor(time.Now(), ending); pause > 0 {
		return min(pause, l.checkpoint(time.Now(), ending))
	}
	l.disk.Lock()
	defer l.disk.Unlock()
	file, upTo := l.chain.file, l.chain.end
	var err error
	if l.chain.durable.seq < upTo.seq {
		l.disk.Unlock()
		err = file.Sync()
		l.disk.Lock()
	}
	switch {
	case l.chain.durable.seq >= upTo.seq: // a new segment was begun, and the old one flushed for it
	case err != nil:
		l.retreat(err)
		return 0
	default:
		l.chain.durable = upTo
	}
	l.grow(l.flushed(l.chain.durable.seq))
	return 0
}

// grow adds entries that are durable to the tree.
func (l *Log) grow(entries []*entry) {
	for _, e := range entries {
		l.tree.append(e.hash)
	}
	if err := l.tree.save(); err != nil {
		l.cfg.Logger.Error("the audit log goes on, and its hashes wait for the disk", "error", err)
	}
}

// unflushedFor is how long what was written may still wait to be flushed, 0 if it
// may not.
func (l *Log) unflushedFor(now time.Time, ending bool) time.Duration {
	l.mu.Lock()
	if l.few() {
		l.mu.Unlock()
		runtime.Gosched() // whoever was answered may come again, and join
		l.mu.Lock()
	}
	defer l.mu.Unlock()
	switch {
	case len(l.unflushed) == 0:
		return idle
	case ending:
		return 0
	}
	return max(l.flushDue.Sub(now), 0)
}

// few reports whether a flush for those who wait would serve so few that it is
// better to let others join. For many it goes on at once: they come while the disk
// works. The log is locked.
func (l *Log) few() bool { return l.flushDue.IsZero() && len(l.unflushed) < 16 }

// flushed tells those who wait that the disk has all up to a number, and returns
// what it now has.
func (l *Log) flushed(upTo int64) []*entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for n < len(l.unflushed) && l.unflushed[n].seq <= upTo {
		if e := l.unflushed[n]; e.done != nil {
			e.done <- nil
		}
		n++
	}
	now := slices.Clone(l.unflushed[:n])
	l.unflushed = slices.Delete(l.unflushed, 0, n)
	l.count -= n
	l.flushDue = time.Now().Add(l.cfg.Delay / 2)
	for _, e := range l.unflushed {
		if e.want == durable {
			l.flushDue = time.Time{}
		}
	}
	if l.err != nil && upTo > l.failedAt {
		l.cfg.Logger.Info("the audit log is written again")
		l.err = nil
	}
	l.admit()
	return now
}

// retreat gives up what was written and not flushed, for what a failed flush left
// nobody knows. The disk is locked.
func (l *Log) retreat(err error) {
	err = l.chain.rewind(err)
	l.mu.Lock()
	defer l.mu.Unlock()
	batch := l.unflushed
	l.unflushed = nil
	l.refused(batch, err)
}

// refused tells those who wait that the disk refused a batch. Entries that nobody
// waits for go back to the head of the queue. Disk and log are locked.
func (l *Log) refused(batch []*entry, err error) {
	if l.err == nil {
		l.cfg.Logger.Error("the audit log cannot be written: privileged actions are refused", "error", err)
	}
	l.err, l.failedAt = fmt.Errorf("%w: %w", ErrLost, err), l.chain.end.seq
	again := slices.DeleteFunc(batch, func(e *entry) bool {
		if e.done == nil {
			return false
		}
		e.done <- l.err
		return true
	})
	l.count -= len(batch) - len(again)
	if !slices.ContainsFunc(l.waiting, func(e *entry) bool { return e.done != nil }) {
		l.due = time.Now().Add(l.cfg.Delay)
	}
	l.waiting = append(again, l.waiting...)
	l.admit() // to be refused
	l.writer.wake()
}
