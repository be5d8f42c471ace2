package bom

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	cdx "github.com/CycloneDX/cyclonedx-go"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/internal/need"
	"github.com/redoubt-ml/redoubt/ml/onnx"
	"github.com/redoubt-ml/redoubt/supply/sign"
)

func fatal(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// full is a source in which nothing is empty.
func full(t *testing.T) Source {
	t.Helper()
	model := need.Data(t, "models/mnist/mnist_cnn_std_s1.onnx")
	m, err := sign.Hashing{}.Manifest(t.Context(), model)
	fatal(t, err)
	graph, err := onnx.Read(model, onnx.DefaultLimits)
	fatal(t, err)
	sha := redoubt.Digest(m.Resources[0].Digest)
	certified := 0.2
	scan, err := json.Marshal(map[string]any{"schema": "redoubt.scan/v1", "files": []any{map[string]any{"path": "m.onnx", "sha256": sha, "verdict": "safe", "findings": []any{}}}})
	fatal(t, err)
	return Source{
		Model: model, Manifest: m, Graph: graph, Version: "1.2.0", Description: "reads digits", Supplier: "Example", License: "Apache-2.0",
		Approach: "supervised", Task: "classification", UseCases: []string{"post codes"}, Limitations: []string{"latin digits"}, Ethics: []string{"none known"},
		Data: []Data{{"mnist", redoubt.DigestBytes([]byte("x")), "CC-BY-SA-3.0"}, {"more", redoubt.DigestBytes([]byte("y")), "by contract, see there"}},
		Assessment: &redoubt.Assessment{
			Schema: redoubt.AssessmentSchema, Model: redoubt.ModelInfo{SHA256: sha}, CleanAccuracy: 0.98,
			Threats: []redoubt.ThreatResult{
				{Norm: "linf", Eps: 0.1, N: 500, RobustAccuracy: 0.9, AttackSuccessRate: 0.08, CI95: [2]float64{0.87, 0.92}, CertifiedAccuracy: &certified, Reliability: redoubt.Reliability{Verdict: redoubt.Trustworthy}},
				{Norm: "linf", Eps: 0.3, N: 500, RobustAccuracy: 0.41, AttackSuccessRate: 0.58, CI95: [2]float64{0.37, 0.45}, Reliability: redoubt.Reliability{Verdict: redoubt.Suspect, Flags: []redoubt.Flag{{ID: "x", Evidence: "the loss was still rising"}}}},
			},
			Gates:     []redoubt.GateResult{{Expr: "robust_accuracy[linf@0.1]>=0.5", Value: 0.9, Pass: true}, {Expr: "robust_accuracy[linf@0.3]>=0.5", Value: 0.41}},
			NotTested: []string{"patches"},
		},
		Scan:    scan,
		Reports: []Report{{"dynamic-analysis-report", "report.json", redoubt.DigestBytes(nil)}, {"static-analysis-report", "scan.json", redoubt.DigestBytes(nil)}},
		Tool:    "0.1.0", Made: time.Date(2026, 11, 26, 0, 0, 0, 0, time.UTC), Expires: time.Date(2027, 2, 26, 0, 0, 0, 0, time.UTC),
	}
}

// schemas are those of CycloneDX, by version: of 1.6 from the shared data, of 1.7
// from the module's own files.
func schemas(t *testing.T) map[string]*jsonschema.Schema {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/CycloneDX/cyclonedx-go").Output()
	fatal(t, err)
	module := filepath.Join(strings.TrimSpace(string(out)), "schema")
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	add := func(id, path string, zipped bool) {
		b, err := os.ReadFile(path)
		fatal(t, err)
		if zipped {
			r, err := gzip.NewReader(bytes.NewReader(b))
			fatal(t, err)
			var plain bytes.Buffer
			_, err = plain.ReadFrom(r)
			fatal(t, err)
			b = plain.Bytes()
		}
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
		fatal(t, err)
		fatal(t, c.AddResource("http://cyclonedx.org/schema/"+id, doc))
	}
	dir := need.Data(t, "vectors/schemas")
	add("bom-1.6.schema.json", filepath.Join(dir, "cyclonedx_bom-1.6.schema.json.gz"), true)
	add("spdx.schema.json", filepath.Join(dir, "cyclonedx_spdx.schema.json.gz"), true)
	add("jsf-0.82.schema.json", filepath.Join(dir, "cyclonedx_jsf-0.82.schemax.json.gz"), true)
	add("bom-1.7.schema.json", filepath.Join(module, "bom-1.7.schema.json"), false)
	// Only cryptographic assets need it, and the module does not have it.
	crypto, err := jsonschema.UnmarshalJSON(strings.NewReader(`{"definitions":{"algorithmFamiliesEnum":false,"ellipticCurvesEnum":false}}`))
	fatal(t, err)
	fatal(t, c.AddResource("http://cyclonedx.org/schema/cryptography-defs.schema.json", crypto))
	all := map[string]*jsonschema.Schema{}
	for _, v := range Versions {
		all[v], err = c.Compile("http://cyclonedx.org/schema/bom-" + v + ".schema.json")
		fatal(t, err)
	}
	return all
}

// What is written satisfies the official schemas, with everything and with nothing
// but what is required.
func TestSchemas(t *testing.T) {
	all := schemas(t)
	everything := full(t)
	least := Source{Model: everything.Model, Manifest: everything.Manifest, Made: everything.Made, Expires: everything.Expires}
	odd := everything
	odd.License, odd.Model = "our own licence (not free)", "a model"
	odd.Scan = bytes.Replace(everything.Scan, []byte(`"findings":[]`), []byte(`"findings":[{"rule":"pickle/global","severity":"critical","message":"calls os.system"},{"rule":"x","severity":"note","message":"y"}]`), 1)
	odd.Scan = bytes.Replace(odd.Scan, []byte(`"safe"`), []byte(`"unsafe"`), 1)
	for name, s := range map[string]Source{"everything": everything, "the least": least, "odd": odd} {
		for version, schema := range all {
			b, err := s.BOM()
			fatal(t, err)
			var out bytes.Buffer
			fatal(t, Write(&out, b, version))
			doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(out.Bytes()))
			fatal(t, err)
			if err := schema.Validate(doc); err != nil {
				t.Errorf("%s, %s: %v\n%s", name, version, err, out.Bytes())
			}
			if got := doc.(map[string]any)["specVersion"]; got != version {
				t.Errorf("specVersion %v, want %s", got, version)
			}
			back, err := Read(&out)
			fatal(t, err)
			if a, b := Score(b), Score(back); a.Score != b.Score {
				t.Errorf("%s: score %d when made and %d when read", name, a.Score, b.Score)
			}
		}
	}
	// The schema is one that refuses.
	bad := strings.NewReader(`{"bomFormat":"CycloneDX","specVersion":"1.6","components":[{"type":"model","name":"x"}]}`)
	doc, err := jsonschema.UnmarshalJSON(bad)
	fatal(t, err)
	if all["1.6"].Validate(doc) == nil {
		t.Error("the schema accepts a component of type model")
	}
}

func TestContent(t *testing.T) {
	s := full(t)
	b, err := s.BOM()
	fatal(t, err)
	card := b.Metadata.Component.ModelCard
	if p := card.ModelParameters; p.ArchitectureFamily != "convolutional network" || len(*p.Inputs) != 1 || !strings.Contains((*p.Inputs)[0].Format, "float32[") || len(*p.Datasets) != 2 {
		t.Errorf("parameters %+v", p)
	}
	var found bool
	for _, m := range *card.QuantitativeAnalysis.PerformanceMetrics {
		if m.Type == "robust_accuracy" && m.Slice == "linf@0.3" {
			found = m.Value == "0.41" && m.ConfidenceInterval.LowerBound == "0.37" && m.ConfidenceInterval.UpperBound == "0.45"
		}
	}
	if !found {
		t.Errorf("metrics %+v", *card.QuantitativeAnalysis.PerformanceMetrics)
	}
	d := b.Declarations
	m := (*(*d.Attestations)[0].Map)[0]
	if len(*m.Claims) != 3 || len(*m.CounterClaims) != 1 || *m.Conformance.Score != 0.5 {
		t.Errorf("declared %+v", m)
	}
	for _, e := range *d.Evidence {
		if e.Expires != "2027-02-26T00:00:00Z" || e.Data == nil {
			t.Errorf("evidence %+v", e)
		}
	}
	if b.Vulnerabilities != nil {
		t.Error("vulnerabilities in a model that is safe")
	}
	if limits := strings.Join(*card.Considerations.TechnicalLimitations, "\n"); !strings.Contains(limits, "linf@0.3 are suspect; the loss was still rising") || !strings.Contains(limits, "not tested: patches") {
		t.Errorf("limitations %s", limits)
	}
	if c := Score(b); c.Score != 100 || len(c.Missing) != 0 {
		t.Errorf("a full bill: %s", c)
	}
	s = Source{Model: s.Model, Manifest: s.Manifest, Made: s.Made, Expires: s.Expires}
	b, err = s.BOM()
	fatal(t, err)
	if c := Score(b); c.Score > 40 || !strings.Contains(c.String(), "missing, critical:      version, licence, supplier, task, data sets, metrics") {
		t.Errorf("the least bill: %s", c)
	}
	if c := Score(&cdx.BOM{}); c.Score != 0 {
		t.Errorf("an empty bill: %s", c)
	}
}

func TestRefused(t *testing.T) {
	good := full(t)
	for name, edit := range map[string]func(*Source){
		"no manifest":       func(s *Source) { s.Manifest = nil },
		"another hash":      func(s *Source) { s.Manifest = &sign.Manifest{Algorithm: sign.BLAKE3} },
		"no expiry":         func(s *Source) { s.Expires = time.Time{} },
		"another's results": func(s *Source) { s.Assessment.Model.SHA256 = redoubt.DigestBytes(nil) },
		"another's scan": func(s *Source) {
			s.Scan = []byte(`{"schema":"redoubt.scan/v1","files":[{"path":"x","verdict":"safe"}]}`)
		},
		"not a scan":          func(s *Source) { s.Scan = []byte(`{}`) },
		"an unknown approach": func(s *Source) { s.Approach = "magic" },
	} {
		s := good
		a := *good.Assessment
		s.Assessment = &a
		edit(&s)
		if _, err := s.BOM(); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if err := Write(&bytes.Buffer{}, cdx.NewBOM(), "1.5"); err == nil {
		t.Error("version 1.5 is written")
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(`{"bomFormat":"CycloneDX","specVersion":"1.6","metadata":{"component":{"type":"machine-learning-model","name":"m","modelCard":{"modelParameters":{"datasets":[{"ref":"x"}]}}}},"declarations":{"evidence":[{}]}}`))
	f.Add([]byte(`{"bomFormat":"CycloneDX","components":[{"type":"machine-learning-model"},{"type":"data"}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		bill, err := Read(bytes.NewReader(b))
		if err != nil {
			return
		}
		if c := Score(bill); c.Score < 0 || c.Score > 100 {
			t.Errorf("score %d", c.Score)
		}
	})
}
