package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/redoubt-ml/redoubt/serve"
	"github.com/redoubt-ml/redoubt/serve/seal"
	"github.com/redoubt-ml/redoubt/store"
)

func newStore(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "store",
		Short: "The database of a gateway on this machine",
		Long: `The database of a gateway on this machine.

It holds accounts, tokens, grants, policies and reviews; the log and the keys lie
beside it in the data folder. A backup is consistent whatever the server does
meanwhile. To restore one, put it back as redoubt.db beside the identity.key of
the same server: without that key nobody can sign in with one-time codes. With --key
the copy is sealed (docs/sealing.md), and 'redoubt unseal --purpose backup' opens it.

PostgreSQL has its own means: pg_dump.`,
		Example: `  redoubt store backup redoubt-2026-11-22.db`,
	}
	cmd.AddCommand(storeBackup())
	return cmd
}

func storeBackup() *cobra.Command {
	var dir string
	var keys []string
	cmd := &cobra.Command{
		Use: "backup FILE", Short: "Write a consistent copy of the database to a new file", Args: cobra.ExactArgs(1),
		Example: `  redoubt store backup redoubt-2026-11-22.db --data /var/lib/redoubt
  redoubt store backup redoubt-2026-11-22.db.sealed --key file:kek.json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if dir == "" {
				var err error
				if dir, err = serve.DataDir(); err != nil {
					return err
				}
			}
			path := filepath.Join(dir, "redoubt.db")
			if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("there is no database at %s: name the server's folder with --data", path)
			}
			db, err := store.Open(cmd.Context(), "sqlite:"+path)
			if err != nil {
				return err
			}
			if len(keys) == 0 {
				return errors.Join(db.Backup(cmd.Context(), args[0]), db.Close())
			}
			return errors.Join(sealedBackup(cmd.Context(), db, dir, args[0], keys), db.Close())
		},
	}
	cmd.Flags().StringVar(&dir, "data", "", "folder of the server (default: in the user's data directory)")
	cmd.Flags().StringArrayVar(&keys, "key", nil, "URI of a key-encryption key: the copy is sealed, with the purpose backup")
	return cmd
}

// sealedBackup makes the copy beside the database, where it lies in the clear
// anyhow, and leaves the server's folder only sealed.
func sealedBackup(ctx context.Context, db *store.DB, dir, path string, keys []string) error {
	if _, err := os.Lstat(path); err == nil {
		return fmt.Errorf("%s exists: name a new file", path)
	}
	s, err := openSealer(keys)
	if err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(dir, ".backup-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	part := filepath.Join(tmp, "part")
	if err := db.Backup(ctx, part); err != nil {
		return err
	}
	f, err := os.Open(part)
	if err != nil {
		return err
	}
	defer f.Close()
	return sealCode(s.SealFile(ctx, path, f, seal.Place{Purpose: "backup", Name: seal.NameOf(path)}))
}
