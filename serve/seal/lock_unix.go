//go:build unix

package seal

import (
	"fmt"
	"os"
	"syscall"
)

// lock keeps other rotations from a file until it is closed.
func lock(f *os.File) error {
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return fmt.Errorf("another rotation is under way: %w", err)
	}
	return nil
}
