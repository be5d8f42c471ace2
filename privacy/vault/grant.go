package vault

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/store"
)

// Grant lets somebody reveal values of a tenant.
type Grant struct {
	To     string
	Tenant string
	Types  []string // "*" for all
	Until  time.Time
	By     string // who granted it; set by the vault
}

// maxGrant is how long a grant may hold: access that nobody renews ends.
const maxGrant = 366 * 24 * time.Hour

// Grant adds a grant, or renews one.
func (v *Vault) Grant(ctx context.Context, by string, g Grant) error {
	now := v.cfg.Now()
	switch {
	case by == "" || g.To == "":
		return errors.New("grant: must say who grants, and to whom")
	case len(g.Types) == 0:
		return errors.New(`grant: must name types, or "*" for all`)
	case !g.Until.After(now) || g.Until.Sub(now) > maxGrant:
		return errors.New("grant: must end in the future, within a year")
	}
	for _, t := range append([]string{g.To, g.Tenant, by}, g.Types...) {
		if err := (Value{Type: "a", Subject: t}).check(); err != nil {
			return fmt.Errorf("grant: %w", err)
		}
	}
	// Recorded first: a grant that nobody can find is worse than a record of one
	// that was not made.
	if err := v.note(ctx, "vault.grant", by, g); err != nil {
		return err
	}
	err := v.db.Update(ctx, func(tx *store.Tx) error {
		for _, t := range g.Types {
			if _, err := tx.Exec(`INSERT INTO vault_grants (principal, tenant, type, granted_by, until) VALUES ($1, $2, $3, $4, $5)
				ON CONFLICT (principal, tenant, type) DO UPDATE SET granted_by = excluded.granted_by, until = excluded.until`,
				g.To, g.Tenant, t, by, g.Until.Unix()); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("grant: %w", err)
	}
	return nil
}

// Revoke ends all grants of somebody for a tenant, at once, and says how many
// there were.
func (v *Vault) Revoke(ctx context.Context, by, from, tenant string) (n int, err error) {
	err = v.db.Update(ctx, func(tx *store.Tx) error {
		rows, err := tx.Exec(`DELETE FROM vault_grants WHERE principal = $1 AND tenant = $2`, from, tenant)
		n = int(rows)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("revoke: %w", err)
	}
	return n, v.note(ctx, "vault.revoke", by, Grant{To: from, Tenant: tenant})
}

// Grants are all that were given, also those that have ended, by name.
func (v *Vault) Grants(ctx context.Context) (all []Grant, err error) {
	err = v.db.View(ctx, func(tx *store.Tx) error {
		all = nil
		rows, err := tx.Query(`SELECT principal, tenant, type, granted_by, until FROM vault_grants ORDER BY principal, tenant, type`)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var g Grant
			var typ string
			var until int64
			if err := rows.Scan(&g.To, &g.Tenant, &typ, &g.By, &until); err != nil {
				return err
			}
			g.Types, g.Until = []string{typ}, time.Unix(until, 0).UTC()
			all = append(all, g)
		}
		return rows.Err()
	})
	return all, err
}

func (v *Vault) note(ctx context.Context, action, by string, g Grant) error {
	details := map[string]string{"to": g.To, "tenant": g.Tenant}
	if len(g.Types) > 0 {
		details["types"], details["until"] = strings.Join(g.Types, " "), g.Until.UTC().Format(time.RFC3339)
	}
	err := v.cfg.Record(ctx, redoubt.Event{Action: action, Outcome: redoubt.Allowed, Actor: by, Resource: "vault:" + g.Tenant, Details: details})
	if err != nil {
		return fmt.Errorf("record who may use the vault: %w", err)
	}
	return nil
}
