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
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/redoubt-ml/redoubt/internal/strictyaml"
	"github.com/redoubt-ml/redoubt/serve/gateway"
	"github.com/redoubt-ml/redoubt/serve/limit"
	"github.com/redoubt-ml/redoubt/serve/policy"
)

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
	if err := strictyaml.Unmarshal(b, c); err != nil {
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
		_, port, err := net.SplitHostPort(address)
		if err == nil {
			_, err = net.LookupPort("tcp", port)
		}
		if err != nil {
			return fmt.Errorf("%s: %q is not of the form HOST:PORT: write one, or \"off\"", key, address)
		}
	}
	if err := c.TLS.check(); err != nil {
		return fmt.Errorf("tls: %w", err)
	}
	if err := c.checkIdentity(); err != nil {
		return err
	}
	for key, source := range c.secrets() {
		if err := checkSource(source); err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
	}
	for key, source := range c.secrets() {
		if strings.HasPrefix(source, "kms:") && len(c.Seal.Keys) == 0 {
			return fmt.Errorf("%s: it is sealed, and seal.keys names no key", key)
		}
	}
	if c.Seal.Remember < 0 {
		return errors.New("seal.remember: a time cannot be negative")
	}
	for key, text := range map[string]string{"limits.principal": c.Limits.Principal, "limits.address": c.Limits.Address, "limits.everyone": c.Limits.Everyone} {
		if _, err := parseLimits(text); err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
	}
	if !slices.Contains(gateway.Waits, gateway.Wait(c.Audit.Wait)) {
		return fmt.Errorf("audit.wait: %q is none of flush, write and none", c.Audit.Wait)
	}
	if strings.ContainsAny(c.Audit.Name, " +\t\n") {
		return fmt.Errorf("audit.name: %q: write a name without spaces and plus signs", c.Audit.Name)
	}
	if err := c.Tracing.check(); err != nil {
		return fmt.Errorf("tracing: %w", err)
	}
	if l := &c.Limits; min(c.Drain, c.Grace, c.Audit.Keep, c.Audit.Every, l.HeaderTime, l.BodyTime, l.AnswerTime) < 0 {
		return errors.New("drain, grace, audit.keep, audit.every, header_time, body_time, answer_time: a time cannot be negative")
	}
	if c.Limits.Concurrent < 0 || c.Limits.ConcurrentEach < 0 || c.Limits.Bodies < 0 {
		return errors.New("limits.concurrent, limits.concurrent_each, limits.bodies: a bound cannot be negative")
	}
	if err := c.Registry.check(); err != nil {
		return fmt.Errorf("registry: %w", err)
	}
	if len(c.Models) == 0 && !c.Registry.open() {
		return errors.New("models: none is named: give each a name and a path or an upstream")
	}
	names := map[string]bool{}
	for i := range c.Models {
		m := &c.Models[i]
		if m.Name == "" || names[m.Name] {
			return fmt.Errorf("models[%d]: the name %q is empty or taken", i, m.Name)
		}
		names[m.Name] = true
		if m.Registry && !c.Registry.open() {
			return fmt.Errorf("model %s: it is pushed, and registry names no keys or roots", m.Name)
		}
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
	return c.Registry.open()
}

// Pushed reports whether models may be pushed, beside those that are named.
func (c *Config) Pushed() bool { return c.Registry.open() }

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
	set(&c.Audit.Wait, string(gateway.Write))
	if name, err := os.Hostname(); err == nil {
		set(&c.Audit.Name, name+"/redoubt")
	}
	set(&c.Audit.Name, "redoubt")
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
		{&c.Grace, 30 * time.Second}, {&c.Registry.Verify, time.Hour}, {&c.Audit.Every, time.Minute}, {&c.Policy.StepUp, 5 * time.Minute},
		{&c.Limits.HeaderTime, 10 * time.Second}, {&c.Limits.BodyTime, 30 * time.Second}, {&c.Limits.AnswerTime, 30 * time.Second},
	} {
		if *t.to == 0 {
			*t.to = t.value
		}
	}
	if c.Limits.Concurrent == 0 {
		c.Limits.Concurrent = 256
	}
	if c.Limits.ConcurrentEach == 0 {
		c.Limits.ConcurrentEach = max(1, c.Limits.Concurrent/4)
	}
	if c.Tracing.Endpoint != "" && c.Tracing.Sample == 0 {
		c.Tracing.Sample = 0.01
	}
	for i := range c.Models {
		m := &c.Models[i]
		m.defaults()
		if m.Versions == nil && !m.Registry {
			m.Versions = []Version{{Version: "1", Path: m.Path, Upstream: m.Upstream}}
		}
	}
}

func (m *Model) defaults() {
	if m.MaxBody == 0 {
		m.MaxBody = 10 << 20
	}
	if m.Timeout == 0 {
		m.Timeout = modelTime
	}
}

// check reports what cannot be meant of a model, before any file is opened.
func (m *Model) check() error {
	if m.Registry && (m.Path != "" || m.Upstream != "" || m.Versions != nil) {
		return errors.New("its versions come from the registry, and path, upstream or versions stand beside that")
	}
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
	if m.Personal != nil {
		return m.Personal.check()
	}
	return nil
}

func (p *Personal) check() error {
	for key, do := range map[string]string{"inputs": p.Inputs, "outputs": p.Outputs} {
		switch do {
		case "", gateway.Note, gateway.Mask, gateway.Refuse:
		default:
			return fmt.Errorf("personal: %s: %q: must be note, mask or refuse", key, do)
		}
	}
	if p.Inputs == "" && p.Outputs == "" {
		return errors.New("personal: says nothing of inputs and outputs")
	}
	if !(p.Threshold >= 0 && p.Threshold <= 1) {
		return fmt.Errorf("personal: threshold %v: must be between 0 and 1", p.Threshold)
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
