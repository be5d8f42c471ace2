package report

import (
	"math"

	"github.com/redoubt-ml/redoubt"
)

// images is an assessment of an image model as a real run gives it: two norms,
// a failed gate, a doubt, per-class results and pictures.
func images() *redoubt.Assessment {
	a := &redoubt.Assessment{
		Schema: redoubt.AssessmentSchema,
		Tool: redoubt.Tool{Version: "0.1.0", Runtime: "1.30.0", Threads: 2, Seed: 7, Seconds: 184.2, Started: "2026-11-22T09:30:00Z",
			Machine: "linux/amd64, 8 cores", Command: "redoubt assess models/mnist_cnn.onnx --data t10k-images.idx,t10k-labels.idx --norm linf,l2 --limit 500 --seed 7 --gate 'robust_accuracy[linf@0.1]>=0.8'"},
		Model: redoubt.ModelInfo{Path: "models/mnist_cnn.onnx", SHA256: redoubt.DigestBytes([]byte("model")), Access: "gradients",
			Input: []int{1, 28, 28}, Classes: 10, Characteristics: redoubt.Characteristics{Parameters: 52138, Depth: 4,
				Layers: map[string]int{"Conv": 2, "Gemm": 2, "MaxPool": 2}, Activations: []string{"Relu ×3"}, OutputIsProbability: true}},
		Data:          redoubt.DataInfo{Path: "data/t10k-images.idx,data/t10k-labels.idx", SHA256: redoubt.DigestBytes([]byte("data")), N: 500, Bounds: [2]float64{0, 1}},
		CleanAccuracy: 0.982,
		Gates: []redoubt.GateResult{
			{Expr: "clean_accuracy>=0.95", Value: 0.982, Pass: true},
			{Expr: "robust_accuracy[linf@0.1]>=0.8", Value: 0.712, Pass: false},
		},
		Findings: []redoubt.Finding{
			{Rule: "evasion/l2", Title: "Changes of L2 ≤ 1 turn one answer in three", Severity: redoubt.Medium, Technique: "AML.T0015", Subject: "models/mnist_cnn.onnx",
				Evidence: "At L2 ≤ 1, 168 of 491 samples fell, the median of the successful changes being 0.82."},
			{Rule: "evasion/linf", Title: "Small changes of every pixel turn the model's answer", Severity: redoubt.High, Technique: "AML.T0015", Subject: "models/mnist_cnn.onnx",
				Evidence: "At L∞ ≤ 0.1, 135 of 491 samples that the model classified correctly were turned.", Remedy: "Train on adversarial examples of this radius, and keep the gate in the build."},
		},
		NotTested: []string{
			"Radii above the largest one listed, and other norms.",
			"Rotations, crops and other changes of an image that people would not notice.",
			"Poisoned training data, backdoors, extraction and membership inference.",
		},
	}
	a.Threats = []redoubt.ThreatResult{
		threat("linf", 0.05, 467, redoubt.Trustworthy, 0.041),
		threat("linf", 0.1, 356, redoubt.Trustworthy, 0.082),
		threat("linf", 0.2, 61, redoubt.Suspect, 0.131),
		threat("linf", 0.3, 2, redoubt.Trustworthy, 0.14),
		threat("l2", 0.5, 452, redoubt.Trustworthy, 0.41),
		threat("l2", 1, 323, redoubt.Trustworthy, 0.82),
		threat("l2", 2, 24, redoubt.Trustworthy, 1.24),
	}
	a.Threats[2].Reliability.Flags = []redoubt.Flag{
		{ID: "loss-still-rising", Verdict: redoubt.Suspect, Evidence: "The loss of 14 % of the surviving samples was still rising by more than 1 % a step at the last of 40 steps.", Remedy: "Repeat with --steps 100 or more."},
		{ID: "saturated-softmax", Verdict: redoubt.Trustworthy, Evidence: "A final softmax was found; attacks read the logits beneath it."}}
	a.Threats[3].Reliability.Flags = a.Threats[2].Reliability.Flags[1:]
	for c := range 10 {
		clean := 1 - float64((c*7)%5)/100
		a.PerClass = append(a.PerClass, redoubt.ClassResult{Class: c, N: 50, Clean: clean, Robust: clean * float64((c*3+4)%10) / 40, FallsTo: (c + 3) % 10, FallsPct: 0.3 + float64(c)/20})
	}
	for i := range 6 {
		a.Examples = append(a.Examples, drawn(i))
	}
	return a
}

// threat is a threat model of 500 samples, 491 right at first.
func threat(norm string, eps float64, robust int, grade string, median float64) redoubt.ThreatResult {
	const n, correct = 500, 491
	p := float64(robust) / n
	// Wilson's interval.
	const z = 1.959964
	centre, half := (p+z*z/(2*n))/(1+z*z/n), z/(1+z*z/n)*math.Sqrt(p*(1-p)/n+z*z/(4*n*n))
	asr := float64(correct-robust) / correct
	fgsm := (correct - robust) * 2 / 3
	return redoubt.ThreatResult{Norm: norm, Eps: eps, RobustAccuracy: p, AttackSuccessRate: asr, RobustnessScore: 1 - asr, Secure: 1-asr > 0.8,
		CI95: [2]float64{centre - half, centre + half}, N: n, Correct: correct, Robust: robust,
		Attacks: []redoubt.AttackResult{
			{Name: "fgsm", RobustAccuracy: float64(correct-fgsm) / n, Attacked: correct, Broken: fgsm, Forwards: 982, Gradients: 491, Seconds: 0.3, MedianDistortion: eps},
			{Name: "apgd-dlr", RobustAccuracy: p, Attacked: correct - fgsm, Broken: correct - robust - fgsm, Forwards: 33400, Gradients: 33200, Seconds: 12.44, MedianDistortion: median},
			{Name: "square", RobustAccuracy: p, Attacked: robust, Forwards: 1780000, Seconds: 31.07, Note: "score-based; agrees with the gradient attacks"},
		},
		Reliability: redoubt.Reliability{Verdict: grade}}
}

// drawn is a handwritten-looking figure of 28x28 and its perturbation.
func drawn(k int) redoubt.Example {
	e := redoubt.Example{Index: 11 * k, Attack: "apgd-dlr", Norm: "linf", Eps: 0.1, Label: k, Before: k, After: (k + 3) % 10, Score: 0.61 + 0.05*float64(k),
		Shape: []int{1, 28, 28}, Layout: "chw", Original: make([]float32, 784), Changed: make([]float32, 784)}
	for y := range 28 {
		for x := range 28 {
			ink := 0.0
			for s := range 60 { // a stroke, as points along a curve
				u := 2 * math.Pi * float64(s) / 60
				px, py := 14+6*math.Sin(u*float64(1+k%3))+float64(k%2)*2*math.Cos(3*u), 14+8*math.Cos(u*float64(1+k/3))
				d := math.Hypot(float64(x)-px, float64(y)-py)
				ink = math.Max(ink, math.Min(1, math.Max(0, 1.9-d)))
			}
			i := 28*y + x
			e.Original[i] = float32(ink)
			sign := float32(0.1)
			if math.Sin(float64(x*(k+2))*0.7)*math.Cos(float64(y*(k+1))*0.5) < 0 {
				sign = -0.1
			}
			e.Changed[i] = min(max(e.Original[i]+sign, 0), 1)
		}
	}
	return e
}

// rows is an assessment of a model of tabular data that meets its gate.
func rows() *redoubt.Assessment {
	a := images()
	a.Model.Path, a.Model.Input, a.Model.Classes, a.Model.Access = "credit_mlp.onnx", []int{5}, 2, "scores"
	a.Data = redoubt.DataInfo{Path: "german.csv", SHA256: redoubt.DigestBytes([]byte("german")), N: 500, Bounds: [2]float64{0, 1},
		Features: []string{"age", "duration", "amount", "job=skilled", "job=unskilled"}, Classes: []string{"good", "bad"}}
	a.Gates = []redoubt.GateResult{{Expr: "robust_accuracy[linf@0.05]>=0.9", Value: 0.934, Pass: true}}
	a.Threats, a.Findings = a.Threats[:1], nil
	a.Data.Units = "a distance of 1 is the whole range of a feature"
	a.Threats[0].Features = []redoubt.FeatureResult{
		{Feature: "amount", Changed: 18, Share: 0.75, Up: 11, Down: 7, MedianChange: 841.5},
		{Feature: "job", Changed: 5, Share: 0.2083, Most: "skilled to unskilled"},
		{Feature: "duration", Changed: 4, Share: 0.1667, Down: 4, MedianChange: 3},
	}
	a.PerClass = []redoubt.ClassResult{{Class: 0, Name: "good", N: 350, Clean: 0.99, Robust: 0.95, FallsTo: 1, FallsPct: 1}, {Class: 1, Name: "bad", N: 150, Clean: 0.963, Robust: 0.896, FallsTo: -1}}
	a.Examples = []redoubt.Example{
		{Index: 3, Attack: "pgd", Norm: "linf", Eps: 0.05, Label: 0, Before: 0, After: 1, Score: 0.52, Shape: []int{5}, Layout: "flat",
			Original: []float32{0.31, 0.2, 0.11, 1, 0}, Changed: []float32{0.26, 0.25, 0.16, 1, 0}},
		{Index: 8, Attack: "pgd", Norm: "linf", Eps: 0.05, Label: 1, Before: 1, After: 0, Score: 0.7, Shape: []int{5}, Layout: "flat",
			Original: []float32{0.5, 0.25, 0.75, 0, 1}, Changed: []float32{0.5, 0.203125, 0.75, 0, 1}},
	}
	return a
}
