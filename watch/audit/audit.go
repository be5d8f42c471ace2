// Package audit keeps the record of what was done and refused: an append-only
// log of events, each entry bound to all before it by SHA-256.
//
//	log, err := audit.Open(dir, audit.Config{})
//	...
//	err = log.Record(ctx, event)  // durable when it returns
//	err = log.Enqueue(event)      // durable within 50 ms
//	...
//	for entry, err := range audit.Read(dir, audit.Filter{Action: "policy."}) { ... }
//	report, err := audit.Verify(ctx, dir)
package audit

import (
	"log/slog"
	"time"

	"github.com/redoubt-ml/redoubt"
)

// Config is how a log is kept. The zero value works.
type Config struct {
	// Delay bounds how long an entry given to [Log.Enqueue] waits to be durable;
	// 50 ms if zero.
	Delay time.Duration
	// Buffer bounds the entries that wait to be written; 4096 if zero.
	Buffer int
	// SegmentSize is the size in bytes after which a new file is begun; 64 MiB if
	// zero.
	SegmentSize int64
	// Logger is told when the disk refuses and when it takes entries again, once
	// each; nil for nobody.
	Logger *slog.Logger
}

// Filter chooses entries. Every field that is set must fit.
type Filter struct {
	From, To time.Time // From is within, To is not
	// Actor and Request are compared whole.
	Actor   string
	Request string
	// Action and Resource are compared whole, or from the beginning where they
	// end with a dot or a colon: "policy." or "model:".
	Action   string
	Resource string
	Outcome  redoubt.Outcome
}
