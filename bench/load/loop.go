//go:build linux

package main

import (
	"fmt"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// patience is how long the callers wait for anything to happen.
const patience = time.Minute

// connect has every connection made before the clock starts: dozens of TLS
// handshakes in the first moments would be what the slowest of a hundred calls
// measure.
func (l *load) connect() error {
	var err error
	if l.poll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return err
	}
	for i := range l.callers {
		c := &caller{load: l, number: i}
		if err := c.dial(); err != nil {
			return err
		}
		l.all, l.idle = append(l.all, c), append(l.idle, c)
	}
	return nil
}

// send makes the calls, each when it is due, or when a connection is idle again if
// none is then. All of them are one loop in one thread: Go's timers are late by up
// to a millisecond when nothing else wakes the process, and the calls of that
// millisecond then come all at once.
func (l *load) send(began time.Time, duration time.Duration) ([]outcome, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0); err != nil {
		return nil, fmt.Errorf("ask for exact timers: %w", err)
	}
	var outcomes []outcome
	heard := began // of any call, last
	for sent := 0; ; {
		now := time.Now()
		due := now
		if l.rate > 0 {
			due = began.Add(time.Duration(float64(sent) / l.rate * float64(time.Second)))
		}
		over := due.Sub(began) >= duration
		switch {
		case over && len(l.idle) == len(l.all):
			return outcomes, nil
		case over || len(l.idle) == 0:
			due = now.Add(patience)
		case !due.After(now):
			c := l.idle[0]
			l.idle = l.idle[1:]
			sent++
			if err := c.begin(due); err != nil {
				outcomes = append(outcomes, c.end(0))
			}
			continue
		}
		ready, err := l.wait(due.Sub(now))
		if err != nil {
			return nil, err
		}
		if len(ready) > 0 || len(l.idle) == len(l.all) {
			heard = now
		} else if now.Sub(heard) > patience {
			return nil, fmt.Errorf("no answer in %v to %d calls", patience, len(l.all)-len(l.idle))
		}
		for _, c := range ready {
			status, err := c.read()
			if waiting := !c.due.IsZero(); waiting && (status != 0 || err != nil) {
				outcomes = append(outcomes, c.end(status))
			}
		}
	}
}

// wait returns the callers to whom something has come, none when nothing has in time.
func (l *load) wait(d time.Duration) ([]*caller, error) {
	// The time of EpollWait itself is in milliseconds.
	until := unix.NsecToTimespec(int64(d))
	n, err := unix.Ppoll([]unix.PollFd{{Fd: int32(l.poll), Events: unix.POLLIN}}, &until, nil)
	if n > 0 {
		n, err = unix.EpollWait(l.poll, l.events[:], 0)
	}
	if err != nil && err != unix.EINTR {
		return nil, fmt.Errorf("wait for answers: %w", err)
	}
	l.ready = l.ready[:0]
	for _, e := range l.events[:max(n, 0)] {
		l.ready = append(l.ready, l.all[e.Fd])
	}
	return l.ready, nil
}
