package registry

import (
	"bytes"
	"context"
	"crypto"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/ml/onnx"
	"github.com/redoubt-ml/redoubt/ml/train"
	"github.com/redoubt-ml/redoubt/serve/seal"
	"github.com/redoubt-ml/redoubt/store"
	"github.com/redoubt-ml/redoubt/store/storetest"
	"github.com/redoubt-ml/redoubt/supply/sign"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(storetest.M{M: m}) }

// bench is a registry, and somebody who signs.
type bench struct {
	*Registry
	dir    string
	signer crypto.Signer
	now    time.Time
	log    *events
	sealer *seal.Sealer
}

type events struct {
	mu   sync.Mutex
	list []redoubt.Event
	fail error
}

func (e *events) Record(_ context.Context, v redoubt.Event) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.fail == nil {
		e.list = append(e.list, v)
	}
	return e.fail
}

func newKey(t *testing.T) crypto.Signer {
	t.Helper()
	k, err := sign.GenerateKey("p256")
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func newBench(t *testing.T, db *store.DB) *bench {
	t.Helper()
	b := &bench{dir: t.TempDir(), signer: newKey(t), now: time.Now().Truncate(time.Second), log: &events{}}
	text := "file:" + filepath.Join(t.TempDir(), "kek.json")
	if err := seal.MakeKey(text, ""); err != nil {
		t.Fatal(err)
	}
	k, err := seal.OpenKey(text, "")
	if err != nil {
		t.Fatal(err)
	}
	b.sealer = &seal.Sealer{Keys: []seal.Key{k}}
	b.Registry, err = Open(t.Context(), Config{DB: db, Dir: b.dir, Sealer: b.sealer, Tenant: "acme", Log: b.log, Now: func() time.Time { return b.now }})
	if err != nil {
		t.Fatal(err)
	}
	b.Require(b.admission())
	return b
}

func (b *bench) admission() *Admission {
	need, err := ParseNeed("robust_accuracy[linf@0.3]>=0.5")
	if err != nil {
		panic(err)
	}
	return &Admission{Keys: []crypto.PublicKey{b.signer.Public()}, Needs: []Need{need, {Kind: sign.Scan}}}
}

// weights are those of a network, one for each seed.
func weights(t *testing.T, seed uint64) []byte {
	t.Helper()
	m, err := train.MLP([]int{4}, []int{8}, 3, seed)
	if err != nil {
		t.Fatal(err)
	}
	b, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// version is one that everything was signed of.
func (b *bench) version(t *testing.T, content []byte) Version {
	t.Helper()
	path := filepath.Join(t.TempDir(), "net.onnx")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	m, err := sign.Hashing{}.Manifest(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	s := &sign.Signer{Key: b.signer}
	signature, err := s.Sign(m)
	if err != nil {
		t.Fatal(err)
	}
	digest := redoubt.DigestBytes(content)
	attest := func(a sign.Attestation) []byte {
		a.Subject, a.File, a.Issued = m.Root(), digest, b.now
		bundle, err := s.Attest("net.onnx", &a)
		if err != nil {
			t.Fatal(err)
		}
		return bundle
	}
	return Version{
		File: "net.onnx", Digest: digest, Signatures: [][]byte{signature},
		Attestations: [][]byte{
			attest(sign.Attestation{Kind: sign.Scan, Verdict: "safe", Expires: b.now.Add(48 * time.Hour)}),
			attest(sign.Attestation{Kind: sign.Assessment, Verdict: redoubt.Trustworthy, Expires: b.now.Add(24 * time.Hour), Numbers: map[string]float64{"robust_accuracy[linf@0.3]": 0.7}}),
			attest(sign.Attestation{Kind: sign.Assessment, Verdict: redoubt.Trustworthy, Expires: b.now.Add(time.Hour), Numbers: map[string]float64{"robust_accuracy[linf@0.3]": 0.9}}),
		},
	}
}

var alice = Change{By: redoubt.Principal{ID: "user:alice"}, Request: "r1"}

// push puts and pushes a network.
func (b *bench) push(t *testing.T, seed uint64, stage Stage) string {
	t.Helper()
	content := weights(t, seed)
	v := b.version(t, content)
	v.Stage = stage
	if err := b.PutWeights(t.Context(), v.Digest, bytes.NewReader(content)); err != nil {
		t.Fatal(err)
	}
	pushed, err := b.Push(t.Context(), alice, "loans", v)
	if err != nil {
		t.Fatal(err)
	}
	return pushed.Version
}

func (b *bench) model(t *testing.T) *Model {
	t.Helper()
	m, err := b.Model(t.Context(), "loans")
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestStages(t *testing.T) {
	storetest.Run(t, func(t *testing.T, db *store.DB) {
		b := newBench(t, db)
		is := func(want string) {
			t.Helper()
			if got := b.model(t).summary(); got != want {
				t.Errorf("%q, want %q", got, want)
			}
		}
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		b.push(t, 1, "")
		is("1=production")
		b.push(t, 2, "")
		b.push(t, 3, Dev)
		is("1=production 2=staging 3=dev")
		must(b.Promote(t.Context(), alice, "loans", "2", Production))
		is("2=production 3=dev")
		must(b.Promote(t.Context(), alice, "loans", "3", Production))
		is("3=production")
		must(b.SetAlias(t.Context(), alice, "loans", "champion", "3"))
		if v, err := b.Rollback(t.Context(), alice, "loans"); err != nil || v != "2" {
			t.Errorf("rollback to %s: %v", v, err)
		}
		if v, err := b.Rollback(t.Context(), alice, "loans"); err != nil || v != "1" {
			t.Errorf("rollback to %s: %v", v, err)
		}
		if _, err := b.Rollback(t.Context(), alice, "loans"); !errors.Is(err, ErrInput) {
			t.Errorf("rollback to nothing: %v", err)
		}
		is("1=production champion->3")
		must(b.Promote(t.Context(), alice, "loans", "champion", Staging))
		must(b.SetCanary(t.Context(), alice, "loans", &Canary{"champion", 0.25}))
		must(b.SetShadow(t.Context(), alice, "loans", "3"))
		is("1=production 3=staging champion->3 canary=3@0.25 shadow=3")
		for what, err := range map[string]error{
			"a canary that is archived": b.SetCanary(t.Context(), alice, "loans", &Canary{"2", 0.5}),
			"a share of 0":              b.SetCanary(t.Context(), alice, "loans", &Canary{"3", 0}),
			"a share above 1":           b.SetCanary(t.Context(), alice, "loans", &Canary{"3", 1.5}),
			"a numeric alias":           b.SetAlias(t.Context(), alice, "loans", "2", "3"),
			"an odd alias":              b.SetAlias(t.Context(), alice, "loans", "a/b", "3"),
			"an unknown stage":          b.Promote(t.Context(), alice, "loans", "3", "prod"),
			"the one in production":     b.Delete(t.Context(), alice, "loans", "1"),
		} {
			if !errors.Is(err, ErrInput) {
				t.Errorf("%s: %v", what, err)
			}
		}
		for what, err := range map[string]error{
			"an unknown version": b.Promote(t.Context(), alice, "loans", "9", Staging),
			"an unknown model":   b.Promote(t.Context(), alice, "frauds", "1", Staging),
			"an unknown shadow":  b.SetShadow(t.Context(), alice, "loans", "9"),
			"an alias of none":   b.SetAlias(t.Context(), alice, "loans", "x", "9"),
		} {
			if !errors.Is(err, ErrNotFound) {
				t.Errorf("%s: %v", what, err)
			}
		}
		digest := b.model(t).Find("3").Digest
		must(b.Delete(t.Context(), alice, "loans", "3"))
		is("1=production")
		if b.weights.has(digest) {
			t.Error("the weights of a version that was deleted are there")
		}
		if v := b.push(t, 3, ""); v != "4" {
			t.Errorf("a number was given twice: %s", v)
		}
		must(b.Delete(t.Context(), alice, "loans", ""))
		if _, err := b.Model(t.Context(), "loans"); !errors.Is(err, ErrNotFound) {
			t.Errorf("a model that was deleted: %v", err)
		}
		if left, _ := os.ReadDir(b.dir); len(left) != 0 {
			t.Errorf("%d files are left", len(left))
		}
		for _, e := range b.log.list {
			if e.Actor != "user:alice" || e.Resource != "model:loans" && e.Resource != "model:frauds" || e.Request != "r1" {
				t.Errorf("%+v", e)
			}
		}
	})
}

// What fails a requirement is refused, and told which.
func TestAdmission(t *testing.T) {
	b := newBench(t, storetest.Open(t, storetest.SQLite(t)))
	content := weights(t, 1)
	good := b.version(t, content)
	put := func(c []byte) {
		if err := b.PutWeights(t.Context(), redoubt.DigestBytes(c), bytes.NewReader(c)); err != nil {
			t.Fatal(err)
		}
	}
	put(content)
	text := []byte("cos\nsystem\n(S'true'\ntR.")
	put(text)
	words := []byte("just some words")
	put(words)
	other := newKey(t)
	with := func(change func(*Version, *Admission)) (*Version, *Admission) {
		v, a := good, b.admission()
		v.Signatures, v.Attestations = slices.Clone(v.Signatures), slices.Clone(v.Attestations)
		change(&v, a)
		return &v, a
	}
	flip := func(b []byte, from string) []byte {
		b = bytes.Clone(b)
		i := bytes.LastIndex(b, []byte(from)) + len(from) + 4
		b[i] ^= 1
		return b
	}
	for name, c := range map[string]struct {
		change func(*Version, *Admission)
		want   string // "" to be admitted
	}{
		"as it should be":            {func(*Version, *Admission) {}, ""},
		"no signature":               {func(v *Version, _ *Admission) { v.Signatures = nil }, "signature: there is none"},
		"a changed signature":        {func(v *Version, _ *Admission) { v.Signatures[0] = flip(v.Signatures[0], `"sig":"`) }, "signature: "},
		"no bundle":                  {func(v *Version, _ *Admission) { v.Signatures[0] = []byte("{}") }, "signature: "},
		"another signer":             {func(_ *Version, a *Admission) { a.Keys = []crypto.PublicKey{other.Public()} }, "signature: "},
		"nobody may sign":            {func(_ *Version, a *Admission) { a.Keys = nil }, "signature: "},
		"another model":              {func(v *Version, _ *Admission) { v.Digest = redoubt.DigestBytes(words) }, "attestation robust_accuracy[linf@0.3]>=0.5: "},
		"another model's signature":  {func(v *Version, a *Admission) { v.Digest, a.Needs = redoubt.DigestBytes(words), nil }, "signature: "},
		"weights that are not there": {func(v *Version, a *Admission) { v.Digest, a.Needs = redoubt.DigestBytes([]byte("gone")), nil }, "weights: "},
		"no attestations":            {func(v *Version, _ *Admission) { v.Attestations = nil }, "attestation robust_accuracy[linf@0.3]>=0.5: there is none"},
		"no scan":                    {func(v *Version, _ *Admission) { v.Attestations = v.Attestations[1:] }, "attestation scan: there is none"},
		"another attester":           {func(_ *Version, a *Admission) { a.Attesters = []crypto.PublicKey{other.Public()} }, "attestation robust_accuracy[linf@0.3]>=0.5: "},
		"a bound not reached":        {func(_ *Version, a *Admission) { a.Needs[0].Bound = 0.95 }, "attestation robust_accuracy[linf@0.3]>=0.95: "},
		"a number not measured":      {func(_ *Version, a *Admission) { a.Needs[0].Number = "robust_accuracy[l2@1]" }, "the assessment did not measure it"},
		"lineage":                    {func(_ *Version, a *Admission) { a.Needs = []Need{{Kind: sign.Lineage}} }, "attestation lineage: there is none"},
	} {
		v, a := with(c.change)
		_, _, err := b.Admit(t.Context(), a, v)
		var refusal *Refusal
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case c.want != "" && (!errors.As(err, &refusal) || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	// Signed, and no model or not safe.
	for content, want := range map[string]string{string(words): "format: ", string(text): ": "} {
		v, a := b.version(t, []byte(content)), b.admission()
		if _, _, err := b.Admit(t.Context(), a, &v); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", content, err)
		}
	}
	// The decision holds until the attestation expires that holds longest, of the
	// need that holds shortest.
	weights, until, err := b.Admit(t.Context(), b.admission(), &good)
	if err != nil || !until.Equal(b.now.Add(24*time.Hour)) || !bytes.Equal(weights, content) {
		t.Errorf("until %v: %v", until, err)
	}
	b.now = until
	if _, _, err := b.Admit(t.Context(), b.admission(), &good); err == nil || !strings.Contains(err.Error(), "attestation robust_accuracy[linf@0.3]>=0.5: expiry") {
		t.Errorf("expired: %v", err)
	}
}

// Verdicts that are not the best are none, though they are signed.
func TestVerdicts(t *testing.T) {
	b := newBench(t, storetest.Open(t, storetest.SQLite(t)))
	content := weights(t, 1)
	v := b.version(t, content)
	if err := b.PutWeights(t.Context(), v.Digest, bytes.NewReader(content)); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "net.onnx")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	m, err := sign.Hashing{}.Manifest(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	for verdict, kind := range map[string]string{"unsafe": sign.Scan, "unproven": sign.Scan, redoubt.Suspect: sign.Assessment, redoubt.Invalid: sign.Assessment} {
		bundle, err := (&sign.Signer{Key: b.signer}).Attest("net.onnx", &sign.Attestation{
			Kind: kind, Subject: m.Root(), File: v.Digest, Verdict: verdict, Issued: b.now, Expires: b.now.Add(time.Hour), Numbers: map[string]float64{"robust_accuracy[linf@0.3]": 1},
		})
		if err != nil {
			t.Fatal(err)
		}
		v.Attestations = [][]byte{bundle}
		a := b.admission()
		a.Needs = slices.DeleteFunc(a.Needs, func(n Need) bool { return n.Kind != kind })
		if _, _, err := b.Admit(t.Context(), a, &v); err == nil || !strings.Contains(err.Error(), "its verdict is") {
			t.Errorf("%s %s: %v", kind, verdict, err)
		}
	}
}

// Whoever attests that a model is safe is not believed: it is scanned here, too.
func TestScannedHereToo(t *testing.T) {
	b := newBench(t, storetest.Open(t, storetest.SQLite(t)))
	m, err := onnx.Decode(weights(t, 1), onnx.DefaultLimits)
	if err != nil {
		t.Fatal(err)
	}
	m.Graph.Nodes[0].Domain = "com.example"
	content, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	v := b.version(t, content)
	if err := b.PutWeights(t.Context(), v.Digest, bytes.NewReader(content)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := b.Admit(t.Context(), b.admission(), &v); err == nil || !strings.Contains(err.Error(), "scan: the verdict is unproven") {
		t.Errorf("%v", err)
	}
}

func TestNothingIsAdmittedByDefault(t *testing.T) {
	b := newBench(t, storetest.Open(t, storetest.SQLite(t)))
	b.Require(&Admission{})
	content := weights(t, 1)
	v := b.version(t, content)
	if err := b.PutWeights(t.Context(), v.Digest, bytes.NewReader(content)); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Push(t.Context(), alice, "loans", v); err == nil || !strings.Contains(err.Error(), "signature: ") {
		t.Errorf("pushed: %v", err)
	}
	if e := b.log.list[len(b.log.list)-1]; e.Outcome != redoubt.Denied || e.Action != "model.push" || !strings.HasPrefix(e.Reason, "signature: ") {
		t.Errorf("%+v", e)
	}
}

// Every byte of the weights on the disk counts, and one tenant's are not another's.
func TestTamperedWeights(t *testing.T) {
	b := newBench(t, storetest.Open(t, storetest.SQLite(t)))
	b.push(t, 1, "")
	v := b.model(t).Live()
	path := b.weights.path(v.Digest)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	refused := func(what string) {
		t.Helper()
		var refusal *Refusal
		if _, _, err := b.Admit(t.Context(), b.admission(), v); !errors.As(err, &refusal) || refusal.Requirement != "weights" || strings.Contains(err.Error(), b.dir) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for i := 0; i < len(whole); i += 97 {
		changed := bytes.Clone(whole)
		changed[i] ^= 4
		if err := os.WriteFile(path, changed, 0o600); err != nil {
			t.Fatal(err)
		}
		refused(fmt.Sprintf("byte %d", i))
	}
	// Other weights, sealed under the same key, in the place of these.
	content := weights(t, 2)
	if err := b.PutWeights(t.Context(), redoubt.DigestBytes(content), bytes.NewReader(content)); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(b.weights.path(redoubt.DigestBytes(content)), path); err != nil {
		t.Fatal(err)
	}
	refused("other weights")
	// Sealed for another tenant; and for this place, with another content.
	stranger := b.weights
	stranger.tenant = "rival"
	if err := stranger.put(t.Context(), v.Digest, bytes.NewReader(weights(t, 1))); err != nil {
		t.Fatal(err)
	}
	refused("another tenant's")
	if err := b.sealer.SealFile(t.Context(), path, bytes.NewReader(content), b.weights.place(v.Digest)); err != nil {
		t.Fatal(err)
	}
	refused("another content, sealed by somebody with the key")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	refused("gone")
	if err := os.WriteFile(path, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := b.Admit(t.Context(), b.admission(), v); err != nil {
		t.Errorf("put back: %v", err)
	}
}

func TestWeightsAreHeldAgainstTheirDigest(t *testing.T) {
	b := newBench(t, storetest.Open(t, storetest.SQLite(t)))
	content := weights(t, 1)
	for what, err := range map[string]error{
		"other weights": b.PutWeights(t.Context(), redoubt.DigestBytes([]byte("x")), bytes.NewReader(content)),
		"cut short":     b.PutWeights(t.Context(), redoubt.DigestBytes(content), bytes.NewReader(content[1:])),
		"no digest":     b.PutWeights(t.Context(), "../../etc/passwd", bytes.NewReader(content)),
	} {
		if !errors.Is(err, ErrInput) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if left, _ := os.ReadDir(b.dir); len(left) != 0 {
		t.Errorf("%d files are left", len(left))
	}
}

func TestWhatIsNotRecordedIsNotDone(t *testing.T) {
	b := newBench(t, storetest.Open(t, storetest.SQLite(t)))
	b.push(t, 1, "")
	b.log.fail = errors.New("the disk is full")
	if err := b.Delete(t.Context(), alice, "loans", ""); err == nil {
		t.Error("deleted")
	}
	if b.model(t).Live() == nil {
		t.Error("it is gone")
	}
}

func TestOrphansAreSwept(t *testing.T) {
	db := storetest.Open(t, storetest.SQLite(t))
	b := newBench(t, db)
	b.push(t, 1, "")
	content := weights(t, 2)
	d := redoubt.DigestBytes(content)
	if err := b.PutWeights(t.Context(), d, bytes.NewReader(content)); err != nil {
		t.Fatal(err)
	}
	if err := b.sweep(t.Context()); err != nil || !b.weights.has(d) {
		t.Errorf("weights that were just put are gone: %v", err)
	}
	b.now = b.now.Add(orphaned + time.Minute)
	if err := b.sweep(t.Context()); err != nil || b.weights.has(d) || !b.weights.has(b.model(t).Live().Digest) {
		t.Errorf("after a day: %v", err)
	}
}

func TestNeeds(t *testing.T) {
	for _, text := range []string{"scan", "assessment", "lineage", "robust_accuracy[linf@0.3]>=0.5", "attack_success_rate[l2@1]<=0.25", "clean_accuracy>=0.9"} {
		if n, err := ParseNeed(text); err != nil || n.String() != text {
			t.Errorf("%s is read as %s: %v", text, n, err)
		}
	}
	for _, text := range []string{"", "audit", ">=0.5", "x>=", "x>=NaN", "x>0.5", "x=0.5"} {
		if _, err := ParseNeed(text); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
}

// Two nodes change the same model at once: both changes are there, or one is told.
func TestTwoNodes(t *testing.T) {
	storetest.Run(t, func(t *testing.T, db *store.DB) {
		b := newBench(t, db)
		b.push(t, 1, "")
		other, err := Open(t.Context(), Config{DB: db, Dir: b.dir, Sealer: b.sealer, Tenant: "acme", Log: b.log})
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		var mu sync.Mutex
		done := map[string]bool{}
		for n, r := range []*Registry{b.Registry, other} {
			wg.Go(func() {
				for i := range 10 {
					alias := fmt.Sprintf("a%d-%d", n, i)
					err := r.SetAlias(t.Context(), alice, "loans", alias, "1")
					if err != nil && !errors.Is(err, ErrStale) {
						t.Error(err)
					}
					mu.Lock()
					done[alias] = err == nil
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		aliases := b.model(t).Aliases
		for alias, ok := range done {
			if (aliases[alias] != "") != ok {
				t.Errorf("%s: told %v, and it is %v", alias, ok, aliases[alias])
			}
		}
	})
}
