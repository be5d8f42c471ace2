package assess

import (
	"encoding/csv"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/redoubt-ml/redoubt/attack/evasion"
	"github.com/redoubt-ml/redoubt/internal/need"
	"github.com/redoubt-ml/redoubt/ml/data"
	"github.com/redoubt-ml/redoubt/ml/model"
	"github.com/redoubt-ml/redoubt/ml/ort/orttest"
)

// reference is a row of reference/robust_accuracy.csv: how many of the first n
// samples PyTorch left standing.
type reference struct {
	network, dataset, norm, attack string
	n, still                       int
	eps                            float64
}

func references(t testing.TB) []reference {
	t.Helper()
	f, err := os.Open(need.Data(t, "reference/robust_accuracy.csv"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	var out []reference
	for _, r := range rows[1:] {
		if r[6] == "" {
			continue // distances of DeepFool
		}
		n, _ := strconv.Atoi(r[3])
		still, _ := strconv.Atoi(r[7])
		eps, _ := strconv.ParseFloat(r[6], 64)
		out = append(out, reference{r[0], r[1], r[2], r[5], n, still, eps})
	}
	return out
}

// network opens a shared network with the normalisation its reference used.
func network(t testing.TB, r reference) *model.Local {
	t.Helper()
	var found []string
	for _, p := range []string{"models/*/", "vnncomp/2021_*/", "vnncomp/2022_*/"} {
		m, err := filepath.Glob(filepath.Join(need.Data(t, "."), p, r.network))
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, m...)
	}
	if len(found) == 0 {
		t.Fatalf("no network %s", r.network)
	}
	l, err := model.Open(t.Context(), orttest.Runtime(t), found[0], normalisation(r.norm))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l
}

func normalisation(name string) model.Config {
	switch name {
	case "cifar_2471":
		return model.Config{Mean: []float64{.4914, .4822, .4465}, Std: []float64{.2471, .2435, .2616}}
	case "cifar_2023":
		return model.Config{Mean: []float64{.4914, .4822, .4465}, Std: []float64{.2023, .1994, .2010}}
	case "imagenet_225":
		return model.Config{Mean: []float64{.485, .456, .406}, Std: []float64{.225, .225, .225}}
	}
	return model.Config{}
}

// images reads the first n images of the reference's data set for a model.
func images(t testing.TB, r reference, l *model.Local) *data.Set {
	t.Helper()
	spec := need.Data(t, "cifar10/test_237.bin.gz")
	if strings.HasPrefix(r.dataset, "mnist") {
		spec = need.Data(t, "mnist/t10k-images-idx3-ubyte.gz") + "," + need.Data(t, "mnist/t10k-labels-idx1-ubyte.gz")
	}
	set, err := data.Open(spec, data.Options{})
	if err != nil {
		t.Fatal(err)
	}
	set = set.Head(r.n)
	shape := []int64{-1}
	layout := data.CHW
	for _, d := range l.Sample() {
		shape = append(shape, int64(d))
	}
	if len(shape) == 4 && shape[3] == 3 {
		layout = data.HWC
	}
	if err := set.For(shape, layout); err != nil {
		t.Fatal(err)
	}
	return set
}

var unit = evasion.Box{Lo: []float32{0}, Hi: []float32{1}}

// The attacks are as strong as those of PyTorch on the same networks and
// images: PGD leaves at most 1.05 times as many samples standing as the
// reference's PGD plus 2 points, and the whole suite at most 2 points more
// than the strongest attack tried there.
func TestStrengthAgainstReference(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute")
	}
	for _, r := range references(t) {
		var specs []*evasion.Spec
		settings := evasion.Settings{}
		bar := float64(r.still) + 0.02*float64(r.n)
		switch r.attack {
		case "pgd40":
			specs, settings.Steps = []*evasion.Spec{spec(t, "pgd")}, 40
			bar = 1.05*float64(r.still) + 0.02*float64(r.n)
		case "strong_pgd60x3_margin+ce":
			specs = Fast(Target{Access: model.WhiteBox}, false)
		default:
			continue
		}
		t.Run(fmt.Sprintf("%s/%s/%g", r.network, r.attack, r.eps), func(t *testing.T) {
			l := network(t, r)
			set := images(t, r, l)
			a, err := Run(t.Context(), Local(l), set, Config{
				Eps: []float64{r.eps}, Attacks: specs, Settings: settings, Box: unit, Workers: 2, Checks: NoChecks,
			})
			if err != nil {
				t.Fatal(err)
			}
			got := a.Threats[0].Robust
			t.Logf("%d of %d standing, reference %d; %.1f s", got, r.n, r.still, a.Tool.Seconds)
			if float64(got) > bar {
				t.Errorf("%d of %d samples stand, the bar is %.1f", got, r.n, bar)
			}
		})
	}
}

func spec(t testing.TB, name string) *evasion.Spec {
	t.Helper()
	s, err := evasion.Find(name)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// On mnist-net_256x6 at 0.3 cross-entropy leaves a quarter of the samples
// standing because its gradients are masked; the assessment must see through
// that, and say so.
func TestMaskedNetworkFalls(t *testing.T) {
	r := reference{network: "mnist-net_256x6.onnx.gz", dataset: "mnist", n: 200}
	l := network(t, r)
	for name, specs := range map[string][]*evasion.Spec{"fast": Fast(Target{Access: model.WhiteBox}, false), "pgd alone": {spec(t, "pgd")}} {
		a, err := Run(t.Context(), Local(l), images(t, r, l), Config{Eps: []float64{0.3}, Attacks: specs, Box: unit, Workers: 2})
		if err != nil {
			t.Fatal(err)
		}
		if raised(a, "masked-cross-entropy") == nil {
			t.Errorf("%s: masked gradients are not reported: %+v", name, a.Threats[0].Reliability.Flags)
		}
		if got := a.Threats[0].Robust; name == "fast" && got > 3 {
			t.Errorf("%s: %d of 200 stand, want at most 3", name, got)
		}
	}
}
