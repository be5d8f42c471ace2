package serve

import "runtime"

// heapFor is what a function allocates, in bytes, with all that runs beside it.
func heapFor(do func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	do()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}
