package redoubt

// AssessmentSchema names the JSON form of an [Assessment].
const AssessmentSchema = "redoubt.assess/v1"

// Assessment is the result of attacking one model with one data set: the JSON
// document "redoubt.assess/v1". Fields are only ever added to it.
type Assessment struct {
	Schema        string         `json:"schema"`
	Tool          Tool           `json:"tool"`
	Model         ModelInfo      `json:"model"`
	Data          DataInfo       `json:"data"`
	CleanAccuracy float64        `json:"clean_accuracy"`
	Threats       []ThreatResult `json:"threat_models"`
	Gates         []GateResult   `json:"gates"`
	Findings      []Finding      `json:"findings"`
	// PerClass has one entry a class of the data, in class order.
	PerClass []ClassResult `json:"per_class,omitempty"`
	// NotTested lists, in sentences, what this run says nothing about.
	NotTested []string `json:"not_tested"`
	// SamplesFile is the optional file with the per-sample outcome.
	SamplesFile string `json:"samples,omitempty"`

	// Examples are pictures for the report; they are not part of the JSON.
	Examples []Example `json:"-"`
	// Points are the inputs that fooled the model, where they were kept: Changed, without
	// Original and Score.
	Points []Example `json:"-"`
	// Samples is how each sample fared, for a file of its own.
	Samples []Sample `json:"-"`
}

// Sample is the outcome of one sample: a line of the per-sample file.
type Sample struct {
	Index     int             `json:"index"` // in the data set, from 0
	Label     int             `json:"label"`
	Predicted int             `json:"predicted"`
	Outcomes  []SampleOutcome `json:"outcomes"` // in the order of the threat models
}

// SampleOutcome is how a sample fared under one threat model.
type SampleOutcome struct {
	Norm string  `json:"norm"`
	Eps  float64 `json:"eps"`
	// Robust is set when the sample was right and no attack changed that.
	Robust bool `json:"robust"`
	// Attack, Class and Distortion say what broke it, what it became and how
	// far it was moved; they are empty for a sample that stands or was wrong
	// from the start.
	Attack     string  `json:"attack,omitempty"`
	Class      *int    `json:"class,omitempty"`
	Distortion float64 `json:"distortion,omitempty"`
	// Fitted is set where the sample served to make the patch or perturbation of
	// the threat model and so was not measured: the fields above say nothing
	// then.
	Fitted bool `json:"fitted,omitempty"`
	// Proved is set when the outcome is final: of a robust sample, that nothing
	// in the ball is wrong, and of a fallen one, that nothing nearer is.
	Proved bool `json:"proved,omitempty"`
	// Changes are what was changed of a row of a table.
	Changes []Change `json:"changes,omitempty"`
}

// Change is one feature of a row before and after an attack, in the units and
// words of the file.
type Change struct {
	Feature string `json:"feature"`
	From    string `json:"from"`
	To      string `json:"to"`
	// By is the difference of a number or of an ordinal's places; 0 for
	// categories without an order.
	By float64 `json:"by,omitempty"`
}

// Tool says what ran.
type Tool struct {
	Version string  `json:"version"`
	Runtime string  `json:"runtime"` // version of ONNX Runtime
	Threads int     `json:"threads"`
	Seed    uint64  `json:"seed"`
	Seconds float64 `json:"seconds"`
	Started string  `json:"started"` // RFC 3339, UTC
	Machine string  `json:"machine,omitempty"`
	// Command is the command line that repeats the run, quoted for a shell.
	Command string `json:"command,omitempty"`
}

// ModelInfo describes the model that was attacked.
type ModelInfo struct {
	Path   string `json:"path"`
	SHA256 Digest `json:"sha256"`
	// Access is what the attacks saw: "gradients", "scores" or "labels".
	Access  string `json:"access"`
	Input   []int  `json:"input_shape,omitempty"` // of one sample
	Classes int    `json:"classes,omitempty"`
	// Remote is set for a model behind an address; SHA256 is then empty,
	// because nobody here has seen its bytes.
	Remote *Remote `json:"remote,omitempty"`
	// Characteristics are the model's robustness characteristics.
	Characteristics Characteristics `json:"characteristics"`
}

// Remote says by whose leave an endpoint was attacked, and what it was asked.
type Remote struct {
	Protocol string `json:"protocol"`
	// Authorisation is the statement with which the run was started: who
	// allowed it.
	Authorisation string `json:"authorisation"`
	// Budget is the most samples that might be put to the endpoint, and Rate
	// the most in a second; 0 means that there was no limit.
	Budget int64   `json:"query_budget"`
	Rate   float64 `json:"rate"`
	// BudgetSpent is set when the run ended because nothing was left.
	BudgetSpent bool `json:"budget_spent"`
	// Queries counts the samples put to the endpoint, those sent again
	// included and those refused not.
	Queries  int64 `json:"queries"`
	Requests int64 `json:"requests"` // sent, of every kind
	Refused  int64 `json:"refused"`  // requests answered with status 4xx
	Retried  int64 `json:"retried"`  // requests sent again after a failure
}

// Characteristics are facts about a model's structure that bear on its
// robustness.
type Characteristics struct {
	Parameters     int64          `json:"parameters"`
	Depth          int            `json:"depth"` // parametrised layers on the longest path
	Layers         map[string]int `json:"layers"`
	Regularisation []string       `json:"regularisation"` // e.g. "BatchNormalization x4"
	Activations    []string       `json:"activations"`
	// OutputIsProbability is set when a final softmax or sigmoid was found and
	// attacks read the logits beneath it.
	OutputIsProbability bool `json:"output_is_probability"`
}

// DataInfo describes the samples.
type DataInfo struct {
	Path   string     `json:"path,omitempty"`
	SHA256 Digest     `json:"sha256"`
	N      int        `json:"n"`
	Bounds [2]float64 `json:"bounds"`
	// Features names the columns of tabular data.
	Features []string `json:"features,omitempty"`
	// Units says what a radius of 1 means where it is not one of the data's
	// own numbers.
	Units string `json:"units,omitempty"`
	// Classes names the labels, when the data does.
	Classes []string `json:"classes,omitempty"`
}

// ThreatResult is what was measured for one threat model: a norm and a radius, or
// a threat that is no ball around a sample.
type ThreatResult struct {
	// Norm is "linf", "l2", "l1" or "l0", or else "spatial", "patch",
	// "universal-linf" or "universal-l2".
	Norm string `json:"norm"`
	// Eps is the radius; of "spatial" it is the largest rotation in degrees, of
	// "patch" the share of the image that is covered at most.
	Eps float64 `json:"eps"`
	// Bound is all bounds in words, of a threat that is no ball.
	Bound string `json:"bound,omitempty"`
	// RobustAccuracy is the share of all samples that were classified
	// correctly and stayed so under every attack. A sample that was wrong from
	// the start counts as not robust.
	RobustAccuracy float64 `json:"robust_accuracy"`
	// AttackSuccessRate is the share of the initially correct samples that
	// fell.
	AttackSuccessRate float64 `json:"attack_success_rate"`
	// RobustnessScore is 1 - AttackSuccessRate; the seed's "secure" is above
	// 0.8.
	RobustnessScore float64 `json:"robustness_score"`
	Secure          bool    `json:"secure"`
	// CI95 is the 95 % Wilson interval of RobustAccuracy.
	CI95 [2]float64 `json:"ci95"`
	// The denominators: N samples in all, Correct of them right from the
	// start, Robust of them standing at the end. Of a patch or a universal
	// perturbation, N counts the samples on which it was not made.
	N       int `json:"n"`
	Correct int `json:"correct"`
	Robust  int `json:"robust"`
	// Proved counts the robust samples of which it was proved that no point of
	// the ball is classified wrongly.
	Proved int `json:"proved,omitempty"`
	// CertifiedAccuracy is the share of all samples that were classified
	// correctly and proved to stay so: the robust accuracy lies between it and
	// RobustAccuracy. It is absent where no certificate was asked for.
	CertifiedAccuracy *float64 `json:"certified_accuracy,omitempty"`
	// Features says, of a table, which features the attacks changed, the most
	// often changed first.
	Features []FeatureResult `json:"features,omitempty"`

	Attacks     []AttackResult `json:"attacks"`
	Reliability Reliability    `json:"reliability"`
}

// FeatureResult is how often a feature of a table was changed, among the
// samples that fell, and how.
type FeatureResult struct {
	Feature string  `json:"feature"`
	Changed int     `json:"changed"` // samples
	Share   float64 `json:"share"`   // of the samples that fell
	Up      int     `json:"up,omitempty"`
	Down    int     `json:"down,omitempty"`
	// MedianChange is the median size of the change of a number, in the file's
	// units.
	MedianChange float64 `json:"median_change,omitempty"`
	// Most is the most common change of a category, such as "clerk to driver".
	Most string `json:"most_common_change,omitempty"`
}

// AttackResult is one attack's share of a threat model. Attacks run in order,
// each on the samples still standing; RobustAccuracy is the accuracy that
// would be reported had the run stopped after this attack.
type AttackResult struct {
	Name           string  `json:"name"`
	RobustAccuracy float64 `json:"robust_accuracy"`
	Attacked       int     `json:"attacked"` // samples it was given
	Broken         int     `json:"broken"`   // samples it broke
	Forwards       int64   `json:"forwards"`
	Gradients      int64   `json:"gradients"`
	Seconds        float64 `json:"seconds"`
	// MedianDistortion is the median size, in the threat model's norm, of the
	// perturbations that succeeded; 0 when none did.
	MedianDistortion float64 `json:"median_distortion"`
	// Proved counts, of the samples it was given, those whose outcome it
	// proved to be final.
	Proved int    `json:"proved,omitempty"`
	Note   string `json:"note,omitempty"`
}

// The verdicts on a robustness number.
const (
	Trustworthy = "trustworthy"
	Suspect     = "suspect"
	Invalid     = "invalid"
)

// Reliability says whether a robustness number can be believed, and why not.
type Reliability struct {
	Verdict string `json:"verdict"` // Trustworthy, Suspect or Invalid
	Flags   []Flag `json:"flags"`
}

// Flag is one observation about an evaluation's own quality.
type Flag struct {
	// ID is stable: "zero-gradients", "noise-beats-gradients",
	// "loss-still-rising", "not-monotone", "saturated-softmax",
	// "random-model", ...
	ID string `json:"id"`
	// Verdict is the worst grade this flag allows: "trustworthy" for a
	// repaired or informative one.
	Verdict  string `json:"verdict"`
	Evidence string `json:"evidence"`
	Remedy   string `json:"remedy,omitempty"`
}

// GateResult is one gate expression and how it came out.
type GateResult struct {
	Expr  string  `json:"expr"`
	Value float64 `json:"value"`
	Pass  bool    `json:"pass"`
}

// ClassResult is accuracy a class, at the largest radius of the first norm.
type ClassResult struct {
	Class    int     `json:"class"`
	Name     string  `json:"name,omitempty"`
	N        int     `json:"n"`
	Clean    float64 `json:"clean_accuracy"`
	Robust   float64 `json:"robust_accuracy"`
	FallsTo  int     `json:"most_common_error"` // class that its samples most often become, -1 if none
	FallsPct float64 `json:"most_common_error_share"`
}

// Example is one sample before and after an attack.
type Example struct {
	Index    int // in the data set
	Attack   string
	Norm     string
	Eps      float64
	Label    int
	Before   int // predicted class
	After    int
	Score    float64 // probability of After
	Shape    []int   // of one sample, as the model takes it
	Layout   string  // "chw", "hwc" or "flat"
	Original []float32
	Changed  []float32
}
