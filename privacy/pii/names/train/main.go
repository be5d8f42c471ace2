// Train makes the weights of package names.
//
//	privacy/pii/names/train/fetch.sh DIR
//	go run ./privacy/pii/names/train -lists DIR/lists -corpora DIR/corpora -treebanks DIR/treebanks \
//	    -companies DIR/companies.txt -plain "$(go env GOROOT)/src" -each 120 -epochs 9 -out names.bin
//
// Where its sources come from, and under which licences, stands in
// docs/pii-names.md. With the same sources and the same seed it writes the same
// bytes. It prints how well the weights do on what was held back; with -measure it
// prints that of weights that are there, and trains none.
package main

import (
	"crypto/sha256"
	"flag"
	"fmt"
	"log"
	"maps"
	"math/rand/v2"
	"os"
	"slices"

	"github.com/redoubt-ml/redoubt/privacy/pii/names/internal/tagger"
)

// A job is what the command line asks for.
type job struct {
	lists, corpora, treebanks, companies, plain string
	dev, out, measure                           string
	each, epochs                                int
	seed                                        uint64
}

func main() {
	log.SetFlags(log.Ltime)
	var j job
	flag.StringVar(&j.lists, "lists", "", "folder that sources.py wrote")
	flag.StringVar(&j.corpora, "corpora", "", "folder of marked corpora")
	flag.StringVar(&j.treebanks, "treebanks", "", "folder of treebanks of other languages")
	flag.StringVar(&j.companies, "companies", "", "file of the names of companies")
	flag.StringVar(&j.plain, "plain", "", "folder of text without names")
	flag.StringVar(&j.dev, "dev", "", "sentences in the form of presidio-research to measure on")
	flag.StringVar(&j.out, "out", "names.bin", "where the weights go")
	flag.StringVar(&j.measure, "measure", "", "weights to measure instead of training")
	flag.IntVar(&j.each, "each", 120, "samples of each template")
	flag.IntVar(&j.epochs, "epochs", 9, "passes over the samples")
	flag.Uint64Var(&j.seed, "seed", 1, "seed")
	flag.Parse()
	if err := j.run(); err != nil {
		log.Fatal(err)
	}
}

func (j *job) run() error {
	r := rand.New(rand.NewPCG(j.seed, 0))
	learn, tests, words, err := j.read(r)
	if err != nil {
		return err
	}
	if j.measure != "" {
		b, err := os.ReadFile(j.measure)
		if err != nil {
			return err
		}
		m, err := tagger.Open(b)
		if err != nil {
			return err
		}
		report(m, tests)
		return nil
	}
	log.Printf("%d samples, %d words in the gazetteer", len(learn), len(words))
	p := newPerceptron(learn, tagger.NewGazetteer(thin(words)), r)
	log.Printf("%d tokens, %d features", p.tokens, len(p.ids))
	for e := range j.epochs {
		log.Printf("pass %d: %.2f %% of tokens wrong", e+1, 100*p.pass(r))
	}
	m := p.model(tagger.NewGazetteer(words))
	b := m.Encode()
	if err := os.WriteFile(j.out, b, 0o644); err != nil {
		return err
	}
	log.Printf("wrote %d bytes, %d features, sha256 %x", len(b), p.kept, sha256.Sum256(b))
	report(m, tests)
	return nil
}

// read reads all sources: what is learnt, what is held back to measure on, and the
// words of the gazetteer.
func (j *job) read(r *rand.Rand) (learn []sample, tests map[string][]sample, words map[uint32]uint16, err error) {
	l, err := readLists(j.lists, j.companies)
	if err != nil {
		return nil, nil, nil, err
	}
	running, err := readPlain(j.plain, 3<<19)
	if err != nil {
		return nil, nil, nil, err
	}
	words = l.gazetteer(running)
	foreign, err := readTreebanks(j.treebanks, 2500, words)
	if err != nil {
		return nil, nil, nil, err
	}
	running = append(running, foreign...)
	tests = make(map[string][]sample)
	all := slices.Clone(running)
	for _, c := range corpora {
		samples, err := readCorpus(j.corpora, c.file, words)
		if err != nil {
			return nil, nil, nil, err
		}
		all = append(all, samples...)
		if c.train {
			learn = append(learn, slices.Concat(samples, samples)...) // twice: there is little of it
		} else {
			tests[c.file] = samples
		}
	}
	words = l.gazetteer(all)
	learn = append(learn, running...)
	templates, err := readTemplates()
	if err != nil {
		return nil, nil, nil, err
	}
	f := &filler{l, r}
	for _, t := range templates {
		for range j.each {
			if s := f.fill(t); held(t.group) {
				tests["templates"] = append(tests["templates"], s)
			} else {
				learn = append(learn, s)
			}
		}
	}
	if j.dev != "" {
		tests["dev"], err = readPresidio(j.dev)
	}
	return learn, tests, words, err
}

func report(m *tagger.Model, tests map[string][]sample) {
	for _, name := range slices.Sorted(maps.Keys(tests)) {
		fmt.Printf("\n%s: %d samples\n", name, len(tests[name]))
		measure(m, tests[name]).print()
	}
}

// thin hides three in ten names from training, so that it learns what to do with
// those on no list.
func thin(words map[uint32]uint16) map[uint32]uint16 {
	out := make(map[uint32]uint16, len(words))
	for hash, classes := range words {
		if hash>>5%10 < 3 {
			classes &= tagger.Common | tagger.Frequent | tagger.Street | tagger.Legal | tagger.Honour | tagger.Country | tagger.Demonym
		}
		if classes != 0 {
			out[hash] = classes
		}
	}
	return out
}
