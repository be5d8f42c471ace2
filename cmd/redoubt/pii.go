package main

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/redoubt-ml/redoubt/ml/ort"
	"github.com/redoubt-ml/redoubt/privacy/pii"
	"github.com/redoubt-ml/redoubt/privacy/pii/names"
)

func newPII(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "pii",
		Short: "Personal data and secrets: find them, replace them, put them back",
		Long: `Personal data and secrets: find them in text, tables, mail and documents, replace
them, and put them back.

Found are numbers that pass the checksums of cards, accounts and national
identifiers, addresses, keys and passwords, dates and ages, each with a score that
the words around it raise or lower. See docs/pii.md.`,
		Example: "  redoubt pii scan mails/",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	for _, c := range piiCommands {
		cmd.AddCommand(c(a))
	}
	return cmd
}

// piiCommands lists the verbs beneath pii.
var piiCommands = []func(*app) *cobra.Command{
	newPIIScan,
	newPIIMask,
	newPIIRestore,
	newPIIKey,
	newPIIVault,
}

// tagger finds the names that scanning looks for unless told not to; library is
// where ONNX Runtime is, if it is asked for.
func (f *piiFlags) tagger(library string) (pii.Tagger, error) {
	switch {
	case f.noNames && f.namesModel != "":
		return nil, errors.New("--no-names and --names-model stand beside one another: give one of them")
	case f.noNames:
		return nil, nil
	case f.namesModel == "":
		return names.Default(), nil
	}
	x := &names.ONNX{Dir: f.namesModel, Threads: 1}
	if f.namesLabels != "" {
		var err error
		if x.Labels, err = names.ReadLabels(f.namesLabels); err != nil {
			return nil, fmt.Errorf("--names-labels: %w", err)
		}
	}
	rt, err := ort.Open(library)
	if err != nil {
		return nil, err
	}
	if err := x.Open(rt); err != nil {
		return nil, fmt.Errorf("--names-model %s: %w", f.namesModel, err)
	}
	return x, nil
}

// piiFlags say what personal data is looked for.
type piiFlags struct {
	types, exclude, thresholds, regions []string
	recognizers, allow, deny            string
	namesModel, namesLabels             string
	noNames, lines                      bool
}

func (f *piiFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringSliceVar(&f.types, "types", nil, "only these types, such as CREDIT_CARD,IBAN_CODE (default: all)")
	flags.StringSliceVar(&f.exclude, "exclude", nil, "not these types")
	flags.StringSliceVar(&f.thresholds, "threshold", nil, "least score to be found, 0.5 unless given; TYPE=SCORE for one type")
	flags.StringSliceVar(&f.regions, "region", nil, "countries whose telephone numbers are known without a country code, such as GB,DE")
	flags.StringVar(&f.recognizers, "recognizers", "", "YAML file of recognisers of your own, besides the others")
	flags.StringVar(&f.allow, "allow", "", "YAML file of texts and patterns that are never found")
	flags.StringVar(&f.deny, "deny", "", "YAML file of texts and patterns that are always found")
	flags.BoolVar(&f.lines, "lines", false, "look at text line by line, each when it is there, as for a log that is watched")
	flags.StringVar(&f.namesModel, "names-model", "", "folder of a token classifier in ONNX, as Hugging Face's Optimum exports it, that finds names in the place of our own")
	flags.StringVar(&f.namesLabels, "names-labels", "", "YAML file that says which types its labels are")
	flags.BoolVar(&f.noNames, "no-names", false, "only what has a form of its own: no names, places or organisations; faster")
}

// settings reads the files that flags name, and checks the types.
func (f *piiFlags) settings(library string) (pii.Settings, error) {
	s := pii.Settings{Types: f.types, Exclude: f.exclude, Regions: f.regions, Recognizers: pii.All, Thresholds: map[string]float64{}}
	tagger, err := f.tagger(library)
	if err != nil {
		return s, err
	}
	if tagger != nil {
		s.Tagger = tagger
	}
	if f.recognizers != "" {
		text, err := os.ReadFile(f.recognizers)
		if err != nil {
			return s, fmt.Errorf("read --recognizers: %w", err)
		}
		own, err := pii.Load(text)
		if err != nil {
			return s, fmt.Errorf("%s: %w", f.recognizers, err)
		}
		s.Recognizers = slices.Concat(s.Recognizers, own)
	}
	for _, l := range []struct {
		flag, path string
		to         *pii.List
	}{{"allow", f.allow, &s.Allow}, {"deny", f.deny, &s.Deny}} {
		if l.path == "" {
			continue
		}
		text, err := os.ReadFile(l.path)
		if err != nil {
			return s, fmt.Errorf("read --%s: %w", l.flag, err)
		}
		if *l.to, err = pii.LoadList(text); err != nil {
			return s, fmt.Errorf("%s: %w", l.path, err)
		}
	}
	for _, t := range f.thresholds {
		typ, score, of := strings.Cut(t, "=")
		if !of {
			typ, score = "", t
		}
		v, err := strconv.ParseFloat(score, 64)
		if err != nil || !(v > 0 && v <= 1) {
			return s, fmt.Errorf("--threshold %q: want a score above 0 and at most 1, or TYPE=SCORE", t)
		}
		if s.Thresholds[typ] = v; typ == "" {
			s.Threshold = v
		}
	}
	return s, f.known(s)
}

// known refuses types that nothing finds, so that one spelt wrong is not missed.
func (f *piiFlags) known(s pii.Settings) error {
	types := map[string]bool{"": true, "DENY_LIST": true, s.Deny.Type: true}
	for _, r := range s.Recognizers {
		types[r.Type] = true
	}
	for _, t := range []string{pii.Person, pii.Location, pii.Organization, pii.StreetAddress, pii.ZipCode, pii.NRP, pii.Title, pii.Age, pii.DateTime} {
		types[t] = true
	}
	for _, t := range slices.Concat(f.types, f.exclude, slices.Sorted(maps.Keys(s.Thresholds))) {
		if !types[t] {
			return fmt.Errorf("type %q: nothing finds it; 'redoubt pii scan --list' prints the types", t)
		}
	}
	return nil
}

// piiFiles are the files of paths, those of folders in the order of their names. "-"
// is stdin.
func piiFiles(paths []string) ([]string, error) {
	if len(paths) == 0 {
		return nil, errors.New("no path given: name files or folders, or - for stdin")
	}
	var out []string
	for _, p := range paths {
		if p == "-" {
			if slices.Contains(out, p) {
				return nil, errors.New("- is given twice: there is one stdin")
			}
			out = append(out, p)
			continue
		}
		err := filepath.WalkDir(p, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			// A path that is named is read wherever it leads; links in folders are not
			// followed.
			if d.Type().IsRegular() || path == p && !d.IsDir() {
				out = append(out, path)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}
