package main

import (
	"io/fs"
	"os"
	"runtime"
	"runtime/debug"
	"testing"
	"testing/fstest"
)

func TestAvailableMemory(t *testing.T) {
	machine := &fstest.MapFile{Data: []byte("MemTotal:       24117248 kB\nMemFree:  1 kB\n")}
	file := func(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }
	for name, c := range map[string]struct {
		system fs.FS
		want   int64
	}{
		"nothing said":       {fstest.MapFS{}, 0},
		"machine":            {fstest.MapFS{"proc/meminfo": machine}, 23 << 30},
		"container":          {fstest.MapFS{"proc/meminfo": machine, "proc/self/cgroup": file("0::/\n"), "sys/fs/cgroup/memory.max": file("268435456\n")}, 256 << 20},
		"without bound":      {fstest.MapFS{"proc/meminfo": machine, "proc/self/cgroup": file("0::/a\n"), "sys/fs/cgroup/a/memory.max": file("max\n")}, 23 << 30},
		"bound above":        {fstest.MapFS{"proc/self/cgroup": file("0::/a/b\n"), "sys/fs/cgroup/a/memory.max": file("1048576\n"), "sys/fs/cgroup/a/b/memory.max": file("max\n")}, 1 << 20},
		"path of the host":   {fstest.MapFS{"proc/self/cgroup": file("0::/kubepods/x\n"), "sys/fs/cgroup/memory.max": file("1048576\n")}, 1 << 20},
		"more than there is": {fstest.MapFS{"proc/meminfo": machine, "proc/self/cgroup": file("0::/\n"), "sys/fs/cgroup/memory.max": file("9223372036854771712\n")}, 23 << 30},
		"older groups": {fstest.MapFS{
			"proc/meminfo": machine, "proc/self/cgroup": file("9:pids:/\n4:memory:/a/b\n0::/\n"),
			"sys/fs/cgroup/memory/memory.limit_in_bytes":   file("9223372036854771712\n"),
			"sys/fs/cgroup/memory/a/memory.limit_in_bytes": file("1048576\n"),
		}, 1 << 20},
		"odd path": {fstest.MapFS{"proc/self/cgroup": file("0::/../../etc\n"), "etc/memory.max": file("1\n")}, 0},
	} {
		if got := availableMemory(c.system); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
	if runtime.GOOS == "linux" && availableMemory(os.DirFS("/")) < 1<<20 {
		t.Error("this machine is not understood")
	}
}

func TestBallastSize(t *testing.T) {
	for available, want := range map[int64]int64{0: 16 << 20, 256 << 20: 1 << 20, 4 << 30: 16 << 20, 1 << 40: 32 << 20} {
		if got := ballastSize(available); got != want {
			t.Errorf("of %d: %d, want %d", available, got, want)
		}
	}
}

func TestCalmCollector(t *testing.T) {
	percent, limit := debug.SetGCPercent(100), debug.SetMemoryLimit(-1)
	t.Cleanup(func() { debug.SetGCPercent(percent); debug.SetMemoryLimit(limit) })
	t.Setenv("GOMEMLIMIT", "1GiB")
	calmCollector()
	if got := debug.SetMemoryLimit(-1); got != limit || ballast() != nil {
		t.Errorf("who sets GOMEMLIMIT knows better, and it became %d", got)
	}
	t.Setenv("GOMEMLIMIT", "")
	t.Setenv("GOGC", "")
	calmCollector()
	if got, want := debug.SetMemoryLimit(-1), availableMemory(os.DirFS("/"))/2; want > 0 && got != want {
		t.Errorf("the limit is %d, want %d", got, want)
	}
	if got := debug.SetGCPercent(100); got != 400 {
		t.Errorf("percent is %d, want 400", got)
	}
}
