package need

import (
	"os/exec"
	"syscall"
)

// DieTogether has the system end a server when the thread that starts it ends in any
// way, tests that are killed included: start it from a goroutine that keeps its
// thread until the server has ended.
func DieTogether(cmd *exec.Cmd, signal syscall.Signal) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = new(syscall.SysProcAttr)
	}
	cmd.SysProcAttr.Pdeathsig = signal
}
