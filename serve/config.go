package serve

import (
	"time"
)

// Config is the configuration of a gateway: what its YAML file says. Every key
// may be left out. Paths are relative to the file.
type Config struct {
	// Data is the folder of the database, the keys, the log and the socket;
	// "redoubt" in the user's data directory by default.
	Data string `yaml:"data"`
	// Name is what the server calls itself to clients; "redoubt" by default.
	Name   string `yaml:"name"`
	Listen Listen `yaml:"listen"`
	TLS    TLS    `yaml:"tls"`
	// Store is where accounts and policies are kept: "sqlite:PATH", or a secret
	// (env:NAME, file:PATH, kms:FILE.sealed) that holds a postgres:// address; a file in Data by
	// default.
	Store string `yaml:"store"`
	// Seal says under which keys models and secrets of kms: are sealed.
	Seal Seal `yaml:"seal"`
	// Key seals secrets in the store: a secret of 64 hexadecimal digits, which
	// nodes that share a store share. By default it is made in Data.
	Key      string   `yaml:"key"`
	Identity Identity `yaml:"identity"`
	Policy   Policy   `yaml:"policy"`
	Limits   Limits   `yaml:"limits"`
	Audit    Audit    `yaml:"audit"`
	Headers  Headers  `yaml:"headers"`
	Tracing  Tracing  `yaml:"tracing"`
	// Drain is how long the server goes on taking calls after it has said that it
	// is not ready, so that load balancers notice; 0 by default. Grace is how long
	// calls under way may take after that; 30s by default.
	Drain time.Duration `yaml:"drain"`
	Grace time.Duration `yaml:"grace"`
	// Registry says what the versions of models that are pushed must show.
	Registry Registry `yaml:"registry"`
	// Models are what is served.
	Models []Model `yaml:"models"`

	origin string         // that follows from the address of REST, which a flag may change
	dir    string         // of the file, for relative paths
	lines  map[string]int // of the file, by the paths of values
}

// Seal says under which keys things lie on disks.
type Seal struct {
	// Keys are URIs of key-encryption keys: the first seals, and the others are
	// still read.
	Keys []string `yaml:"keys"`
	// Tenant is whose things they are: what was sealed for another is refused.
	Tenant string `yaml:"tenant"`
	// Remember is how long a data key is used after its key service was asked; 5m by
	// default. If the service is lost for longer, what is sealed does not open.
	Remember time.Duration `yaml:"remember"`
}

// Listen holds the addresses; "off" closes one.
type Listen struct {
	// REST serves the protocol, the control API and the pages; 127.0.0.1:8443 by
	// default.
	REST string `yaml:"rest"`
	// GRPC serves the protocol; 127.0.0.1:8444 by default.
	GRPC string `yaml:"grpc"`
	// Admin serves /livez, /readyz and /metrics in the clear; 127.0.0.1:8445 by
	// default. It belongs on loopback or on a network of the operator's.
	Admin string `yaml:"admin"`
}

// TLS says how connections are secured: with TLS 1.3 in any case.
type TLS struct {
	// Certificate and Key are PEM files, read again on SIGHUP. By default a
	// certificate for Hosts is made in Data, signed by itself.
	Certificate string `yaml:"certificate"`
	Key         string `yaml:"key"`
	// Hosts are names and addresses that the certificate made is for; localhost,
	// 127.0.0.1 and ::1 by default.
	Hosts []string `yaml:"hosts"`
	// Clients is a PEM file of authorities whose client certificates are taken;
	// none by default.
	Clients string `yaml:"clients"`
	// ACME has an authority issue the certificate.
	ACME ACME `yaml:"acme"`
}

// ACME says who issues certificates (RFC 8555). Naming hosts accepts the terms of
// that authority. It must reach the REST listener as port 443 of each host.
type ACME struct {
	// Hosts are the full names that certificates are for.
	Hosts []string `yaml:"hosts"`
	// Email is where the authority writes to.
	Email string `yaml:"email"`
	// Directory is the authority's address; that of Let's Encrypt by default. CA is
	// a PEM file of the authority of that address, if it has one of its own.
	Directory string `yaml:"directory"`
	CA        string `yaml:"ca"`
}

// Identity says who is believed beside our own accounts.
type Identity struct {
	// Origin is where browsers find the pages, such as https://models.example;
	// https://localhost and the port of REST by default.
	Origin string `yaml:"origin"`
	// Issuers are whose tokens and logins are trusted.
	Issuers []Issuer `yaml:"issuers"`
	// Certificates say which client certificates get which roles.
	Certificates []Certificate `yaml:"certificates"`
	// CRLs are files of revocation lists, Revoked serial numbers in hexadecimal.
	CRLs    []string `yaml:"crls"`
	Revoked []string `yaml:"revoked"`
	// JWTKey is a secret of 32 bytes or more that signs short-lived tokens for
	// models; without it there are none.
	JWTKey string `yaml:"jwt_key"`
}

// Issuer is an identity provider that speaks OpenID Connect.
type Issuer struct {
	URL  string `yaml:"url"`
	Name string `yaml:"name"`
	// Algorithm is how it signs: RS256 by default, ES256 or EdDSA.
	Algorithm string `yaml:"algorithm"`
	// Audience is what its access tokens for this server say under aud; without
	// it they are refused. Types are their header's typ; at+jwt by default.
	Audience string   `yaml:"audience"`
	Types    []string `yaml:"types"`
	// ClientID and ClientSecret, a secret, are for single sign-on, and Scopes what
	// is asked for beside openid.
	ClientID     string   `yaml:"client_id"`
	ClientSecret string   `yaml:"client_secret"`
	Scopes       []string `yaml:"scopes"`
	// RolesClaim and GroupsClaim are where its tokens say what somebody is, such
	// as realm_access.roles; Roles which of our roles its words give.
	RolesClaim   string              `yaml:"roles_claim"`
	GroupsClaim  string              `yaml:"groups_claim"`
	Roles        map[string][]string `yaml:"roles"`
	SecondFactor []string            `yaml:"second_factor"`
	// SecondFactorAlways says that it demands a second factor of all who sign in: for
	// issuers whose tokens do not tell.
	SecondFactorAlways bool `yaml:"second_factor_always"`
	// SignInEvery is for how long after they signed in last the API tokens of its
	// people work: 720h by default.
	SignInEvery time.Duration `yaml:"sign_in_every"`
	// KeysURL is where its keys are, if it has no discovery; CA a PEM file of its
	// authority, if it has one of its own.
	KeysURL string `yaml:"keys_url"`
	CA      string `yaml:"ca"`
}

// Certificate says what a client certificate is worth.
type Certificate struct {
	// Match is a SPIFFE id, which may end with "/*", or subject and issuer.
	Match  string   `yaml:"match"`
	Roles  []string `yaml:"roles"`
	Groups []string `yaml:"groups"`
}

// Policy says what the default policies leave open.
type Policy struct {
	// Roles are names of further roles, which mean what custom policies make of
	// them.
	Roles []string `yaml:"roles"`
	// MachinesDeploy lets machines do what people confirm with a second factor.
	MachinesDeploy bool `yaml:"machines_deploy"`
	// StepUp is how old a second factor may be for what is dangerous; 5m by
	// default.
	StepUp time.Duration `yaml:"step_up"`
}

// Limits says how often: each as "5/minute, 50/hour, 200/day".
type Limits struct {
	Principal string `yaml:"principal"`
	Address   string `yaml:"address"` // 600/minute by default
	Everyone  string `yaml:"everyone"`
	// Redis is a secret with a redis:// address, where nodes count together;
	// Nodes is how many they are, for the time that it is lost.
	Redis string `yaml:"redis"`
	Nodes int    `yaml:"nodes"`
	// Concurrent bounds the calls under way at once; 256 by default.
	Concurrent int `yaml:"concurrent"`
	// ConcurrentEach bounds those of one caller; a quarter of Concurrent by
	// default.
	ConcurrentEach int `yaml:"concurrent_each"`
	// Bodies bounds the bytes of the bodies that are worked on at once; by default a
	// sixteenth of the memory that there is. The others wait, and no caller has
	// more than half.
	Bodies int64 `yaml:"bodies"`
	// HeaderTime bounds how long a client takes to send the headers of a request,
	// 10s by default; BodyTime how long its body, and AnswerTime how long it takes
	// to read the answer, 30s each by default.
	HeaderTime time.Duration `yaml:"header_time"`
	BodyTime   time.Duration `yaml:"body_time"`
	AnswerTime time.Duration `yaml:"answer_time"`
}

const modelTime = 30 * time.Second // that a call takes at most, unless its model says otherwise

// Audit says how the log is kept.
type Audit struct {
	// Wait is what an inference waits for before it is answered: "flush" until the
	// disk has its entry, "write" until the operating system has it (the default: it
	// survives the process, and the machine after 50 ms), "none" while it is in
	// memory. Models marked sensitive wait for the disk all the same.
	Wait string `yaml:"wait"`
	// Name is what the log calls itself in its checkpoints, the same for ever and
	// another on each node; that of the machine and "/redoubt" by default.
	Name string `yaml:"name"`
	// Keep is how long entries are kept; for ever by default. Files are removed as a
	// whole, so what is younger stays with them for a while.
	Keep time.Duration `yaml:"keep"`
	// Every is how often checkpoints are witnessed and exchanged with the nodes that
	// share the store; 1m by default.
	Every time.Duration `yaml:"every"`
	// Witnesses sign checkpoints of this log.
	Witnesses []Witness `yaml:"witnesses"`
	// Watches are the public keys of logs that this server witnesses, at /witness.
	Watches []string `yaml:"watches"`
}

// Witness is one who signs checkpoints of the log (C2SP tlog-witness).
type Witness struct {
	URL string `yaml:"url"`
	Key string `yaml:"key"` // its public key, or a file of it
	CA  string `yaml:"ca"`  // a PEM file of the authority of its certificate
}

// Headers are compatibility with what some clients and checklists expect.
type Headers struct {
	XRateLimit bool `yaml:"x_ratelimit"`
	XSSFilter  bool `yaml:"xss_filter"`
}

// Tracing says where traces of calls are sent: nowhere by default.
type Tracing struct {
	// Endpoint takes OTLP over HTTP, such as https://collector.example/v1/traces. In
	// the clear only on this machine.
	Endpoint string `yaml:"endpoint"`
	// Sample is the share of calls that are traced, from 0 to 1; 0.01 by default.
	Sample float64 `yaml:"sample"`
	// Token is a secret sent as a bearer token, CA a PEM file of the collector's
	// authority, if it has one of its own.
	Token string `yaml:"token"`
	CA    string `yaml:"ca"`
}

// Registry says what a version of a model that is pushed must show to be routed to.
// There is a registry where it names keys or roots.
type Registry struct {
	// Keys are PEM files of public keys, any of which may have signed a model.
	Keys []string `yaml:"keys"`
	// Roots is a PEM file of authorities whose certificates may have signed, and
	// Names who of those; everybody by default.
	Roots string   `yaml:"roots"`
	Names []string `yaml:"names"`
	// Attesters are PEM files of public keys, any of which may have signed
	// attestations; those who may sign models by default.
	Attesters []string `yaml:"attesters"`
	// Require lists the attestations that are asked for: scan, lineage, assessment,
	// or gates such as robust_accuracy[linf@0.3]>=0.5.
	Require []string `yaml:"require"`
	// Verify is how often everything is verified anew; 1h by default.
	Verify time.Duration `yaml:"verify"`
}

// Model is one served model.
type Model struct {
	Name string `yaml:"name"`
	// Registry has the versions come from the registry: they are pushed.
	Registry bool `yaml:"registry"`
	// Path is an ONNX file of the version "1". Versions hold several; the first is
	// the default.
	Path     string    `yaml:"path"`
	Upstream string    `yaml:"upstream"`
	Versions []Version `yaml:"versions"`

	Groups    []string `yaml:"groups"`
	Stage     string   `yaml:"stage"`
	Owner     string   `yaml:"owner"`
	Sensitive bool     `yaml:"sensitive"`
	// Open lets anybody call it, without an account.
	Open bool `yaml:"open"`
	// Clearance is the most that any caller sees of the answers: "label",
	// "top=3 round=2", "noise=0.01".
	Clearance string `yaml:"clearance"`
	// Scores are the outputs that the clearance is about; all of floats by default.
	Scores []string `yaml:"scores"`
	// Limits bound each principal on this model, Total all together.
	Limits string `yaml:"limits"`
	Total  string `yaml:"total"`
	// MaxBody bounds a request in bytes, 10 MiB by default; Timeout its time, 30s
	// by default.
	MaxBody int64         `yaml:"max_body"`
	Timeout time.Duration `yaml:"timeout"`
	// Schema is the file of a feature schema, for the input Table or the only one.
	Schema string          `yaml:"schema"`
	Table  string          `yaml:"table"`
	Inputs map[string]Rule `yaml:"inputs"`
	// CardData says that card data is handled; MaliciousText lets through what
	// looks like an attack on a database or a browser.
	CardData      bool `yaml:"card_data"`
	MaliciousText bool `yaml:"malicious_text"`
	// Personal is what is done about personal data and secrets in texts.
	Personal *Personal `yaml:"personal"`

	Threads     int           `yaml:"threads"`
	Concurrency int           `yaml:"concurrency"`
	MaxBatch    int           `yaml:"max_batch"`
	BatchDelay  time.Duration `yaml:"batch_delay"`
	Queue       int           `yaml:"queue"`
	Memory      int64         `yaml:"memory"`

	// Of an upstream: a secret token, a CA file, a client certificate and key.
	Token       string `yaml:"token"`
	CA          string `yaml:"ca"`
	Certificate string `yaml:"certificate"`
	Key         string `yaml:"key"`
}

// Personal is what is done about personal data and secrets in texts.
type Personal struct {
	// Inputs and Outputs are note, mask or refuse; what is left out is not looked
	// at.
	Inputs  string `yaml:"inputs"`
	Outputs string `yaml:"outputs"`
	// Types are the only ones looked for, all by default; Exclude are not.
	Types   []string `yaml:"types"`
	Exclude []string `yaml:"exclude"`
	// Threshold is the least score to be found, 0.5 by default.
	Threshold float64 `yaml:"threshold"`
	// Names false looks for no names, places and organisations: ten times faster.
	Names *bool `yaml:"names"`
	// Policy is a file of how values are replaced, as for pii mask; all are redacted
	// by default. Key is the secret that its methods need.
	Policy string `yaml:"policy"`
	Key    string `yaml:"key"`
}

// Version is one version of a model.
type Version struct {
	Version  string `yaml:"version"`
	Path     string `yaml:"path"`
	Upstream string `yaml:"upstream"`
}

// Rule is what is asked of one input beside its type and shape.
type Rule struct {
	Min       *float64    `yaml:"min"`
	Max       *float64    `yaml:"max"`
	Missing   bool        `yaml:"missing"`
	Elements  int64       `yaml:"elements"`
	MinLength int         `yaml:"min_length"`
	MaxLength int         `yaml:"max_length"`
	Pattern   string      `yaml:"pattern"`
	Clip      *[2]float64 `yaml:"clip"`
	Strip     string      `yaml:"strip"`
	Trim      bool        `yaml:"trim"`
}
