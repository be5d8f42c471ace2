package serve

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/serve/identity"
	"github.com/redoubt-ml/redoubt/serve/oip/oippb"
	"github.com/redoubt-ml/redoubt/watch/audit"
)

// caller asks a server as one account.
type caller struct {
	t     testing.TB
	s     *Server
	token string
	http  *http.Client
	rpc   oippb.GRPCInferenceServiceClient
	conn  *grpc.ClientConn
}

func callerOf(t testing.TB, s *Server, token string) *caller {
	t.Helper()
	pem, err := os.ReadFile(s.Certificate().File())
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, MaxIdleConnsPerHost: 64}
	t.Cleanup(transport.CloseIdleConnections)
	conn, err := grpc.NewClient(s.Address("grpc"), grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{RootCAs: roots})))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &caller{t, s, token, &http.Client{Transport: transport}, oippb.NewGRPCInferenceServiceClient(conn), conn}
}

// rest asks over HTTPS and returns the status and the body; 0 without an answer.
func (c *caller) rest(method, path, body string, headers ...string) (int, string) {
	r, err := http.NewRequestWithContext(c.t.Context(), method, "https://"+c.s.Address("rest")+path, strings.NewReader(body))
	if err != nil {
		c.t.Error(err)
		return 0, ""
	}
	if c.token != "" {
		r.Header.Set("Authorization", "Bearer "+c.token)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	a, err := c.http.Do(r)
	if err != nil {
		return 0, err.Error()
	}
	defer a.Body.Close()
	b, err := io.ReadAll(a.Body)
	if err != nil {
		return 0, err.Error()
	}
	return a.StatusCode, string(b)
}

// The four ways to have an answer of the model simple, or of another. They tell
// whether the call was allowed, and anything but a refusal is an error.
var ways = map[string]func(c *caller, model string) bool{
	"rest": func(c *caller, model string) bool {
		code, body := c.rest("POST", "/v2/models/"+model+"/infer", simpleBody)
		return c.allowed(code, body)
	},
	"binary": func(c *caller, model string) bool {
		head := `{"inputs":[{"name":"INPUT0","shape":[1,16],"datatype":"INT32","parameters":{"binary_data_size":64}},{"name":"INPUT1","shape":[1,16],"datatype":"INT32","parameters":{"binary_data_size":64}}]}`
		code, body := c.rest("POST", "/v2/models/"+model+"/infer", head+strings.Repeat("\x01\x00\x00\x00", 32),
			"Inference-Header-Content-Length", fmt.Sprint(len(head)), "Content-Type", "application/octet-stream")
		return c.allowed(code, body)
	},
	"grpc": func(c *caller, model string) bool {
		ones := bytes.Repeat([]byte{1, 0, 0, 0}, 16)
		tensor := func(name string) *oippb.ModelInferRequest_InferInputTensor {
			return &oippb.ModelInferRequest_InferInputTensor{Name: name, Datatype: "INT32", Shape: []int64{1, 16}}
		}
		_, err := c.rpc.ModelInfer(c.context(), &oippb.ModelInferRequest{ModelName: model, RawInputContents: [][]byte{ones, ones},
			Inputs: []*oippb.ModelInferRequest_InferInputTensor{tensor("INPUT0"), tensor("INPUT1")}})
		return c.permitted(err)
	},
	"predict": func(c *caller, model string) bool {
		ones := "[" + strings.Repeat("1,", 15) + "1]"
		code, body := c.rest("POST", "/api/v1/models/"+model+"/predict", `{"features":{"INPUT0":`+ones+`,"INPUT1":`+ones+`}}`)
		return c.allowed(code, body)
	},
}

func (c *caller) context() context.Context {
	if c.token == "" {
		return c.t.Context()
	}
	return metadata.AppendToOutgoingContext(c.t.Context(), "authorization", "Bearer "+c.token)
}

func (c *caller) allowed(code int, body string) bool {
	if code != http.StatusOK && code != http.StatusForbidden {
		c.t.Errorf("%d %s", code, body)
	}
	return code == http.StatusOK
}

func (c *caller) permitted(err error) bool {
	if code := status.Code(err); code != codes.OK && code != codes.PermissionDenied {
		c.t.Errorf("%v", err)
	}
	return err == nil
}

// The same call is decided in the same way on every path: every role, action and
// model, with the real accounts, tokens and policies.
func TestMatrix(t *testing.T) {
	s, _ := started(t, func(c *Config) {
		c.Models = append(c.Models, Model{Name: "other", Path: c.Models[0].Path}, Model{Name: "closed", Path: c.Models[0].Path})
	})
	by := redoubt.Principal{ID: "local:0", Roles: []string{"security_admin"}, Method: "socket"}
	// What the seed gives each role: invoke, read.
	may := map[string][2]bool{
		"model_user": {true, false}, "model_developer": {true, true}, "model_admin": {true, true},
		"auditor": {false, false}, "security_admin": {false, false}, "": {false, false},
	}
	for role, want := range may {
		for _, scope := range []string{"", "model:simple:invoke", "model:other:*"} {
			var roles, scopes []string
			if role != "" {
				roles = []string{role}
			}
			if scope != "" {
				scopes = []string{scope}
			}
			a, err := s.Identity().CreateService(t.Context(), by, fmt.Sprintf("%s-%d", strings.ReplaceAll("x"+role, "_", "-"), len(scope)), roles, nil)
			if err != nil {
				t.Fatal(err)
			}
			_, token, err := s.Identity().CreateToken(t.Context(), by, identity.Token{Account: a.ID, Name: "t", Scopes: scopes})
			if err != nil {
				t.Fatal(err)
			}
			c := callerOf(t, s, token)
			for _, model := range []string{"simple", "other"} {
				invoke := want[0] && (scope == "" || strings.HasPrefix(scope, "model:"+model+":"))
				read := want[1] && (scope == "" || scope == "model:"+model+":*")
				for name, way := range ways {
					if got := way(c, model); got != invoke {
						t.Errorf("%q with scope %q invokes %s over %s: %v, want %v", role, scope, model, name, got, invoke)
					}
				}
				code, body := c.rest("GET", "/v2/models/"+model+"/config", "")
				if got := c.allowed(code, body); got != read {
					t.Errorf("%q with scope %q reads %s: %v, want %v", role, scope, model, got, read)
				}
				_, err := c.rpc.ModelConfig(c.context(), &oippb.ModelConfigRequest{Name: model})
				if got := c.permitted(err); got != read {
					t.Errorf("%q with scope %q reads %s over gRPC: %v, want %v", role, scope, model, got, read)
				}
			}
		}
	}
}

// A model that the configuration opens is for everybody, and no other is. Wrong
// credentials are refused all the same.
func TestOpenModel(t *testing.T) {
	s, token := started(t, func(c *Config) {
		c.Models[0].Open = true
		c.Models = append(c.Models, Model{Name: "other", Path: c.Models[0].Path})
	})
	nobody, wrong, known := callerOf(t, s, ""), callerOf(t, s, "rdt_wrong"), callerOf(t, s, token)
	for _, c := range []struct {
		who         *caller
		model, path string
		want        int
		grpc        codes.Code
	}{
		{nobody, "simple", "", 200, codes.OK}, {known, "simple", "", 200, codes.OK},
		{wrong, "simple", "", 401, codes.Unauthenticated},
		{nobody, "other", "", 401, codes.Unauthenticated}, {nobody, "none", "", 401, codes.Unauthenticated},
		{nobody, "simple", "/config", 403, codes.OK},
	} {
		method, body, path := "POST", simpleBody, "/v2/models/"+c.model+"/infer"
		if c.path != "" {
			method, body, path = "GET", "", "/v2/models/"+c.model+c.path
		}
		if code, answer := c.who.rest(method, path, body); code != c.want {
			t.Errorf("%q to %s: %d %s, want %d", c.who.token, path, code, answer, c.want)
		}
		_, err := c.who.rpc.ModelMetadata(c.who.context(), &oippb.ModelMetadataRequest{Name: c.model})
		if status.Code(err) != c.grpc {
			t.Errorf("%q to %s over gRPC: %v, want %v", c.who.token, c.model, err, c.grpc)
		}
	}
	n := 0
	for e, err := range audit.Read(t.Context(), s.auditDir(), audit.Filter{Resource: "model:simple", Action: "model.invoke", Outcome: redoubt.Allowed}) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Actor == "" {
			n++
		}
	}
	if n != 1 {
		t.Errorf("%d anonymous calls are on record", n)
	}
}

// A token that is revoked is refused by the next call, on every path.
func TestRevocationIsImmediate(t *testing.T) {
	s, token := started(t, nil)
	c := callerOf(t, s, token)
	for name, way := range ways {
		if !way(c, "simple") {
			t.Errorf("%s before", name)
		}
	}
	by := redoubt.Principal{ID: "local:0", Method: "socket"}
	for _, k := range s.Identity().Tokens("") {
		if err := s.Identity().RevokeToken(t.Context(), by, k.ID); err != nil {
			t.Fatal(err)
		}
	}
	if code, body := c.rest("POST", "/v2/models/simple/infer", simpleBody); code != http.StatusUnauthorized {
		t.Errorf("REST: %d %s", code, body)
	}
	if _, err := c.rpc.ModelMetadata(c.context(), &oippb.ModelMetadataRequest{Name: "simple"}); status.Code(err) != codes.Unauthenticated {
		t.Errorf("gRPC: %v", err)
	}
}

// Everything that was answered, and everything that was refused, is in the log,
// whose chain is whole.
func TestEverythingIsOnRecord(t *testing.T) {
	s, token := started(t, nil)
	c, wrong := callerOf(t, s, token), callerOf(t, s, "rdt_wrong")
	for _, way := range ways {
		way(c, "simple")
		way(c, "none")
	}
	wrong.rest("GET", "/v2", "")
	dir := filepath.Join(s.cfg.Data, "audit")
	s.log.Record(t.Context(), redoubt.Event{Action: "test.end", Outcome: redoubt.Allowed})
	got := map[string]int{}
	for e, err := range audit.Read(t.Context(), dir, audit.Filter{Action: "model."}) {
		if err != nil {
			t.Fatal(err)
		}
		got[fmt.Sprintf("%s %s %s", e.Resource, e.Outcome, e.Details["path"])]++
	}
	for _, want := range []string{
		"model:simple allowed rest", "model:simple allowed binary", "model:simple allowed grpc", "model:simple allowed predict",
		"model:none denied rest", "model:none denied binary", "model:none denied grpc", "model:none denied predict", "model:* denied rest",
	} {
		if got[want] != 1 {
			t.Errorf("%d entries of %q", got[want], want)
		}
	}
	if report, err := audit.Verify(t.Context(), dir, audit.Trust{}); err != nil {
		t.Errorf("%+v, %v", report, err)
	}
}

// A server that is told to stop answers what it was asked, and loses no entry.
func TestDrain(t *testing.T) {
	s, token := started(t, func(c *Config) { c.Drain, c.Grace = 300*time.Millisecond, 5*time.Second })
	c := callerOf(t, s, token)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	var answered, failed atomic.Int64
	var clients sync.WaitGroup
	for range 16 {
		clients.Go(func() {
			for s.gateway.Ready() { // as a load balancer would
				if code, body := c.rest("POST", "/v2/models/simple/infer", simpleBody); code == http.StatusOK {
					answered.Add(1)
				} else {
					failed.Add(1)
					t.Errorf("%d %s", code, body)
				}
			}
		})
	}
	time.Sleep(200 * time.Millisecond)
	stop()
	clients.Wait()
	if err := <-ended; err != nil {
		t.Errorf("the server ended with %v", err)
	}
	if answered.Load() == 0 {
		t.Error("nothing was answered")
	}
	n := int64(0)
	for _, err := range audit.Read(context.Background(), filepath.Join(s.cfg.Data, "audit"), audit.Filter{Action: "model.invoke", Outcome: redoubt.Allowed}) {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	if n != answered.Load() {
		t.Errorf("%d answers, %d entries", answered.Load(), n)
	}
}

// The control API describes itself, in the form that tools read.
func TestOpenAPI(t *testing.T) {
	s, token := started(t, nil)
	code, body := callerOf(t, s, token).rest("GET", "/api/v1/openapi.json", "")
	var doc struct {
		OpenAPI string `json:"openapi"`
		Paths   map[string]map[string]struct {
			OperationID string `json:"operationId"`
		}
	}
	if err := json.Unmarshal([]byte(body), &doc); code != 200 || err != nil || !strings.HasPrefix(doc.OpenAPI, "3.1") {
		t.Fatalf("%d %v %.200s", code, err, body)
	}
	for _, path := range []string{"/api/v1/accounts", "/api/v1/tokens", "/api/v1/models", "/api/v1/me"} {
		if len(doc.Paths[path]) == 0 {
			t.Errorf("nothing about %s", path)
		}
	}
}
