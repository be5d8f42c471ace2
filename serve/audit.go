package serve

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/internal/atomicfile"
	"github.com/redoubt-ml/redoubt/serve/control"
	"github.com/redoubt-ml/redoubt/serve/gateway"
	"github.com/redoubt-ml/redoubt/store"
	"github.com/redoubt-ml/redoubt/watch/audit"
	"github.com/redoubt-ml/redoubt/watch/witness"
)

// Where a log lies in the data folder, and the key that it signs with.
const (
	auditFolder = "audit"
	auditKey    = "audit.key"
)

func (s *Server) auditDir() string { return filepath.Join(s.cfg.Data, auditFolder) }

func (s *Server) openLog(ctx context.Context) error {
	key := filepath.Join(s.cfg.Data, auditKey)
	signer, err := audit.Key(key, s.cfg.Audit.Name)
	if err != nil {
		return err
	}
	s.log, err = audit.Open(s.auditDir(), audit.Config{Signer: signer, Personal: true, Mask: s.opt.Mask, Logger: s.opt.Logger})
	if err != nil {
		return err
	}
	s.later(func() error {
		if err := s.logged(context.Background(), "server.stop"); err != nil {
			s.opt.Logger.Error("that the server stops cannot be recorded", "error", err.Error())
		}
		return s.log.Close()
	})
	if err := s.logged(ctx, "server.start"); err != nil {
		return err
	}
	if len(s.cfg.Audit.Watches) == 0 {
		return nil
	}
	s.witness, err = s.cfg.witness()
	return err
}

// logged records that the server, and its log with it, starts or stops, and by which
// configuration it is.
func (s *Server) logged(ctx context.Context, action string) error {
	ctx, cancel := context.WithTimeout(ctx, recordTime)
	defer cancel()
	return s.log.Record(ctx, redoubt.Event{
		Time: time.Now(), Action: action, Outcome: redoubt.Allowed, Actor: operator(), Resource: "server",
		After: s.current.Load().digest(), Details: map[string]string{"version": s.opt.Version},
	})
}

// requests is a log that adds what is known of the request in whose course
// something is done: package identity knows nothing of requests.
type requests struct{ log *audit.Log }

func (r requests) Record(ctx context.Context, e redoubt.Event) error {
	if e.Request == "" {
		e.Request = gateway.RequestID(ctx)
	}
	if from := gateway.From(ctx); e.From == "" && from.IsValid() {
		e.From = from.String()
	}
	if e.Reason == "" {
		e.Reason = control.Reason(ctx)
	}
	return r.log.Record(ctx, e)
}

// witness is what watches the logs of others.
func (c *Config) witness() (*witness.Server, error) {
	key := filepath.Join(c.Data, "witness.key")
	if _, err := audit.Key(key, c.Audit.Name+"/witness"); err != nil {
		return nil, err
	}
	b, err := os.ReadFile(key)
	if err != nil {
		return nil, err
	}
	signer, public, err := audit.Cosigner(string(b))
	if err != nil {
		return nil, err
	}
	w := &witness.Server{Dir: filepath.Join(c.Data, "witness"), Signer: signer}
	for _, from := range c.Audit.Watches {
		v, err := c.verifier(from)
		if err != nil {
			return nil, fmt.Errorf("audit.watches: %w", err)
		}
		w.Logs = append(w.Logs, v)
	}
	if err := os.MkdirAll(w.Dir, 0o700); err != nil {
		return nil, err
	}
	// What the logs that are watched are configured with.
	return w, atomicfile.Replace(key+".pub", []byte(public+"\n"))
}

// verifier is a public key of the configuration: a file, or as it stands.
func (c *Config) verifier(from string) (note.Verifier, error) {
	if strings.Count(from, "+") < 2 {
		from = c.path(from)
	}
	return audit.ReadVerifier(from)
}

// remotes are the witnesses that the log asks.
func (c *Config) remotes() (out []*witness.Remote, err error) {
	for _, w := range c.Audit.Witnesses {
		v, err := c.verifier(w.Key)
		if err != nil {
			return nil, fmt.Errorf("audit.witnesses: %s: %w", w.URL, err)
		}
		tls, err := c.clientTLS(w.CA, "", "")
		if err != nil {
			return nil, fmt.Errorf("audit.witnesses: %s: %w", w.URL, err)
		}
		out = append(out, &witness.Remote{URL: w.URL, Key: v, Client: &http.Client{Transport: &http.Transport{TLSClientConfig: tls}}})
	}
	return out, nil
}

// keepLog has the log witnessed, prunes it, and exchanges checkpoints with the
// nodes that share the store, every now and then.
func (s *Server) keepLog(ctx context.Context) error {
	remotes, err := s.cfg.remotes()
	if err != nil {
		return err
	}
	if err := s.db.Migrate(ctx, checkpointTable); err != nil {
		return err
	}
	k := &keeper{Server: s, remotes: remotes, seen: map[string]int64{}}
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	var done sync.WaitGroup
	done.Go(func() {
		tick := time.NewTicker(s.cfg.Audit.Every)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				k.look(ctx)
			}
		}
	})
	s.later(func() error { stop(); done.Wait(); return nil })
	return nil
}

// keeper looks after the log.
type keeper struct {
	*Server
	remotes   []*witness.Remote
	witnessed int64
	seen      map[string]int64 // size of the newest checkpoint of each other log that is on record
}

func (k *keeper) look(ctx context.Context) {
	for what, do := range map[string]func(context.Context) error{
		"the audit log is not witnessed": k.haveWitnessed, "checkpoints are not exchanged": k.exchange, "the audit log is not pruned": k.prune,
	} {
		if err := do(ctx); err != nil && ctx.Err() == nil {
			k.opt.Logger.Error(what, "error", err.Error())
		}
	}
}

// haveWitnessed asks every witness to sign the newest checkpoint, and keeps what
// those signed who answer.
func (k *keeper) haveWitnessed(ctx context.Context) error {
	c := k.log.Checkpoint()
	if len(k.remotes) == 0 || c.Size == k.witnessed {
		return nil
	}
	signed, err := 0, error(nil)
	for _, w := range k.remotes {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		with, failed := w.Cosign(ctx, k.auditDir(), c)
		if cancel(); failed == nil {
			c, signed = with, signed+1
		}
		err = errors.Join(err, failed)
	}
	if signed == 0 {
		return err
	}
	if err == nil {
		k.witnessed = c.Size
	}
	return errors.Join(err, audit.KeepWitnessed(k.auditDir(), c))
}

// checkpointTable is where nodes find each other's checkpoints.
var checkpointTable = store.Migrations{Room: "audit", Steps: []string{
	`CREATE TABLE audit_checkpoints (origin TEXT PRIMARY KEY, size BIGINT NOT NULL, note TEXT NOT NULL);`,
}}

// exchange publishes this node's newest checkpoint, and enters those of the others
// into the log: from then on each node's log tells what the others' had been.
func (k *keeper) exchange(ctx context.Context) error {
	own := k.log.Checkpoint()
	var others []audit.Checkpoint
	err := k.db.Update(ctx, func(tx *store.Tx) error {
		others = nil
		if own.Note != nil {
			if _, err := tx.Exec(`INSERT INTO audit_checkpoints (origin, size, note) VALUES ($1, $2, $3)
				ON CONFLICT (origin) DO UPDATE SET size = excluded.size, note = excluded.note WHERE audit_checkpoints.size < excluded.size`,
				own.Origin, own.Size, string(own.Note)); err != nil {
				return err
			}
		}
		rows, err := tx.Query(`SELECT note FROM audit_checkpoints WHERE origin <> $1 ORDER BY origin`, k.cfg.Audit.Name)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var text string
			if err := rows.Scan(&text); err != nil {
				return err
			}
			c, err := audit.ParseCheckpoint([]byte(text))
			if err != nil {
				return err
			}
			others = append(others, c)
		}
		return rows.Err()
	})
	if err != nil {
		return err
	}
	for _, c := range others {
		if c.Size <= k.seen[c.Origin] {
			continue
		}
		if err := k.log.Record(ctx, audit.Noted(c)); err != nil {
			return err
		}
		k.seen[c.Origin] = c.Size
	}
	return nil
}

// prune removes what is older than the configuration keeps.
func (k *keeper) prune(ctx context.Context) error {
	if k.cfg.Audit.Keep == 0 {
		return nil
	}
	_, err := k.log.Prune(ctx, time.Now().Add(-k.cfg.Audit.Keep), redoubt.Event{Actor: "local:" + strconv.Itoa(os.Getuid())})
	if errors.Is(err, audit.ErrHeld) {
		return nil
	}
	return err
}
