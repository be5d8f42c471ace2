package data

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/redoubt-ml/redoubt/internal/strictyaml"
)

// Schema says what the columns of a table are and how a row becomes a model's
// input: in the order of the schema, one element for a number, an ordinal or a
// binary column, one element a category for a categorical column.
//
//	columns:
//	  - {name: age, type: integer, min: 18, max: 90, monotone: increasing}
//	  - {name: income, type: numeric, min: 0, max: 250000, mean: 41000, std: 9300}
//	  - {name: job, type: categorical, categories: [clerk, driver, nurse]}
//	  - {name: sex, type: binary, categories: [female, male], immutable: true}
//	  - {name: id, type: ignore}
//	  - {name: risk, type: label, categories: ["1", "2"], names: [good, bad]}
//	rules:
//	  - when job is clerk then income <= 60000
//
// Every column of the file must be named, be it to ignore it.
type Schema struct {
	// Headerless is set when the file has no line of names: columns are then
	// matched by position.
	Headerless bool `yaml:"headerless"`
	// Columns are those of the file. Their order is the order of the model's
	// inputs.
	Columns []Field `yaml:"columns"`
	// Rules link columns: "a + b <= 2 * c", "job is not nurse", "when job is
	// clerk then income <= 60000". Every row keeps to all of them.
	Rules []string `yaml:"rules"`

	linked []rule
}

// Field is one column of a table's file.
type Field struct {
	Name string `yaml:"name"`
	// Type is numeric, integer, categorical, ordinal, binary, ignore or label.
	Type string `yaml:"type"`
	// Min and Max bound the column in the file's units. Required for numeric
	// and integer columns: an attack without bounds leaves the possible.
	Min *float64 `yaml:"min"`
	Max *float64 `yaml:"max"`
	// Categories are the values of a categorical, ordinal or binary column as
	// the file spells them, an ordinal's in their order. For a label they are
	// the classes in the model's order; without them labels are numbers from 0.
	Categories []string `yaml:"categories"`
	// Names are what people call the categories, where the file uses codes.
	Names []string `yaml:"names"`
	// Encode is onehot (the default) or code for a categorical column.
	Encode string `yaml:"encode"`
	// Unknown is zero where a one-hot column may hold values that are none of
	// the categories: they set no element, as encoders do that ignore what they
	// have not seen. Without it such a row is refused.
	Unknown string `yaml:"unknown"`
	// Group joins binary columns of the file that already are one categorical
	// column in one-hot form.
	Group string `yaml:"group"`
	// Immutable columns are what no attacker can change.
	Immutable bool `yaml:"immutable"`
	// Monotone is increasing or decreasing when an attacker can move the
	// column in that direction only.
	Monotone string `yaml:"monotone"`
	// Mean and Std make the model's input (value-Mean)/Std.
	Mean float64 `yaml:"mean"`
	Std  float64 `yaml:"std"`
	// Unit makes the model's input (value-Min)/(Max-Min), in [0,1].
	Unit bool `yaml:"unit"`
	// Step is the distance between the values that a numeric column may take,
	// all multiples of it, such as 0.01 for money; an integer's is 1 without
	// it. Zero means any value.
	Step float64 `yaml:"step"`
	// Scale is how much of the column, in the file's units, counts as a
	// distance of 1. Zero means the whole range of a number or an ordinal, and
	// one change of category for the rest.
	Scale float64 `yaml:"scale"`
	// Cost is what it takes an attacker to change the column, beside others;
	// zero means 1. Attacks that weigh features prefer the cheap ones.
	Cost float64 `yaml:"cost"`
}

// Kind is what the values of a model's input element are.
type Kind string

// The kinds of element.
const (
	Numeric Kind = "numeric" // any value in the bounds
	Integer Kind = "integer" // whole numbers in the file's units
	Ordinal Kind = "ordinal" // codes 0, 1, 2, ... of ordered categories
	Binary  Kind = "binary"  // 0 or 1
	Code    Kind = "code"    // codes of categories without an order
	OneHot  Kind = "onehot"  // 0 or 1, exactly one 1 in its group
)

// Column is one element of a sample and what an attacker may do to it. A
// change to a sample that respects every Column is a row that could exist.
type Column struct {
	Name   string // such as "age" or "job=clerk"
	Source string // the column of the file
	Kind   Kind
	// Min and Max are the bounds in the model's units.
	Min, Max float32
	// Offset and Scale lead back to the file's units: file = Offset + Scale x
	// model. Values other than Numeric ones are whole numbers there.
	Offset, Scale float64
	// Categories are the names of the codes of an ordinal, binary or code
	// element.
	Categories []string
	Immutable  bool
	Monotone   int // +1: may only grow, -1: may only shrink, 0: free
	// Step is the grid of values in the file's units: all are multiples of it.
	// Zero means any value.
	Step float64
	// Unit is how much of the column, in the file's units, is a distance of 1.
	Unit float64
	Cost float64 // effort of a change; 1 unless the schema says otherwise
	// Optional is set in one-hot groups that may have no member set.
	Optional bool
	// Group numbers the one-hot groups from 0; -1 is none.
	Group int
}

// Bounds on a schema's text. The YAML parser recurses into what is nested and
// takes time quadratic in what stands on one line, so that a megabyte of
// brackets would keep it busy for an hour.
const (
	schemaLimit  = 2 << 20  // bytes, enough for 30,000 columns
	schemaLine   = 16 << 10 // bytes
	schemaDepth  = 32       // open brackets
	schemaIndent = 64       // spaces
)

// tame refuses text that the YAML parser must not see.
func tame(text []byte) error {
	if len(text) > schemaLimit {
		return fmt.Errorf("the schema has %d bytes; the limit is %d", len(text), schemaLimit)
	}
	line, depth, length, indent := 1, 0, 0, true
	for _, c := range text {
		length++
		switch c {
		case '\n':
			line++
			fallthrough
		case '\r': // ends a line too
			length, indent = 0, true
			continue
		case '[', '{':
			depth++
		case ']', '}':
			depth = max(depth-1, 0)
		}
		indent = indent && c == ' '
		if depth > schemaDepth || length > schemaLine || indent && length > schemaIndent {
			return fmt.Errorf("line %d is too long, too deeply nested or too far indented for a schema", line)
		}
	}
	return nil
}

// ParseSchema reads and checks the text of a schema. Unknown keys are errors
// that name their line.
func ParseSchema(text []byte) (*Schema, error) {
	if err := tame(text); err != nil {
		return nil, err
	}
	var s Schema
	if err := strictyaml.Unmarshal(text, &s); err != nil {
		return nil, err
	}
	if err := s.check(); err != nil {
		return nil, err
	}
	return &s, nil
}

func (s *Schema) check() error {
	names, labels, inputs := map[string]bool{}, 0, 0
	for i, f := range s.Columns {
		if f.Name == "" || names[f.Name] {
			return fmt.Errorf("column %d has the name %q, which is empty or taken", i+1, f.Name)
		}
		names[f.Name] = true
		if err := f.check(); err != nil {
			return fmt.Errorf("column %q: %w", f.Name, err)
		}
		switch f.Type {
		case "label":
			labels++
		case "ignore":
		default:
			inputs++
		}
	}
	switch {
	case labels != 1:
		return fmt.Errorf("%d columns of type label; want one", labels)
	case inputs == 0:
		return errors.New("no column is an input of the model")
	}
	var err error
	s.linked, err = s.parseRules()
	return err
}

func (f *Field) check() error {
	numeric := f.Type == "numeric" || f.Type == "integer"
	categorical := f.Type == "categorical" || f.Type == "ordinal" || f.Type == "binary"
	switch {
	case f.Type == "ignore":
		return nil
	case f.Type != "label" && !numeric && !categorical:
		return fmt.Errorf("type %q; want numeric, integer, categorical, ordinal, binary, ignore or label", f.Type)
	case numeric && (f.Min == nil || f.Max == nil):
		return errors.New("min and max are missing; an attack needs the bounds of what is possible")
	case numeric && !(finite(*f.Min) && finite(*f.Max) && *f.Min < *f.Max):
		return fmt.Errorf("bounds %v to %v are not an interval", *f.Min, *f.Max)
	case !numeric && (f.Min != nil || f.Max != nil):
		return fmt.Errorf("bounds do not apply to the type %s", f.Type)
	case !numeric && (f.Mean != 0 || f.Std != 0 || f.Unit):
		return fmt.Errorf("a scale does not apply to the type %s", f.Type)
	case numeric && len(f.Categories) > 0:
		return fmt.Errorf("categories do not apply to the type %s", f.Type)
	case f.Unit && (f.Mean != 0 || f.Std != 0):
		return errors.New("unit and mean with std are two scales; give one")
	case !finite(f.Mean) || !finite(f.Std) || f.Std < 0 || f.Mean != 0 && f.Std == 0:
		return fmt.Errorf("mean %v and std %v are not a scale; std must be positive", f.Mean, f.Std)
	case (f.Type == "categorical" || f.Type == "ordinal") && len(f.Categories) < 2:
		return errors.New("at least two categories are needed")
	case f.Type == "binary" && f.Categories != nil && len(f.Categories) != 2:
		return fmt.Errorf("%d categories; binary has two", len(f.Categories))
	case f.Names != nil && len(f.Names) != len(f.Categories):
		return fmt.Errorf("%d names for %d categories", len(f.Names), len(f.Categories))
	case f.Encode != "" && (f.Type != "categorical" || f.Encode != "onehot" && f.Encode != "code"):
		return fmt.Errorf("encode %q; a categorical column may say onehot or code", f.Encode)
	case f.Unknown != "" && (f.Unknown != "zero" || f.Type != "categorical" || f.Encode == "code"):
		return fmt.Errorf("unknown %q; a one-hot column may say zero", f.Unknown)
	case f.Group != "" && f.Type != "binary":
		return errors.New("group joins binary columns only")
	case f.Step != 0 && (!numeric || !finite(f.Step) || f.Step < 0 || f.Type == "integer" && f.Step != math.Trunc(f.Step)):
		return fmt.Errorf("step %v; a number's is positive, an integer's whole", f.Step)
	case !finite(f.Scale) || f.Scale < 0 || !finite(f.Cost) || f.Cost < 0 || (f.Scale != 0 || f.Cost != 0) && f.Type == "label":
		return fmt.Errorf("scale %v and cost %v; want positive numbers, for inputs only", f.Scale, f.Cost)
	case f.Monotone != "" && (f.Type == "categorical" || f.Monotone != "increasing" && f.Monotone != "decreasing"):
		return fmt.Errorf("monotone %q; an ordered column may say increasing or decreasing", f.Monotone)
	}
	sorted := slices.Sorted(slices.Values(f.Categories))
	if len(slices.Compact(sorted)) != len(f.Categories) {
		return errors.New("a category is listed twice")
	}
	if numeric {
		offset, scale := f.affine()
		lo, hi := float32((*f.Min-offset)/scale), float32((*f.Max-offset)/scale)
		if !finite(float64(lo)) || !finite(float64(hi)) || lo >= hi {
			return fmt.Errorf("bounds %v to %v become %v to %v in the model's float32; change the scale", *f.Min, *f.Max, lo, hi)
		}
	}
	return nil
}

// inputs expands a field into the elements it becomes.
func (f *Field) inputs(groups map[string]int) []Column {
	c := Column{
		Name: f.Name, Source: f.Name, Kind: Kind(f.Type), Max: 1, Scale: 1, Group: -1, Immutable: f.Immutable,
		Step: 1, Unit: 1, Cost: 1, Optional: f.Unknown == "zero",
	}
	if f.Cost != 0 {
		c.Cost = f.Cost
	}
	switch f.Monotone {
	case "increasing":
		c.Monotone = 1
	case "decreasing":
		c.Monotone = -1
	}
	names := f.Categories
	if f.Names != nil {
		names = f.Names
	}
	switch f.Type {
	case "numeric", "integer":
		c.Offset, c.Scale = f.affine()
		c.Step = f.Step
		if f.Type == "integer" {
			c.Step = max(f.Step, 1)
		}
		if f.Min != nil && f.Max != nil {
			c.Unit = *f.Max - *f.Min
			c.Min, c.Max = float32((*f.Min-c.Offset)/c.Scale), float32((*f.Max-c.Offset)/c.Scale)
		}
	case "categorical":
		if f.Encode != "code" {
			c.Kind, c.Group = OneHot, groupOf(groups, "column "+f.Name)
			return f.oneHot(f.scaled(c), names)
		}
		c.Kind, c.Max, c.Categories, c.Unit = Code, float32(len(names)-1), names, float64(len(names)-1)
	case "ordinal":
		c.Max, c.Categories, c.Unit = float32(len(names)-1), names, float64(len(names)-1)
	case "binary":
		c.Categories = names
		if f.Group != "" {
			c.Kind, c.Group = OneHot, groupOf(groups, "group "+f.Group)
		}
	}
	return []Column{f.scaled(c)}
}

// scaled gives a column the distance that the schema wants.
func (f *Field) scaled(c Column) Column {
	if f.Scale != 0 {
		c.Unit = f.Scale
	}
	return c
}

func (f *Field) oneHot(c Column, names []string) []Column {
	out := make([]Column, len(names))
	for i, name := range names {
		out[i] = c
		out[i].Name = f.Name + "=" + name
	}
	return out
}

func groupOf(groups map[string]int, name string) int {
	if _, ok := groups[name]; !ok {
		groups[name] = len(groups)
	}
	return groups[name]
}

// affine is the way from the model's units to the file's.
func (f *Field) affine() (offset, scale float64) {
	switch {
	case f.Unit:
		return *f.Min, *f.Max - *f.Min
	case f.Std != 0:
		return f.Mean, f.Std
	}
	return 0, 1
}
