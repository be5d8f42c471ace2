package assess

import (
	"errors"
	"fmt"
	"slices"

	"github.com/redoubt-ml/redoubt/attack/evasion"
	"github.com/redoubt-ml/redoubt/ml/model"
)

// Ensemble returns the attacks of a version of AutoAttack (Croce and Hein 2020,
// arXiv 2003.01690), with the restarts, steps, queries and targets of the
// authors' code whatever the settings of an assessment:
//
//   - "standard": Auto-PGD on cross-entropy, targeted Auto-PGD, targeted FAB, and
//     Square with 5,000 proposals; in L1 five restarts of the first and five
//     targets of the second;
//   - "plus", not in L1: five restarts each of Auto-PGD on cross-entropy, of
//     Auto-PGD on the difference-of-logits ratio and of FAB, and the last three
//     of the standard version;
//   - "rand", for models that answer at random, not in L1: Auto-PGD on both
//     objectives, each gradient the mean of twenty.
//
// The order in which attacks try a sample does not decide whether it falls, and
// so it does not matter that an assessment runs those with gradients first. A
// model of fewer than four classes does not allow every attack, and what is left
// is not AutoAttack; the report says which were left out.
func Ensemble(version string, norms []evasion.Norm) ([]*evasion.Spec, error) {
	once, five := evasion.Settings{}, evasion.Settings{Restarts: 5}
	queries := evasion.Settings{Queries: 5001} // the starting point's and 5,000 more
	switch {
	case version == "standard":
		return []*evasion.Spec{
			pinned("apgd-ce", once), pinned("apgd-t", once), pinned("fab-t", once), pinned("square", queries),
		}, nil
	case (version == "plus" || version == "rand") && slices.Contains(norms, evasion.L1):
		return nil, fmt.Errorf("the %s version of AutoAttack is not defined in l1: use the standard one", version)
	case version == "plus":
		return []*evasion.Spec{
			pinned("apgd-ce", five), pinned("apgd-dlr", five), pinned("fab", five),
			pinned("square", queries), pinned("apgd-t", once), pinned("fab-t", once),
		}, nil
	case version == "rand":
		return []*evasion.Spec{averaged("apgd-ce", model.CrossEntropy), averaged("apgd-dlr", model.DLR)}, nil
	}
	return nil, errors.New("no version " + version + " of AutoAttack: want standard, plus or rand")
}

// pinned is a listed attack whose settings cannot be changed.
func pinned(name string, settings evasion.Settings) *evasion.Spec {
	s := *listed(name)
	made := s.New(settings)
	s.New = func(evasion.Settings) evasion.Attack { return made }
	return &s
}

// averaged is Auto-PGD on the mean of twenty gradients.
func averaged(name string, loss model.Loss) *evasion.Spec {
	s := *listed(name)
	s.New = func(evasion.Settings) evasion.Attack {
		return evasion.AutoPGD{Name: name, Loss: loss, Average: 20}
	}
	return &s
}

// listed is an attack of ours.
func listed(name string) *evasion.Spec {
	s, err := evasion.Find(name)
	if err != nil {
		panic(err) // this file names attacks that exist
	}
	return s
}
