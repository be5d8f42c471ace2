package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"net/url"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
)

// migrationLock is the number of the advisory lock that migrating nodes take:
// the ASCII codes of "redoubt".
const migrationLock = 0x726564_6f756274

func openPostgres(address string) (*DB, error) {
	address, err := withTLS(address)
	if err != nil {
		return nil, err
	}
	cfg, err := pgx.ParseConfig(address)
	if err != nil {
		return nil, err // pgx leaves the password out
	}
	if cfg.ConnectTimeout == 0 {
		cfg.ConnectTimeout = 5 * time.Second
	}
	pool := stdlib.OpenDB(*cfg)
	pool.SetMaxOpenConns(16)
	pool.SetMaxIdleConns(idle)
	pool.SetConnMaxIdleTime(time.Minute)
	return &DB{write: pool, read: pool, kind: dialect{
		write:    sql.TxOptions{Isolation: sql.LevelSerializable},
		read:     sql.TxOptions{Isolation: sql.LevelSerializable, ReadOnly: true},
		lock:     fmt.Sprintf(`SELECT pg_advisory_xact_lock(%d)`, int64(migrationLock)),
		conflict: serialisation,
		backup: func(context.Context, *DB, string) error {
			return errors.New("PostgreSQL has its own means: run pg_dump --format=custom against it, or archive its log")
		},
	}}, nil
}

// withTLS asks for a verified certificate where the address does not say what
// it wants and the server is elsewhere: the driver alone would fall back to
// clear text.
func withTLS(address string) (string, error) {
	u, err := url.Parse(address)
	if err != nil {
		return "", errors.New("the address of the PostgreSQL server is no URL: give postgres://USER@HOST/NAME, with special characters of the password as %XX")
	}
	q := u.Query()
	host := u.Hostname()
	if h := q.Get("host"); h != "" {
		host = h
	}
	if q.Has("sslmode") || host == "" || host[0] == '/' || loopback(host) {
		return address, nil
	}
	q.Set("sslmode", "verify-full")
	u.RawQuery = q.Encode()
	return u.String(), nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// serialisation reports whether the server gave a transaction up in favour of
// others (SQLSTATE 40001 and 40P01).
func serialisation(err error) bool {
	var e *pgconn.PgError
	return errors.As(err, &e) && (e.Code == "40001" || e.Code == "40P01")
}
