package serve

import (
	"bytes"
	"context"
	"crypto"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/ml/onnx"
	"github.com/redoubt-ml/redoubt/serve/oip/oippb"
	"github.com/redoubt-ml/redoubt/serve/policy"
	"github.com/redoubt-ml/redoubt/serve/policy/admin"
	"github.com/redoubt-ml/redoubt/serve/seal"
	"github.com/redoubt-ml/redoubt/store"
	"github.com/redoubt-ml/redoubt/supply/sign"
	"github.com/redoubt-ml/redoubt/watch/audit"
)

// signers are those who sign models and attest, with their public keys in files.
type signers struct {
	model, attester         crypto.Signer
	modelFile, attesterFile string
}

func newSigners(t *testing.T) *signers {
	t.Helper()
	s := &signers{}
	dir := t.TempDir()
	for name, to := range map[string]struct {
		key  *crypto.Signer
		file *string
	}{"model": {&s.model, &s.modelFile}, "attester": {&s.attester, &s.attesterFile}} {
		k, err := sign.GenerateKey("p256")
		if err != nil {
			t.Fatal(err)
		}
		text, err := sign.MarshalPublicKey(k.Public())
		if err != nil {
			t.Fatal(err)
		}
		*to.key, *to.file = k, filepath.Join(dir, name+".pub")
		write(t, *to.file, text)
	}
	return s
}

func write(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// parcel is a version with what was signed of it.
type parcel struct {
	content                  []byte
	signatures, attestations [][]byte
}

// parcel is the simple model, in different bytes for each n, with everything that
// is asked for; the assessment holds for a time.
func (s *signers) parcel(t *testing.T, n int, life time.Duration) parcel {
	t.Helper()
	m, err := onnx.Read(simple(t), onnx.DefaultLimits)
	if err != nil {
		t.Fatal(err)
	}
	m.Graph.Name = fmt.Sprint("simple-", n)
	content, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "simple.onnx")
	write(t, path, content)
	manifest, err := sign.Hashing{}.Manifest(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	signature, err := (&sign.Signer{Key: s.model}).Sign(manifest)
	if err != nil {
		t.Fatal(err)
	}
	p := parcel{content: content, signatures: [][]byte{signature}}
	now := time.Now()
	for _, a := range []sign.Attestation{
		{Kind: sign.Scan, Verdict: "safe", Expires: now.Add(time.Hour)},
		{Kind: sign.Assessment, Verdict: redoubt.Trustworthy, Expires: now.Add(life), Numbers: map[string]float64{"robust_accuracy[linf@0.3]": 0.7}},
	} {
		a.Subject, a.File, a.Issued = manifest.Root(), redoubt.DigestBytes(content), now.Add(-time.Second)
		bundle, err := (&sign.Signer{Key: s.attester}).Attest("simple.onnx", &a)
		if err != nil {
			t.Fatal(err)
		}
		p.attestations = append(p.attestations, bundle)
	}
	return p
}

func base64s(list [][]byte) []string {
	out := []string{}
	for _, b := range list {
		out = append(out, base64.StdEncoding.EncodeToString(b))
	}
	return out
}

// registered starts a server with a registry, and returns who may deploy.
func registered(t *testing.T, s *signers, change func(*Config)) (*Server, *caller) {
	t.Helper()
	srv, _ := started(t, func(c *Config) {
		c.Registry = Registry{Keys: []string{s.modelFile}, Attesters: []string{s.attesterFile}, Require: []string{"robust_accuracy[linf@0.3]>=0.5", "scan"}}
		c.Policy.MachinesDeploy = true
		if change != nil {
			change(c)
		}
	})
	return srv, accountOf(t, srv, "deployer", "model_admin")
}

// accountOf makes an account, and returns a caller with a token of it.
func accountOf(t *testing.T, s *Server, name, role string, scopes ...string) *caller {
	t.Helper()
	a, err := s.Identity().CreateService(t.Context(), redoubt.Principal{ID: "local:0"}, name, []string{role}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return callerOf(t, s, tokenOf(t, s, a.ID, scopes...))
}

// push puts and pushes a version of the model pushed.
func (c *caller) push(p parcel, stage string) (int, string) {
	c.t.Helper()
	digest := string(redoubt.DigestBytes(p.content))
	if code, body := c.rest("PUT", "/api/v1/models/pushed/weights/"+digest, string(p.content), "Content-Type", "application/octet-stream"); code != 204 {
		return code, body
	}
	in := map[string]any{"file": "simple.onnx", "digest": digest, "signatures": base64s(p.signatures), "attestations": base64s(p.attestations)}
	if stage != "" {
		in["stage"] = stage
	}
	b, err := json.Marshal(in)
	if err != nil {
		c.t.Fatal(err)
	}
	return c.rest("POST", "/api/v1/models/pushed/versions", string(b))
}

func (c *caller) mustPush(p parcel, stage string) {
	c.t.Helper()
	if code, body := c.push(p, stage); code != 200 {
		c.t.Fatalf("push: %d %s", code, body)
	}
}

// must is rest for what succeeds.
func (c *caller) must(method, path, body string) string {
	c.t.Helper()
	code, answer := c.rest(method, path, body)
	if code != 200 && code != 204 {
		c.t.Fatalf("%s %s: %d %s", method, path, code, answer)
	}
	return answer
}

// pathsTo are all ways to the model pushed by the name of a version, "" for none.
// Each returns whether there was an answer, which version gave it, and what was
// said.
func (c *caller) pathsTo(version string) map[string]func() (bool, string, string) {
	at := ""
	if version != "" {
		at = "/versions/" + version
	}
	ones := "[" + strings.Repeat("1,", 15) + "1]"
	head := `{"inputs":[{"name":"INPUT0","shape":[1,16],"datatype":"INT32","parameters":{"binary_data_size":64}},{"name":"INPUT1","shape":[1,16],"datatype":"INT32","parameters":{"binary_data_size":64}}]}`
	over := func(path, body string, headers ...string) func() (bool, string, string) {
		return func() (bool, string, string) {
			code, answer := c.rest("POST", path, body, headers...)
			_, rest, _ := strings.Cut(answer, `"model_version":"`)
			v, _, _ := strings.Cut(rest, `"`)
			return code == 200, v, answer
		}
	}
	ask := func() *oippb.ModelInferRequest {
		b := bytes.Repeat([]byte{1, 0, 0, 0}, 16)
		tensor := func(name string) *oippb.ModelInferRequest_InferInputTensor {
			return &oippb.ModelInferRequest_InferInputTensor{Name: name, Datatype: "INT32", Shape: []int64{1, 16}}
		}
		return &oippb.ModelInferRequest{ModelName: "pushed", ModelVersion: version, RawInputContents: [][]byte{b, b},
			Inputs: []*oippb.ModelInferRequest_InferInputTensor{tensor("INPUT0"), tensor("INPUT1")}}
	}
	return map[string]func() (bool, string, string){
		"rest":    over("/v2/models/pushed"+at+"/infer", simpleBody),
		"binary":  over("/v2/models/pushed"+at+"/infer", head+strings.Repeat("\x01\x00\x00\x00", 32), "Inference-Header-Content-Length", fmt.Sprint(len(head)), "Content-Type", "application/octet-stream"),
		"predict": over("/api/v1/models/pushed"+at+"/predict", `{"features":{"INPUT0":`+ones+`,"INPUT1":`+ones+`}}`),
		"grpc": func() (bool, string, string) {
			a, err := c.rpc.ModelInfer(c.context(), ask())
			return err == nil, a.GetModelVersion(), fmt.Sprint(err)
		},
		"stream": func() (bool, string, string) {
			ctx, cancel := context.WithCancel(c.context())
			defer cancel()
			stream, err := c.rpc.ModelStreamInfer(ctx)
			if err == nil {
				err = stream.Send(ask())
			}
			if err != nil {
				return false, "", err.Error()
			}
			a, err := stream.Recv()
			if err != nil {
				return false, "", err.Error()
			}
			return a.GetErrorMessage() == "", a.GetInferResponse().GetModelVersion(), a.GetErrorMessage()
		},
	}
}

// routed checks that every path to each name leads to the wanted version, or with
// "" to none, and then is told why.
func (c *caller) routed(when string, want map[string]string, why string) {
	c.t.Helper()
	for name, version := range want {
		for path, call := range c.pathsTo(name) {
			ok, got, said := call()
			switch {
			case version == "" && ok:
				c.t.Errorf("%s: %s to %q reaches version %s", when, path, name, got)
			case version == "" && !strings.Contains(strings.ReplaceAll(said, `\u003e`, ">"), why):
				c.t.Errorf("%s: %s to %q is told %q, want %q", when, path, name, said, why)
			case version != "" && (!ok || got != version):
				c.t.Errorf("%s: %s to %q reaches %q, want %s: %s", when, path, name, got, version, said)
			}
		}
	}
}

// No path leads to a version that must not be routed to: whatever the path, the
// name, and how it came to be inadmissible.
func TestInadmissibleVersionsAreNotRouted(t *testing.T) {
	all := map[string]string{"": "1", "1": "1", "champion": "1", "2": "2", "challenger": "2"}
	first := map[string]string{"": "", "1": "", "champion": "", "2": "2", "challenger": "2"}
	both := map[string]string{"": "", "1": "", "champion": "", "2": "", "challenger": ""}
	reload := func(change func(c *Config, other *signers)) func(*testing.T, *Server, string) {
		return func(t *testing.T, s *Server, _ string) {
			other := newSigners(t)
			if err := s.Reload(t.Context(), changed(s, func(c *Config) { change(c, other) })); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, c := range map[string]struct {
		change func(t *testing.T, s *Server, weights string)
		why    string
		want   map[string]string
	}{
		"a flipped byte": {func(t *testing.T, _ *Server, weights string) {
			b, err := os.ReadFile(weights)
			if err != nil {
				t.Fatal(err)
			}
			b[len(b)-20] ^= 1
			write(t, weights, b)
		}, "weights: ", first},
		"the weights are gone": {func(t *testing.T, _ *Server, weights string) {
			if err := os.Remove(weights); err != nil {
				t.Fatal(err)
			}
		}, "weights: ", first},
		"the signer is removed":   {reload(func(c *Config, o *signers) { c.Registry.Keys = []string{o.modelFile} }), "signature: ", both},
		"the attester is removed": {reload(func(c *Config, o *signers) { c.Registry.Attesters = []string{o.attesterFile} }), "attestation robust_accuracy[linf@0.3]>=0.5: ", both},
		"the bar is raised":       {reload(func(c *Config, _ *signers) { c.Registry.Require = []string{"robust_accuracy[linf@0.3]>=0.8"} }), "0.7 was measured", both},
		"another signature in the store": {func(t *testing.T, s *Server, _ string) {
			corrupt(t, s, func(versions []any) { versions[0].(map[string]any)["signatures"] = []string{"e30="} })
		}, "signature: ", first},
		"another digest in the store": {func(t *testing.T, s *Server, _ string) {
			corrupt(t, s, func(versions []any) {
				versions[0].(map[string]any)["digest"] = versions[1].(map[string]any)["digest"]
			})
		}, "attestation robust_accuracy[linf@0.3]>=0.5: ", first},
	} {
		t.Run(name, func(t *testing.T) {
			signers := newSigners(t)
			s, admin := registered(t, signers, nil)
			one := signers.parcel(t, 1, time.Hour)
			admin.mustPush(one, "")
			admin.mustPush(signers.parcel(t, 2, time.Hour), "")
			admin.must("PUT", "/api/v1/models/pushed/aliases/champion", `{"version":"1"}`)
			admin.must("PUT", "/api/v1/models/pushed/aliases/challenger", `{"version":"2"}`)
			admin.must("PUT", "/api/v1/models/pushed/shadow", `{"version":"2"}`)
			admin.routed("before", all, "")
			c.change(t, s, filepath.Join(s.cfg.Data, "models", string(redoubt.DigestBytes(one.content))+".sealed"))
			if err := s.refresh(t.Context(), true); err != nil {
				t.Fatal(err)
			}
			admin.routed("after", c.want, c.why)
			if _, err := admin.rpc.ModelReady(admin.context(), &oippb.ModelReadyRequest{Name: "pushed"}); status.Code(err) != codes.PermissionDenied {
				t.Errorf("is it ready? %v", err)
			}
			if shown := strings.ReplaceAll(admin.must("GET", "/api/v1/models/pushed", ""), `\u003e`, ">"); !strings.Contains(shown, c.why) {
				t.Errorf("shown as %s", shown)
			}
			if code, body := admin.rest("PUT", "/api/v1/models/pushed/versions/1/stage", `{"stage":"staging"}`); code != 422 {
				t.Errorf("promoted: %d %s", code, body)
			}
			if c.want["2"] != "" { // promoting the other brings the model back, and what is refused does not come back
				admin.must("PUT", "/api/v1/models/pushed/versions/2/stage", `{"stage":"production"}`)
				admin.routed("promoted", map[string]string{"": "2"}, "")
				if code, body := admin.rest("POST", "/api/v1/models/pushed/rollback", ""); code != 422 {
					t.Errorf("rolled back: %d %s", code, body)
				}
			}
			told, reasons := false, []string{}
			for e, err := range audit.Read(t.Context(), s.auditDir(), audit.Filter{Resource: "model:pushed", Action: "model.admit", Outcome: redoubt.Denied}) {
				if err != nil {
					t.Fatal(err)
				}
				reasons = append(reasons, e.Reason)
				told = told || strings.Contains(e.Reason, c.why)
			}
			if !told {
				t.Errorf("the refusal is not on record: %q", reasons)
			}
		})
	}
}

// corrupt changes what the store has of the versions.
func corrupt(t *testing.T, s *Server, change func(versions []any)) {
	t.Helper()
	err := s.db.Update(t.Context(), func(tx *store.Tx) error {
		var body string
		if err := tx.QueryRow(`SELECT body FROM registry_models WHERE name = 'pushed'`).Scan(&body); err != nil {
			return err
		}
		var m map[string]any
		if err := json.Unmarshal([]byte(body), &m); err != nil {
			return err
		}
		change(m["versions"].([]any))
		b, err := json.Marshal(m)
		if err != nil {
			return err
		}
		_, err = tx.Exec(`UPDATE registry_models SET body = $1 WHERE name = 'pushed'`, string(b))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// What was admitted by an attestation that ends is not routed to when it has ended,
// without anybody looking, nor after a restart.
func TestExpiryAndRestart(t *testing.T) {
	signers := newSigners(t)
	var cfg *Config
	s, admin := registered(t, signers, func(c *Config) { cfg = c })
	const life = 4 * time.Second
	short := signers.parcel(t, 1, life)
	expires := time.Now().Add(life)
	admin.mustPush(short, "")
	admin.mustPush(signers.parcel(t, 2, time.Hour), "")
	admin.must("PUT", "/api/v1/models/pushed/canary", `{"version":"1","share":1}`)
	admin.routed("before", map[string]string{"": "1", "1": "1", "2": "2"}, "")
	time.Sleep(time.Until(expires))
	gone := map[string]string{"": "", "1": "", "2": "2"}
	admin.routed("after", gone, "expir")
	eventually(t, "the server to look at it", func() bool {
		return strings.Contains(admin.must("GET", "/api/v1/models/pushed", ""), "attestation robust_accuracy")
	})
	admin.routed("looked at", gone, "attestation robust_accuracy[linf@0.3]>=0.5: expiry: ")
	if code, body := admin.push(short, ""); code != 422 || !strings.Contains(body, "expiry") {
		t.Errorf("pushed again: %d %s", code, body)
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if err := s.Run(ctx); err != nil {
		t.Fatal(err)
	}
	again := *cfg
	s, err := start(t, &again)
	if err != nil {
		t.Fatal(err)
	}
	accountOf(t, s, "second", "model_admin").routed("restarted", gone, "expiry")
}

// What cannot be admitted is not pushed, and the answer names the requirement; who
// may not, does not.
func TestPushIsRefused(t *testing.T) {
	signers := newSigners(t)
	s, admin := registered(t, signers, nil)
	good, other := signers.parcel(t, 1, time.Hour), signers.parcel(t, 2, time.Hour)
	for name, c := range map[string]struct {
		p    parcel
		want string
	}{
		"unsigned":               {parcel{good.content, nil, good.attestations}, "signature: there is none"},
		"another's signature":    {parcel{good.content, other.signatures, good.attestations}, "signature: files"},
		"not attested":           {parcel{good.content, good.signatures, nil}, "attestation robust_accuracy"},
		"another's attestations": {parcel{good.content, good.signatures, other.attestations}, "subject"},
		"signed by the attester": {parcel{good.content, good.attestations, good.attestations}, "signature: "},
	} {
		if code, body := admin.push(c.p, ""); code != 422 || !strings.Contains(body, c.want) {
			t.Errorf("%s: %d %s, want %q", name, code, body, c.want)
		}
	}
	admin.routed("nothing was pushed", map[string]string{"": ""}, "unknown model")
	user, developer := accountOf(t, s, "reader", "model_user"), accountOf(t, s, "developer", "model_developer")
	if code, _ := user.push(good, ""); code != 403 {
		t.Errorf("a user pushes: %d", code)
	}
	if code, _ := accountOf(t, s, "scoped", "model_admin", "model:other:deploy").push(good, ""); code != 403 {
		t.Errorf("a token for another model pushes: %d", code)
	}
	developer.mustPush(good, "")
	if code, _ := developer.rest("DELETE", "/api/v1/models/pushed", ""); code != 403 {
		t.Errorf("a developer deletes: %d", code)
	}
	if code, _ := user.rest("GET", "/api/v1/models/pushed", ""); code != 403 {
		t.Errorf("a user reads: %d", code)
	}
	for path, want := range map[string]int{
		"/api/v1/models/simple/canary":           409, // the configuration's
		"/api/v1/models/none/canary":             404,
		"/api/v1/models/pushed/canary":           404, // of a version that is not there
		"/api/v1/models/pushed/versions/7/stage": 422, // that takes another body
		"/api/v1/models/pushed/weights/abcdef":   422,
	} {
		if code, body := admin.rest("PUT", path, `{"version":"7","share":0.5}`); code != want {
			t.Errorf("%s: %d %s, want %d", path, code, body, want)
		}
	}
	digest := string(redoubt.DigestBytes([]byte("a")))
	if code, body := admin.rest("PUT", "/api/v1/models/pushed/weights/"+digest, "b", "Content-Type", "application/octet-stream"); code != 422 || !strings.Contains(body, "digest") {
		t.Errorf("other weights: %d %s", code, body)
	}
}

// Who deploys is a person with a fresh second factor, unless the configuration lets
// machines do it.
func TestDeployNeedsStepUp(t *testing.T) {
	signers := newSigners(t)
	_, machine := registered(t, signers, func(c *Config) { c.Policy.MachinesDeploy = false })
	if code, body := machine.push(signers.parcel(t, 1, time.Hour), ""); code != 403 || !strings.Contains(body, "second factor") {
		t.Errorf("%d %s", code, body)
	}
	if code, body := machine.rest("DELETE", "/api/v1/models/pushed", ""); code != 403 || !strings.Contains(body, "second factor") {
		t.Errorf("%d %s", code, body)
	}
}

// A review counts as use of the permission to deploy whatever that permits, by what
// the registry records of it.
func TestReviewsSeeDeployments(t *testing.T) {
	signers := newSigners(t)
	s, deployer := registered(t, signers, nil)
	by := admin.Change{By: redoubt.Principal{ID: "local:0", Method: "socket"}, Reason: "due"}
	for _, step := range []struct {
		what string
		do   func()
	}{
		{"push", func() { deployer.mustPush(signers.parcel(t, 1, time.Hour), "production") }},
		{"another push", func() { deployer.mustPush(signers.parcel(t, 2, time.Hour), "") }},
		{"alias", func() { deployer.must("PUT", "/api/v1/models/pushed/aliases/champion", `{"version":"1"}`) }},
		{"shadow", func() { deployer.must("PUT", "/api/v1/models/pushed/shadow", `{"version":"2"}`) }},
		{"canary", func() { deployer.must("PUT", "/api/v1/models/pushed/canary", `{"version":"2","share":0.1}`) }},
		{"promote", func() { deployer.must("PUT", "/api/v1/models/pushed/versions/2/stage", `{"stage":"production"}`) }},
		{"rollback", func() { deployer.must("POST", "/api/v1/models/pushed/rollback", "") }},
	} {
		before := time.Now()
		step.do()
		r, err := s.keeper.OpenReview(t.Context(), by, "pushed", 1)
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(r.Items, func(i admin.Item) bool { return i.Grant.Role == "model_admin" })
		if i < 0 || r.Items[i].Used[policy.Deploy].Before(before) {
			t.Errorf("%s: no use of deploy in %+v", step.what, r.Items)
		}
	}
}

// Calls go on while versions come, are promoted, rolled back and deleted: not one is
// lost.
func TestDeployUnderLoad(t *testing.T) {
	signers := newSigners(t)
	s, admin := registered(t, signers, nil)
	admin.mustPush(signers.parcel(t, 1, time.Hour), "")
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	var answered atomic.Int64
	user := accountOf(t, s, "user", "model_user")
	for range 4 {
		wg.Go(func() {
			for ctx.Err() == nil {
				if code, body := user.rest("POST", "/v2/models/pushed/infer", simpleBody); code != 200 {
					t.Errorf("%d %s", code, body)
				}
				answered.Add(1)
			}
		})
	}
	for i := range 6 {
		admin.mustPush(signers.parcel(t, 10+i, time.Hour), "production")
		if i%2 == 1 {
			admin.must("POST", "/api/v1/models/pushed/rollback", "")
			admin.must("DELETE", "/api/v1/models/pushed/versions/"+fmt.Sprint(i+2), "")
		}
	}
	stop()
	wg.Wait()
	if answered.Load() < 20 {
		t.Errorf("%d calls", answered.Load())
	}
	admin.must("DELETE", "/api/v1/models/pushed", "")
	admin.routed("deleted", map[string]string{"": "", "1": ""}, "unknown model")
	if left, _ := os.ReadDir(filepath.Join(s.cfg.Data, "models")); len(left) != 0 {
		t.Errorf("%d weights are left", len(left))
	}
	var actions []string
	for e, err := range audit.Read(t.Context(), s.auditDir(), audit.Filter{Resource: "model:pushed", Outcome: redoubt.Allowed}) {
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Contains(actions, e.Action) {
			actions = append(actions, e.Action)
		}
	}
	for _, want := range []string{"model.push", "model.admit", "model.invoke", "model.rollback", "model.delete"} {
		if !slices.Contains(actions, want) {
			t.Errorf("no entry of %s among %v", want, actions)
		}
	}
}

// A lost key service keeps nobody from what runs, and lets nothing new in; a signer
// that is removed meanwhile is heard all the same.
func TestKeyServiceIsLost(t *testing.T) {
	signers, other := newSigners(t), newSigners(t)
	s, admin := registered(t, signers, func(c *Config) { c.Seal.Remember = time.Nanosecond })
	admin.mustPush(signers.parcel(t, 1, time.Hour), "")
	key := filepath.Join(s.cfg.Data, "models.key")
	if err := os.Rename(key, key+".away"); err != nil {
		t.Fatal(err)
	}
	if err := s.refresh(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	admin.routed("lost", map[string]string{"": "1"}, "")
	if code, body := admin.push(signers.parcel(t, 2, time.Hour), ""); code != 503 {
		t.Errorf("pushed while it is lost: %d %s", code, body)
	}
	reload := func(file string) {
		t.Helper()
		if err := s.Reload(t.Context(), changed(s, func(c *Config) { c.Registry.Keys = []string{file} })); err != nil {
			t.Fatal(err)
		}
	}
	reload(other.modelFile)
	admin.routed("lost, and the signer removed", map[string]string{"": ""}, "signature: ")
	reload(signers.modelFile)
	admin.routed("lost, and not loaded", map[string]string{"": ""}, "weights: ")
	if err := os.Rename(key+".away", key); err != nil {
		t.Fatal(err)
	}
	if err := s.refresh(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	admin.routed("back", map[string]string{"": "1"}, "")
}

// What one node pushes, another that shares store, weights and keys serves within
// two seconds.
func TestNodesShareTheRegistry(t *testing.T) {
	signers := newSigners(t)
	db := filepath.Join(t.TempDir(), "shared.db")
	kek := "file:" + filepath.Join(t.TempDir(), "kek.json")
	makeKey(t, kek)
	shared := t.TempDir()
	node := func(c *Config) {
		c.Store, c.Seal.Keys = "sqlite:"+db, []string{kek}
		if err := os.Symlink(shared, filepath.Join(c.Data, "models")); err != nil {
			t.Fatal(err)
		}
	}
	var key []byte
	_, here := registered(t, signers, func(c *Config) {
		node(c)
		key = []byte(strings.Repeat("ab", 32))
		write(t, filepath.Join(c.Data, "identity.key"), key)
	})
	cfg := &Config{
		Data: t.TempDir(), Listen: Listen{REST: "127.0.0.1:0", GRPC: "127.0.0.1:0", Admin: "127.0.0.1:0"},
		Registry: Registry{Keys: []string{signers.modelFile}},
	}
	node(cfg)
	write(t, filepath.Join(cfg.Data, "identity.key"), key)
	there, err := start(t, cfg)
	if err != nil {
		t.Fatal(err)
	}
	here.mustPush(signers.parcel(t, 1, time.Hour), "")
	began := time.Now()
	caller := callerOf(t, there, here.token)
	eventually(t, "the other node to serve it", func() bool {
		ok, version, _ := caller.pathsTo("")["rest"]()
		return ok && version == "1"
	})
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("it took %v", took)
	}
}

// A pushed model has the settings that the configuration gives it.
func TestPushedModelsHaveSettings(t *testing.T) {
	signers := newSigners(t)
	most := 5.0
	_, admin := registered(t, signers, func(c *Config) {
		c.Models = append(c.Models, Model{Name: "pushed", Registry: true, Clearance: "label", Inputs: map[string]Rule{"INPUT0": {Max: &most}}})
	})
	code, body := admin.push(signers.parcel(t, 1, time.Hour), "")
	if code != 200 || !strings.Contains(body, `"level":"label"`) || !strings.Contains(body, `/v2/models/pushed/versions/1`) {
		t.Errorf("%d %s", code, body)
	}
	if code, body := admin.rest("POST", "/v2/models/pushed/infer", simpleBody); code != 422 {
		t.Errorf("%d %s", code, body)
	}
	for name, change := range map[string]func(*Config){
		"a path beside":   func(c *Config) { c.Models = []Model{{Name: "a", Registry: true, Path: "a.onnx"}} },
		"no registry":     func(c *Config) { c.Registry = Registry{}; c.Models = []Model{{Name: "a", Registry: true}} },
		"only attesters":  func(c *Config) { c.Registry = Registry{Attesters: []string{"a"}} },
		"names, no roots": func(c *Config) { c.Registry.Names = []string{"a"} },
		"an unknown need": func(c *Config) { c.Registry.Require = []string{"luck"} },
		"a negative time": func(c *Config) { c.Registry.Verify = -1 },
	} {
		c := &Config{Registry: Registry{Keys: []string{signers.modelFile}}}
		change(c)
		if err := c.Check(); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

func makeKey(t *testing.T, uri string) {
	t.Helper()
	if err := seal.MakeKey(uri, ""); err != nil {
		t.Fatal(err)
	}
}
