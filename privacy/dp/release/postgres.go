package release

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// readPostgres reads the query's table, in one read-only snapshot, as text.
func (c *collector) readPostgres(ctx context.Context, url string) error {
	if c.Table == "" {
		return errors.New("read from PostgreSQL: say in the query which table")
	}
	var names []string
	for _, n := range c.columns() {
		names = append(names, pgx.Identifier{n}.Sanitize()+"::text")
	}
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return fmt.Errorf("read from PostgreSQL: %w", err) // pgx leaves the password out
	}
	defer conn.Close(ctx)
	tx, err := conn.BeginTx(ctx, pgx.TxOptions{AccessMode: pgx.ReadOnly})
	if err != nil {
		return fmt.Errorf("read from PostgreSQL: %w", err)
	}
	defer tx.Rollback(ctx) // nothing was written
	table := pgx.Identifier(strings.Split(c.Table, ".")).Sanitize()
	rows, err := tx.Query(ctx, "SELECT "+strings.Join(names, ", ")+" FROM "+table)
	if err != nil {
		return fmt.Errorf("read table %s: %w", c.Table, err)
	}
	defer rows.Close()
	b := c.newBatch()
	for rows.Next() {
		if c.textRow(b, rows.RawValues()); b.n == blockRows {
			if err := c.add(b); err != nil {
				return err
			}
			b.n = 0
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("read table %s: %w", c.Table, err)
	}
	return c.add(b)
}
