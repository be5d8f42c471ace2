package names

import (
	"context"
	_ "embed"
	"fmt"
	"slices"
	"sync"

	"github.com/redoubt-ml/redoubt/privacy/pii"
	"github.com/redoubt-ml/redoubt/privacy/pii/names/internal/tagger"
)

// weights is what privacy/pii/names/train wrote. It is used where it lies in the
// binary: opening it reads a header.
//
//go:embed names.bin
var weights []byte

var shipped = sync.OnceValues(func() (*tagger.Model, error) { return tagger.Open(weights) })

// Recognizer is the name under which taggers of this package report.
const Recognizer = "names"

// Types are what a Tagger finds.
func Types() []string { return slices.Clone(tagger.Types[:]) }

// A Tagger finds names by weights. It implements pii.Tagger.
type Tagger struct {
	// Types are what it reports, among those of the function Types; all if empty.
	Types []string

	model *tagger.Model
	pool  *sync.Pool // of *tagger.Tagger: each holds memory for one text at a time
}

// Default is the tagger whose weights are in the binary. All that it returns
// share them.
func Default() *Tagger {
	m, err := shipped()
	if err != nil {
		panic(err) // the binary itself is broken
	}
	return newTagger(m)
}

// Open makes a tagger of weights that the program in privacy/pii/names/train
// wrote. It keeps the slice, which must not change afterwards.
func Open(weights []byte) (*Tagger, error) {
	m, err := tagger.Open(weights)
	if err != nil {
		return nil, err
	}
	return newTagger(m), nil
}

func newTagger(m *tagger.Model) *Tagger {
	return &Tagger{model: m, pool: &sync.Pool{New: func() any { return &tagger.Tagger{Model: m} }}}
}

// Tag appends the names in text to found. What is in found already must be in
// order of Start; it is read as one word each, and no name overlaps it. The only
// error is that of ctx, asked every thousand words.
func (t *Tagger) Tag(ctx context.Context, text []byte, found []pii.Finding) ([]pii.Finding, error) {
	spans := make([]tagger.Span, 0, len(found))
	for _, f := range found {
		if 0 <= f.Start && f.Start < f.End && f.End <= len(text) {
			spans = append(spans, tagger.Span{Start: f.Start, End: f.End, Class: tagger.Class(f.Type)})
		}
	}
	g := t.pool.Get().(*tagger.Tagger)
	defer t.pool.Put(g)
	stop := func() bool { return ctx.Err() != nil }
	g.Tag(text, spans, stop, func(n tagger.Name) {
		kind := tagger.Types[n.Type]
		if len(t.Types) > 0 && !slices.Contains(t.Types, kind) {
			return
		}
		found = append(found, pii.Finding{
			Start: n.Start, End: n.End, Type: kind, Score: n.Score, Recognizer: Recognizer,
			Why: why[n.Evidence],
		})
	})
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("look for names: %w", err)
	}
	return found, nil
}

// why says what spoke for a name.
var why = map[tagger.Evidence]string{
	tagger.OnList:  "on a list of such names, and where one may stand",
	tagger.InShape: "written like one, and where one may stand",
}
