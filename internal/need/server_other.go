//go:build !linux

package need

import (
	"os/exec"
	"syscall"
)

// DieTogether is for Linux alone: elsewhere tests that are killed leave their servers.
func DieTogether(*exec.Cmd, syscall.Signal) {}
