package assess

import (
	"flag"
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/redoubt-ml/redoubt/attack/evasion"
	"github.com/redoubt-ml/redoubt/ml/model"
)

// A version of AutoAttack is what its authors set, whatever the settings.
func TestEnsemble(t *testing.T) {
	ce, dlr := evasion.AutoPGD{Name: "apgd-ce"}, evasion.AutoPGD{Name: "apgd-dlr", Loss: model.DLR}
	aimed := evasion.AutoPGD{Name: "apgd-t", Loss: model.DLR, Targeted: true}
	fab, fabT := evasion.FAB{Name: "fab", Restarts: 5}, evasion.FAB{Name: "fab-t", Targeted: true}
	square := evasion.Square{Queries: 5001}
	ce5, dlr5, ce20, dlr20 := ce, dlr, ce, dlr
	ce5.Restarts, dlr5.Restarts, ce20.Average, dlr20.Average = 5, 5, 20, 20
	for version, want := range map[string][]evasion.Attack{
		"standard": {ce, aimed, fabT, square},
		"plus":     {ce5, dlr5, fab, square, aimed, fabT},
		"rand":     {ce20, dlr20},
	} {
		specs, err := Ensemble(version, []evasion.Norm{evasion.Linf, evasion.L2})
		if err != nil {
			t.Fatal(err)
		}
		var got []evasion.Attack
		for _, s := range specs {
			got = append(got, s.New(evasion.Settings{Steps: 1, Step: 1, Restarts: 2, Queries: 3}))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: got %+v, want %+v", version, got, want)
		}
		if _, err := Ensemble(version, []evasion.Norm{evasion.L1}); (err == nil) != (version == "standard") {
			t.Errorf("%s in l1: error %v", version, err)
		}
	}
	if _, err := Ensemble("turbo", nil); err == nil {
		t.Error("a version that does not exist was found")
	}
}

// The attacks of AutoAttack, each alone on images of the adversarially trained
// network, leave as many standing as the authors' code (fra31/auto-attack at
// a392200, PyTorch 2.15) on the same network. FAB is not random in its first
// run, and so agrees but for rounding; the seed moves the others by one or two,
// in their code as in ours, and four allows for both.
// Square makes 500 proposals.
func TestAutoAttackAgainstAuthors(t *testing.T) {
	r := reference{network: "mnist_cnn_pgd_s1.onnx", dataset: "mnist", n: 50}
	l := network(t, r)
	set := images(t, r, l)
	for _, c := range []struct {
		norm   evasion.Norm
		eps    float64
		attack string
		want   int
		within int
	}{
		{evasion.Linf, 0.25, "apgd-ce", 10, 4},
		{evasion.Linf, 0.25, "apgd-dlr", 14, 4},
		{evasion.Linf, 0.25, "apgd-t", 9, 4},
		{evasion.Linf, 0.25, "fab-t", 14, 1},
		{evasion.Linf, 0.25, "fab", 17, 1},
		{evasion.Linf, 0.25, "square", 26, 4},
		{evasion.L2, 2, "apgd-ce", 30, 4},
		{evasion.L2, 2, "apgd-dlr", 29, 4},
		{evasion.L2, 2, "apgd-t", 28, 4},
		{evasion.L2, 1.8, "square", 41, 4},
		{evasion.L1, 12, "apgd-ce", 2, 4},
		{evasion.L1, 12, "apgd-t", 5, 4},
		{evasion.L1, 10, "square", 35, 4},
	} {
		t.Run(fmt.Sprintf("%s/%s", c.norm.Name(), c.attack), func(t *testing.T) {
			a, err := Run(t.Context(), Local(l), set, Config{
				Norms: []evasion.Norm{c.norm}, Eps: []float64{c.eps},
				Attacks: []*evasion.Spec{pinned(c.attack, evasion.Settings{Queries: 501})},
				Box:     unit, Workers: 2, Batch: 25, Checks: NoChecks,
			})
			if err != nil {
				t.Fatal(err)
			}
			got := a.Threats[0].Robust
			t.Logf("%d standing, the authors' code leaves %d; %.1f s", got, c.want, a.Tool.Seconds)
			if math.Abs(float64(got-c.want)) > float64(c.within) {
				t.Errorf("%d of %d samples stand, the authors' code leaves %d", got, r.n, c.want)
			}
		})
	}
}

var everyRow = flag.Bool("autoattack", false, "hold AutoAttack against every row of the reference, which takes an hour")

// AutoAttack leaves at most as many samples standing as the strongest attack
// tried on the same networks and images elsewhere; on the rows that only the flag
// adds, at most half a point more.
func TestAutoAttackIsStrongest(t *testing.T) {
	for _, r := range references(t) {
		if r.attack != "strong_pgd60x3_margin+ce" {
			continue
		}
		if !*everyRow && (r.n > 200 || r.eps != 0.3) {
			continue // where many stand it takes minutes
		}
		t.Run(fmt.Sprintf("%s/%g", r.network, r.eps), func(t *testing.T) {
			specs, err := Ensemble("standard", []evasion.Norm{evasion.Linf})
			if err != nil {
				t.Fatal(err)
			}
			l := network(t, r)
			a, err := Run(t.Context(), Local(l), images(t, r, l), Config{
				Eps: []float64{r.eps}, Attacks: specs, Box: unit, Workers: 2, Checks: NoChecks,
			})
			if err != nil {
				t.Fatal(err)
			}
			got := a.Threats[0].Robust
			t.Logf("%d of %d standing, reference %d; %.1f s", got, r.n, r.still, a.Tool.Seconds)
			for _, k := range a.Threats[0].Attacks {
				t.Logf("  %s broke %d of %d in %.1f s", k.Name, k.Broken, k.Attacked, k.Seconds)
			}
			bar := float64(r.still)
			if r.n > 200 || r.eps != 0.3 {
				bar += 0.005 * float64(r.n) // the reference's luck in one sample
			}
			if float64(got) > bar {
				t.Errorf("%d of %d samples stand, the reference leaves %d", got, r.n, r.still)
			}
		})
	}
}
