package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/redoubt-ml/redoubt/serve"
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
the same server: without that key nobody can sign in with one-time codes.

PostgreSQL has its own means: pg_dump.`,
		Example: `  redoubt store backup redoubt-2026-11-22.db`,
	}
	cmd.AddCommand(storeBackup())
	return cmd
}

func storeBackup() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use: "backup FILE", Short: "Write a consistent copy of the database to a new file", Args: cobra.ExactArgs(1),
		Example: `  redoubt store backup redoubt-2026-11-22.db --data /var/lib/redoubt`,
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
			return errors.Join(db.Backup(cmd.Context(), args[0]), db.Close())
		},
	}
	cmd.Flags().StringVar(&dir, "data", "", "folder of the server (default: in the user's data directory)")
	return cmd
}
