package evasion

import "github.com/redoubt-ml/redoubt/ml/model"

const evade = "AML.T0015" // MITRE ATLAS: Evade AI Model

var fgsm = &Spec{
	Name:      "fgsm",
	Doc:       "Fast gradient (sign) method\n\nOne step of size eps. The quickest attack and the weakest with gradients; what it breaks, anything breaks.",
	Paper:     "Goodfellow, Shlens and Szegedy 2015, arXiv 1412.6572",
	Technique: evade,
	Access:    model.WhiteBox,
	New:       func(Settings) Attack { return Descent{Name: "fgsm", Steps: 1} },
}

var bim = &Spec{
	Name:      "bim",
	Doc:       "Basic iterative method\n\nTen steps of the gradient sign from the sample itself.",
	Paper:     "Kurakin, Goodfellow and Bengio 2017, arXiv 1607.02533",
	Technique: evade,
	Access:    model.WhiteBox,
	New: func(s Settings) Attack {
		return Descent{Name: "bim", Steps: or(s.Steps, 10), Step: s.Step}
	},
}

var pgd = &Spec{
	Name:      "pgd",
	Doc:       "Projected gradient descent on cross-entropy\n\nForty steps from the sample itself; further restarts begin at random points of the ball.",
	Paper:     "Madry et al. 2018, arXiv 1706.06083",
	Technique: evade,
	Access:    model.WhiteBox,
	New: func(s Settings) Attack {
		return Descent{Name: "pgd", Steps: or(s.Steps, 40), Step: s.Step, Restarts: s.Restarts}
	},
}

var pgdMargin = &Spec{
	Name:      "pgd-margin",
	Doc:       "Projected gradient descent on the margin\n\nPGD on the difference of logits, whose gradient does not vanish where the model is certain. Three restarts of sixty steps.",
	Paper:     "Madry et al. 2018, arXiv 1706.06083, with the objective of Carlini and Wagner 2017, arXiv 1608.04644",
	Technique: evade,
	Access:    model.WhiteBox,
	New: func(s Settings) Attack {
		return Descent{Name: "pgd-margin", Loss: model.Margin, Steps: or(s.Steps, 60), Step: s.Step, Restarts: or(s.Restarts, 3)}
	},
}

var pgdDLR = &Spec{
	Name:      "pgd-dlr",
	Doc:       "Projected gradient descent on the difference-of-logits ratio\n\nPGD on an objective that does not change when logits are scaled. Needs three classes, four with targets.",
	Paper:     "Madry et al. 2018, arXiv 1706.06083, with the objective of Croce and Hein 2020, arXiv 2003.01690",
	Technique: evade,
	Access:    model.WhiteBox,
	New: func(s Settings) Attack {
		return Descent{Name: "pgd-dlr", Loss: model.DLR, Steps: or(s.Steps, 60), Step: s.Step, Restarts: s.Restarts}
	},
}

var mifgsm = &Spec{
	Name:      "mifgsm",
	Doc:       "Momentum iterative method\n\nTen steps along accumulated gradients; made to transfer to other models.",
	Paper:     "Dong et al. 2018, arXiv 1710.06081",
	Technique: evade,
	Access:    model.WhiteBox,
	New: func(s Settings) Attack {
		steps := or(s.Steps, 10)
		return Descent{Name: "mifgsm", Steps: steps, Step: s.Step, Momentum: 1, Restarts: s.Restarts}
	},
}

// or is v, or the default where v is zero.
func or(v, absent int) int {
	if v == 0 {
		return absent
	}
	return v
}
