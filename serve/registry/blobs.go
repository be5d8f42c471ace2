package registry

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/serve/seal"
)

// blobs is a folder of sealed files, each under the SHA-256 of its content, which
// is also the place that it is sealed for.
type blobs struct {
	dir    string
	sealer *seal.Sealer
	tenant string
}

var sha256Form = regexp.MustCompile(`^[0-9a-f]{64}$`)

func (b blobs) path(d redoubt.Digest) string { return filepath.Join(b.dir, string(d)+".sealed") }

func (b blobs) place(d redoubt.Digest) seal.Place {
	return seal.Place{Purpose: "model", Tenant: b.tenant, Name: string(d)}
}

func (b blobs) put(ctx context.Context, d redoubt.Digest, r io.Reader) error {
	if !sha256Form.MatchString(string(d)) {
		return fmt.Errorf("%w: the digest is no SHA-256 of 64 hexadecimal digits in lower case", ErrInput)
	}
	return b.sealer.SealFile(ctx, b.path(d), &checked{r: r, hash: sha256.New(), want: d}, b.place(d))
}

// checked ends with an error unless it has read what its digest says.
type checked struct {
	r    io.Reader
	hash hash.Hash
	want redoubt.Digest
	n    int64
}

func (c *checked) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.hash.Write(b[:n])
	if c.n += int64(n); c.n > MaxWeights {
		return 0, fmt.Errorf("%w: the weights are larger than %d bytes", ErrInput, int64(MaxWeights))
	}
	if got := hex.EncodeToString(c.hash.Sum(nil)); err == io.EOF && got != string(c.want) {
		return 0, fmt.Errorf("%w: the weights have the digest %s, not %s: they were changed or cut short on the way", ErrInput, got, c.want)
	}
	return n, err
}

// get reads weights whole, and holds them against their digest.
func (b blobs) get(ctx context.Context, d redoubt.Digest) ([]byte, error) {
	f, err := b.sealer.OpenFile(ctx, b.path(d), b.place(d))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(&checked{r: f, hash: sha256.New(), want: d})
}

func (b blobs) has(d redoubt.Digest) bool {
	_, err := os.Stat(b.path(d))
	return err == nil
}

// sweep removes the weights that unwanted says, which is told whether they are
// older than a time, and what a crash left half written before that time.
func (b blobs) sweep(before time.Time, unwanted func(d redoubt.Digest, old bool) bool) error {
	entries, err := os.ReadDir(b.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			continue // it went meanwhile
		}
		old := info.ModTime().Before(before)
		d, sealed := strings.CutSuffix(e.Name(), ".sealed")
		half := strings.HasPrefix(e.Name(), ".sealing-") && old
		if half || sealed && sha256Form.MatchString(d) && unwanted(redoubt.Digest(d), old) {
			if err := os.Remove(filepath.Join(b.dir, e.Name())); err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}
