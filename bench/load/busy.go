//go:build linux

package main

import (
	"errors"
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
//
// Of what a hypervisor gave to others while the processors had work, stolen, there is
// the kernel's account alone. A processor that is away for milliseconds is away from
// every call on it, and the more processes a call goes through the more of that it meets.
type spent struct {
	at                   time.Time
	servers, own, stolen time.Duration
	processors           int
}

// tick is what the kernel counts processor time in: USER_HZ is 100 wherever Go runs.
const tick = time.Second / 100

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
			s.servers += time.Duration(n) * tick
		}
	}
	var own unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &own); err != nil {
		return s, err
	}
	s.own = time.Duration(own.Utime.Nano() + own.Stime.Nano())
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		return s, err
	}
	s.stolen, s.processors, err = stolen(string(stat))
	return s, err
}

// stolen is how long all processors together were away since the machine started, and
// how many they are, in the words of /proc/stat.
func stolen(stat string) (time.Duration, int, error) {
	var sum time.Duration
	n := 0
	for line := range strings.Lines(stat) {
		fields := strings.Fields(line) // cpu0, user, nice, system, idle, iowait, irq, softirq, steal
		if name, ok := strings.CutPrefix(line, "cpu"); !ok || name[0] == ' ' || len(fields) < 9 {
			continue
		}
		ticks, err := strconv.ParseInt(fields[8], 10, 64)
		if err != nil {
			return 0, 0, fmt.Errorf("read stolen time in /proc/stat: %w", err)
		}
		sum += time.Duration(ticks) * tick
		n++
	}
	if n == 0 {
		return 0, 0, errors.New("read stolen time in /proc/stat: it tells of no processor")
	}
	return sum, n, nil
}

// busy is how much of their processors the servers had since, from 0 to 1, with what
// this command had where it runs on one of them, and how much of all processors was
// stolen.
func (s spent) busy(servers []int) (busy, stolen float64, err error) {
	now, err := spend(servers)
	if err != nil {
		return 0, 0, err
	}
	var own, theirs unix.CPUSet
	if err := unix.SchedGetaffinity(0, &own); err != nil {
		return 0, 0, err
	}
	for _, pid := range servers {
		var set unix.CPUSet
		if err := unix.SchedGetaffinity(pid, &set); err != nil {
			return 0, 0, err
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
	took := now.at.Sub(s.at).Seconds()
	return used.Seconds() / took / float64(theirs.Count()), (now.stolen - s.stolen).Seconds() / took / float64(now.processors), nil
}
