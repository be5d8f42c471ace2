package certify

import (
	"context"
	"flag"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redoubt-ml/redoubt/internal/need"
	"github.com/redoubt-ml/redoubt/ml/onnx"
	"github.com/redoubt-ml/redoubt/ml/vnnlib"
	"github.com/redoubt-ml/redoubt/ml/vnnlib/vnncomp"
)

var (
	seconds = flag.Float64("seconds", 0, "try to prove every VNN-COMP instance for so long, instead of a few")
	only    = flag.String("only", "", "with -seconds: of the instances, those whose name contains this")
	real64  = flag.Bool("real", false, "with -seconds: prove for real numbers only, not for float32")
)

// networks reads each network once.
type networks map[string]*Network

// prove tries for so many seconds.
func (ns networks) prove(t *testing.T, i vnncomp.Instance, limit float64, o Options) bool {
	t.Helper()
	if ns[i.Network] == nil {
		m, err := onnx.Read(need.Data(t, i.Network), onnx.DefaultLimits)
		if err != nil {
			t.Fatal(err)
		}
		ns[i.Network] = read(t, m)
	}
	p, err := vnnlib.Read(need.Data(t, i.Property))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Duration(limit*float64(time.Second)))
	defer cancel()
	proved, err := ns[i.Network].Prove(ctx, p, o)
	if err != nil {
		t.Fatalf("%s: %v", i.ID, err)
	}
	return proved
}

// No instance with a known violation is ever proved.
func TestUnsafeInstancesAreNotProved(t *testing.T) {
	limit := 0.1
	if *seconds > 0 {
		limit = 3
	}
	ns := networks{}
	for _, i := range vnncomp.Instances(t) {
		if i.Expected == "sat" && ns.prove(t, i, limit, Options{}) {
			t.Errorf("%s: proved, yet known to fail", i.ID)
		}
	}
}

// One instance of each category, which takes a second or less on a quiet
// machine. 'make certify' tries all.
func TestSafeInstances(t *testing.T) {
	quick := []string{
		"2021_eran/mnist_relu_9_200/mnist_spec_idx_8054_eps_0.01500",
		"2021_verivital/Convnet_maxpool/prop_1_0.004",
		"2022_acasxu/ACASXU_run2a_1_9_batch_2000/prop_2",
		"2022_collins_rul_cnn/NN_rul_small_window_20/robustness_16perturbations_delta20_epsilon10_w20",
		"2022_mnist_fc/mnist-net_256x2/prop_11_0.05",
		"2022_mnist_fc/mnist-net_256x6/prop_12_0.03",
		"2022_reach_prob_density/vdp/vdp_1",
		"2022_tllverifybench/tllBench_n=2_N=M=8_m=1_instance_0_3/property_N=8_3",
	}
	ns := networks{}
	for _, i := range vnncomp.Instances(t) {
		if (slices.Contains(quick, i.ID) || i.Category() == "2022_rl_benchmarks" && i.Expected == "unsat") && !ns.prove(t, i, 60, Options{}) {
			t.Errorf("%s: not proved", i.ID)
		}
	}
}

// With -seconds, at least half of what is known to be safe is proved.
func TestVNNCOMP(t *testing.T) {
	if *seconds == 0 {
		t.Skip("a long run: make certify")
	}
	type tally struct {
		safe, proved int
		seconds      float64
	}
	tallies, all := map[string]*tally{}, tally{}
	ns := networks{}
	for _, i := range vnncomp.Instances(t) {
		if i.Expected != "unsat" || !strings.Contains(i.ID, *only) {
			continue
		}
		domains := 0
		start := time.Now()
		proved := ns.prove(t, i, *seconds, Options{Real: *real64, Progress: func(done, _ int) { domains = done }})
		took := time.Since(start).Seconds()
		t.Logf("%s: proved %v after %.2f s and %d domains", i.ID, proved, took, domains)
		c := tallies[i.Category()]
		if c == nil {
			c = &tally{}
			tallies[i.Category()] = c
		}
		c.safe++
		all.safe++
		if proved {
			c.proved++
			all.proved++
			c.seconds += took
		}
	}
	for _, k := range slices.Sorted(maps.Keys(tallies)) {
		c := tallies[k]
		t.Logf("%s: proved %d of %d, in %.2f s each", k, c.proved, c.safe, c.seconds/max(1, float64(c.proved)))
	}
	if 2*all.proved < all.safe {
		t.Errorf("proved %d of %d: want half", all.proved, all.safe)
	}
}
