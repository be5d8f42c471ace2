//go:build linux

package main

import (
	"os"
	"testing"
	"time"
)

// A process that works on one processor keeps a part of its processors busy, and one
// that sleeps none.
func TestBusy(t *testing.T) {
	self := []int{os.Getpid()}
	share := func(work func()) float64 {
		before, err := spend(self)
		if err != nil {
			t.Fatal(err)
		}
		work()
		busy, _, err := before.busy(self)
		if err != nil {
			t.Fatal(err)
		}
		return busy
	}
	idle := share(func() { time.Sleep(300 * time.Millisecond) })
	working := share(func() {
		// Until it has had so much, however slow the machine is.
		from, _ := spend(self)
		for now := from; now.own-from.own < 300*time.Millisecond; now, _ = spend(self) {
		}
	})
	if idle >= working || working <= 0 {
		t.Errorf("%.2f busy while it sleeps, %.2f while it works", idle, working)
	}
	if _, err := spend([]int{1 << 30}); err == nil {
		t.Error("the time of a process that is not there was read")
	}
}

// The time that a hypervisor took is the eighth number of each processor's line; the
// first line sums them up.
func TestStolen(t *testing.T) {
	took, processors, err := stolen("cpu  9 9 9 9 9 9 9 7 0 0\ncpu0 1 2 3 4 5 6 7 5 0 0\ncpu1 1 2 3 4 5 6 7 2 0 0\nintr 1 2 3 4 5 6 7 8 9\n\n")
	if took != 70*time.Millisecond || processors != 2 || err != nil {
		t.Errorf("%v of %d processors, %v; want 70ms of 2", took, processors, err)
	}
	for _, stat := range []string{"", "cpu  9 9 9 9 9 9 9 7 0 0\n", "cpu0 1 2 3\n", "cpu0 1 2 3 4 5 6 7 x\n"} {
		if _, _, err := stolen(stat); err == nil {
			t.Errorf("%q was read", stat)
		}
	}
}
