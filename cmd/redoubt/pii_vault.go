package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/privacy/vault"
	"github.com/redoubt-ml/redoubt/store"
	"github.com/redoubt-ml/redoubt/watch/audit"
)

func newPIIKey(*app) *cobra.Command {
	var out string
	cmd := &cobra.Command{
		Use: "key --out FILE", Short: "Make a key for masking, or for a vault", Args: cobra.NoArgs,
		Long: `Make a key for masking, or for a vault: 32 random bytes in hexadecimal, in a new
file that you alone can read. Who has it can restore what was masked with it; without
it nobody can. Give masking and the vault each its own.`,
		Example: `  redoubt pii key --out mask.key`,
		RunE: func(*cobra.Command, []string) error {
			if out == "" {
				return errors.New("pii key needs --out FILE: where to keep the key")
			}
			if _, err := os.Lstat(out); !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("pii key: %s exists: a key is not overwritten, choose another name", out)
			}
			key := make([]byte, 32)
			rand.Read(key) // never fails
			return putFile(out, []byte(hex.EncodeToString(key)+"\n"), 0o600)
		},
	}
	cmd.Flags().StringVar(&out, "out", "", "new file for the key")
	return cmd
}

// vaultFlags name a vault, its key and record, and who works with it.
type vaultFlags struct{ url, vaultKey, record, as, reason string }

func (f *vaultFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.url, "vault", "", "database of the vault: a path, sqlite:PATH or postgres://HOST/NAME")
	flags.StringVar(&f.vaultKey, "vault-key", "", "key of the vault: env:NAME or file:PATH, as 'redoubt pii key' makes it")
	flags.StringVar(&f.record, "record", "", "folder of the audit log that says who used the vault; 'redoubt audit verify --data' checks it")
	flags.StringVar(&f.as, "as", "", "who asks (default: the name of your account here)")
	flags.StringVar(&f.reason, "reason", "", "why values of the vault are asked for")
}

// openVault is a vault, and who works with it.
type openVault struct {
	*vault.Vault
	who string
}

// open opens the vault and its record for do.
func (f *vaultFlags) open(ctx context.Context, do func(*openVault) error) (err error) {
	if f.url == "" || f.vaultKey == "" || f.record == "" {
		return errors.New("a vault needs --vault DATABASE, --vault-key env:NAME or file:PATH, and --record FOLDER for who used it")
	}
	key, err := maskKey("--vault-key", f.vaultKey)
	if err != nil {
		return err
	}
	log, err := f.openRecord()
	if err != nil {
		return fmt.Errorf("--record: %w", err)
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	db, err := store.Open(ctx, f.url)
	if err != nil {
		return fmt.Errorf("--vault: %w", err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	v, err := vault.Open(ctx, db, vault.Config{Key: key, Record: log.Record})
	if err != nil {
		return fmt.Errorf("--vault %s: %w", f.url, err)
	}
	who := f.as
	if who == "" {
		who = myself()
	}
	err = do(&openVault{v, who})
	if errors.Is(err, vault.ErrDenied) {
		err = fmt.Errorf("%w: %w", redoubt.ErrGate, err)
	}
	return err
}

// openRecord opens the log where 'redoubt audit verify --data' looks for it.
func (f *vaultFlags) openRecord() (*audit.Log, error) {
	if err := os.MkdirAll(f.record, 0o700); err != nil {
		return nil, err
	}
	signer, err := audit.Key(filepath.Join(f.record, "audit.key"), "vault")
	if err != nil {
		return nil, err
	}
	return audit.Open(filepath.Join(f.record, "audit"), audit.Config{Signer: signer})
}

func newPIIVault(*app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "vault",
		Short: "Who may see what a vault keeps, and what it is to forget",
		Long: `Who may see what a vault keeps, and what it is to forget.

The method vault of 'redoubt pii mask' replaces values by random names and keeps them,
encrypted, in a database. 'redoubt pii restore' brings back those that somebody is
granted. Every use is in an audit log, which 'redoubt audit verify --data' checks.`,
		Example: `  redoubt pii vault grant support --types PERSON --for 8h --vault vault.db --vault-key file:vault.key --record vault-log`,
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(vaultGrant(), vaultRevoke(), vaultGrants(), vaultErase())
	return cmd
}

func vaultGrant() *cobra.Command {
	var f vaultFlags
	var tenant string
	var types []string
	var during time.Duration
	cmd := &cobra.Command{
		Use: "grant NAME", Short: "Let somebody see values of some types for some time", Args: cobra.ExactArgs(1),
		Example: `  redoubt pii vault grant support --types PERSON,US_SSN --for 8h --vault vault.db --vault-key file:vault.key --record vault-log`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.open(cmd.Context(), func(v *openVault) error {
				return v.Grant(cmd.Context(), v.who, vault.Grant{To: args[0], Tenant: tenant, Types: types, Until: time.Now().Add(during)})
			})
		},
	}
	f.add(cmd)
	cmd.Flags().StringVar(&tenant, "tenant", "", "whose values: the tenant of the policy")
	cmd.Flags().StringSliceVar(&types, "types", nil, "types of values, or * for all")
	cmd.Flags().DurationVar(&during, "for", 8*time.Hour, "how long, at most a year")
	return cmd
}

func vaultRevoke() *cobra.Command {
	var f vaultFlags
	var tenant string
	cmd := &cobra.Command{
		Use: "revoke NAME", Short: "End all grants of somebody, at once", Args: cobra.ExactArgs(1),
		Example: `  redoubt pii vault revoke support --vault vault.db --vault-key file:vault.key --record vault-log`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.open(cmd.Context(), func(v *openVault) error {
				n, err := v.Revoke(cmd.Context(), v.who, args[0], tenant)
				if err == nil {
					fmt.Printf("%d grants ended\n", n)
				}
				return err
			})
		},
	}
	f.add(cmd)
	cmd.Flags().StringVar(&tenant, "tenant", "", "whose values: the tenant of the policy")
	return cmd
}

func vaultGrants() *cobra.Command {
	var f vaultFlags
	cmd := &cobra.Command{
		Use: "grants", Short: "List who was granted what, until when, and by whom", Args: cobra.NoArgs,
		Example: `  redoubt pii vault grants --vault vault.db --vault-key file:vault.key --record vault-log`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.open(cmd.Context(), func(v *openVault) error {
				all, err := v.Grants(cmd.Context())
				if err != nil {
					return err
				}
				t := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
				fmt.Fprintln(t, "TO\tTENANT\tTYPES\tUNTIL\tBY")
				for _, g := range all {
					fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", printable(g.To), printable(g.Tenant), printable(strings.Join(g.Types, ",")), g.Until.Format(time.RFC3339), printable(g.By))
				}
				return t.Flush()
			})
		},
	}
	f.add(cmd)
	return cmd
}

func vaultErase() *cobra.Command {
	var f vaultFlags
	var tenant string
	cmd := &cobra.Command{
		Use: "erase SUBJECT", Short: "Forget all values about a person: their tokens are names of nothing", Args: cobra.ExactArgs(1),
		Example: `  redoubt pii vault erase 4711 --vault vault.db --vault-key file:vault.key --record vault-log`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.open(cmd.Context(), func(v *openVault) error {
				n, err := v.Erase(cmd.Context(), v.who, tenant, args[0])
				if err == nil {
					fmt.Printf("%d values erased\n", n)
				}
				return err
			})
		},
	}
	f.add(cmd)
	cmd.Flags().StringVar(&tenant, "tenant", "", "whose values: the tenant of the policy")
	return cmd
}
