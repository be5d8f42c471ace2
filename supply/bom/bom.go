// Package bom writes what a model is made of, and what is known about it, as a
// bill of materials: CycloneDX 1.6 or 1.7 in JSON, with a model card.
//
//	b, err := bom.Source{Model: "model.onnx", Manifest: m, License: "Apache-2.0", Assessment: &report}.BOM()
//	...
//	err = bom.Write(w, b, "1.6")
//	fmt.Println(bom.Score(b))
//
// Inputs, outputs, operators and parameters are read out of the ONNX graph, the
// metrics out of an assessment, with their confidence intervals and, as slice, the
// threat model that they hold for. What was measured also stands in declarations:
// each gate of the assessment is a claim, or a counter-claim where it failed, with
// the report as evidence that expires.
//
// # Promises
//
//   - What is not known is absent. Nothing is guessed to raise the score: how the
//     model was trained, by whom and for what is for the caller to say.
//   - Vulnerabilities are findings of a scan that says "unsafe", and nothing else.
//   - What is written satisfies the schema of its version.
package bom

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	cdx "github.com/CycloneDX/cyclonedx-go"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/ml/onnx"
	"github.com/redoubt-ml/redoubt/supply/sign"
)

// Source is what a bill of materials is made from. Model and Manifest are
// required; what else is empty is left out.
type Source struct {
	// Model is the path of the model, a file or a folder; its base name is the name
	// in the bill unless Name says otherwise.
	Model string
	// Manifest is the model's, of whole files by SHA-256.
	Manifest *sign.Manifest
	// Graph is the model's graph, nil for what is not ONNX.
	Graph *onnx.Model

	Name, Version, Description string
	// Supplier is who provides the model.
	Supplier string
	// License is an SPDX identifier or expression, or the name of another licence.
	License string
	// Task is what the model does, such as "classification". Where it is empty, it
	// is read out of the graph, if that says so.
	Task string
	// Approach is how the model was trained: supervised, unsupervised,
	// reinforcement-learning, semi-supervised or self-supervised.
	Approach string
	// UseCases, Limitations and Ethics are sentences.
	UseCases, Limitations, Ethics []string

	// Data are the data sets that the model was made from.
	Data []Data
	// Assessment is what attacks on the model achieved.
	Assessment *redoubt.Assessment
	// Scan is the JSON document "redoubt.scan/v1" of the model's files.
	Scan []byte
	// Reports are the files that Assessment and Scan were read from, and others
	// about the model, by kind.
	Reports []Report

	// Tool is the version of Redoubt.
	Tool string
	// Made is when the bill is made, and Expires when its evidence is no longer to
	// be relied on. Both are required.
	Made, Expires time.Time
}

// Data is a data set.
type Data struct {
	Name    string
	SHA256  redoubt.Digest
	License string
}

// Report is a file about the model.
type Report struct {
	// Kind is a type of external reference of CycloneDX, such as
	// "dynamic-analysis-report", "static-analysis-report" or "digital-signature".
	Kind string
	// Path is relative to the bill.
	Path   string
	SHA256 redoubt.Digest
}

// modelRef is how the parts of a bill refer to the model.
const modelRef = "model"

var approaches = []string{"", "supervised", "unsupervised", "reinforcement-learning", "semi-supervised", "self-supervised"}

// BOM makes the bill.
func (s Source) BOM() (*cdx.BOM, error) {
	scan, err := s.check()
	if err != nil {
		return nil, fmt.Errorf("make bill of materials: %w", err)
	}
	b := cdx.NewBOM()
	b.SerialNumber = "urn:uuid:" + newUUID()
	b.Metadata = &cdx.Metadata{
		Timestamp: s.Made.UTC().Format(time.RFC3339),
		Tools:     &cdx.ToolsChoice{Components: list(cdx.Component{Type: cdx.ComponentTypeApplication, Name: "redoubt", Version: s.Tool})},
		Component: s.component(),
	}
	var refs []string
	var components []cdx.Component
	for i, d := range s.Data {
		c := d.component(i)
		components, refs = append(components, c), append(refs, c.BOMRef)
	}
	b.Components = list(components...)
	if len(refs) > 0 {
		b.Dependencies = list(cdx.Dependency{Ref: modelRef, Dependencies: list(refs...)})
	}
	b.Vulnerabilities = scan.vulnerabilities()
	b.Declarations, b.Definitions = s.declarations(scan)
	return b, nil
}

// check holds the parts against one another.
func (s *Source) check() (*scanned, error) {
	switch {
	case s.Manifest == nil || s.Manifest.Algorithm != sign.SHA256 || s.Manifest.ShardSize != 0:
		return nil, errors.New("want the model's manifest of whole files by SHA-256")
	case s.Made.IsZero() || !s.Made.Before(s.Expires):
		return nil, errors.New("want a time, and an expiry after it")
	case !slices.Contains(approaches, s.Approach):
		return nil, fmt.Errorf("approach %q: want one of %s", s.Approach, strings.Join(approaches[1:], ", "))
	}
	if a := s.Assessment; a != nil && !s.holds(a.Model.SHA256) {
		return nil, fmt.Errorf("the assessment is of a model with SHA-256 %q, which is no file of this one", a.Model.SHA256)
	}
	return s.readScan()
}

func (s *Source) holds(d redoubt.Digest) bool {
	return slices.ContainsFunc(s.Manifest.Resources, func(r sign.Resource) bool { return r.Digest == string(d) })
}

// component is the model.
func (s *Source) component() *cdx.Component {
	c := &cdx.Component{
		BOMRef: modelRef, Type: cdx.ComponentTypeMachineLearningModel, Name: s.Name, Version: s.Version, Description: s.Description,
		Licenses: licences(s.License), ModelCard: s.card(), Hashes: s.hashes(),
		Properties: list(cdx.Property{Name: "redoubt:model:root", Value: string(s.Manifest.Root())}),
	}
	if c.Name == "" {
		c.Name = filepath.Base(s.Model)
	}
	if s.Supplier != "" {
		c.Supplier = &cdx.OrganizationalEntity{Name: s.Supplier}
	}
	var refs []cdx.ExternalReference
	for _, r := range s.Reports {
		refs = append(refs, cdx.ExternalReference{Type: cdx.ExternalReferenceType(r.Kind), URL: filepath.ToSlash(r.Path), Hashes: hash(r.SHA256)})
	}
	c.ExternalReferences = list(refs...)
	if len(s.Manifest.Resources) > 1 {
		var files []cdx.Component
		for _, r := range s.Manifest.Resources {
			files = append(files, cdx.Component{Type: cdx.ComponentTypeFile, Name: r.Path, Hashes: hash(redoubt.Digest(r.Digest))})
		}
		c.Components = list(files...)
	}
	return c
}

// hashes is the digest of a model that is one file. That of a folder is no hash
// of bytes, and stands in the properties.
func (s *Source) hashes() *[]cdx.Hash {
	if len(s.Manifest.Resources) != 1 {
		return nil
	}
	return hash(redoubt.Digest(s.Manifest.Resources[0].Digest))
}

func hash(d redoubt.Digest) *[]cdx.Hash {
	if d == "" {
		return nil
	}
	return list(cdx.Hash{Algorithm: cdx.HashAlgoSHA256, Value: string(d)})
}

func (d Data) component(i int) cdx.Component {
	return cdx.Component{
		BOMRef: fmt.Sprintf("data-%d", i+1), Type: cdx.ComponentTypeData, Name: d.Name, Hashes: hash(d.SHA256), Licenses: licences(d.License),
		Data: list(cdx.ComponentData{Type: cdx.ComponentDataTypeDataset, Name: d.Name}),
	}
}

// expression is the form of an SPDX licence expression: annex D of SPDX 2.3,
// without its list of identifiers.
var expression = regexp.MustCompile(`^\(*[A-Za-z0-9.+-]+\)*( (AND|OR|WITH) \(*[A-Za-z0-9.+-]+\)*)*$`)

func licences(text string) *cdx.Licenses {
	switch {
	case text == "":
		return nil
	case expression.MatchString(text):
		return &cdx.Licenses{{Expression: text}}
	}
	return &cdx.Licenses{{License: &cdx.License{Name: text}}}
}

// Versions are those of CycloneDX that Write knows, the usual one first.
var Versions = []string{"1.6", "1.7"}

// Write writes a bill as JSON of a version.
func Write(w io.Writer, b *cdx.BOM, version string) error {
	spec := map[string]cdx.SpecVersion{"1.6": cdx.SpecVersion1_6, "1.7": cdx.SpecVersion1_7}[version]
	if spec == 0 {
		return fmt.Errorf("write bill of materials: CycloneDX %q: want one of %v", version, Versions)
	}
	e := cdx.NewBOMEncoder(w, cdx.BOMFileFormatJSON)
	if err := e.SetPretty(true).SetEscapeHTML(false).EncodeVersion(b, spec); err != nil {
		return fmt.Errorf("write bill of materials: %w", err)
	}
	return nil
}

// maxBOM bounds a bill that is read.
const maxBOM = 64 << 20

// Read reads a bill in JSON, whoever made it.
func Read(r io.Reader) (*cdx.BOM, error) {
	raw, err := io.ReadAll(io.LimitReader(r, maxBOM+1))
	if err != nil {
		return nil, fmt.Errorf("read bill of materials: %w", err)
	}
	if len(raw) > maxBOM {
		return nil, fmt.Errorf("read bill of materials: it is larger than %d bytes", maxBOM)
	}
	b := &cdx.BOM{}
	if err := json.Unmarshal(raw, b); err != nil {
		return nil, fmt.Errorf("read bill of materials: %w", err)
	}
	if b.BOMFormat != cdx.BOMFormat {
		return nil, fmt.Errorf("read bill of materials: format %q: want CycloneDX in JSON", b.BOMFormat)
	}
	return b, nil
}

// newUUID is a random UUID: RFC 9562, version 4.
func newUUID() string {
	var u [16]byte
	rand.Read(u[:]) // it never fails
	u[6], u[8] = u[6]&0x0f|0x40, u[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
}

// list is how cyclonedx-go wants slices: nil for none.
func list[T any](v ...T) *[]T {
	if len(v) == 0 {
		return nil
	}
	return &v
}
