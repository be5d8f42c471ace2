package release

import "syscall"

// allocate maps memory in large pages where the system has them: with pages of
// 4 KiB, a fifth of the time of a release went into their faults.
func allocate(size int) ([]byte, error) {
	b, err := syscall.Mmap(-1, 0, size, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err == nil {
		syscall.Madvise(b, syscall.MADV_HUGEPAGE) // a system without is slower and as right
	}
	return b, err
}

func release(b []byte) { syscall.Munmap(b) } // it fails for no memory that allocate gave
