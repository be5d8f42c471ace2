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

// conclude makes the answer of the states after a take, and of who refused it.
func conclude(states []State, refused int) Answer {
	a := Answer{Allowed: refused < 0, States: states, Refused: refused}
	if refused >= 0 {
		a.RetryAfter = states[refused].Wait
	}
	return a
}
