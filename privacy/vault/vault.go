// Package vault keeps what tokens stand for.
//
// A token is a random name for a value: unlike encryption it tells nothing of the
// value to whoever has no access to the vault, not even with the key.
//
//	v, err := vault.Open(ctx, db, vault.Config{Key: key, Record: log.Record})
//	...
//	tokens, err := v.Tokens(ctx, "pipeline", []vault.Value{{Tenant: "shop", Type: "PERSON", Subject: "4711", Text: "Ada Byron"}})
//	...
//	err = v.Grant(ctx, "head of privacy", vault.Grant{To: "support", Tenant: "shop", Types: []string{"PERSON"}, Until: tomorrow})
//	...
//	values, err := v.Reveal(ctx, vault.Reader{Name: "support", Reason: "ticket 12"}, tokens)
//
// The same value of the same tenant, type and subject has one token, from however
// many nodes it is asked for.
//
// Promises. Values are at rest only as AES-256-GCM, bound to their token, tenant,
// type and subject: rows that were exchanged are refused. Nobody may reveal
// anything without a grant that holds, and every try is in the audit record, with
// who, why and how many, before the first value leaves; if it cannot be recorded,
// nothing is revealed. What is erased is gone from the database, and its tokens are
// names of nothing.
//
// Not promised. Whoever has the key and the database has the values: grants bind
// those who go through this package. Erasing does not reach into backups.
package vault

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"database/sql"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/store"
)

// What callers branch on.
var (
	// ErrDenied says that no grant covers what was asked for. Nothing was revealed.
	ErrDenied = errors.New("not granted")
	// ErrKey says that the vault was made with another key.
	ErrKey = errors.New("the vault has another key")
)

// Limits on values, and on how many are asked for at once.
const (
	MaxText  = 64 << 10
	MaxBatch = 10_000
	maxName  = 256
)

var migrations = store.Migrations{Room: "token vault", Steps: []string{`
	CREATE TABLE vault_check (id BIGINT PRIMARY KEY, mac TEXT NOT NULL);
	CREATE TABLE vault_tokens (
		token TEXT PRIMARY KEY, lookup TEXT NOT NULL UNIQUE, tenant TEXT NOT NULL, type TEXT NOT NULL,
		subject TEXT NOT NULL, sealed TEXT NOT NULL, created BIGINT NOT NULL);
	CREATE INDEX vault_subjects ON vault_tokens (tenant, subject);
	CREATE TABLE vault_grants (
		principal TEXT NOT NULL, tenant TEXT NOT NULL, type TEXT NOT NULL, granted_by TEXT NOT NULL, until BIGINT NOT NULL,
		PRIMARY KEY (principal, tenant, type))`,
}}

// Value is what a token stands for.
type Value struct {
	Tenant  string // whose data it is; values of two tenants never share a token
	Type    string // such as PERSON
	Subject string // the person it is about, so that it can be erased; may be empty
	Text    string
}

// Config opens a vault.
type Config struct {
	// Key is 32 random bytes.
	Key []byte
	// Record keeps an event where it cannot be changed; it returns when it is
	// kept. It is required: see package audit.
	Record func(ctx context.Context, e redoubt.Event) error
	// Now is the clock; nil for the machine's.
	Now func() time.Time
}

// Vault is the tokens in one database. It is safe for use by several goroutines,
// and by any number of processes on the same database.
type Vault struct {
	cfg    Config
	db     *store.DB
	seal   cipher.AEAD
	lookup []byte
}

// Open makes the tables where there are none. The error wraps [ErrKey] where the
// vault was made with another key.
func Open(ctx context.Context, db *store.DB, cfg Config) (*Vault, error) {
	if len(cfg.Key) != 32 {
		return nil, fmt.Errorf("open the vault: a key of %d bytes: must have 32", len(cfg.Key))
	}
	if cfg.Record == nil {
		return nil, errors.New("open the vault: nothing records who reads it")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	block, err := aes.NewCipher(derive(cfg.Key, "seal"))
	if err != nil {
		return nil, err
	}
	v := &Vault{cfg: cfg, db: db, lookup: derive(cfg.Key, "lookup")}
	if v.seal, err = cipher.NewGCM(block); err != nil {
		return nil, err
	}
	if err := db.Migrate(ctx, migrations); err != nil {
		return nil, fmt.Errorf("open the vault: %w", err)
	}
	if err := v.checkKey(ctx); err != nil {
		return nil, fmt.Errorf("open the vault: %w", err)
	}
	return v, nil
}

func derive(key []byte, purpose string) []byte {
	out, err := hkdf.Key(sha256.New, key, nil, "redoubt token vault, "+purpose, 32)
	if err != nil {
		panic(err) // of lengths that are constant
	}
	return out
}

// checkKey leaves a mark of the key in an empty vault and compares it in others.
func (v *Vault) checkKey(ctx context.Context) error {
	mark := encode(derive(v.cfg.Key, "check"))
	return v.db.Update(ctx, func(tx *store.Tx) error {
		if _, err := tx.Exec(`INSERT INTO vault_check (id, mac) VALUES (1, $1) ON CONFLICT (id) DO NOTHING`, mark); err != nil {
			return err
		}
		var kept string
		if err := tx.QueryRow(`SELECT mac FROM vault_check WHERE id = 1`).Scan(&kept); err != nil {
			return err
		}
		if subtle.ConstantTimeCompare([]byte(kept), []byte(mark)) != 1 {
			return ErrKey
		}
		return nil
	})
}

var base = base32.StdEncoding.WithPadding(base32.NoPadding)

func encode(b []byte) string { return base.EncodeToString(b) }

// IsToken reports whether a text has the form of a token: 26 letters and digits.
func IsToken(s string) bool {
	if len(s) != tokenLength {
		return false
	}
	_, err := base.DecodeString(s)
	return err == nil
}

const tokenLength = 26 // 128 bits in base32

// Tokens are the tokens of values, in their order, all or none. Those that had
// none get one. The audit record says who asked, and for how many.
func (v *Vault) Tokens(ctx context.Context, who string, values []Value) ([]string, error) {
	if len(values) > MaxBatch {
		return nil, fmt.Errorf("tokens for %d values: more than %d at once", len(values), MaxBatch)
	}
	for i, x := range values {
		if err := x.check(); err != nil {
			return nil, fmt.Errorf("value %d: %w", i+1, err)
		}
	}
	if tokens, err := v.known(ctx, values); err != nil || tokens != nil {
		return tokens, err
	}
	tokens := make([]string, len(values))
	made := 0
	err := v.db.Update(ctx, func(tx *store.Tx) error {
		made = 0
		for i, x := range values {
			token, isNew, err := v.token(tx, x)
			if err != nil {
				return fmt.Errorf("keep a value of type %s: %w", x.Type, err)
			}
			tokens[i] = token
			if isNew {
				made++
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if made > 0 {
		if err := v.record(ctx, "vault.add", redoubt.Allowed, who, "", "", fmt.Sprint(made)); err != nil {
			return nil, err
		}
	}
	return tokens, nil
}

func (x Value) check() error {
	switch {
	case len(x.Text) > MaxText:
		return fmt.Errorf("%d bytes: longer than %d", len(x.Text), MaxText)
	case x.Type == "":
		return errors.New("without a type")
	}
	for _, s := range []string{x.Tenant, x.Type, x.Subject} {
		if len(s) > maxName || !utf8.ValidString(s) || strings.ContainsRune(s, 0) {
			return fmt.Errorf("a name that is not UTF-8, has a zero byte, or is longer than %d bytes", maxName)
		}
	}
	return nil
}

// known are the tokens of values, if all have one: it is asked first, because
// reading does not make the disk turn.
func (v *Vault) known(ctx context.Context, values []Value) (tokens []string, err error) {
	err = v.db.View(ctx, func(tx *store.Tx) error {
		tokens = make([]string, len(values))
		for i, x := range values {
			err := tx.QueryRow(`SELECT token FROM vault_tokens WHERE lookup = $1`, v.lookupOf(x)).Scan(&tokens[i])
			if errors.Is(err, sql.ErrNoRows) {
				tokens = nil
				return nil
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	return tokens, err
}

// lookupOf is what equal values have in common.
func (v *Vault) lookupOf(x Value) string {
	return v.mac("value", x.Tenant, x.Type, v.pseudonym(x.Tenant, x.Subject), x.Text)
}

// token finds or makes the token of a value.
func (v *Vault) token(tx *store.Tx, x Value) (token string, isNew bool, err error) {
	lookup := v.lookupOf(x)
	x.Subject = v.pseudonym(x.Tenant, x.Subject)
	id := make([]byte, 16)
	rand.Read(id) // never fails
	token = encode(id)
	n, err := tx.Exec(`INSERT INTO vault_tokens (token, lookup, tenant, type, subject, sealed, created)
		VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (lookup) DO NOTHING`,
		token, lookup, x.Tenant, x.Type, x.Subject, v.sealed(token, x), v.cfg.Now().Unix())
	if err != nil || n == 1 {
		return token, n == 1, err
	}
	err = tx.QueryRow(`SELECT token FROM vault_tokens WHERE lookup = $1`, lookup).Scan(&token)
	return token, false, err
}

// mac is a name for texts that only the holder of the key can tell.
func (v *Vault) mac(texts ...string) string {
	mac := hmac.New(sha256.New, v.lookup)
	mac.Write(framed(texts...))
	return encode(mac.Sum(nil))
}

// pseudonym is what a subject is called in the database and in the record.
func (v *Vault) pseudonym(tenant, subject string) string {
	if subject == "" {
		return ""
	}
	return v.mac("subject", tenant, subject)
}

func (v *Vault) sealed(token string, x Value) string {
	nonce := make([]byte, v.seal.NonceSize())
	rand.Read(nonce) // never fails
	return encode(v.seal.Seal(nonce, nonce, []byte(x.Text), framed(token, x.Tenant, x.Type, x.Subject)))
}

func (v *Vault) open(token string, x *Value, sealed string) error {
	b, err := base.DecodeString(sealed)
	if err != nil || len(b) < v.seal.NonceSize() {
		return fmt.Errorf("token %s: its row was altered", token)
	}
	n := v.seal.NonceSize()
	text, err := v.seal.Open(nil, b[:n], b[n:], framed(token, x.Tenant, x.Type, x.Subject))
	if err != nil {
		return fmt.Errorf("token %s: its row was altered", token)
	}
	x.Text = string(text)
	return nil
}

// framed joins texts so that no two lists give the same bytes.
func framed(texts ...string) []byte {
	var b bytes.Buffer
	for _, s := range texts {
		b.Write(binary.BigEndian.AppendUint32(nil, uint32(len(s))))
		b.WriteString(s)
	}
	return b.Bytes()
}

// Reader is who asks for values, and why.
type Reader struct {
	Name   string
	Reason string
}

// Reveal is what tokens stand for, in their order, without the subjects, of which
// the vault keeps only pseudonyms. A token that it does not know, or that was
// erased, is a Value without a type. The error wraps [ErrDenied] where a grant is
// missing for one of them: then none is revealed. Either way the audit record says
// who asked.
func (v *Vault) Reveal(ctx context.Context, who Reader, tokens []string) ([]Value, error) {
	values, err := v.read(ctx, who, tokens)
	if noted := v.revealed(ctx, who, err, fmt.Sprint(len(tokens))); noted != nil {
		return nil, noted
	}
	return values, err
}

// read is Reveal without the record.
func (v *Vault) read(ctx context.Context, who Reader, tokens []string) ([]Value, error) {
	if who.Name == "" || who.Reason == "" {
		return nil, errors.New("reveal: must say who asks, and why")
	}
	if len(tokens) > MaxBatch {
		return nil, fmt.Errorf("reveal %d tokens: more than %d at once", len(tokens), MaxBatch)
	}
	values := make([]Value, len(tokens))
	err := v.db.View(ctx, func(tx *store.Tx) error {
		granted := map[[2]string]bool{}
		for i, token := range tokens {
			var x Value
			var sealed string
			err := tx.QueryRow(`SELECT tenant, type, subject, sealed FROM vault_tokens WHERE token = $1`, token).Scan(&x.Tenant, &x.Type, &x.Subject, &sealed)
			if errors.Is(err, sql.ErrNoRows) {
				continue
			}
			if err != nil {
				return err
			}
			of := [2]string{x.Tenant, x.Type}
			if !granted[of] {
				if err := v.may(tx, who.Name, x); err != nil {
					return err
				}
				granted[of] = true
			}
			if err := v.open(token, &x, sealed); err != nil {
				return err
			}
			x.Subject = ""
			values[i] = x
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reveal: %w", err)
	}
	return values, nil
}

// revealed records that somebody asked, and what became of it.
func (v *Vault) revealed(ctx context.Context, who Reader, err error, values string) error {
	outcome, why := redoubt.Allowed, who.Reason
	switch {
	case errors.Is(err, ErrDenied):
		outcome = redoubt.Denied
	case err != nil:
		outcome = redoubt.Failed
	}
	if err != nil {
		why = fmt.Sprintf("%v; asked because: %s", err, who.Reason)
	}
	return v.record(ctx, "vault.reveal", outcome, who.Name, "", why, values)
}

func (v *Vault) may(tx *store.Tx, name string, x Value) error {
	var n int
	err := tx.QueryRow(`SELECT COUNT(*) FROM vault_grants WHERE principal = $1 AND tenant = $2 AND type IN ($3, '*') AND until > $4`,
		name, x.Tenant, x.Type, v.cfg.Now().Unix()).Scan(&n)
	if err == nil && n == 0 {
		return fmt.Errorf("%s of tenant %q to %s: %w", x.Type, x.Tenant, name, ErrDenied)
	}
	return err
}

// Erase forgets all values about a subject and says how many there were.
func (v *Vault) Erase(ctx context.Context, by, tenant, subject string) (n int, err error) {
	if subject == "" {
		return 0, errors.New("erase: must name a subject")
	}
	subject = v.pseudonym(tenant, subject)
	err = v.db.Update(ctx, func(tx *store.Tx) error {
		rows, err := tx.Exec(`DELETE FROM vault_tokens WHERE tenant = $1 AND subject = $2`, tenant, subject)
		n = int(rows)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("erase: %w", err)
	}
	return n, v.record(ctx, "vault.erase", redoubt.Allowed, by, tenant+"/"+subject, "", fmt.Sprint(n))
}

func (v *Vault) record(ctx context.Context, action string, outcome redoubt.Outcome, who, what, why, values string) error {
	err := v.cfg.Record(ctx, redoubt.Event{
		Action: action, Outcome: outcome, Actor: who, Reason: why, Resource: "vault:" + what,
		Details: map[string]string{"values": values},
	})
	if err != nil {
		return fmt.Errorf("record who uses the vault: %w", err)
	}
	return nil
}
