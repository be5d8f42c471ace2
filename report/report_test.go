package report

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"image/png"
	"io"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/redoubt-ml/redoubt"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func render(t *testing.T, f func(io.Writer, *redoubt.Assessment) error, a *redoubt.Assessment) string {
	t.Helper()
	var b bytes.Buffer
	if err := f(&b, a); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestGolden(t *testing.T) {
	for name, a := range map[string]*redoubt.Assessment{"images": images(), "rows": rows()} {
		for _, f := range Formats {
			t.Run(name+"."+f.Name, func(t *testing.T) {
				got := render(t, f.Render, a)
				golden := filepath.Join("testdata", "golden."+name+"."+f.Name)
				if *update {
					if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
						t.Fatal(err)
					}
				}
				want, err := os.ReadFile(golden)
				if err != nil {
					t.Fatal(err)
				}
				if got != string(want) {
					t.Errorf("differs from %s at byte %d; run with -update and look", golden, firstDifference(got, string(want)))
				}
				if again := render(t, f.Render, a); again != got {
					t.Error("two renderings of one assessment differ")
				}
			})
		}
	}
}

func firstDifference(a, b string) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}

func TestJudge(t *testing.T) {
	gate := func(pass bool) []redoubt.GateResult { return []redoubt.GateResult{{Expr: "x", Pass: pass}} }
	at := func(robust int, grade string) []redoubt.ThreatResult {
		return []redoubt.ThreatResult{threat("linf", 0.1, robust, grade, 0.1)}
	}
	for _, c := range []struct {
		gates   []redoubt.GateResult
		threats []redoubt.ThreatResult
		want    string
	}{
		{gate(false), at(480, redoubt.Trustworthy), "Failed"},
		{gate(false), at(480, redoubt.Invalid), "Failed"}, // doubt cannot undo a failure
		{gate(true), at(480, redoubt.Trustworthy), "Passed"},
		{gate(true), at(480, redoubt.Suspect), "Doubtful"},
		{gate(true), at(480, redoubt.Invalid), "Doubtful"},
		{nil, at(480, redoubt.Trustworthy), "Robust"},
		{nil, at(480, redoubt.Invalid), "Doubtful"},
		{nil, at(100, redoubt.Trustworthy), "Vulnerable"},
		{nil, at(100, redoubt.Suspect), "Vulnerable"}, // an upper bound of 20 % is bad enough
		{nil, nil, "Doubtful"},
	} {
		if got := judge(&redoubt.Assessment{Gates: c.gates, Threats: c.threats}); got.Word != c.want {
			t.Errorf("gates %v, threats %v: %q, want %q", c.gates, c.threats, got.Word, c.want)
		}
	}
}

func TestNumbers(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 0.3: "0.3", 0.1: "0.1", 1: "1", 8.0 / 255: "0.03137", 2.5: "2.5", 123.456: "123.5", 12345: "12345", 1e-7: "1e-07", -0.5: "-0.5", 100: "100", 10: "10"} {
		if got := num(v); got != want {
			t.Errorf("num(%v) = %q, want %q", v, got, want)
		}
	}
	for v, want := range map[int64]string{0: "0", 12: "12", 123: "123", 1234: "1,234", 123456: "123,456", 1234567: "1,234,567", -1234: "-1,234"} {
		if got := whole(v); got != want {
			t.Errorf("whole(%d) = %q, want %q", v, got, want)
		}
	}
	// 999 of 1,000 is not all, and 1 of 10,000 is not none.
	for v, want := range map[float64]string{1: "100.0 %", 0: "0.0 %", 0.9999: "> 99.9 %", 0.0001: "< 0.1 %", 0.712: "71.2 %"} {
		if got := pct(v); got != want {
			t.Errorf("pct(%v) = %q, want %q", v, got, want)
		}
	}
}

func TestAxis(t *testing.T) {
	for largest, want := range map[float64][2]float64{0.3: {0.05, 0.3}, 2: {0.5, 2}, 8.0 / 255: {0.005, 0.035}, 30: {5, 30}, 1: {0.2, 1}} {
		step, end := axis(largest)
		if math.Abs(step-want[0]) > 1e-12 || math.Abs(end-want[1]) > 1e-12 {
			t.Errorf("axis(%v) = %v, %v, want %v", largest, step, end, want)
		}
	}
	for _, bad := range []float64{0, -1, math.NaN(), math.Inf(1)} {
		if step, end := axis(bad); step != 1 || end != 1 {
			t.Errorf("axis(%v) = %v, %v", bad, step, end)
		}
	}
}

func TestText(t *testing.T) {
	out := render(t, func(w io.Writer, a *redoubt.Assessment) error { return Text(w, a, TextOptions{}) }, images())
	for i, line := range strings.Split(out, "\n") {
		if n := utf8.RuneCountInString(line); n > textWidth && !strings.HasPrefix(line, "repeat with:") {
			t.Errorf("line %d has %d characters: %s", i+1, n, line)
		}
	}
	if !strings.HasPrefix(out, "FAILED\n  1 of 2 gates not met: robust_accuracy") {
		t.Errorf("the verdict does not come first:\n%.200s", out)
	}
	if strings.Contains(out, "\x1b") {
		t.Error("colours without being asked")
	}
	coloured := render(t, func(w io.Writer, a *redoubt.Assessment) error { return Text(w, a, TextOptions{Colour: true}) }, images())
	if bare := regexp.MustCompile("\x1b\\[[0-9;]*m").ReplaceAllString(coloured, ""); bare != out || bare == coloured {
		t.Error("colours change the text itself")
	}
}

// hostile is an assessment whose every name tries to get out of its place.
func hostile() *redoubt.Assessment {
	const evil = "<script>alert(1)</script>\"'`]]>&\x1b[2J\u202e{{.}}\x00"
	a := images()
	a.Model.Path, a.Data.Path, a.Tool.Command, a.Tool.Machine = evil, evil, evil, evil
	a.Data.Classes = make([]string, 10)
	for i := range a.Data.Classes {
		a.Data.Classes[i] = evil
	}
	a.Gates[0].Expr, a.Findings[0].Title, a.Findings[0].Rule, a.NotTested[0] = evil, evil, evil, evil
	a.Threats[0].Norm, a.Threats[0].Attacks[0].Name, a.Threats[0].Attacks[0].Note = evil, evil, evil
	a.Threats[2].Reliability.Flags[0] = redoubt.Flag{ID: evil, Evidence: evil, Remedy: evil, Verdict: evil}
	a.Examples[0].Attack, a.Examples[0].Norm = evil, evil
	return a
}

func TestHostileNames(t *testing.T) {
	page := render(t, HTML, hostile())
	if strings.Contains(page, "<script") || strings.Contains(page, "\x1b") && !strings.Contains(page, "&lt;script") {
		t.Error("a name became markup")
	}
	wellFormed(t, page)
	if out := render(t, func(w io.Writer, a *redoubt.Assessment) error { return Text(w, a, TextOptions{}) }, hostile()); strings.ContainsAny(out, "\x1b\x00\u202e") {
		t.Error("a name reaches the terminal with its control characters")
	}
	if err := xml.Unmarshal([]byte(render(t, JUnit, hostile())), new(junitSuites)); err != nil {
		t.Errorf("JUnit: %v", err)
	}
	validSARIF(t, render(t, SARIF, hostile()))
}

// wellFormed reads the page as XML would be read, with the tags that HTML does
// not close, and checks that each tag is closed by its own end.
func wellFormed(t *testing.T, page string) {
	t.Helper()
	page = strings.TrimPrefix(page, "<!DOCTYPE html>\n")
	page = regexp.MustCompile(`(?s)<style>.*</style>`).ReplaceAllString(page, "")
	page = regexp.MustCompile(`<(meta|br|img)([^>]*)>`).ReplaceAllString(page, "<$1$2/>")
	// What XML forbids and HTML tolerates in text is not about tags.
	page = strings.Map(func(r rune) rune {
		if r < 0x20 && r != '\n' && r != '\t' {
			return -1
		}
		return r
	}, page)
	d := xml.NewDecoder(strings.NewReader(page))
	d.Entity = xml.HTMLEntity
	for {
		_, err := d.Token()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatalf("page is not well-formed: %v", err)
		}
	}
}

func TestHTML(t *testing.T) {
	for name, a := range map[string]*redoubt.Assessment{"images": images(), "rows": rows(), "empty": {}} {
		page := render(t, HTML, a)
		wellFormed(t, page)
		if len(page) > 2_000_000 {
			t.Errorf("%s: %d bytes", name, len(page))
		}
		// The only address may be in text; nothing is loaded or linked.
		if m := regexp.MustCompile(`(?i)(src|href|url|action|data)\s*[=(]\s*["']?\s*(https?:|//|file:)|@import|<script|<link|<iframe|<object| on[a-z]+=`).FindString(page); m != "" {
			t.Errorf("%s: the page refers outside itself: %q", name, m)
		}
		if strings.Contains(page, "ZgotmplZ") {
			t.Errorf("%s: the template engine refused a value", name)
		}
	}
}

// The pictures have to show what the model saw, pixel by pixel.
func TestPictures(t *testing.T) {
	chw := drawn(2)
	rgb := redoubt.Example{Shape: []int{2, 2, 3}, Layout: "hwc", Norm: "l1", Original: []float32{0, 0.5, 1, 1, 1, 1, 0, 0, 0, 0.2, 0.4, 0.6}, Changed: make([]float32, 12)}
	a := &redoubt.Assessment{Examples: []redoubt.Example{chw, rgb}}
	strips, changes, left := examples(a)
	if len(strips) != 2 || len(changes) != 0 || left != 0 {
		t.Fatalf("%d strips, %d rows, %d left", len(strips), len(changes), left)
	}
	at := func(uri string, x, y int) [3]uint32 {
		raw, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(uri, "data:image/png;base64,"))
		if err != nil {
			t.Fatal(err)
		}
		img, err := png.Decode(bytes.NewReader(raw))
		if err != nil {
			t.Fatal(err)
		}
		r, g, b, _ := img.At(x, y).RGBA()
		return [3]uint32{r >> 8, g >> 8, b >> 8}
	}
	v := uint32(math.Round(255 * float64(chw.Original[28*9+14])))
	if got := at(string(strips[0].Original), 14, 9); got != [3]uint32{v, v, v} {
		t.Errorf("grey pixel %v, want %d", got, v)
	}
	if got := at(string(strips[1].Original), 0, 0); got != [3]uint32{0, 128, 255} {
		t.Errorf("hwc pixel %v, want 0 128 255", got)
	}
	if got := at(string(strips[1].Original), 1, 1); got != [3]uint32{51, 102, 153} {
		t.Errorf("hwc pixel %v, want 51 102 153", got)
	}
	// Black changed to black is mid-grey in the difference; white to black is black.
	if zero, full := at(string(strips[1].Difference), 0, 1), at(string(strips[1].Difference), 1, 0); zero != [3]uint32{128, 128, 128} || full != [3]uint32{0, 0, 0} {
		t.Errorf("difference %v and %v", zero, full)
	}
	if strips[1].Gain != "×0.5" || strips[0].Gain != "×5" || strips[0].Size != "L∞ = 0.1" {
		t.Errorf("gain %q and %q, size %q", strips[0].Gain, strips[1].Gain, strips[0].Size)
	}
}

// Large pictures must not make a page of a hundred megabytes.
func TestPictureBudget(t *testing.T) {
	a := images()
	for i := range 40 {
		e := redoubt.Example{Index: i, Shape: []int{3, 224, 224}, Layout: "chw", Norm: "l2", Original: make([]float32, 3*224*224), Changed: make([]float32, 3*224*224)}
		state := uint32(i + 1)
		for j := range e.Original {
			state = state*1664525 + 1013904223 // noise does not compress
			e.Original[j], e.Changed[j] = float32(state>>8)/(1<<24), float32(state>>9)/(1<<23)
		}
		a.Examples = append(a.Examples, e)
	}
	if page := render(t, HTML, a); len(page) > 2_000_000 || !strings.Contains(page, "more examples not shown") {
		t.Errorf("page of %d bytes", len(page))
	}
}

// Malformed examples are left out, not a reason to panic.
func TestOddExamples(t *testing.T) {
	a := &redoubt.Assessment{Examples: []redoubt.Example{
		{},
		{Shape: []int{1, 28, 28}, Layout: "chw", Original: make([]float32, 784), Changed: make([]float32, 3)},
		{Shape: []int{1, 28, 29}, Layout: "chw", Original: make([]float32, 784), Changed: make([]float32, 784)},
		{Shape: []int{5, 28, 28}, Layout: "chw", Original: make([]float32, 5*784), Changed: make([]float32, 5*784)},
		{Shape: []int{2, 2}, Layout: "", Original: []float32{float32(math.NaN()), 0, 0, 0}, Changed: make([]float32, 4)},
	}}
	render(t, HTML, a)
}

func TestJSON(t *testing.T) {
	var doc map[string]any
	if err := json.Unmarshal([]byte(render(t, JSON, &redoubt.Assessment{Threats: make([]redoubt.ThreatResult, 1)})), &doc); err != nil {
		t.Fatal(err)
	}
	if doc["schema"] != "redoubt.assess/v1" {
		t.Errorf("schema %v", doc["schema"])
	}
	for _, key := range []string{"threat_models", "gates", "findings", "not_tested"} {
		if _, ok := doc[key].([]any); !ok {
			t.Errorf("%s is %v, want a list", key, doc[key])
		}
	}
	first := doc["threat_models"].([]any)[0].(map[string]any)
	if _, ok := first["attacks"].([]any); !ok {
		t.Errorf("attacks is %v", first["attacks"])
	}
	var back redoubt.Assessment
	if err := json.Unmarshal([]byte(render(t, JSON, images())), &back); err != nil || back.Findings[1].Severity != redoubt.High {
		t.Errorf("read back: %v", err)
	}
	if err := JSON(io.Discard, &redoubt.Assessment{CleanAccuracy: math.NaN()}); err == nil {
		t.Error("NaN was written as JSON")
	}
}

func validSARIF(t *testing.T, text string) map[string]any {
	t.Helper()
	f, err := os.Open("testdata/sarif-schema-2.1.0.json")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	schema, err := jsonschema.UnmarshalJSON(f)
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("sarif.json", schema); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("sarif.json")
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Validate(doc); err != nil {
		t.Errorf("not SARIF 2.1.0: %v", err)
	}
	return doc.(map[string]any)
}

func TestSARIF(t *testing.T) {
	run := validSARIF(t, render(t, SARIF, images()))["runs"].([]any)[0].(map[string]any)
	var rules []string
	for _, r := range run["results"].([]any) {
		r := r.(map[string]any)
		rules = append(rules, fmt.Sprint(r["ruleId"], " ", r["level"]))
	}
	want := "[evasion/linf error evasion/l2 warning gate/failed error reliability/loss-still-rising warning reliability/saturated-softmax note reliability/saturated-softmax note]"
	if fmt.Sprint(rules) != want {
		t.Errorf("results %v,\nwant %v", rules, want)
	}
	validSARIF(t, render(t, SARIF, rows()))
	validSARIF(t, render(t, SARIF, &redoubt.Assessment{}))
	// The schema has to bite: a log without its version is none.
	broken := strings.Replace(render(t, SARIF, images()), `"version": "2.1.0"`, `"version": "2"`, 1)
	if inner := new(testing.T); func() bool { validSARIF(inner, broken); return inner.Failed() }() == false {
		t.Error("the schema accepts version 2")
	}
}

func TestFileURI(t *testing.T) {
	for path, want := range map[string]string{"models/a b.onnx": "models/a%20b.onnx", "/srv/m.onnx": "file:///srv/m.onnx", "https://h/v2/models/m": "https://h/v2/models/m", "a:b.onnx": "./a:b.onnx", "./a.onnx": "a.onnx", "m#1?.onnx": "m%231%3F.onnx"} {
		if got := fileURI(path); got != want {
			t.Errorf("fileURI(%q) = %q, want %q", path, got, want)
		}
	}
}

func TestJUnit(t *testing.T) {
	a := images()
	a.Threats[2].Reliability.Verdict = redoubt.Invalid
	var doc junitSuites
	if err := xml.Unmarshal([]byte(render(t, JUnit, a)), &doc); err != nil {
		t.Fatal(err)
	}
	if doc.Tests != 9 || doc.Failures != 1 || doc.Errors != 1 || doc.Suites[0].Cases[1].Failure == nil || doc.Suites[1].Cases[2].Error == nil {
		t.Errorf("%d tests, %d failures, %d errors", doc.Tests, doc.Failures, doc.Errors)
	}
}

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errors.New("disk full") }

func TestWriteErrors(t *testing.T) {
	for _, f := range Formats {
		if err := f.Render(fullDisk{}, images()); err == nil || !strings.Contains(err.Error(), "disk full") {
			t.Errorf("%s: %v", f.Name, err)
		}
	}
}

func TestRemote(t *testing.T) {
	a := rows()
	a.Model.Path, a.Model.SHA256 = "https://models.example/v2/models/credit", ""
	a.Model.Remote = &redoubt.Remote{
		Protocol: "Open Inference Protocol, JSON", Authorisation: "Jane <Doe>, ticket 4711", Budget: 10000, Rate: 20,
		Queries: 9876, Requests: 400, Refused: 1, Retried: 2,
	}
	plainText := func(w io.Writer, a *redoubt.Assessment) error { return Text(w, a, TextOptions{}) }
	for name, out := range map[string]string{"text": render(t, plainText, a), "html": render(t, HTML, a)} {
		out = strings.ReplaceAll(out, "&lt;Doe&gt;", "<Doe>")
		for _, want := range []string{a.Model.Path, "Jane <Doe>, ticket 4711", "9,876 queries of 10,000", "400 requests", "1 refused", "2 sent again"} {
			if !strings.Contains(out, want) {
				t.Errorf("%s: no %q", name, want)
			}
		}
		if strings.Contains(out, "Parameters") {
			t.Errorf("%s: claims to know what is inside", name)
		}
	}
	validSARIF(t, render(t, SARIF, a))
}

// Threats that are no ball carry their bounds in words, in their own units, and
// in no chart against a radius.
func TestThreatsThatAreNoBall(t *testing.T) {
	a := images()
	before := len(charts(a))
	for norm, eps := range map[string]float64{"spatial": 15, "patch": 0.05, "universal-linf": 0.1} {
		r := threat(norm, eps, 300, redoubt.Trustworthy, eps)
		r.Bound = "bounds of <" + norm + ">"
		a.Threats = append(a.Threats, r)
		a.Examples = append(a.Examples, a.Examples[0])
		a.Examples[len(a.Examples)-1].Norm, a.Examples[len(a.Examples)-1].Eps = norm, eps
	}
	if got := len(charts(a)); got != before {
		t.Errorf("%d charts, want %d", got, before)
	}
	var text, page, junit bytes.Buffer
	if err := errors.Join(Text(&text, a, TextOptions{}), HTML(&page, a), JUnit(&junit, a)); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"spatial ≤ 15°", "patch ≤ 5 %", "universal L∞ ≤ 0.1"} {
		if !strings.Contains(text.String(), name) || !strings.Contains(page.String(), name) {
			t.Errorf("no %q in text or page", name)
		}
	}
	if !strings.Contains(text.String(), "bounds of <patch>") || !strings.Contains(page.String(), "bounds of &lt;patch&gt;") {
		t.Error("the bounds are missing, or not escaped")
	}
	for _, name := range []string{"spatial@15", "patch@0.05", "universal-linf@0.1"} {
		if !strings.Contains(junit.String(), `name="`+name+`"`) {
			t.Errorf("no test case %s", name)
		}
	}
	// A universal perturbation is measured in its norm, a pose is not.
	for _, s := range []string{"universal L∞ = 0.1.", "spatial ≤ 15°."} {
		if !strings.Contains(page.String(), s) {
			t.Errorf("no picture says %q", s)
		}
	}
}
