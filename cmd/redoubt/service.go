package main

import (
	"log/slog"

	"github.com/coreos/go-systemd/v22/daemon"
)

// tell tells the service manager that started this process how it is with the server,
// by the protocol of sd_notify(3): what was started after it waits until it is ready,
// and who reloads it until the reload has ended. Without a manager that asks, nobody is
// told; one that cannot be reached takes nothing from callers.
func tell(logger *slog.Logger, state, status string) {
	if _, err := daemon.SdNotify(false, state+"\nSTATUS="+status+"\n"); err != nil {
		logger.Error("the service manager cannot be told", "state", state, "error", err.Error())
	}
}
