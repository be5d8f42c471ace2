package store

import (
	"context"

	"github.com/jackc/pgx/v5/pgconn"
)

var WithTLSForTest = withTLS

func ErrBusyForTest() error { return &pgconn.PgError{Code: "40001"} }

// RetryForTest tries attempt as Update does, without a database.
func RetryForTest(ctx context.Context, attempt func() error) error {
	d := &DB{kind: dialect{conflict: serialisation}}
	return d.retry(ctx, attempt)
}
