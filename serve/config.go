package serve

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/redoubt-ml/redoubt/serve/limit"
	"github.com/redoubt-ml/redoubt/serve/policy"
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
	// (env:NAME, file:PATH) that holds a postgres:// address; a file in Data by
	// default.
	Store string `yaml:"store"`
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
	// Models are what is served.
	Models []Model `yaml:"models"`

	origin string         // that follows from the address of REST, which a flag may change
	dir    string         // of the file, for relative paths
	lines  map[string]int // of the file, by the paths of values
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
	// Wait is false to answer inferences before their entries are durable.
	Wait *bool `yaml:"wait"`
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

// Model is one served model.
type Model struct {
	Name string `yaml:"name"`
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

// maxConfig bounds a configuration file.
const maxConfig = 1 << 20

// ReadConfig reads and checks a configuration file. Errors name the line or the
// key.
func ReadConfig(path string) (*Config, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxConfig+1))
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	if len(b) > maxConfig {
		return nil, fmt.Errorf("read configuration %s: it is larger than %d bytes", path, maxConfig)
	}
	c := &Config{dir: filepath.Dir(path)}
	if err := yaml.UnmarshalWithOptions(b, c, yaml.Strict()); err != nil {
		return nil, fmt.Errorf("read configuration %s: %s", path, yaml.FormatError(err, false, false))
	}
	if err := c.Check(); err != nil {
		return nil, fmt.Errorf("read configuration %s: %w", path, err)
	}
	c.lines = map[string]int{}
	if err := eachValue(b, func(path string, line int) { c.lines[path] = line }); err != nil {
		return nil, fmt.Errorf("read configuration %s: %w", path, err)
	}
	return c, nil
}

// Check fills in what is left out, and reports the first thing that cannot be
// meant.
func (c *Config) Check() error {
	c.defaults()
	if c.Data == "" {
		dir, err := DataDir()
		if err != nil {
			return fmt.Errorf("data: %w", err)
		}
		c.Data = dir
	}
	for key, address := range map[string]string{"listen.rest": c.Listen.REST, "listen.grpc": c.Listen.GRPC, "listen.admin": c.Listen.Admin} {
		if address == off {
			continue
		}
		if _, _, err := net.SplitHostPort(address); err != nil {
			return fmt.Errorf("%s: %q is not of the form HOST:PORT: write one, or \"off\"", key, address)
		}
	}
	if err := c.TLS.check(); err != nil {
		return fmt.Errorf("tls: %w", err)
	}
	for key, source := range c.secrets() {
		if err := checkSource(source); err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
	}
	for key, text := range map[string]string{"limits.principal": c.Limits.Principal, "limits.address": c.Limits.Address, "limits.everyone": c.Limits.Everyone} {
		if _, err := parseLimits(text); err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
	}
	if err := c.Tracing.check(); err != nil {
		return fmt.Errorf("tracing: %w", err)
	}
	if l := &c.Limits; min(c.Drain, c.Grace, l.HeaderTime, l.BodyTime, l.AnswerTime) < 0 {
		return errors.New("drain, grace, header_time, body_time, answer_time: a time cannot be negative")
	}
	if len(c.Models) == 0 {
		return errors.New("models: none is named: give each a name and a path or an upstream")
	}
	names := map[string]bool{}
	for i := range c.Models {
		m := &c.Models[i]
		if m.Name == "" || names[m.Name] {
			return fmt.Errorf("models[%d]: the name %q is empty or taken", i, m.Name)
		}
		names[m.Name] = true
		if err := m.check(); err != nil {
			return fmt.Errorf("model %s: %w", m.Name, err)
		}
	}
	return nil
}

// Local reports whether any model runs in this process.
func (c *Config) Local() bool {
	for _, m := range c.Models {
		for _, v := range m.Versions {
			if v.Upstream == "" {
				return true
			}
		}
	}
	return false
}

// Names are those of the models.
func (c *Config) Names() []string {
	var names []string
	for _, m := range c.Models {
		names = append(names, m.Name)
	}
	return names
}

const off = "off"

func (c *Config) defaults() {
	set := func(s *string, value string) {
		if *s == "" {
			*s = value
		}
	}
	set(&c.Name, "redoubt")
	set(&c.Listen.REST, "127.0.0.1:8443")
	set(&c.Listen.GRPC, "127.0.0.1:8444")
	set(&c.Listen.Admin, "127.0.0.1:8445")
	set(&c.Limits.Address, "600/minute")
	if c.TLS.Hosts == nil && len(c.TLS.ACME.Hosts) == 0 {
		c.TLS.Hosts = []string{"localhost", "127.0.0.1", "::1"}
	}
	if c.Identity.Origin == "" || c.Identity.Origin == c.origin {
		if _, port, err := net.SplitHostPort(c.Listen.REST); err == nil {
			c.origin = "https://localhost:" + port
			c.Identity.Origin = c.origin
		}
	}
	for _, t := range []struct {
		to    *time.Duration
		value time.Duration
	}{
		{&c.Grace, 30 * time.Second}, {&c.Policy.StepUp, 5 * time.Minute},
		{&c.Limits.HeaderTime, 10 * time.Second}, {&c.Limits.BodyTime, 30 * time.Second}, {&c.Limits.AnswerTime, 30 * time.Second},
	} {
		if *t.to == 0 {
			*t.to = t.value
		}
	}
	if c.Limits.Concurrent == 0 {
		c.Limits.Concurrent = 256
	}
	if c.Audit.Wait == nil {
		wait := true
		c.Audit.Wait = &wait
	}
	if c.Tracing.Endpoint != "" && c.Tracing.Sample == 0 {
		c.Tracing.Sample = 0.01
	}
	for i := range c.Models {
		m := &c.Models[i]
		if m.MaxBody == 0 {
			m.MaxBody = 10 << 20
		}
		if m.Timeout == 0 {
			m.Timeout = 30 * time.Second
		}
		if m.Versions == nil {
			m.Versions = []Version{{Version: "1", Path: m.Path, Upstream: m.Upstream}}
		}
	}
}

// check reports what cannot be meant of a model, before any file is opened.
func (m *Model) check() error {
	if len(m.Versions) > 0 && (m.Path != "" || m.Upstream != "") && (m.Versions[0].Path != m.Path || m.Versions[0].Upstream != m.Upstream) {
		return errors.New("path and upstream stand beside versions: write them in one of those")
	}
	for _, v := range m.Versions {
		if (v.Path == "") == (v.Upstream == "") {
			return fmt.Errorf("version %q needs either a path or an upstream", v.Version)
		}
		if v.Upstream == "" {
			continue
		}
		u, err := url.Parse(v.Upstream)
		if err != nil || u.Host == "" || u.User != nil {
			return fmt.Errorf("upstream %q is not of the form https://HOST[:PORT][/v2/models/NAME], http, grpc or grpcs", v.Upstream)
		}
	}
	if m.Open && m.Sensitive {
		return errors.New("it is both open and sensitive")
	}
	if m.MaxBody < 0 || m.Timeout < 0 {
		return errors.New("max_body, timeout: a bound cannot be negative")
	}
	if m.Clearance != "" {
		if _, err := policy.ParseClearance(m.Clearance); err != nil {
			return err
		}
	}
	for key, text := range map[string]string{"limits": m.Limits, "total": m.Total} {
		if _, err := parseLimits(text); err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
	}
	for name, r := range m.Inputs {
		if err := r.check(); err != nil {
			return fmt.Errorf("input %s: %w", name, err)
		}
	}
	return nil
}

func (r *Rule) check() error {
	if _, err := regexp.Compile(r.Pattern); err != nil {
		return fmt.Errorf("pattern: %w", err)
	}
	switch {
	case r.Min != nil && r.Max != nil && !(*r.Min <= *r.Max):
		return fmt.Errorf("min %v is above max %v", *r.Min, *r.Max)
	case r.Clip != nil && !(r.Clip[0] <= r.Clip[1]):
		return fmt.Errorf("clip %v is no interval", *r.Clip)
	case r.Elements < 0 || r.MinLength < 0 || r.MaxLength < 0 || r.MaxLength > 0 && r.MinLength > r.MaxLength:
		return errors.New("a bound is negative, or min_length is above max_length")
	}
	return nil
}

// parseLimits is limit.ParseLimits, for which "" is none.
func parseLimits(text string) ([]limit.Limit, error) {
	if text == "" {
		return nil, nil
	}
	return limit.ParseLimits(text)
}

// path is a path of the configuration, relative to its file.
func (c *Config) path(p string) string {
	if p == "" || filepath.IsAbs(p) || c.dir == "" {
		return p
	}
	return filepath.Join(c.dir, p)
}

// DataDir is the folder of a server that was told no other, in the user's folder
// for data (XDG base directory specification).
func DataDir() (string, error) {
	if dir := os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "redoubt"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("find the user's data directory: %w: name a folder", err)
	}
	return filepath.Join(home, ".local", "share", "redoubt"), nil
}
