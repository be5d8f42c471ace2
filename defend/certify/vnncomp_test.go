package certify

import (
	"context"
	"encoding/csv"
	"flag"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redoubt-ml/redoubt/internal/need"
	"github.com/redoubt-ml/redoubt/ml/onnx"
	"github.com/redoubt-ml/redoubt/ml/vnnlib"
)

var (
	seconds = flag.Float64("seconds", 0, "try to prove every VNN-COMP instance for so long, instead of a few")
	only    = flag.String("only", "", "with -seconds: of the instances, those whose name contains this")
	real64  = flag.Bool("real", false, "with -seconds: prove for real numbers only, not for float32")
)

// instance is a row of vnncomp/instances.csv.
type instance struct{ id, network, property, expected string }

func (i instance) category() string {
	c, _, _ := strings.Cut(i.id, "/")
	return c
}

func instances(t testing.TB) []instance {
	t.Helper()
	f, err := os.Open(need.Data(t, "vnncomp/instances.csv"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	var out []instance
	for _, r := range rows[1:] {
		out = append(out, instance{r[0], r[3], r[4], r[5]})
	}
	return out
}

// networks reads each network once.
type networks map[string]*Network

// prove tries for so many seconds.
func (ns networks) prove(t *testing.T, i instance, limit float64, o Options) bool {
	t.Helper()
	if ns[i.network] == nil {
		m, err := onnx.Read(need.Data(t, "vnncomp/"+i.network), onnx.DefaultLimits)
		if err != nil {
			t.Fatal(err)
		}
		ns[i.network] = read(t, m)
	}
	p, err := vnnlib.Read(need.Data(t, "vnncomp/"+i.property))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Duration(limit*float64(time.Second)))
	defer cancel()
	proved, err := ns[i.network].Prove(ctx, p, o)
	if err != nil {
		t.Fatalf("%s: %v", i.id, err)
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
	for _, i := range instances(t) {
		if i.expected == "sat" && ns.prove(t, i, limit, Options{}) {
			t.Errorf("%s: proved, yet known to fail", i.id)
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
	for _, i := range instances(t) {
		if (slices.Contains(quick, i.id) || i.category() == "2022_rl_benchmarks" && i.expected == "unsat") && !ns.prove(t, i, 60, Options{}) {
			t.Errorf("%s: not proved", i.id)
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
	for _, i := range instances(t) {
		if i.expected != "unsat" || !strings.Contains(i.id, *only) {
			continue
		}
		domains := 0
		start := time.Now()
		proved := ns.prove(t, i, *seconds, Options{Real: *real64, Progress: func(done, _ int) { domains = done }})
		took := time.Since(start).Seconds()
		t.Logf("%s: proved %v after %.2f s and %d domains", i.id, proved, took, domains)
		c := tallies[i.category()]
		if c == nil {
			c = &tally{}
			tallies[i.category()] = c
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
