package limit

import "time"

// cell counts one window. It is the generic cell rate algorithm as a leaky
// bucket, in whole numbers so that nothing is rounded: a call adds Window to the
// level, every microsecond takes Count away, and a call fits while the level is
// at most Count*Window.
type cell struct {
	level int64 // microseconds times Count, at the time of last
	last  int64 // microseconds since the limiter began
}

// at is the level at a time.
func (c cell) at(l Limit, now int64) int64 {
	passed := max(now-c.last, 0)
	if passed >= l.Window.Microseconds() {
		return 0
	}
	return max(c.level-passed*int64(l.Count), 0)
}

// charge adds a call. Whoever had to wait for his turn comes with a time that is past:
// what has sunk since is not to sink again.
func (c *cell) charge(l Limit, now int64) {
	*c = cell{c.at(l, now) + l.Window.Microseconds(), max(now, c.last)}
}

// fits reports whether a call has room above a level.
func (l Limit) fits(level int64) bool {
	window, count := l.Window.Microseconds(), int64(l.Count)
	return window > 0 && level <= window*(count-1)
}

// state describes a window with the given level.
func state(b *Bucket, l Limit, level int64) State {
	s := State{Bucket: b.Name, Limit: l, Shared: b.Shared}
	window, count := l.Window.Microseconds(), int64(l.Count)
	if window < 1 || count < 1 {
		s.Reset, s.Wait = longest, longest // no limit that means anything lets anything through
		return s
	}
	s.Remaining = int(max(window*count-level, 0) / window)
	s.Reset = micros(level, count)
	if s.Remaining == 0 {
		s.Wait = micros(level+window-window*count, count)
	}
	return s
}

// micros is how long it takes a level to sink, rounded up.
func micros(level, count int64) time.Duration {
	return time.Duration((level+count-1)/count) * time.Microsecond
}

// answer describes the windows by their levels, after the take or, if it was
// refused, before.
func answer(buckets []Bucket, levels []int64, allowed bool) Answer {
	a := Answer{Allowed: allowed, States: make([]State, 0, len(levels)), Refused: -1}
	for i := range buckets {
		for _, l := range buckets[i].Limits {
			s := state(&buckets[i], l, levels[len(a.States)])
			if !allowed && (a.Refused < 0 || s.Wait > a.RetryAfter) {
				a.Refused, a.RetryAfter = len(a.States), s.Wait
			}
			a.States = append(a.States, s)
		}
	}
	return a
}
