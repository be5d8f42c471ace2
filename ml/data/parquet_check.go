package data

import (
	"bytes"
	"fmt"

	"github.com/parquet-go/parquet-go"

	"github.com/redoubt-ml/redoubt/internal/parquetcheck"
)

// checkParquet holds the sizes that the file claims, of the table and of every
// page, against the limits before the decoder allocates for them.
func checkParquet(f *parquet.File, b []byte, limits Limits) error {
	meta := f.Metadata()
	if meta.NumRows < 0 || meta.NumRows > limits.Elements {
		return fmt.Errorf("%d rows exceed the limit of %d elements", meta.NumRows, limits.Elements)
	}
	left := limits.Bytes
	for _, group := range meta.RowGroups {
		for i := range group.Columns {
			c := &group.Columns[i].MetaData
			unpacked, err := parquetcheck.Chunk(bytes.NewReader(b), int64(len(b)), c, left)
			if err != nil {
				return fmt.Errorf("column %q: %w", c.PathInSchema, err)
			}
			left -= unpacked
		}
	}
	return nil
}
