package export

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/internal/need"
	"github.com/redoubt-ml/redoubt/watch/audit"
)

// recorded is a signed log of n entries and the file of its public key.
func recorded(t *testing.T, n int) (dir, public string) {
	t.Helper()
	base := t.TempDir()
	dir = filepath.Join(base, "log")
	signer, err := audit.Key(filepath.Join(base, "key"), "log.example/one")
	if err != nil {
		t.Fatal(err)
	}
	l, err := audit.Open(dir, audit.Config{Signer: signer, Personal: true, SegmentSize: 16 << 10})
	if err != nil {
		t.Fatal(err)
	}
	when := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	for i := range n {
		e := []redoubt.Event{
			{Action: "session.login", Outcome: redoubt.Allowed, Actor: "user:anna", Method: "passkey", Credential: "c1", From: "192.0.2.1", Resource: "user:anna"},
			{Action: "model.invoke", Outcome: redoubt.Denied, Reason: "limited", Actor: "service:ci", From: "192.0.2.2", Resource: "model:loans", Request: "r1", Details: map[string]string{"version": "1"}},
			{Action: "policy.change", Outcome: redoubt.Allowed, Actor: "local:0", Resource: "policy:a", Before: "x", After: "<y>"},
			{Action: "audit.prune", Outcome: redoubt.Failed, Reason: "internal"},
		}[i%4]
		e.Time = when.Add(time.Duration(i) * time.Second)
		if err := l.Enqueue(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return dir, filepath.Join(base, "key.pub")
}

func lines(t *testing.T, format, dir string, f audit.Filter) (out []object) {
	t.Helper()
	var b bytes.Buffer
	n, err := Named(format).Write(t.Context(), &b, dir, "log.example/one", f)
	if err != nil {
		t.Fatal(err)
	}
	for text := range bytes.Lines(b.Bytes()) {
		o := object{}
		if err := json.Unmarshal(text, &o); err != nil {
			t.Fatal(err)
		}
		out = append(out, o)
	}
	if n != len(out) {
		t.Errorf("%d events were told of, and %d are there", n, len(out))
	}
	return out
}

func TestFormats(t *testing.T) {
	dir, _ := recorded(t, 8)
	for _, f := range Formats {
		if n := len(lines(t, f.Name, dir, audit.Filter{})); n != 8 {
			t.Errorf("%s: %d events", f.Name, n)
		}
		if n := len(lines(t, f.Name, dir, audit.Filter{Actor: "user:anna"})); n != 2 {
			t.Errorf("%s: %d events of one actor", f.Name, n)
		}
	}
	got := lines(t, "jsonl", dir, audit.Filter{Action: "session."})[0]
	if e := got["event"].(object); got["seq"] != 1.0 || e["actor"] != "user:anna" || e["from"] != "192.0.2.1" {
		t.Error(got)
	}
	if text := fmt.Sprint(lines(t, "sealed", dir, audit.Filter{})); strings.Contains(text, "anna") {
		t.Error("what tells of persons is not sealed")
	}
}

// The sealed form can be computed again by a dozen lines.
func TestSealedChain(t *testing.T) {
	dir, _ := recorded(t, 8)
	var b bytes.Buffer
	if _, err := Named("sealed").Write(t.Context(), &b, dir, "", audit.Filter{}); err != nil {
		t.Fatal(err)
	}
	last := strings.Repeat("0", 64)
	for text := range bytes.Lines(b.Bytes()) {
		var e struct {
			Seq            uint64
			Previous, Hash string
			Event          json.RawMessage
		}
		if err := json.Unmarshal(text, &e); err != nil {
			t.Fatal(err)
		}
		previous, err := hex.DecodeString(e.Previous)
		if err != nil || e.Previous != last {
			t.Fatal(e.Previous, last, err)
		}
		of := append([]byte("redoubt.audit/v1\n"), previous...)
		of = append(binary.BigEndian.AppendUint64(of, e.Seq), e.Event...)
		if sum := sha256.Sum256(of); hex.EncodeToString(sum[:]) != e.Hash {
			t.Fatalf("entry %d", e.Seq)
		}
		last = e.Hash
	}
}

// What the schema requires of every event, and of each class, is there; nothing is
// null.
func TestOCSF(t *testing.T) {
	dir, _ := recorded(t, 8)
	for i, o := range lines(t, "ocsf", dir, audit.Filter{}) {
		required := []string{"activity_id", "category_uid", "class_uid", "metadata", "severity_id", "time", "type_uid", "src_endpoint", "attestation_list"}
		if o["class_uid"] == 3002.0 {
			required = append(required, "user")
		} else {
			required = append(required, "actor", "api")
		}
		for _, k := range required {
			if o[k] == nil {
				t.Errorf("event %d has no %s: %v", i, k, o)
			}
		}
		if o["type_uid"] != o["class_uid"].(float64)*100+o["activity_id"].(float64) || o["category_uid"] != float64(int(o["class_uid"].(float64))/1000) {
			t.Errorf("%v", o)
		}
		m := o["metadata"].(object)
		if m["version"] == nil || m["product"] == nil || m["profiles"] == nil {
			t.Errorf("%v", m)
		}
		a := o["attestation_list"].([]any)[0].(object)
		if a["fingerprint"] == nil || (a["prev_event"] == nil) != (i == 0) || a["chain_uid"] != "log.example/one" {
			t.Errorf("%v", a)
		}
		if b, err := json.Marshal(o); err != nil || bytes.Contains(b, []byte("null")) {
			t.Errorf("%s", b)
		}
	}
	login := lines(t, "ocsf", dir, audit.Filter{Action: "session."})[0]
	if login["class_uid"] != 3002.0 || login["activity_id"] != 1.0 || login["is_mfa"] != true || login["time"] != 1795694400000.0 {
		t.Errorf("%v", login)
	}
	change := lines(t, "ocsf", dir, audit.Filter{Action: "policy."})[0]
	if change["activity_id"] != 3.0 || change["unmapped"].(object)["after"] != "<y>" || change["status_id"] != 1.0 {
		t.Errorf("%v", change)
	}
}

func TestClasses(t *testing.T) {
	for action, want := range map[string]int{"session.login": 1, "session.confirm": 1, "session.end": 2} {
		if class, activity, _ := classOf(action); class != authentication || activity != want {
			t.Errorf("%s is the activity %d of class %d", action, activity, class)
		}
	}
}

// Tessera's checker computes the root again from the tiles, at sizes that end with
// a tile and that do not.
func TestTiles(t *testing.T) {
	fsck, err := exec.LookPath("tessera-fsck")
	if err != nil {
		need.Missing(t, "tessera", "fsck of Tessera as tessera-fsck (.ci/run says how to get it)")
	}
	// It asks again for what does not fit, for ever, and its exit code is not that of
	// what it found: what counts is what it says.
	check := func(to, public string, n int, patience time.Duration) (string, bool) {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		out, _ := exec.CommandContext(ctx, fsck, "--storage_url", "file://"+to+"/", "--public_key", public, "--ui=false").CombinedOutput()
		return string(out), bytes.Contains(out, fmt.Appendf(nil, "Successfully fsck'd log with size %d ", n))
	}
	for _, n := range []int{1, 255, 256, 257, 1000, 66000} {
		dir, public := recorded(t, n)
		to := t.TempDir()
		if err := Tiles(t.Context(), dir, to); err != nil {
			t.Fatal(err)
		}
		if out, ok := check(to, public, n, time.Minute); !ok {
			t.Errorf("%d entries: %s", n, out)
		}
		// A byte changed anywhere is found by it, or the test tells nothing.
		if n == 257 {
			for _, name := range []string{"tile/entries/000", "tile/0/000", "tile/1/000.p/1", "checkpoint"} {
				path := filepath.Join(to, name)
				b, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				b[20] ^= 1
				if err := os.WriteFile(path, b, 0o644); err != nil {
					t.Fatal(err)
				}
				if out, ok := check(to, public, n, 2*time.Second); ok {
					t.Errorf("%s changed: %s", name, out)
				}
				b[20] ^= 1
				if err := os.WriteFile(path, b, 0o644); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
}

// A log is stored in a bucket, in several parts, and comes back as it was; a wrong
// key stores nothing.
func TestBucket(t *testing.T) {
	if _, err := exec.LookPath("versitygw"); err != nil {
		need.Missing(t, "s3", "versitygw (go install github.com/versity/versitygw/cmd/versitygw@v1.8.0)")
	}
	root := t.TempDir()
	if err := os.Mkdir(filepath.Join(root, "logs"), 0o755); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	server := exec.Command("versitygw", "--access", "key", "--secret", "secret", "--port", address, "posix", root)
	var log bytes.Buffer
	server.Stdout, server.Stderr = &log, &log
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Process.Kill(); server.Wait() })
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if c, err := net.Dial("tcp", address); err == nil {
			c.Close()
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("no server: %s", &log)
		}
	}
	b := Bucket{Endpoint: address, Name: "logs", Key: "key", Secret: "secret", Insecure: true}
	long := bytes.Repeat([]byte("{\"event\":\"something that was done\"}\n"), 1<<20) // three parts
	for name, data := range map[string][]byte{"2026/audit.jsonl": []byte("{}\n"), "long.jsonl": long} {
		if err := b.Put(t.Context(), name, bytes.NewReader(data)); err != nil {
			t.Fatalf("%v\n%s", err, &log)
		}
		if got, err := os.ReadFile(filepath.Join(root, "logs", name)); err != nil || !bytes.Equal(got, data) {
			t.Errorf("%s: %d bytes, want %d, %v", name, len(got), len(data), err)
		}
	}
	wrong := b
	wrong.Secret = "wrong"
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := wrong.Put(ctx, "wrong.jsonl", strings.NewReader("{}\n")); err == nil || strings.Contains(err.Error(), "secret") {
		t.Error(err)
	}
	c, err := minio.New(address, &minio.Options{Creds: credentials.NewStaticV4("key", "secret", "")})
	if err != nil {
		t.Fatal(err)
	}
	for o := range c.ListObjects(t.Context(), "logs", minio.ListObjectsOptions{Recursive: true}) {
		if o.Err == nil && o.Key == "wrong.jsonl" {
			t.Error("stored with a wrong key")
		}
	}
}
