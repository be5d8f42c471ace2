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
		busy, err := before.busy(self)
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
