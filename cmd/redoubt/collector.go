package main

import (
	"fmt"
	"io/fs"
	"math"
	"os"
	"path"
	"runtime/debug"
	"strconv"
	"strings"
)

// calmCollector has garbage collected when the heap is five times what is in use,
// and not when it has doubled: what is in use is little, and most of the rest garbage
// soon. When the heap takes half of the memory that there is, garbage is collected
// sooner: a system kills who takes all. Who sets GOGC or GOMEMLIMIT knows better.
func calmCollector() {
	if !collectorIsOurs() {
		return
	}
	debug.SetGCPercent(400)
	if most := availableMemory(os.DirFS("/")); most > 0 {
		debug.SetMemoryLimit(most / 2) // the rest is for models, which Go does not count, and the system
	}
}

// ballast has the collector think that more is in use than is, for as long as it is
// kept: a gateway uses so little that it would be collected dozens of times a second,
// which costs a tenth of its throughput, and who calls just then waits. Nobody writes to
// it, so that the system never gives it; what it lets become garbage meanwhile is a
// fiftieth of the memory that there is, and 160 MiB at most.
func ballast() []byte {
	if !collectorIsOurs() {
		return nil
	}
	return make([]byte, ballastSize(availableMemory(os.DirFS("/"))))
}

func ballastSize(available int64) int64 {
	const usual, most = 16 << 20, 32 << 20
	if available <= 0 {
		return usual
	}
	return min(available/256, most)
}

func collectorIsOurs() bool { return os.Getenv("GOGC") == "" && os.Getenv("GOMEMLIMIT") == "" }

// availableMemory is how many bytes this process may use: as many as the machine has
// and each of its control groups allows, which is how containers are bounded. It is 0
// where the system does not say.
func availableMemory(system fs.FS) int64 {
	least := int64(math.MaxInt64)
	if b, err := fs.ReadFile(system, "proc/meminfo"); err == nil {
		var kilobytes int64
		if _, err := fmt.Sscanf(string(b), "MemTotal: %d kB", &kilobytes); err == nil {
			least = kilobytes << 10
		}
	}
	groups, _ := fs.ReadFile(system, "proc/self/cgroup") // a system without has none
	for line := range strings.Lines(string(groups)) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) < 3 {
			continue
		}
		root, name := "sys/fs/cgroup", "memory.max"
		switch controller := parts[1]; controller {
		case "":
		case "memory": // version 1
			root, name = root+"/memory", "memory.limit_in_bytes"
		default:
			continue
		}
		// In a container the path may be the host's: then only the root is there.
		for at := path.Join(root, path.Join("/", parts[2])); strings.HasPrefix(at, root); at = path.Dir(at) {
			b, err := fs.ReadFile(system, path.Join(at, name))
			if err != nil {
				continue
			}
			if n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64); err == nil { // and not "max"
				least = min(least, n)
			}
		}
	}
	if least == math.MaxInt64 {
		return 0
	}
	return least
}
