package dp

import (
	"errors"
	"fmt"
	"math"
)

// Adjacency says which two data sets a guarantee cannot tell apart. It is part
// of every guarantee: the same noise is worth about half as much under
// [Replace] as under [AddRemove]. The zero value is no adjacency, and refused.
type Adjacency int

const (
	// AddRemove: one has a privacy unit's records, the other has none of them.
	AddRemove Adjacency = iota + 1
	// Replace: one has another unit's records in their place; the number of
	// units is the same, and public.
	Replace
)

var adjacencies = map[Adjacency]string{AddRemove: "add-remove", Replace: "replace"}

func (a Adjacency) String() string {
	if name, ok := adjacencies[a]; ok {
		return name
	}
	return fmt.Sprintf("Adjacency(%d)", int(a))
}

// MarshalText gives "add-remove" or "replace".
func (a Adjacency) MarshalText() ([]byte, error) {
	if err := a.Check(); err != nil {
		return nil, err
	}
	return []byte(a.String()), nil
}

// UnmarshalText reads what MarshalText writes.
func (a *Adjacency) UnmarshalText(text []byte) error {
	for k, name := range adjacencies {
		if name == string(text) {
			*a = k
			return nil
		}
	}
	return fmt.Errorf("adjacency %q: must be add-remove or replace", text)
}

// Check refuses what is neither adjacency.
func (a Adjacency) Check() error {
	if _, ok := adjacencies[a]; !ok {
		return errors.New("no adjacency given: say add-remove or replace, a guarantee means nothing without it")
	}
	return nil
}

// Guarantee is (epsilon, delta)-differential privacy of some unit under some
// adjacency: whatever the output, it is at most e^Epsilon times as likely with
// the unit's data as without, but for events of probability Delta.
type Guarantee struct {
	Epsilon float64 `json:"epsilon"`
	Delta   float64 `json:"delta"`
}

// Check refuses an epsilon that is not a number of 0 or more, and a delta that
// is not in [0, 1).
func (g Guarantee) Check() error {
	if !(g.Epsilon >= 0) || math.IsInf(g.Epsilon, 0) {
		return fmt.Errorf("epsilon %v: must be a finite number of 0 or more", g.Epsilon)
	}
	if !(g.Delta >= 0 && g.Delta < 1) {
		return fmt.Errorf("delta %v: must be at least 0 and less than 1", g.Delta)
	}
	return nil
}
