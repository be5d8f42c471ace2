package serve

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/redoubt-ml/redoubt/internal/need"
	"github.com/redoubt-ml/redoubt/serve/identity"
	"github.com/redoubt-ml/redoubt/store/storetest"
)

// scrape is what Prometheus is told.
func scrape(t *testing.T, s *Server) string {
	t.Helper()
	a, err := http.Get("http://" + s.Address("admin") + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	b, err := io.ReadAll(a.Body)
	if err != nil || a.StatusCode != http.StatusOK {
		t.Fatalf("%d, %v: %s", a.StatusCode, err, b)
	}
	return string(b)
}

// tells checks the lines of a scrape, patterns that match the whole of one.
func tells(t *testing.T, said string, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if !regexp.MustCompile("(?m)^" + line + "$").MatchString(said) {
			t.Errorf("no line %s in\n%s", line, said)
		}
	}
}

// What is told is what happened: calls and what ended them, runs of versions, logins,
// the configuration and the certificate.
func TestMetrics(t *testing.T) {
	s, token := started(t, func(c *Config) {
		c.Models[0].Limits = "3/hour"
		c.Models = append(c.Models, Model{Name: "closed", Path: c.Models[0].Path})
	})
	c, stranger := callerOf(t, s, token), callerOf(t, s, "")
	for range 2 {
		c.rest("POST", "/v2/models/simple/infer", simpleBody)
	}
	c.rest("POST", "/v2/models/simple/infer", `{"inputs":[]}`)
	c.rest("POST", "/v2/models/simple/infer", simpleBody)
	stranger.rest("POST", "/v2/models/simple/infer", simpleBody)
	stranger.rest("GET", "/api/v1/accounts", "")
	c.rest("POST", "/v2/models/"+strings.Repeat("x", 100)+"/infer", simpleBody)
	_, _, err := s.who.Login(t.Context(), "nobody", "no such password", identity.Client{From: netip.MustParseAddr("192.0.2.1")})
	if err == nil {
		t.Fatal("somebody signed in")
	}
	const brief = `([1-9](\.[0-9]+)?e-0[1-9]|0\.[0-9]*[1-9][0-9]*)` // more than nothing, less than a second
	said := scrape(t, s)
	tells(t, said,
		`redoubt_gateway_request_seconds_count{code="ok",model="simple",path="rest"} 2`,
		`redoubt_gateway_errors_total{code="bad-input",guard="decode",model="simple"} 1`,
		`redoubt_gateway_errors_total{code="limited",guard="limit",model="simple"} 1`,
		`redoubt_gateway_errors_total{code="unauthenticated",guard="authenticate",model=""} 2`,
		`redoubt_gateway_errors_total{code="denied",guard="permit",model=""} 1`,
		`redoubt_model_requests_total{model="simple",outcome="success",version="1"} 2`,
		`redoubt_model_requests_total{model="simple",outcome="failure",version="1"} 0`,
		`redoubt_model_requests_total{model="closed",outcome="success",version="1"} 0`,
		`redoubt_model_rows_total{model="simple",version="1"} 2`,
		`redoubt_model_runs_total{model="simple",version="1"} [12]`,
		`redoubt_model_run_seconds_total{model="simple",version="1"} `+brief,
		`redoubt_model_queue_seconds_total{model="simple",version="1"} `+brief,
		`redoubt_model_queue_requests{model="simple",version="1"} 0`,
		`redoubt_model_admitted{model="simple",version="1"} 1`,
		`redoubt_identity_events_total{action="session.login",outcome="denied"} 1`,
		`redoubt_identity_events_total{action="token.create",outcome="allowed"} 1`,
		`redoubt_build_info{go="go.*",version=".*"} 1`,
		`redoubt_ready 1`, `redoubt_store_answers 1`, `redoubt_audit_writable 1`,
		`redoubt_config_last_reload_successful 1`,
		`redoubt_certificate_expiry_timestamp_seconds `+regexp.QuoteMeta(fmt.Sprint(seconds(s.Certificate().Expires()))),
	)
	if strings.Contains(said, "xxxx") {
		t.Error("a label holds what a client chose")
	}
	problems, err := promlint.New(strings.NewReader(said)).Lint()
	if err != nil || len(problems) > 0 {
		t.Errorf("Prometheus finds fault with %v (%v)", problems, err)
	}

	before := regexp.MustCompile(`(?m)^redoubt_config_last_reload_success_timestamp_seconds .*$`).FindString(said)
	if s.Reload(t.Context(), func() (*Config, error) { return nil, errors.New("no") }) == nil {
		t.Fatal("it was reloaded")
	}
	s.gateway.SetReady(false)
	tells(t, scrape(t, s), `redoubt_config_last_reload_successful 0`, regexp.QuoteMeta(before), `redoubt_ready 0`)
	time.Sleep(2 * time.Millisecond)
	if err := s.Reload(t.Context(), func() (*Config, error) { return s.cfg, nil }); err != nil {
		t.Fatal(err)
	}
	if said := scrape(t, s); strings.Contains(said, before) {
		t.Error("a reload does not count as one")
	} else {
		tells(t, said, `redoubt_config_last_reload_successful 1`)
	}
}

// A scrape tells what is lost, and does not wait for it.
func TestMetricsOfWhatIsLost(t *testing.T) {
	pg, redis := storetest.StartPostgres(t), &redisServer{socket: filepath.Join(t.TempDir(), "redis.sock")}
	redis.start(t)
	t.Cleanup(redis.kill)
	t.Setenv("DATABASE", pg.Database(t))
	t.Setenv("SEALING", strings.Repeat("5a", 32))
	t.Setenv("REDIS", "unix://"+redis.socket)
	s, token := started(t, func(c *Config) {
		c.Store, c.Key, c.Limits.Redis, c.Limits.Everyone = "env:DATABASE", "env:SEALING", "env:REDIS", "1000/minute"
	})
	c := callerOf(t, s, token)
	ask := func() { c.rest("POST", "/v2/models/simple/infer", simpleBody) }
	ask()
	tells(t, scrape(t, s), `redoubt_store_answers 1`, `redoubt_redis_answers 1`)
	pg.Stop()
	redis.kill()
	ask()
	began := time.Now()
	tells(t, scrape(t, s), `redoubt_store_answers 0`, `redoubt_redis_answers 0`, `redoubt_ready 1`)
	if took := time.Since(began); took > 4*askTime {
		t.Errorf("a scrape took %v", took)
	}
}

// Every metric is in the documentation, nothing there is missing, and alarms are made
// of what there is.
func TestMetricsAreDocumented(t *testing.T) {
	s, _ := started(t, nil)
	doc, err := os.ReadFile(need.Root(t) + "/docs/serving.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(doc), "### Metrics\n")
	section, _, _ = strings.Cut(section, "\n### ")
	names := func(text, pattern string) []string {
		var out []string
		for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
			out = append(out, m[1])
		}
		slices.Sort(out)
		return slices.Compact(out)
	}
	documented := names(section, "(?m)^\\| `(redoubt_[a-z_]+)")
	var told []string
	for _, f := range sources(t) {
		told = append(told, names(f, `"(redoubt_[a-z_]+)"`)...)
	}
	slices.Sort(told)
	if told = slices.Compact(told); !slices.Equal(documented, told) {
		t.Errorf("documented are\n%q\nand there are\n%q", documented, told)
	}
	alarms, err := os.ReadFile(need.Root(t) + "/docs/alarms.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names(string(alarms), `(redoubt_[a-z_]+)`) {
		if !slices.Contains(documented, strings.TrimSuffix(name, "_count")) {
			t.Errorf("an alarm is made of %s, which there is not", name)
		}
	}
	for _, name := range names(scrape(t, s), `(?m)^# TYPE (redoubt_[a-z_]+) `) {
		if !slices.Contains(documented, name) {
			t.Errorf("%s is not documented", name)
		}
	}
}

func sources(t *testing.T) []string {
	var out []string
	for _, name := range []string{"metrics.go", "gateway/metrics.go"} {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, string(b))
	}
	return out
}
