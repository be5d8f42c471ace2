package remote

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redoubt-ml/redoubt/ml/model"
	"github.com/redoubt-ml/redoubt/ml/remote/remotetest"
)

// failing answers the first n inferences with something else.
func failing(n int, answer func(w http.ResponseWriter)) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPost || n == 0 {
			return false
		}
		n--
		answer(w)
		return true
	}
}

func status(code int, header ...string) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) {
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(code)
	}
}

// broken cuts the connection in the middle of an answer.
func broken(w http.ResponseWriter) {
	w.Header().Set("Content-Length", "1000")
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write([]byte(`{"outputs":[`))
	panic(http.ErrAbortHandler)
}

func TestPassingFailuresAreTriedAgain(t *testing.T) {
	for name, c := range map[string]struct {
		answer  func(http.ResponseWriter)
		wait    time.Duration // 0: a pause of our own
		charged bool
	}{
		"429 with Retry-After": {status(429, "Retry-After", "7"), 7 * time.Second, false},
		"503 with a date":      {status(503, "Retry-After", time.Now().Add(time.Minute).UTC().Format(http.TimeFormat)), time.Minute, true},
		"502":                  {status(502), 0, true},
		"504":                  {status(504), 0, true},
		"broken off":           {broken, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := &remotetest.Server{}
			address, cfg := start(t, s)
			e, pauses := ready(t, address+"/v2/models/net", cfg)
			s.Fault = failing(2, c.answer)
			before := e.Account()
			if _, err := e.Scores(t.Context(), samples(3)); err != nil {
				t.Fatal(err)
			}
			if len(*pauses) != 2 {
				t.Fatalf("pauses %v, want two", *pauses)
			}
			for i, p := range *pauses {
				lo, hi := firstPause<<i/2, firstPause<<i
				if c.wait > 0 {
					lo, hi = c.wait-3*time.Second, c.wait
				}
				if p < lo || p > hi {
					t.Errorf("pause %d is %v, want %v to %v", i, p, lo, hi)
				}
			}
			after, queries := e.Account(), int64(3)
			if c.charged {
				queries = 9
			}
			if got := after.Queries - before.Queries; got != queries || after.Retried-before.Retried != 2 {
				t.Errorf("account: %d queries and %d retries, want %d and 2", got, after.Retried-before.Retried, queries)
			}
		})
	}
}

func TestLastingFailuresAreNot(t *testing.T) {
	body := func(s string) func(http.ResponseWriter) {
		return func(w http.ResponseWriter) { _, _ = w.Write([]byte(s)) }
	}
	output := func(shape, data string) func(http.ResponseWriter) {
		return body(`{"outputs":[{"name":"scores","datatype":"FP32","shape":` + shape + `,"data":` + data + `}]}`)
	}
	for name, c := range map[string]struct {
		answer func(http.ResponseWriter)
		want   string
	}{
		"400":             {status(400), "400 Bad Request"},
		"401":             {status(401), "--token env:NAME"},
		"500":             {status(500), "500 Internal Server Error"},
		"redirect":        {status(307, "Location", "https://elsewhere.example/infer"), "https://elsewhere.example/infer"},
		"truncated":       {body(`{"outputs":[{"name":"scores","shape":[3,`), "unexpected end of JSON"},
		"NaN":             {output("[3,3]", "[1,2,NaN,1,2,3,1,2,3]"), "invalid character 'N'"},
		"not JSON":        {body("<html>"), "invalid character '<'"},
		"too few rows":    {output("[2,3]", "[1,2,3,1,2,3]"), "[2 3] for 3 samples"},
		"too few numbers": {output("[3,3]", "[1,2,3]"), "3 elements"},
		"other classes":   {output("[3,2]", "[1,2,1,2,1,2]"), "something else"},
		"huge shape":      {output("[3,3074457345618258603]", "[1]"), "has the shape"},
		"negative shape":  {output("[3,-3]", "[1]"), "has the shape"},
		"words":           {output("[3,1]", `["a","b","c"]`), "something else"},
		"another output":  {body(`{"outputs":[{"name":"other","shape":[3],"data":[1]}]}`), `no output "scores"`},
		"binary length":   {func(w http.ResponseWriter) { w.Header().Set(headerLength, "99"); _, _ = w.Write([]byte("{}")) }, "99"},
		"announced huge":  {func(w http.ResponseWriter) { w.Header().Set("Content-Length", strconv.Itoa(1<<40)); w.WriteHeader(200) }, "1099511627776 bytes"},
		"endless":         {endless, "more than the"},
	} {
		t.Run(name, func(t *testing.T) {
			s := &remotetest.Server{}
			address, cfg := start(t, s)
			e, pauses := ready(t, address+"/v2/models/net", cfg)
			s.Fault = failing(1, c.answer)
			_, err := e.Scores(t.Context(), samples(3))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("error %v, want one with %q", err, c.want)
			}
			if len(*pauses) > 0 {
				t.Errorf("waited %v before giving up", *pauses)
			}
			if _, err := e.Scores(t.Context(), samples(3)); err != nil {
				t.Errorf("afterwards: %v", err)
			}
		})
	}
}

func endless(w http.ResponseWriter) {
	chunk := []byte(strings.Repeat(" ", 1<<16))
	for range 100 {
		if _, err := w.Write(chunk); err != nil {
			return
		}
	}
}

func TestBudgetIsExact(t *testing.T) {
	s := &remotetest.Server{Batch: 4}
	address, cfg := start(t, s)
	cfg.Budget = 30
	e, _ := ready(t, address+"/v2/models/net", cfg) // five
	if _, err := e.Scores(t.Context(), samples(20)); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Scores(t.Context(), samples(6)); !errors.Is(err, model.ErrBudget) {
		t.Fatalf("six of five left: %v", err)
	}
	if got := s.Samples(); got != 25 {
		t.Errorf("the server answered %d, want 25: a call that is too large must not begin", got)
	}
	if _, err := e.Scores(t.Context(), samples(5)); err != nil {
		t.Fatalf("the last five: %v", err)
	}
	if _, err := e.Scores(t.Context(), samples(1)); !errors.Is(err, model.ErrBudget) {
		t.Fatalf("one more: %v", err)
	}
	if left, limited := e.Left(); s.Samples() != 30 || left != 0 || !limited {
		t.Errorf("the server answered %d of 30, left %d", s.Samples(), left)
	}
}

// A server that fails may have done the work: trying again costs, and stops at
// the budget.
func TestRetriesSpendTheBudget(t *testing.T) {
	asked := 0
	s := &remotetest.Server{}
	address, cfg := start(t, s)
	cfg.Budget = 5 + 9
	e, _ := ready(t, address+"/v2/models/net", cfg)
	s.Fault = failing(100, func(w http.ResponseWriter) { asked++; w.WriteHeader(503) })
	if _, err := e.Scores(t.Context(), samples(3)); !errors.Is(err, model.ErrBudget) || asked != 3 {
		t.Errorf("asked %d times with a budget for three, then %v", asked, err)
	}
}

func TestRateIsKept(t *testing.T) {
	address, cfg := start(t, &remotetest.Server{})
	cfg.Rate = 20
	e, pauses := ready(t, address+"/v2/models/net", cfg)
	clock := time.Now()
	e.client.now, e.client.ready = func() time.Time { return clock }, clock
	e.client.wait = func(_ context.Context, d time.Duration) error {
		*pauses = append(*pauses, d)
		clock = clock.Add(d)
		return nil
	}
	begin := clock
	if _, err := e.Scores(t.Context(), samples(100)); err != nil {
		t.Fatal(err)
	}
	// Five requests of a second's worth each: the last leaves after four seconds.
	if got := clock.Sub(begin).Round(time.Millisecond); got != 4*time.Second {
		t.Errorf("100 samples at 20 a second took %v, want 4s until the last request", got)
	}
}

func TestSlowServerIsGivenUp(t *testing.T) {
	s := &remotetest.Server{}
	address, cfg := start(t, s)
	cfg.Timeout = 100 * time.Millisecond
	e, pauses := ready(t, address+"/v2/models/net", cfg)
	s.Fault = func(_ http.ResponseWriter, r *http.Request) bool {
		_, _ = io.Copy(io.Discard, r.Body) // until then nobody notices that the client left
		<-r.Context().Done()
		return true
	}
	_, err := e.Scores(t.Context(), samples(1))
	if err == nil || !strings.Contains(err.Error(), "tried 5 times") || len(*pauses) != 4 {
		t.Errorf("after pauses %v: %v", *pauses, err)
	}
}

func TestLongWaitsAreRefused(t *testing.T) {
	s := &remotetest.Server{}
	address, cfg := start(t, s)
	e, _ := ready(t, address+"/v2/models/net", cfg)
	s.Fault = failing(1, status(429, "Retry-After", "3600"))
	if _, err := e.Scores(t.Context(), samples(1)); err == nil || !strings.Contains(err.Error(), "1h0m0s") {
		t.Errorf("told to wait an hour: %v", err)
	}
}

func TestTokenIsSentAndNeverShown(t *testing.T) {
	s := &remotetest.Server{Token: "s3cret"}
	address, cfg := start(t, s)
	_, err := Open(t.Context(), address+"/v2/models/net", cfg)
	if err == nil || !strings.Contains(err.Error(), "401") {
		t.Fatalf("without a token: %v", err)
	}
	cfg.Token = "wrong-s3cret"
	if _, err = Open(t.Context(), address+"/v2/models/net", cfg); err == nil || strings.Contains(err.Error(), cfg.Token) || !strings.Contains(err.Error(), "[token]") {
		t.Errorf("a server that repeats the token: %v", err)
	}
	cfg.Token = "s3cret"
	ready(t, address+"/v2/models/net", cfg)
}

func TestCertificatesAreVerified(t *testing.T) {
	address, _ := start(t, &remotetest.Server{})
	begin := time.Now()
	if _, err := Open(t.Context(), address+"/v2/models/net", Config{}); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("a certificate of nobody: %v", err)
	}
	if d := time.Since(begin); d > firstPause/2 {
		t.Errorf("gave up after %v: it will not become valid by waiting", d)
	}
}

func TestAddressesThatAreRefused(t *testing.T) {
	for address, want := range map[string]string{
		"http://example.com/v2/models/m":             "unprotected",
		"https://user:pw@example.com/v2/models/m":    "token instead",
		"https://example.com/v2/models/m?key=s3cret": "query",
		"https:///v2/models/m":                       "no host",
		"https://127.0.0.1:1/elsewhere":              "--request",
		"https://127.0.0.1:1/v2/models/a/b":          "--request",
	} {
		_, err := Open(t.Context(), address, Config{})
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "s3cret") || strings.Contains(err.Error(), "pw@") {
			t.Errorf("%s: %v, want an error with %q and no secret", address, err, want)
		}
	}
}

func TestSecretsComeFromElsewhere(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(" abc\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("REMOTE_TEST_TOKEN", "def")
	for source, want := range map[string]string{"file:" + file: "abc", "env:REMOTE_TEST_TOKEN": "def"} {
		if got, err := Secret(source); got != want || err != nil {
			t.Errorf("%s: %q, %v", source, got, err)
		}
	}
	for _, source := range []string{"hunter2", "env:REMOTE_TEST_NONE", "file:/no/such/file"} {
		if _, err := Secret(source); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: error %v", source, err)
		}
	}
}
