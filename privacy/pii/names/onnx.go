package names

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"path/filepath"
	"strings"
	"sync"

	"github.com/redoubt-ml/redoubt/internal/strictyaml"
	"github.com/redoubt-ml/redoubt/ml/onnx"
	"github.com/redoubt-ml/redoubt/ml/ort"
	"github.com/redoubt-ml/redoubt/privacy/pii"
	"github.com/redoubt-ml/redoubt/privacy/pii/names/internal/subword"
)

// ONNX finds names with a token classifier in ONNX: a folder with the model, its
// config.json (id2label) and its tokenizer (tokenizer.json, or vocab.txt), as
// Hugging Face's Optimum exports them. It implements pii.Tagger once Open has
// succeeded, and may then be used by several goroutines at once.
//
// Labels may be bare (PER), or carry B- and I-, or S-, U-, E- and L- as well.
// Tokenizers are WordPiece and byte-level BPE; others (SentencePiece) are refused.
type ONNX struct {
	// Dir is the folder. Required.
	Dir string
	// Model is the file in it; "model.onnx" if empty.
	Model string
	// Labels says which type each of the model's labels is, without B- and I-.
	// What is not in it is not reported. DefaultLabels if nil.
	Labels map[string]string
	// Window is how many pieces the model reads at a time, with those around them;
	// if 0, what config.json allows, at most 512.
	Window int
	// Overlap is how many pieces two windows share, so that each piece is judged
	// with some context: 64 if 0, at most half a window.
	Overlap int
	// Least is the probability below which a word is no name. If 0, what is more
	// probable than any other label is one.
	Least float64
	// Threads is how many threads a run may use; 1 if 0.
	Threads int

	window, overlap int

	session *ort.Session
	words   *subword.Tokenizer
	labels  []label
	inputs  []string
	output  string
	once    sync.Once
}

// label is one of a model's labels: where in a name a word stands, and of which
// type of finding; none if kind is empty.
type label struct {
	place byte // B, I, S or E
	kind  string
}

// DefaultLabels are the names that models use for the types of this package.
var DefaultLabels = map[string]string{
	"PER": pii.Person, "PERSON": pii.Person, "GIVENNAME": pii.Person, "SURNAME": pii.Person, "FIRSTNAME": pii.Person, "LASTNAME": pii.Person,
	"LOC": pii.Location, "LOCATION": pii.Location, "GPE": pii.Location, "CITY": pii.Location, "STATE": pii.Location, "COUNTRY": pii.Location, "COUNTY": pii.Location,
	"ORG": pii.Organization, "ORGANIZATION": pii.Organization, "ORGANISATION": pii.Organization, "COMPANYNAME": pii.Organization,
	"STREET": pii.StreetAddress, "STREET_ADDRESS": pii.StreetAddress, "ADDRESS": pii.StreetAddress,
	"ZIPCODE": pii.ZipCode, "ZIP_CODE": pii.ZipCode, "NORP": pii.NRP, "NRP": pii.NRP, "TITLE": pii.Title, "PREFIX": pii.Title,
	"AGE": pii.Age, "DATE": pii.DateTime, "TIME": pii.DateTime, "DATE_TIME": pii.DateTime,
}

// ReadLabels reads a file of YAML for ONNX.Labels, a label a line:
//
//	PER: PERSON
//	MISC: NRP
func ReadLabels(path string) (map[string]string, error) {
	b, err := subword.ReadFile(path, maxConfig)
	if err != nil {
		return nil, err
	}
	var m map[string]string
	if err := strictyaml.Unmarshal(b, &m); err != nil {
		return nil, fmt.Errorf("read labels in %s: %w", path, err)
	}
	for name, kind := range m {
		if name == "" || kind == "" {
			return nil, fmt.Errorf("read labels in %s: %q: %q: want LABEL: TYPE; leave out what is not to be reported", path, name, kind)
		}
	}
	return m, nil
}

const (
	maxConfig   = 16 << 20
	maxWindow   = 4096
	leastWindow = 8
)

// Open reads the folder and prepares the model. Close frees it.
func (x *ONNX) Open(rt *ort.Runtime) error {
	limit, err := x.readConfig()
	if err != nil {
		return err
	}
	if x.words, err = subword.Read(x.Dir); err != nil {
		return err
	}
	if x.window = x.Window; x.window == 0 {
		x.window = min(512, limit)
	}
	if most := min(limit, maxWindow); x.window < leastWindow || x.window > most {
		return fmt.Errorf("open the classifier in %s: a window of %d pieces, want %d to %d", x.Dir, x.window, leastWindow, most)
	}
	if x.overlap = x.Overlap; x.overlap == 0 {
		x.overlap = min(64, x.window/4)
	}
	if x.overlap < 0 || x.overlap > x.window/2 {
		return fmt.Errorf("open the classifier in %s: windows that overlap by %d pieces, want 1 to %d, half a window", x.Dir, x.overlap, x.window/2)
	}
	file := x.Model
	if file == "" {
		file = "model.onnx"
	}
	m, err := onnx.Read(filepath.Join(x.Dir, file), onnx.DefaultLimits)
	if err != nil {
		return err
	}
	s, err := rt.NewSession(m, ort.Options{Threads: x.Threads})
	if err != nil {
		return err
	}
	if err := x.bind(s); err != nil {
		s.Close()
		return err
	}
	x.session = s
	return nil
}

// Close frees the model. It must not be tagging.
func (x *ONNX) Close() {
	if x.session != nil {
		x.once.Do(x.session.Close)
	}
}

// readConfig reads what the labels mean, and how many pieces the model can read.
func (x *ONNX) readConfig() (limit int, err error) {
	path := filepath.Join(x.Dir, "config.json")
	b, err := subword.ReadFile(path, maxConfig)
	if err != nil {
		return 0, err
	}
	var c struct {
		Labels    map[int]string `json:"id2label"`
		Positions int            `json:"max_position_embeddings"`
		Type      string         `json:"model_type"`
	}
	if err := json.Unmarshal(b, &c); err != nil {
		return 0, fmt.Errorf("read %s: %w", path, err)
	}
	if len(c.Labels) < 2 || len(c.Labels) > 10_000 {
		return 0, fmt.Errorf("read %s: id2label names %d labels, want at least 2: is this a token classifier?", path, len(c.Labels))
	}
	types := x.Labels
	if types == nil {
		types = DefaultLabels
	}
	x.labels = make([]label, len(c.Labels))
	reported := false
	for i := range x.labels {
		name, ok := c.Labels[i]
		if !ok {
			return 0, fmt.Errorf("read %s: id2label has no label %d", path, i)
		}
		x.labels[i] = readLabel(name, types)
		reported = reported || x.labels[i].kind != ""
	}
	if !reported {
		return 0, fmt.Errorf("read %s: none of its labels is among those to report: map them with a file of labels", path)
	}
	limit = 512
	if c.Positions > 0 {
		limit = c.Positions
	}
	if c.Type == "roberta" || c.Type == "camembert" || c.Type == "xlm-roberta" {
		limit -= 2 // positions begin behind that of padding
	}
	return limit, nil
}

func readLabel(name string, types map[string]string) label {
	place, kind, ok := strings.Cut(name, "-")
	if !ok || len(place) != 1 {
		place, kind, ok = strings.Cut(name, "_")
	}
	if ok && len(place) == 1 {
		switch place[0] {
		case 'B', 'I', 'S', 'E':
			return label{place[0], types[kind]}
		case 'U':
			return label{'S', types[kind]}
		case 'L':
			return label{'E', types[kind]}
		case 'M':
			return label{'I', types[kind]}
		}
	}
	return label{'I', types[name]}
}

// bind finds the model's inputs and its output.
func (x *ONNX) bind(s *ort.Session) error {
	x.inputs = s.Inputs()
	for _, name := range x.inputs {
		switch name {
		case "input_ids", "attention_mask", "token_type_ids":
		default:
			return fmt.Errorf("open the classifier in %s: it asks for %q; want input_ids, attention_mask and token_type_ids", x.Dir, name)
		}
	}
	outputs := s.Outputs()
	x.output = outputs[0]
	for _, name := range outputs {
		if name == "logits" {
			x.output = name
		}
	}
	return nil
}

// verdict is what the model says of a word.
type verdict struct {
	start, end int
	label      label
	score      float64
}

// Tag appends the names in text to found, as pii.Tagger asks.
func (x *ONNX) Tag(ctx context.Context, text []byte, found []pii.Finding) ([]pii.Finding, error) {
	verdicts, err := x.judge(ctx, text)
	if err != nil {
		return nil, fmt.Errorf("look for names with %s: %w", x.Dir, err)
	}
	before := found
	var open *pii.Finding
	for _, v := range verdicts {
		if v.label.kind == "" || !(v.score >= x.Least) || overlaps(before, v.start, v.end) {
			open = nil
			continue
		}
		if open == nil || open.Type != v.label.kind || v.label.place == 'B' || v.label.place == 'S' {
			found = append(found, pii.Finding{Start: v.start, Type: v.label.kind, Recognizer: Recognizer, Why: "the classifier in " + filepath.Base(x.Dir) + " says so"})
			open = &found[len(found)-1]
		}
		open.End, open.Score = v.end, max(open.Score, v.score)
		if v.label.place == 'S' || v.label.place == 'E' {
			open = nil
		}
	}
	return found, nil
}

// overlaps tells whether a part of a text is, in part, something found before.
// Findings are in order of Start, and few.
func overlaps(found []pii.Finding, start, end int) bool {
	for _, f := range found {
		if f.Start >= end {
			return false
		}
		if f.End > start {
			return true
		}
	}
	return false
}

// judge asks the model of every word, window by window. A word is what its first
// piece is. Of two windows that overlap, each judges the half of the overlap that
// it sees with more context.
func (x *ONNX) judge(ctx context.Context, text []byte) ([]verdict, error) {
	pieces := x.words.Cut(text, nil)
	var out []verdict
	size := x.window - 2
	for from := 0; from < len(pieces); {
		to := min(from+size, len(pieces))
		logits, err := x.run(ctx, pieces[from:to])
		if err != nil {
			return nil, err
		}
		first, last := from, to
		if from > 0 {
			first += x.overlap / 2
		}
		if to < len(pieces) {
			last -= x.overlap - x.overlap/2
		}
		for i := first; i < last; i++ {
			p := pieces[i]
			if i > 0 && pieces[i-1].Word == p.Word {
				if len(out) > 0 {
					out[len(out)-1].end = p.End
				}
				continue
			}
			best, score := softmax(logits[(i-from)*len(x.labels) : (i-from+1)*len(x.labels)])
			out = append(out, verdict{trimmed(text, p.Start, p.End), p.End, x.labels[best], score})
		}
		if to == len(pieces) {
			break
		}
		from = to - x.overlap
	}
	return out, nil
}

// trimmed leaves out the space that a piece of byte-level BPE begins with.
func trimmed(text []byte, start, end int) int {
	for start < end && text[start] <= ' ' {
		start++
	}
	return start
}

// run gives the scores of each piece for each label.
func (x *ONNX) run(ctx context.Context, pieces []subword.Piece) ([]float32, error) {
	n := len(pieces) + 2
	ids, ones, zeros := make([]int64, n), make([]int64, n), make([]int64, n)
	ids[0], ids[n-1] = x.words.Start, x.words.End
	for i, p := range pieces {
		ids[i+1] = p.ID
	}
	for i := range ones {
		ones[i] = 1
	}
	in := make(map[string]*onnx.Tensor)
	for _, name := range x.inputs {
		data := map[string][]int64{"input_ids": ids, "attention_mask": ones, "token_type_ids": zeros}[name]
		in[name] = onnx.IntTensor(name, data, 1, int64(n))
	}
	out, err := x.session.RunTensors(ctx, in)
	if err != nil {
		return nil, err
	}
	t := out[x.output]
	labels := int64(len(x.labels))
	if t == nil || t.Type != onnx.Float || len(t.Dims) != 3 || t.Dims[0] != 1 || t.Dims[1] != int64(n) || t.Dims[2] != labels {
		return nil, fmt.Errorf("the model's output %q is not float32 of 1 x %d x %d: a score for each label of each piece", x.output, n, labels)
	}
	return t.Floats()[labels : labels*int64(n-1)], nil
}

// softmax gives the most probable label and its probability.
func softmax(scores []float32) (best int, p float64) {
	for i, s := range scores {
		if s > scores[best] {
			best = i
		}
	}
	sum := 0.0
	for _, s := range scores {
		sum += math.Exp(float64(s - scores[best]))
	}
	return best, 1 / sum
}
