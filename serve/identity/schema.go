package identity

import "github.com/redoubt-ml/redoubt/store"

// room is the name of this package's tables and generation.
const room = "identity"

// migrations make the tables. What a node keeps in memory carries the
// generation that changed it last, so that the others read only that.
var migrations = store.Migrations{Room: room, Steps: []string{`
CREATE TABLE identity_accounts (
	id TEXT PRIMARY KEY,
	login TEXT UNIQUE,                   -- NULL for strangers, whose issuer names them
	name TEXT NOT NULL,
	roles TEXT NOT NULL,                 -- JSON
	teams TEXT NOT NULL,                 -- JSON
	disabled BOOLEAN NOT NULL,
	password TEXT NOT NULL,              -- hashed; '' for none
	second BOOLEAN NOT NULL,             -- has a second factor
	created BIGINT NOT NULL,
	generation BIGINT NOT NULL);
CREATE INDEX identity_accounts_generation ON identity_accounts (generation);
CREATE TABLE identity_enrolments (
	digest BYTEA PRIMARY KEY,
	account TEXT NOT NULL REFERENCES identity_accounts (id),
	expires BIGINT NOT NULL);
CREATE TABLE identity_factors (
	id TEXT PRIMARY KEY,
	account TEXT NOT NULL REFERENCES identity_accounts (id),
	kind TEXT NOT NULL,                  -- totp, passkey
	name TEXT NOT NULL,
	data BYTEA NOT NULL,                 -- sealed where it is a secret
	step BIGINT NOT NULL,                -- of the last one-time code
	created BIGINT NOT NULL,
	used BIGINT NOT NULL);
CREATE INDEX identity_factors_account ON identity_factors (account);
CREATE TABLE identity_recovery (
	account TEXT NOT NULL REFERENCES identity_accounts (id),
	digest BYTEA NOT NULL,
	PRIMARY KEY (account, digest));
CREATE TABLE identity_tokens (
	id TEXT PRIMARY KEY,
	account TEXT NOT NULL REFERENCES identity_accounts (id),
	name TEXT NOT NULL,
	digest BYTEA NOT NULL UNIQUE,
	scopes TEXT NOT NULL,                -- JSON, null for all that the account may
	created BIGINT NOT NULL,
	expires BIGINT NOT NULL,
	used BIGINT NOT NULL,
	revoked BOOLEAN NOT NULL,
	generation BIGINT NOT NULL);
CREATE INDEX identity_tokens_generation ON identity_tokens (generation);
CREATE TABLE identity_sessions (
	id TEXT PRIMARY KEY,
	digest BYTEA NOT NULL UNIQUE,
	account TEXT NOT NULL REFERENCES identity_accounts (id),
	method TEXT NOT NULL,
	agent TEXT NOT NULL,
	address TEXT NOT NULL,
	created BIGINT NOT NULL,
	verified BIGINT NOT NULL,
	seen BIGINT NOT NULL,
	ended BOOLEAN NOT NULL,
	generation BIGINT NOT NULL);
CREATE INDEX identity_sessions_generation ON identity_sessions (generation);
CREATE TABLE identity_failures (
	subject TEXT PRIMARY KEY,
	count BIGINT NOT NULL,
	last BIGINT NOT NULL);
CREATE TABLE identity_addresses (
	subject TEXT PRIMARY KEY,            -- an account and an address it came from
	seen BIGINT NOT NULL);
CREATE TABLE identity_spent (
	digest BYTEA PRIMARY KEY,            -- of a flow that led somewhere
	expires BIGINT NOT NULL);
`, `
ALTER TABLE identity_accounts ADD COLUMN vouched BIGINT NOT NULL DEFAULT 0; -- when the issuer of a stranger sent it last
UPDATE identity_accounts SET vouched = (SELECT COALESCE(MAX(s.created), identity_accounts.created)
	FROM identity_sessions s WHERE s.account = identity_accounts.id) WHERE login IS NULL;
`}}
