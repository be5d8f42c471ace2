// Package export writes an audit log for other systems: events as JSON Lines or in
// the Open Cybersecurity Schema Framework, and the Merkle tree as tiles that any
// monitor of transparency logs can check.
//
//	err := export.Named("ocsf").Write(ctx, w, dir, audit.Filter{Action: "model."})
//	err = export.Tiles(ctx, dir, "/srv/tiles")
//	err = (&export.Bucket{Endpoint: "s3.example", Name: "logs", ...}).Put(ctx, "audit.jsonl", r)
package export

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/watch/audit"
)

// Format is a form of events, a line each.
type Format struct {
	Name  string
	Doc   string // one sentence
	event func(origin string, e audit.Entry) (any, error)
}

// Formats lists them.
var Formats = []*Format{jsonl, sealed, ocsf}

// Named is the format of that name, nil if there is none.
func Named(name string) *Format {
	for _, f := range Formats {
		if f.Name == name {
			return f
		}
	}
	return nil
}

// Write writes the events of a log that fit. origin is the log's name, empty where
// it is not signed.
func (f *Format) Write(ctx context.Context, w io.Writer, dir, origin string, filter audit.Filter) (n int, err error) {
	out := bufio.NewWriterSize(w, 64<<10)
	lines := json.NewEncoder(out)
	lines.SetEscapeHTML(false)
	for e, err := range audit.Entries(ctx, dir, filter) {
		var v any
		if err == nil {
			v, err = f.event(origin, e)
		}
		if err == nil {
			err = lines.Encode(v)
		}
		if err != nil {
			return n, fmt.Errorf("export audit log: %w", err)
		}
		n++
	}
	return n, out.Flush()
}

var jsonl = &Format{
	Name: "jsonl", Doc: "events as they are read, with the number and the hash of their entries",
	event: func(_ string, e audit.Entry) (any, error) {
		return struct {
			Number int64         `json:"seq"`
			Hash   string        `json:"hash"`
			Event  redoubt.Event `json:"event"`
		}{e.Number, e.Hash, e.Event}, nil
	},
}

var sealed = &Format{
	Name: "sealed", Doc: "events as they are stored, what tells of persons sealed: the hashes can be computed again",
	event: func(_ string, e audit.Entry) (any, error) {
		return struct {
			Number   int64           `json:"seq"`
			Previous string          `json:"previous"`
			Hash     string          `json:"hash"`
			Event    json.RawMessage `json:"event"`
		}{e.Number, e.Previous, e.Hash, e.Raw}, nil
	},
}
