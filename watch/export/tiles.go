package export

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/redoubt-ml/redoubt/watch/audit"
)

// tileHeight is that of C2SP tlog-tiles: 256 hashes a tile.
const tileHeight = 8

// Tiles writes the log of a folder as its newest checkpoint has it, in the layout
// of C2SP tlog-tiles, into a folder that is new or holds an earlier state of the
// same. The entries are the hashes of those of the log, 32 bytes each, so that the
// tiles may be shown to anyone: they tell nothing of the events. A log that was
// pruned is refused.
func Tiles(ctx context.Context, dir, to string) error {
	c, err := audit.ReadCheckpoint(dir, false)
	if err != nil {
		return err
	}
	if c.Note == nil {
		return errors.New("export tiles: the log has signed no checkpoint yet")
	}
	hashes, err := audit.OpenHashes(dir)
	if err != nil {
		return err
	}
	defer hashes.Close()
	for _, t := range tlog.NewTiles(tileHeight, 0, c.Size) {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		data, err := tlog.ReadTileData(t, hashes)
		if err != nil {
			return fmt.Errorf("export tiles: %w", err)
		}
		if err := writeTile(to, t, data); err != nil {
			return err
		}
	}
	if err := bundles(ctx, dir, to, c.Size); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(to, "checkpoint"), c.Note, 0o644)
}

// bundles writes the tiles of entries.
func bundles(ctx context.Context, dir, to string, size int64) error {
	t := tlog.Tile{H: tileHeight, L: -1}
	var data []byte
	flush := func() error {
		err := writeTile(to, t, data)
		t.N, t.W, data = t.N+1, 0, data[:0]
		return err
	}
	n := int64(0)
	for e, err := range audit.Entries(ctx, dir, audit.Filter{}) {
		if err != nil {
			return err
		}
		if e.Number != n+1 {
			return fmt.Errorf("export tiles: the first %d entries were pruned", e.Number-1)
		}
		if n == size {
			break
		}
		n++
		leaf, err := hex.DecodeString(e.Hash)
		if err != nil {
			return err
		}
		data = append(binary.BigEndian.AppendUint16(data, uint16(len(leaf))), leaf...)
		if t.W++; t.W == 1<<tileHeight {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	if n < size {
		return fmt.Errorf("export tiles: the checkpoint is of %d entries, and %d are there", size, n)
	}
	if t.W > 0 {
		return flush()
	}
	return nil
}

// writeTile writes a tile where C2SP has it.
func writeTile(to string, t tlog.Tile, data []byte) error {
	path := strings.Replace(t.Path(), fmt.Sprintf("tile/%d/", tileHeight), "tile/", 1)
	path = filepath.Join(to, filepath.FromSlash(strings.Replace(path, "tile/data/", "tile/entries/", 1)))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, data, 0o644)
}
