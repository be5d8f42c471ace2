//go:build linux

package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// spent is processor time of the servers and of this command. The kernel's own
// account of how busy the processors are, in /proc/stat, is no measure: where it looks
// who runs at each tick, as on most virtual machines, servers that answer between two
// ticks seem idle. What it says of processes is the time that they had.
type spent struct {
	at           time.Time
	servers, own time.Duration
}

func spend(servers []int) (spent, error) {
	s := spent{at: time.Now()}
	for _, pid := range servers {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			return s, fmt.Errorf("read processor time of process %d: %w", pid, err)
		}
		_, rest, _ := strings.Cut(string(b), ") ") // what is before may hold spaces
		for _, field := range strings.Fields(rest)[11:13] {
			n, err := strconv.ParseInt(field, 10, 64)
			if err != nil {
				return s, fmt.Errorf("read processor time of process %d: %w", pid, err)
			}
			s.servers += time.Duration(n) * (time.Second / 100) // USER_HZ is 100 wherever Go runs
		}
	}
	var own unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &own); err != nil {
		return s, err
	}
	s.own = time.Duration(own.Utime.Nano() + own.Stime.Nano())
	return s, nil
}

// busy is how much of their processors the servers had since, from 0 to 1, with what
// this command had where it runs on one of them.
func (s spent) busy(servers []int) (float64, error) {
	now, err := spend(servers)
	if err != nil {
		return 0, err
	}
	var own, theirs unix.CPUSet
	if err := unix.SchedGetaffinity(0, &own); err != nil {
		return 0, err
	}
	for _, pid := range servers {
		var set unix.CPUSet
		if err := unix.SchedGetaffinity(pid, &set); err != nil {
			return 0, err
		}
		for i := range set {
			theirs[i] |= set[i]
		}
	}
	used, shared := now.servers-s.servers, unix.CPUSet{}
	for i := range own {
		shared[i] = own[i] & theirs[i]
	}
	if shared.Count() > 0 {
		used += now.own - s.own
	}
	return used.Seconds() / now.at.Sub(s.at).Seconds() / float64(theirs.Count()), nil
}
